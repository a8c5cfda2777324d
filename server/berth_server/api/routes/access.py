"""Routes of identity: the caller, tokens, sign-in of browsers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request, Response
from starlette.responses import RedirectResponse

from berth.protocol.access import LoginLink, Me, NewToken, TokenList, TokenRequest
from berth.protocol.message import Code, Message
from berth_server.api import routing
from berth_server.api.auth import COOKIE, cookie
from berth_server.api.bodies import JsonBody, no_body
from berth_server.api.context import App, By, Context, Server
from berth_server.api.problems import ApiError
from berth_server.api.routes.jobs import MAX_ID
from berth_server.service.auth import tokens
from berth_server.service.auth.logins import LASTS_S
from berth_server.service.scheduling.views import moment

router = routing.router(tag="access")


@router.get("/api/v1/me", summary="Show who you are")
async def me(caller: By) -> Me:
    """Your user, and how the server knows."""
    return Me(user=caller.user, uid=caller.uid, admin=caller.admin, via=caller.via)


@router.get("/api/v1/tokens", summary="List tokens")
async def list_tokens(server: Server, caller: By) -> TokenList:
    """Yours, newest first; for an admin those of all users. Secrets are not stored."""
    return TokenList(tokens=tokens.listed(server, caller))


@router.post("/api/v1/tokens", status_code=201, summary="Create a token")
async def make_token(
    server: Server, caller: By, wish: JsonBody[TokenRequest], response: Response
) -> NewToken:
    """For clients on other machines. The secret is shown only once."""
    response.headers["Cache-Control"] = "no-store"
    lasts = None if wish.expires_in is None else wish.expires_in.total_seconds()
    return tokens.on_create(server, caller, wish.name, lasts)


@router.delete("/api/v1/tokens/{token_id}", status_code=204, summary="Revoke a token")
async def revoke_token(
    server: Server,
    caller: By,
    token_id: Annotated[int, Path(ge=1, le=MAX_ID, description="Id of the token.", examples=[3])],
) -> None:
    """It stops working at once."""
    tokens.on_revoke(server, caller, token_id)


@router.post(
    "/api/v1/login-links",
    status_code=201,
    summary="Create a link that signs a browser in",
    dependencies=[Depends(no_body)],
)
async def make_login_link(app: App, caller: By, response: Response) -> LoginLink:
    """Over the unix socket only. The link works once, within five minutes."""
    if caller.via != "socket":
        instead = (
            "Sign-in links are created on the box itself; run ",
            Code(text="berth web"),
            " there.",
        )
        raise ApiError(403, Message.of(*instead))
    response.headers["Cache-Control"] = "no-store"
    now = app.server.clock()
    url = f"{_base_url(app)}/login?code={quote(app.logins.mint(caller, now))}"
    return LoginLink(url=url, expires_at=moment(now + LASTS_S))


@router.get("/login", status_code=303, summary="Sign a browser in by a link")
async def login(
    app: App,
    request: Request,
    code: Annotated[str, Query(max_length=200, description="The link's code.")],
) -> Response:
    """Uses up the link's code, sets the cookie and shows the dashboard."""
    caller = app.logins.spend(code, app.server.clock())
    if caller is None:
        raise ApiError(
            401,
            Message.of(
                "This sign-in link was used or is older than 5 minutes; run ",
                Code(text="berth web"),
                " for a new one.",
            ),
        )
    lasts = app.settings.session_days * 86400
    made = tokens.on_create(app.server, caller, "a browser", lasts, "session")
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


@router.post("/logout", status_code=204, summary="Sign this browser out")
async def logout(server: Server, request: Request) -> Response:
    """Revokes the cookie, here and in the browser."""
    secret = cookie(request.headers.get("cookie", ""))
    if secret:
        tokens.on_logout(server, secret)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def _base_url(app: Context) -> str:
    if app.settings.public_url:
        return app.settings.public_url.rstrip("/")
    if app.settings.listen == "off":
        raise ApiError(409, "This server listens on its unix socket only; set BERTH_LISTEN first.")
    scheme = "https" if app.settings.tls_certificate else "http"
    return f"{scheme}://{app.settings.listen}"
