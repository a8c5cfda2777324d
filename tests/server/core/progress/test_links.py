"""Links of trackers in logs, as the trackers write them; nothing secret, nothing that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_server.core.progress import links
from berth_server.core.progress.links import Link

RUN = "https://wandb.ai/lab/twins/runs/8x2k1f"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"wandb: 🚀 View run at {RUN}", Link("W&B", RUN)),
        (
            f"\x1b[34m\x1b[1mwandb\x1b[0m: 🚀 View run \x1b[33mquiet-sun\x1b[0m at: \x1b[34m{RUN}\x1b[0m",
            Link("W&B", RUN),
        ),
        (
            "wandb: View run a at: http://wandb.lab:8080/ada/p/runs/1",
            Link("W&B", "http://wandb.lab:8080/ada/p/runs/1"),
        ),
        (
            "🏃 View run bold-owl at: http://lab:5000/#/experiments/3/runs/0af1",
            Link("MLflow", "http://lab:5000/#/experiments/3/runs/0af1"),
        ),
        (
            "TensorBoard 2.20.0 at http://box:6006/ (Press CTRL+C to quit)",
            Link("TensorBoard", "http://box:6006/"),
        ),
        (
            "COMET INFO: Experiment is live on comet.com https://www.comet.com/ada/p/1f",
            Link("Comet", "https://www.comet.com/ada/p/1f"),
        ),
        (
            "ClearML results page: https://app.clear.ml/projects/1/experiments/2/output/log",
            Link("ClearML", "https://app.clear.ml/projects/1/experiments/2/output/log"),
        ),
        (
            "https://app.neptune.ai/o/lab/org/p/runs/details?shortId=e/TW-1",
            None,
        ),
        (
            "[neptune] https://app.neptune.ai/lab/p/e/TW-1",
            Link("Neptune", "https://app.neptune.ai/lab/p/e/TW-1"),
        ),
        ("wandb: View project at https://wandb.ai/lab/twins", None),
        ("Downloading https://huggingface.co/a/b/resolve/main/model.safetensors", None),
        ("TensorBoard 2.20.0 at http://ada:pw@box:6006/", None),
        ("View run x at: https://host/run?token=abcdef", None),
        ("View run x at: javascript:alert(1)", None),
        ("View run x at: https://host/#/a?api_key=1", None),
    ],
)
def test_a_line_of_a_tracker(line, found):
    """What each writes of its run; what is no page of a run, or holds a secret, is no link."""
    assert list(links.of_log(f"before\n{line}\nafter\n".encode())) == ([found] if found else [])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a_(b)", "https://host/a_(b"),
        ("HTTPS://host/x.", "HTTPS://host/x"),
        ("ftp://host/x", None),
        ("https://", None),
        ("https://host:port/", None),
        ("https://[::1/", None),
        ("https://host/\u202e", None),
        ("https://host/" + "a" * 500, None),
        ("https://host/hf_" + "a1" * 10, None),
    ],
)
def test_an_address_that_may_be_shown(url, shown):
    """To the web, short, printable, without credentials."""
    found = links.checked("page", url)
    assert (found.url if found else None) == shown


def test_what_a_job_reports_is_checked_and_bounded():
    """Nonsense is nothing; names are short, one line."""
    many = {f"n{i}": f"https://host/{i}" for i in range(100)}
    assert len(list(links.reported(json.dumps(many).encode()))) == links.MOST
    odd = {"a\nb\x1b[1m": "https://host/1", "": "https://host/2", "c": 3, "d": "https://u:p@host/"}
    assert list(links.reported(json.dumps(odd).encode())) == [Link("a b [1m", "https://host/1")]
    for nonsense in (b"", b"[", b"[1]", b"7", b"[" * 100_000, b"\xff"):
        assert list(links.reported(nonsense)) == []


@given(st.binary(max_size=300))
def test_any_log_is_read(data):
    """Without an error, and what is found may be shown."""
    for link in links.of_log(b"View run at https://" + data):
        assert links.checked(*link) == link
