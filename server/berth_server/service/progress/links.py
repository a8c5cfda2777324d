"""Links of jobs: kept as events, so that they outlast the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import from_json

from berth.protocol.jobs import JobLink
from berth_server.core.progress.links import MOST, Link
from berth_server.service.progress.beliefs import AttemptKey, Signs
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events
from berth_server.store.database import Reader

LINKED = "job.linked"


def on_signs(server: ServerState, found: Mapping[AttemptKey, Signs]) -> None:
    """Take the signs of life of a look, and keep the links that came with them."""
    for key, signs in found.items():
        before = server.progress.signs.get(key)
        if signs.links and (before is None or before.links != signs.links):
            _keep(server, key, signs.links)
    server.progress.signs.update(found)


def _keep(server: ServerState, key: AttemptKey, links: Iterable[Link]) -> None:
    """Keep the links of a job that are new, up to a bound."""
    job_id, number = key
    known = {link.url for link in of_jobs(server.db.read, [job_id]).get(job_id, [])}
    new = {link.url: link for link in links if link.url not in known}
    kept = list(new.values())[: max(0, MOST - len(known))]
    if not kept:
        return
    with change(server, durable=False) as tx:
        for link in kept:
            message = f"It has a page at {link.name}."
            data = {"name": link.name, "url": link.url}
            events.write(tx, LINKED, message, job_id=job_id, number=number, data=data)


def of_jobs(reader: Reader, job_ids: Sequence[int]) -> dict[int, list[JobLink]]:
    """Return the links of each of these jobs that has any, oldest first."""
    found: dict[int, list[JobLink]] = {}
    for record in events.of_kind(reader, LINKED, job_ids):
        if record.job_id is not None and record.data is not None:
            data = from_json(record.data)
            link = JobLink.model_construct(name=data["name"], url=data["url"])
            found.setdefault(record.job_id, []).append(link)
    return found
