"""Routes of identity: who am I, tokens, login of browsers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Path, Query, Request, Response
from starlette.responses import RedirectResponse

from berth.protocol.access import LoginLink, Me, NewToken, TokenList, TokenRequest
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.auth import COOKIE, cookie
from berth_server.api.bodies import body_of, described, no_body
from berth_server.api.context import Context, caller, context
from berth_server.api.problems import Wrong
from berth_server.api.routes.jobs import MAX_ID
from berth_server.service.auth import tokens
from berth_server.service.auth.logins import LASTS_S
from berth_server.service.scheduling.cache import moment

router = routing.router(tag="access")


@router.get("/api/v1/me", response_model=Me, summary="Who the server takes you for")
async def me(request: Request) -> Response:
    """Your user, and how that is known."""
    asking = caller(request)
    return answer(Me(user=asking.user, uid=asking.uid, admin=asking.admin, via=asking.via))


@router.get("/api/v1/tokens", response_model=TokenList, summary="List tokens")
async def list_tokens(request: Request) -> Response:
    """Yours, newest first; everybody's for an admin. Secrets are not kept, so not shown."""
    return answer(TokenList(tokens=tokens.listed(context(request).server, caller(request))))


@router.post(
    "/api/v1/tokens",
    status_code=201,
    response_model=NewToken,
    summary="Make a token",
    openapi_extra=described(TokenRequest),
)
async def make_token(request: Request) -> Response:
    """For clients on other machines. The secret is told this once."""
    wish = await body_of(request, TokenRequest)
    lasts = None if wish.expires_in is None else wish.expires_in.total_seconds()
    made = tokens.on_create(context(request).server, caller(request), wish.name, lasts)
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.delete("/api/v1/tokens/{token_id}", status_code=204, summary="Revoke a token")
async def revoke_token(
    request: Request,
    token_id: Annotated[int, Path(ge=1, le=MAX_ID, description="Id of the token.", examples=[3])],
) -> Response:
    """It stops working at once."""
    tokens.on_revoke(context(request).server, caller(request), token_id)
    return Response(status_code=204)


@router.post(
    "/api/v1/login-links",
    status_code=201,
    response_model=LoginLink,
    summary="Make a link that logs a browser in",
)
async def make_login_link(request: Request) -> Response:
    """Over the unix socket only. The link works once, within five minutes."""
    await no_body(request)
    room, asking = context(request), caller(request)
    if asking.via != "socket":
        raise Wrong(403, "Login links are made on the box itself; run `berth web` there.")
    now = room.server.clock()
    url = f"{_base_url(room)}/login?code={quote(room.logins.mint(asking, now))}"
    link = LoginLink(url=url, expires_at=moment(now + LASTS_S))
    return answer(link, 201, {"Cache-Control": "no-store"})


@router.get("/login", status_code=303, summary="Log a browser in by a link")
async def login(
    request: Request,
    code: Annotated[str, Query(max_length=200, description="The link's code.")],
) -> Response:
    """Spends the link's code, sets the cookie and shows the dashboard."""
    room = context(request)
    asking = room.logins.spend(code, room.server.clock())
    if asking is None:
        raise Wrong(
            401,
            "This login link was used or is older than 5 minutes; run `berth web` for a new one.",
        )
    lasts = room.settings.session_days * 86400
    made = tokens.on_create(room.server, asking, "a browser", lasts, "session")
    response = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        made.secret,
        max_age=int(lasts),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout", status_code=204, summary="Log this browser out")
async def logout(request: Request) -> Response:
    """Forgets the cookie, here and in the browser."""
    secret = cookie(request.headers.get("cookie", ""))
    if secret:
        tokens.on_logout(context(request).server, secret)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def _base_url(room: Context) -> str:
    if room.settings.public_url:
        return room.settings.public_url.rstrip("/")
    if room.settings.listen == "off":
        raise Wrong(409, "This Berth listens on its unix socket alone; set BERTH_LISTEN first.")
    return f"http://{room.settings.listen}"
