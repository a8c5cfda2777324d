"""A job as an agent describes it: the fields of a job that agents need, each with its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from berth.cli.job_options import active_python


def _field(description: str) -> Any:
    return Field(default=None, description=description)


class Submission(BaseModel):
    """One job. Give `command` or `script`; everything else has a default."""

    model_config = ConfigDict(extra="forbid")

    command: Annotated[str | None, _field("The command as it would be typed in a shell.")] = None
    script: Annotated[str | None, _field("Shell text instead of a command.")] = None
    gpus: Annotated[
        int | None,
        _field("How many GPUs; default: what the command asks for, else 1. 0: none."),
    ] = None
    name: str | None = None
    workdir: Annotated[str | None, _field("Folder to run in; default: this server's.")] = None
    python: Annotated[
        str | None, _field("Interpreter or environment folder; default: the active environment.")
    ] = None
    env: Annotated[dict[str, str] | None, _field("Extra variables.")] = None
    time_limit: Annotated[str | None, _field("Like 90m or 12h. Short limits start sooner.")] = None
    gpu_memory: Annotated[str | None, _field("Least memory of each GPU, like 40GiB.")] = None
    share: Annotated[
        bool | None, _field("Use gpu_memory of one GPU beside other jobs, not all of it.")
    ] = None
    priority: Annotated[int | None, _field("Higher starts first; -1000 to 1000.")] = None
    preemptible: Annotated[
        bool | None, _field("May be stopped and queued again in favour of others.")
    ] = None
    retries: Annotated[int | None, _field("More attempts after a failed one.")] = None
    depends_on: Annotated[
        list[int | str] | None, _field("Jobs that must have succeeded, or afterany:ID.")
    ] = None
    labels: Annotated[dict[str, str] | None, _field("Pairs to list jobs by.")] = None
    snapshot: Annotated[
        bool | None, _field("Freeze the git work tree: later edits do not reach the job.")
    ] = None
    hold: Annotated[bool | None, _field("Submit without queueing.")] = None

    def as_spec(self) -> dict[str, Any]:
        """Return what was given, in this process's folder and environment where nothing was."""
        spec = self.model_dump(exclude_none=True)
        spec["workdir"] = str(Path.cwd() / spec.get("workdir", "."))
        if python := active_python():
            spec.setdefault("python", python)
        return spec
