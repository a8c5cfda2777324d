"""Verb `berth token`: tokens for use from other machines."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.cli import text
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Column, render
from berth.cli.whole.typed import VerbApp

app = VerbApp(
    help="Tokens for use from other machines: create, list, revoke.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_COLUMNS = (
    Column("ID", right=True),
    Column("NAME", least=8),
    Column("USER", least=6),
    Column("CREATED"),
    Column("LAST USED"),
    Column("EXPIRES"),
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token, like laptop.")],
    *,
    expires_in: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Lifetime, like 90d; default: until revoked."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token that acts as you. It is shown only once."""
    from berth.cli.durations import seconds

    lifetime = None if expires_in is None else seconds(expires_in)
    with connect() as client:
        made = client.create_token(name, expires_in=lifetime)
    if as_json:
        print_json(made)
        return
    print(made.secret)
    text_until = (
        f" It is valid until {text.clock(made.token.expires_at)}." if made.token.expires_at else ""
    )
    typer.echo(
        f"Set BERTH_TOKEN to it, with BERTH_URL; it is not shown again.{text_until}", err=True
    )


@app.command("ls")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with connect() as client:
        tokens = client.tokens().tokens
    if as_json:
        print_json(tokens)
        return
    rows = [
        [
            str(token.id),
            token.name,
            token.user,
            text.ago(token.created_at),
            text.ago(token.last_used_at) if token.last_used_at else "never",
            text.ago(token.expires_at) if token.expires_at else "never",
        ]
        for token in tokens
    ]
    print(render(_COLUMNS, rows) if rows else "No tokens.")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `berth token ls` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a token at once."""
    if not token_id.isdecimal():
        raise Failure(f"{token_id!r} is not a token id; `berth token ls` lists them.")
    with connect() as client:
        client.revoke_token(int(token_id))
    if as_json:
        print_json({"revoked": int(token_id)})
    else:
        print(f"Token {token_id} is revoked.")
