"""Client calls for identity: the caller, tokens, sign-in links."""

from __future__ import annotations

from berth.protocol.access import LoginLink, Me, NewToken, TokenList, TokenRequest
from berth.sdk.calls import Calls


class AccessCalls(Calls):
    """The caller's identity, and tokens for remote callers."""

    def me(self) -> Me:
        """Return the caller as the server identifies them."""
        return self._get(Me, "/api/v1/me")

    def tokens(self) -> TokenList:
        """Return the caller's tokens, without their secrets; an admin sees all users'."""
        return self._get(TokenList, "/api/v1/tokens")

    def create_token(self, name: str, *, expires_in: str | float | None = None) -> NewToken:
        """
        Make a token for use over TCP; `expires_in` is seconds or like "90d", default never.

        The secret is in the answer and nowhere else. Not repeated when the connection breaks.
        """
        request = TokenRequest.model_validate(
            {"name": name} if expires_in is None else {"name": name, "expires_in": expires_in}
        )
        return self._post(NewToken, "/api/v1/tokens", request, repeatable=False)

    def revoke_token(self, token_id: int) -> None:
        """Revoke a token at once."""
        self._channel.request("DELETE", f"/api/v1/tokens/{token_id}", repeatable=True)

    def login_link(self) -> LoginLink:
        """
        Return a link that signs one browser in as the caller, once, within a few minutes.

        Only available over the unix socket.
        """
        return self._post(LoginLink, "/api/v1/login-links")
