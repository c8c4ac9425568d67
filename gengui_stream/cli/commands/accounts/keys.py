"""`keys`: API keys, without their secrets."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final, TypeAlias

import typer

from gengui_stream.accounts.api_keys import ApiKey, create_key, list_keys, revoke_key
from gengui_stream.accounts.key_cache import KEY_CACHE_S
from gengui_stream.cli.options import AsJson, email
from gengui_stream.cli.output import echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings

app = typer.Typer(help="API keys: list, create, revoke.", no_args_is_help=True)

KEY_ID: Final = re.compile(r"(?:gg_)?([0-9a-f]{8})(?:_.*)?", re.DOTALL)


def _key_id(text: str) -> str:
    """The id in a key; the secret is not needed, and not repeated."""
    found = KEY_ID.fullmatch(text)
    if found is None:
        raise typer.BadParameter("a key's id has 8 hexadecimal digits, such as 1f2e3d4c; `keys list` shows them")
    return found[1]


KeyId: TypeAlias = Annotated[str, typer.Argument(parser=_key_id, metavar="KEY_ID")]
OfUser: TypeAlias = Annotated[
    str | None, typer.Option("--email", parser=email, metavar="EMAIL", help="Keys of this user alone.")
]
ForUser: TypeAlias = Annotated[str, typer.Argument(parser=email, metavar="EMAIL")]


@app.command("list")
def list_all(user: OfUser = None, json: AsJson = False) -> None:
    """List keys with their users, revoked ones too.

    gengui-stream keys list --email you@example.com
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            keys = await list_keys(pool, user)
        if json:
            echo_json([asdict(key) for key in keys])
        elif keys:
            echo_table(("key", "e-mail", "role", "created", "revoked"), map(_row, keys))
        else:
            echo("none: `gengui-stream seed` creates a user and a key")

    run_command(work)


@app.command()
def create(user: ForUser, json: AsJson = False) -> None:
    """Print a new key of a user that exists. It is shown only once: the database has its hash.

    gengui-stream keys create you@example.com
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            key = await create_key(pool, user)
        echo_json({"email": user, "key": key}) if json else echo(key)

    run_command(work)


@app.command()
def revoke(key_id: KeyId, json: AsJson = False) -> None:
    """Revoke a key for good, by its id: the part after `gg_`. Processes that used it last accept it for five seconds.

    gengui-stream keys revoke 1f2e3d4c
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            key = await revoke_key(pool, key_id)
        if json:
            echo_json(asdict(key) | {"accepted_for_s": KEY_CACHE_S})
        else:
            echo(f"{key.key_id} of {key.email} is revoked; it is refused within {KEY_CACHE_S:.0f} s")

    run_command(work)


def _row(key: ApiKey) -> tuple[object, ...]:
    return key.key_id, key.email, key.role, _shown(key.created_at), _shown(key.revoked_at) or "no"


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
