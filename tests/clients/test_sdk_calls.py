"""The SDK's calls: what is sent, what comes back, what is tried again, what is raised."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

import berth
from berth import home as homes
from berth.home import Home
from berth.sdk import address

JOBS = "/api/v1/jobs"


@pytest.fixture
def client(fake):
    with berth.Client(patience=2.0) as client:
        yield client


class TestSubmit:
    def test_a_dict_goes_as_it_is_and_comes_back_as_a_job(self, client, fake, wire):
        """The server judges the spec: the client leaves nothing out and adds nothing."""
        fake.answer("POST", JOBS, (201, wire.job()))

        job = client.submit({"command": "python train.py", "gpus": 2})

        assert (job.id, job.state) == (42, "queued")
        assert fake.bodies(JOBS) == [{"command": "python train.py", "gpus": 2}]

    def test_a_model_sends_only_what_was_set(self, client, fake, wire):
        """Defaults are the server's own."""
        fake.answer("POST", JOBS, (201, wire.job()))

        client.submit(berth.JobSpec(command="true", time_limit="12h"))

        assert fake.bodies(JOBS) == [{"command": "true", "time_limit": "12h"}]

    def test_a_list_answers_with_the_ids(self, client, fake):
        """Thousands of jobs come back as their ids."""
        fake.answer("POST", JOBS, (201, {"ids": [1, 2], "warnings": []}))

        assert client.submit([{"command": "a"}, {"command": "b"}]).ids == [1, 2]
        assert fake.requests[0].headers["Prefer"] == "return=minimal"

    def test_a_broken_connection_is_tried_again_under_the_same_key(self, client, fake, wire):
        """A submit that may have been taken is repeated, and creates the job once."""
        fake.answer("POST", JOBS, httpx2.ReadError("broke"), (201, wire.job()))

        assert client.submit({"command": "true"}).id == 42
        keys = {request.headers["Idempotency-Key"] for request in fake.requests}
        assert len(fake.requests) == 2
        assert len(keys) == 1
        assert all(keys)

    def test_two_submits_have_two_keys(self, client, fake, wire):
        """Submitting the same spec twice on purpose makes two jobs."""
        fake.answer("POST", JOBS, (201, wire.job()))

        client.submit({"command": "true"})
        client.submit({"command": "true"})

        assert len({request.headers["Idempotency-Key"] for request in fake.requests}) == 2


class TestRetrying:
    def test_a_call_that_may_not_be_repeated_is_not(self, client, fake):
        """A retry by hand makes a new attempt: a lost answer is reported, not risked again."""
        fake.answer("POST", f"{JOBS}/42/retry", httpx2.ReadError("broke"))

        with pytest.raises(berth.Unreachable):
            client.retry(42)
        assert len(fake.requests) == 1

    def test_patience_ends(self, fake):
        """A server that stays away is reported within the patience."""
        fake.answer("GET", f"{JOBS}/42", httpx2.ReadError("broke"))

        with berth.Client(patience=0.2) as client, pytest.raises(berth.Unreachable):
            client.job(42)
        assert len(fake.requests) > 1

    def test_no_server_is_reported_at_once(self, client, fake):
        """Without a supervisor that would start the server again nothing is waited for."""
        fake.answer("GET", f"{JOBS}/42", httpx2.ConnectError("refused"))

        with pytest.raises(berth.Unreachable, match="berth up"):
            client.job(42)
        assert len(fake.requests) == 1

    def test_a_full_queue_of_connections_is_no_server_that_is_away(self, fake, wire):
        """The kernel refuses for the moment: there is a server, and room again soon."""
        full = httpx2.ConnectError("full")
        full.__cause__ = BlockingIOError(11, "Resource temporarily unavailable")
        fake.answer("GET", f"{JOBS}/42", full, full, (200, wire.job()))

        with berth.Client() as client:
            assert client.job(42).id == 42
        fake.answer("GET", f"{JOBS}/42", full)
        with (
            berth.Client(patience=0.1) as client,
            pytest.raises(berth.Unreachable, match="no room for another connection"),
        ):
            client.job(42)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, berth.Unauthorized),
            (403, berth.Forbidden),
            (404, berth.NotFound),
            (409, berth.Conflict),
            (422, berth.InvalidRequest),
            (429, berth.Refused),
            (500, berth.ServerTrouble),
            (503, berth.Unreachable),
        ],
    )
    def test_a_problem_becomes_an_error_of_its_kind(self, client, fake, wire, status, kind):
        """The sentence is the message, the rest stays at hand."""
        fields = [{"field": "gpus", "problem": "too many"}]
        fake.answer("POST", JOBS, wire.problem(status, "This box has 8 GPUs.", fields=fields))

        with pytest.raises(kind, match=r"^This box has 8 GPUs\.$") as caught:
            client.submit({"command": "true", "gpus": 9})
        assert caught.value.problem.fields[0].field == "gpus"

    def test_an_answer_without_a_problem_is_reported_plainly(self, client, fake):
        """A proxy's HTML page does not become a parse error."""
        fake.answer("GET", f"{JOBS}/1", httpx2.Response(502, content=b"<html>"))

        with pytest.raises(berth.ServerTrouble, match="502"):
            client.job(1)

    def test_a_newer_server_may_say_more(self, client, fake, wire):
        """Fields that this client does not know are left out, also inside."""
        attempt = wire.attempt(tomorrow=1)
        fake.answer("GET", f"{JOBS}/42", wire.job(tomorrow={"a": 1}, attempts=[attempt]))

        assert client.job(42).attempts[0].id == "42.1"

    def test_an_answer_of_another_shape_names_the_versions(self, client, fake):
        """Client and server that do not fit say so."""
        fake.answer("GET", f"{JOBS}/42", {"id": "forty-two"})

        with pytest.raises(berth.ServerTrouble, match="versions"):
            client.job(42)


class TestJobs:
    def test_pages_are_fetched_as_they_are_needed(self, client, fake, wire):
        """The iterator asks for the next page only when it is needed."""
        pages = [
            {"jobs": [wire.job(3), wire.job(2)], "next_cursor": "c"},
            {"jobs": [wire.job(1)], "next_cursor": None},
        ]
        fake.answer("GET", JOBS, *pages)

        jobs = client.jobs(state=("queued", "held"), user="ada", label={"ablation": "a b"})
        assert next(jobs).id == 3
        assert len(fake.requests) == 1
        assert [job.id for job in jobs] == [2, 1]
        query = fake.requests[1].url.params
        assert query.get_list("state") == ["queued", "held"]
        assert (query["user"], query["label"], query["cursor"]) == ("ada", "ablation=a b", "c")

    def test_limit_is_the_most_that_come(self, client, fake, wire):
        """A limit is never exceeded and ends the paging."""
        fake.answer("GET", JOBS, {"jobs": [wire.job(3), wire.job(2)], "next_cursor": "c"})

        assert [job.id for job in client.jobs(limit=2)] == [3, 2]
        assert fake.requests[0].url.params["limit"] == "2"

    def test_a_patch_sends_only_what_changes(self, client, fake, wire):
        """Fields that are not named stay as they are."""
        fake.answer("PATCH", f"{JOBS}/42", wire.job(priority=5))

        assert client.patch(42, {"priority": 5}).priority == 5
        assert fake.bodies(f"{JOBS}/42") == [{"priority": 5}]


class TestAddress:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch, tmp_path):
        for name in ("BERTH_URL", "BERTH_TOKEN", "BERTH_HOME", "XDG_DATA_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(homes, "BOX_HOME", Home(tmp_path / "box"))

    def test_a_url_wins(self, monkeypatch):
        """BERTH_URL and BERTH_TOKEN name a server anywhere."""
        monkeypatch.setenv("BERTH_URL", "http://lab:8787/")
        monkeypatch.setenv("BERTH_TOKEN", "berth_secret")

        found = address.resolve()

        assert (
            found.base_url,
            found.token,
            found.socket,
        ) == ("http://lab:8787", "berth_secret", None)
        assert "secret" not in repr(found)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [("lab:8787", "http://lab:8787"), ("https://lab", "https://lab")],
    )
    def test_a_bare_host_is_http(self, url, expected):
        """A scheme may be left out."""
        assert expected == address.resolve(url).base_url

    @pytest.mark.parametrize("url", ["unix:///x/berth.sock", "unix:/x/berth.sock"])
    def test_a_socket_may_be_named_as_a_url(self, url):
        """unix:// URLs are sockets."""
        assert Path("/x/berth.sock") == address.resolve(url).socket

    def test_home_names_the_socket(self, monkeypatch, tmp_path):
        """BERTH_HOME is taken even where no server is up yet."""
        monkeypatch.setenv("BERTH_HOME", str(tmp_path / "mine"))

        assert tmp_path / "mine/run/berth.sock" == address.resolve().socket

    def test_an_ordinary_user_finds_the_boxs_server(self, monkeypatch, tmp_path, a_socket):
        """Without a Berth of their own people speak to the box's."""
        monkeypatch.setattr(homes.os, "geteuid", lambda: 1000)
        boxwide = a_socket(tmp_path / "box/run/berth.sock")

        assert boxwide == address.resolve().socket
        own = a_socket(tmp_path / ".local/share/berth/run/berth.sock")
        assert own == address.resolve().socket

    def test_homes_by_user(self, monkeypatch, tmp_path):
        """Root's state is the box's, other users' lies in their data home."""
        monkeypatch.setattr(homes.os, "geteuid", lambda: 0)
        assert tmp_path / "box" == homes.resolve().folder
        monkeypatch.setattr(homes.os, "geteuid", lambda: 1000)
        assert tmp_path / ".local/share/berth" == homes.resolve().folder
        monkeypatch.setenv("XDG_DATA_HOME", "/data")
        assert Path("/data/berth") == homes.resolve().folder


def test_the_token_goes_along_and_shows_nowhere(fake, wire):
    """A token is sent as a bearer and is in no repr."""
    fake.answer("GET", "/api/v1/me", {"user": "ada", "uid": 1, "admin": False, "via": "token"})

    with berth.Client("http://lab:1", "berth_secret") as client:
        assert client.me().user == "ada"
        assert "berth_secret" not in repr(client)
    assert fake.requests[0].headers["Authorization"] == "Bearer berth_secret"


def test_a_token_is_asked_for_with_its_lifetime(client, fake, wire):
    """A lifetime is sent as a duration, and the secret is hidden in the repr."""
    token = {"id": 1, "name": "laptop", "user": "ada", "created_at": wire.time(0)}
    fake.answer("POST", "/api/v1/tokens", (201, {"token": token, "secret": "berth_s3"}))

    made = client.create_token("laptop", expires_in="90d")

    assert made.secret == "berth_s3"
    assert "berth_s3" not in repr(made)
    assert fake.bodies("/api/v1/tokens") == [{"name": "laptop", "expires_in": "90d"}]


def test_lazy_names_are_the_real_ones():
    """Everything that `berth` names is there, and nothing else is pretended."""
    for name in berth.__all__:
        assert getattr(berth, name) is not None
    with pytest.raises(AttributeError, match="nowhere"):
        berth.nowhere  # noqa: B018
    assert set(berth.__all__) <= set(dir(berth))
    assert json.dumps(berth.__version__)
