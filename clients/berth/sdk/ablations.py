"""Client calls for ablations: make, compare, change."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from berth.protocol.ablations import AblationMade, AblationPatch, AblationSpec
from berth.protocol.metrics import Ablation, AblationList
from berth.protocol.submits import SubmittedJobs
from berth.sdk.calls import Calls, as_json
from berth.sdk.matrix import expand
from berth.sdk.parse import parse

_URL = "/api/v1/ablations"


class AblationCalls(Calls):
    """Make, compare and change ablations."""

    def ablate(
        self,
        plan: AblationSpec | Mapping[str, Any],
        *,
        add: bool = False,
        idempotency_key: str | None = None,
    ) -> AblationMade:
        """
        Make the jobs of an ablation, all or none, in one transaction.

        `plan` is the content of an ablation's file (`name`, `base`, `matrix`, …), or an
        `AblationSpec` with its cells written out. With `add`, only cells that the ablation
        of this name lacks are made. Raises `MatrixError` for an invalid plan, and
        `Conflict` for a name that is taken.
        """
        if isinstance(plan, Mapping):
            plan = expand(plan) if "cells" not in plan else dict(plan)
            body: AblationSpec | dict[str, Any] = {**plan, "add": True} if add else plan
        else:
            body = plan.model_copy(update={"add": True}) if add else plan
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        answer = self._channel.request(
            "POST", _URL, content=as_json(body), headers=headers, repeatable=True
        )
        return parse(AblationMade, answer.content)

    def ablations(self) -> AblationList:
        """Return all ablations, newest jobs first."""
        return self._get(AblationList, _URL)

    def ablation(self, name: str) -> Ablation:
        """Return the jobs whose label `ablation` is this name, with what each has reached."""
        return self._get(Ablation, _path(name))

    def change_ablation(self, name: str, patch: AblationPatch | Mapping[str, Any]) -> Ablation:
        """Set the caps or the early-stop rule of an ablation; None removes one."""
        answer = self._channel.request(
            "PATCH", _path(name), content=as_json(patch), repeatable=True
        )
        return parse(Ablation, answer.content)

    def rerun_ablation(
        self, name: str, which: Literal["failed", "cancelled", "all"] = "failed"
    ) -> SubmittedJobs:
        """Queue ended cells again under their own ids. Not repeated when the connection breaks."""
        return self._post(SubmittedJobs, f"{_path(name)}/rerun", {"which": which}, repeatable=False)


def _path(name: str) -> str:
    return f"{_URL}/{quote(name, safe='')}"
