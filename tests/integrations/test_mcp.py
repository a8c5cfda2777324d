"""The tools for agents, with the client of the official package over a real pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

TOOLS = {"gpus", "jobs", "job", "log_tail", "why", "preview", "submit", "cancel", "wait"}


@pytest.fixture
def talk(queue, tmp_path) -> Callable[..., Any]:
    """Run a conversation with `berth mcp`, started as an agent's program starts it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "berth.cli.main", "mcp"],
        env={**os.environ, "BERTH_HOME": str(queue.home)},
        cwd=tmp_path,
    )

    def run(conversation) -> Any:
        async def hold() -> Any:
            async with Client(stdio_client(server)) as client:
                return await conversation(client)

        return anyio.run(hold)

    return run


async def call(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content[0].text
    return answer.content[0].text


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return answer.content[0].text


def test_there_are_nine_tools_with_words_and_marks(talk):
    """Those that change something say so; the whole list is short."""

    async def conversation(client):
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in talk(conversation)}
    assert set(tools) == TOOLS
    assert all(tool.description for tool in tools.values())
    assert {n for n, t in tools.items() if not t.annotations.read_only_hint} == {"submit", "cancel"}
    assert tools["cancel"].annotations.destructive_hint
    size = sum(len(str(tool.model_dump(mode="json", exclude_none=True))) for tool in tools.values())
    assert size < 14_000


def test_a_job_from_preview_to_its_log(talk, queue, tmp_path):
    """In the folder where the agent works."""

    async def conversation(client):
        spec = {
            "command": "sh -c 'pwd; echo done'",
            "gpus": 1,
            "name": "agents",
            "time_limit": "5m",
        }
        shown = await call(client, "preview", job=spec)
        assert "GPU" in shown
        made = await call(client, "submit", job=spec)
        number = int(made.split()[1])
        ended = await call(client, "wait", job_ids=[number])
        assert f"{number} succeeded: agents" in ended
        log = await call(client, "log_tail", job_id=number)
        assert log.splitlines()[1:] == [str(tmp_path), "done"]
        assert f"{number} succeeded" in await call(client, "jobs", state=["succeeded"], limit=1)
        assert "attempt: " in await call(client, "job", job_id=number)
        return number

    assert queue.job(talk(conversation))["time_limit"] == "5m"


def test_a_job_that_waits_is_explained_and_cancelled(talk, queue):
    """Why names the holder; a wait that is over says that the job has not ended."""
    holder = queue.submit(command=["sleep", "600"], gpus=2, name="holder")
    queue.wait(holder, state={"running"})

    async def conversation(client):
        made = await call(client, "submit", job={"command": "true", "gpus": 2})
        number = int(made.split()[1])
        assert f"job {holder}" in (await call(client, "why", job_id=number)).lower()
        box = await call(client, "gpus")
        assert "holder" in box
        assert len(box) < 1000
        assert "has not ended" in await call(client, "wait", job_ids=[number], timeout_s=0.2)
        assert "cancelled" in await call(client, "cancel", job_id=number)

    talk(conversation)
    queue.post(f"/jobs/{holder}/cancel")
    queue.wait(holder)


def test_refusals_are_sentences(talk):
    """What the server says, and no traceback."""

    async def conversation(client):
        return (
            await refused(client, "job", job_id=999_999),
            await refused(client, "submit", job={"command": "true", "gpus": 99}),
            await refused(client, "submit", job={}),
            await refused(client, "submit", job={"command": "true", "time_limit": "soon"}),
            await refused(client, "submit", job={"command": "true", "colour": "red"}),
        )

    missing, large, empty, limit, unknown = talk(conversation)
    assert "999999" in missing
    assert "this box has 2 GPUs" in large
    assert "command" in empty
    assert "soon" in limit
    assert "colour" in unknown
    for said in (missing, large, empty, limit):
        assert said.endswith(".")
        assert "Traceback" not in said
        assert "Error executing" not in said


def test_an_agent_without_a_server_is_told(talk, queue, monkeypatch, tmp_path):
    """The tool says how to start one; the connection stays."""
    monkeypatch.setattr(queue, "home", tmp_path / "nowhere")

    async def conversation(client):
        return await refused(client, "gpus")

    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "berth.cli.main", "mcp"],
        env={**os.environ, "BERTH_HOME": str(tmp_path / "nowhere")},
    )

    async def hold():
        async with Client(stdio_client(server)) as client:
            return await conversation(client)

    assert "berth up" in anyio.run(hold)
