"""`keys`: API keys, without their secrets."""

import re
from dataclasses import asdict
from typing import Annotated, Final, TypeAlias

import typer

from gengui_stream.accounts.keys.api_keys import ApiKey, create_key, list_keys, revoke_key
from gengui_stream.cli.commands.accounts.key_options import Expires, Name, Scopes, key_choice
from gengui_stream.cli.operator import operator
from gengui_stream.cli.options import AsJson, email
from gengui_stream.cli.output import echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.settings import Settings

app = typer.Typer(help="API keys: list, create, revoke.", no_args_is_help=True)

KEY_ID: Final = re.compile(r"(?:gg_(?:live_)?)?([0-9a-f]{8})(?:_.*)?", re.DOTALL)


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
            columns = ("key", "name", "e-mail", "role", "scopes", "created", "expires", "last used", "revoked")
            echo_table(columns, map(_row, keys))
        else:
            echo("none: `gengui-stream seed` creates a user and a key")

    run_command(work)


@app.command()
def create(user: ForUser, name: Name = "", scope: Scopes = None, expires: Expires = None, json: AsJson = False) -> None:
    """Print a new key of a user that exists. It is shown only once: the database has its hash.

    gengui-stream keys create you@example.com --name laptop --scope generations:read --expires 90d
    """

    async def work(settings: Settings) -> None:
        choice = key_choice(name, scope, expires)
        async with opened_pool(settings, size=1) as pool:
            made = await create_key(pool, user, choice, operator())
        echo_json(asdict(made.key) | {"key": made.text}) if json else echo(made.text)

    run_command(work)


@app.command()
def revoke(key_id: KeyId, json: AsJson = False) -> None:
    """Revoke a key for good, by its id: the part after `gg_live_`. It is refused at once, and its event streams end.

    gengui-stream keys revoke 1f2e3d4c
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            key = await revoke_key(pool, key_id, actor=operator())
        async with opened_redis(settings) as redis:
            await NotificationPublisher(redis).publish_access(key.user_id)
        echo_json(asdict(key)) if json else echo(f"{key.key_id} of {key.email} is revoked, and refused from now on")

    run_command(work)


def _row(key: ApiKey) -> tuple[object, ...]:
    scopes = " ".join(key.scopes)
    times = (key.created_at, key.expires_at or "never", key.last_used_at or "never", key.revoked_at or "no")
    return key.key_id, key.name, key.email, key.role, scopes, *times
