"""Permissions, and the ways to prove an identity."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from berth_server.service import ttl_cache
from berth_server.service.auth import callers
from berth_server.service.auth.callers import Caller
from berth_server.service.auth.tokens import on_create, on_revoke

BROWSER = {"Origin": "http://berth", "Sec-Fetch-Site": "same-origin"}


def mint(rest, uid: int = 1, **wish) -> tuple[int, str]:
    with rest.client(uid) as api:
        made = api.post("/api/v1/tokens", json={"name": "laptop"} | wish)
        assert made.status_code == 201, made.text
        return made.json()["token"]["id"], made.json()["secret"]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


class TestSocket:
    """Over the unix socket the kernel says who calls."""

    def test_the_peers_uid_is_the_identity(self, rest):
        """Root and the server's own user are admins; others are themselves."""
        with rest.client(0) as api:
            assert api.get("/api/v1/me").json() == {
                "user": "root",
                "uid": 0,
                "admin": True,
                "via": "socket",
            }
        with rest.client(1) as api:
            assert api.get("/api/v1/me").json()["admin"] is False

    def test_a_uid_without_account_is_reported_as_such(self, rest):
        """It may look around."""
        with rest.client(54321) as api:
            assert api.get("/api/v1/me").json()["user"] == "uid 54321"

    def test_a_new_name_of_a_user_is_known_within_a_minute(self, monkeypatch):
        """Without asking the directory at every request, and without a restart."""
        clock, asked = [1e9], []
        name = "ada"

        def account(uid):
            asked.append(uid)
            return SimpleNamespace(pw_name=name)

        monkeypatch.setattr(ttl_cache, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        monkeypatch.setattr(callers.pwd, "getpwuid", account)
        monkeypatch.setattr(callers, "_names", ttl_cache.TtlCache(callers._name_of))
        assert [callers.user_name(4711) for _ in range(100)] == ["ada"] * 100
        assert asked == [4711]
        name = "lovelace"
        clock[0] += 60.0
        assert callers.user_name(4711) == "lovelace"

    def test_only_the_worker_may_use_the_internal_routes(self, rest):
        """The server's own user and root; no one over TCP, with a token or without."""
        _, secret = mint(rest, 0)
        with rest.client(0) as api:
            assert api.get("/internal/v1/desired").status_code == 200
        with rest.client(4321) as api:
            assert api.get("/internal/v1/desired").status_code == 403
        with rest.client(None) as api:
            assert api.get("/internal/v1/desired").status_code == 403
            assert api.get("/internal/v1/desired", headers=bearer(secret)).status_code == 403


class TestTokens:
    """Bearer tokens, for TCP."""

    def test_without_one_there_is_401_with_the_fix(self, rest):
        """And the challenge that the standard asks for."""
        with rest.client(None) as api:
            answer = api.get("/api/v1/jobs")
            assert answer.status_code == 401
            assert "berth token create" in answer.json()["detail"]
            assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_a_token_is_its_maker(self, rest):
        """Jobs submitted with it are the maker's."""
        _, secret = mint(rest, 1)
        with rest.client(None, headers=bearer(secret)) as api:
            assert api.get("/api/v1/me").json() == {
                "user": "daemon",
                "uid": 1,
                "admin": False,
                "via": "token",
            }
            spec = {"command": "true", "workdir": "/", "hold": True}
            assert api.post("/api/v1/jobs", json=spec).json()["user"] == "daemon"

    @pytest.mark.parametrize(
        "header", ["Bearer wrong", "Bearer ", "Basic abc", "berth_x", "Bearer \xff"]
    )
    def test_a_wrong_one_is_401(self, rest, header):
        """Whatever is wrong with it."""
        with rest.client(None) as api:
            answer = api.get("/api/v1/jobs", headers={"Authorization": header.encode("latin-1")})
            assert answer.status_code == 401
            assert "does not work" in answer.json()["detail"]

    def test_a_revoked_one_stops_working_at_once(self, rest):
        """Its owner sees it gone from the list."""
        token_id, secret = mint(rest, 1)
        with rest.client(1) as api:
            assert api.delete(f"/api/v1/tokens/{token_id}").status_code == 204
            assert api.get("/api/v1/tokens").json() == {"tokens": []}
        with rest.client(None) as api:
            assert api.get("/api/v1/me", headers=bearer(secret)).status_code == 401

    def test_an_expired_one_does_not_work(self, rest, desk):
        """From the moment it said."""
        _, secret = mint(rest, 1, expires_in="1h")
        with rest.client(None) as api:
            desk.clock.now += 3599
            assert api.get("/api/v1/me", headers=bearer(secret)).status_code == 200
            desk.clock.now += 2
            assert api.get("/api/v1/me", headers=bearer(secret)).status_code == 401

    def test_other_peoples_tokens_are_out_of_reach(self, rest):
        """Not listed, not revocable; an admin sees and revokes all."""
        token_id, _ = mint(rest, 1)
        with rest.client(2) as api:
            assert api.get("/api/v1/tokens").json() == {"tokens": []}
            assert api.delete(f"/api/v1/tokens/{token_id}").status_code == 404
        with rest.client(0) as api:
            assert len(api.get("/api/v1/tokens").json()["tokens"]) == 1
            assert api.delete(f"/api/v1/tokens/{token_id}").status_code == 204

    def test_a_token_makes_no_tokens(self, rest):
        """A leaked one cannot outlive its revocation."""
        _, secret = mint(rest, 1)
        with rest.client(None, headers=bearer(secret)) as api:
            assert api.post("/api/v1/tokens", json={"name": "more"}).status_code == 403

    def test_no_secret_is_on_the_disk(self, rest, desk, tmp_path):
        """Only digests are kept."""
        _, secret = mint(rest, 1)
        desk.server.db.read.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert secret.encode() not in (tmp_path / "berth.db").read_bytes()

    def test_use_is_noted_to_the_minute(self, rest, desk):
        """Not at every request: that would cost a write each."""
        _, secret = mint(rest, 1)
        with rest.client(None, headers=bearer(secret)) as api:
            api.get("/api/v1/me")
            first = desk.server.db.read.value("SELECT last_used_at FROM tokens")
            desk.clock.now += 30
            api.get("/api/v1/me")
            assert desk.server.db.read.value("SELECT last_used_at FROM tokens") == first
            desk.clock.now += 31
            api.get("/api/v1/me")
            assert desk.server.db.read.value("SELECT last_used_at FROM tokens") == first + 61


class TestLogin:
    """Browsers come by a one-time link and keep a cookie."""

    def link(self, rest, uid: int = 1) -> str:
        with rest.client(uid) as api:
            answer = api.post("/api/v1/login-links")
            assert answer.status_code == 201, answer.text
            url = urlsplit(answer.json()["url"])
            assert url.netloc == "127.0.0.1:8787"
            return parse_qs(url.query)["code"][0]

    def test_a_link_logs_in_once(self, rest):
        """The cookie is out of reach of scripts and other sites; then the link is spent."""
        code = self.link(rest)
        with rest.client(None, follow_redirects=False) as api:
            answer = api.get("/login", params={"code": code})
            assert answer.status_code == 303
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            assert api.get("/api/v1/me").json()["via"] == "cookie"
            assert api.get("/login", params={"code": code}).status_code == 401
            # What a page shows may miss what came after this event.
            newest = api.get("/api/v1/events").json()["last_id"]
            assert api.get("/api/v1/me").headers["Berth-Event-Id"] == str(newest)
            assert api.get("/api/v1/jobs").headers["Berth-Event-Id"] == str(newest)
        with rest.client(None) as api:
            assert api.get("/login", params={"code": "guess"}).status_code == 401

    def test_a_link_lasts_five_minutes(self, rest, desk):
        """Then a new one is needed."""
        code = self.link(rest)
        desk.clock.now += 301
        with rest.client(None) as api:
            answer = api.get("/login", params={"code": code})
            assert answer.status_code == 401
            assert "berth web" in answer.json()["detail"]

    def test_links_are_made_on_the_box_only(self, rest):
        """A token cannot become a session."""
        _, secret = mint(rest, 1)
        with rest.client(None, headers=bearer(secret)) as api:
            assert api.post("/api/v1/login-links").status_code == 403

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            (BROWSER, 200),
            ({"Origin": "http://berth"}, 200),
            ({}, 403),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Origin": "http://berth"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
        ],
    )
    def test_changes_by_cookie_come_from_our_own_page(self, rest, desk, headers, status):
        """Another site's page cannot cancel a job, even if the cookie were sent."""
        desk.submit(Caller(1, "daemon"), hold=True)
        code = self.link(rest)
        with rest.client(None) as api:
            api.get("/login", params={"code": code}, follow_redirects=False)
            assert api.get("/api/v1/jobs").status_code == 200
            assert api.post("/api/v1/jobs/1/cancel", headers=headers).status_code == status

    def test_logout_ends_the_session_on_the_server(self, rest):
        """A copied cookie is useless afterwards."""
        code = self.link(rest)
        with rest.client(None) as api:
            api.get("/login", params={"code": code}, follow_redirects=False)
            secret = api.cookies["berth_session"]
            assert api.post("/logout", headers=BROWSER).status_code == 204
        with rest.client(None, cookies={"berth_session": secret}) as api:
            assert api.get("/api/v1/me").status_code == 401

    def test_sessions_end(self, rest, desk):
        """After `session_days`."""
        code = self.link(rest)
        with rest.client(None) as api:
            api.get("/login", params={"code": code}, follow_redirects=False)
            desk.clock.now += 31 * 86400
            assert api.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/jobs/3"])
def test_what_is_open_is_open(rest, path):
    """Health, metrics and the dashboard's own files need no identity."""
    with rest.client(None) as api:
        assert api.get(path).status_code in {200, 503}


def test_a_server_that_is_not_root_takes_no_jobs_of_others(rest, desk, monkeypatch):
    """They would run with its rights; the sentence names both ways out."""
    desk.server.options = replace(desk.server.options, allow_other_users=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("os.getuid", lambda: 4242)
    with rest.client(1) as api:
        answer = api.post("/api/v1/jobs", json={"command": "true", "workdir": "/"})
        assert answer.status_code == 403
        assert "allow_other_users" in answer.json()["detail"]
        assert api.get("/api/v1/jobs").status_code == 200


def test_revoking_a_session_by_token_id_works_for_its_owner(desk):
    """A lost laptop's session can be ended."""
    me = Caller(1, "daemon")
    made = on_create(desk.server, me, "a browser", 60.0, "session")
    on_revoke(desk.server, me, made.token.id)
    assert desk.server.db.read.value("SELECT count(*) FROM tokens") == 0
