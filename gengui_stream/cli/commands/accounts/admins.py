"""`admin`: users that operate the service."""

import sys
from dataclasses import asdict
from typing import Annotated, Final, TypeAlias
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from gengui_stream.accounts.keys.admins import add_admin, change_role, is_known
from gengui_stream.accounts.keys.api_keys import create_key, list_users
from gengui_stream.accounts.passwords import PasswordHashes
from gengui_stream.cli.operator import operator
from gengui_stream.cli.options import AsJson, email
from gengui_stream.cli.output import echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.fault_sentences import placed
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.redis_io.notifications import NotificationPublisher
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.settings import Settings
from schemas.accounts import NewPassword

app = typer.Typer(help="Admins: create, list, revoke.", no_args_is_help=True)

PASSWORD: Final[TypeAdapter[str]] = TypeAdapter(NewPassword)

Email: TypeAlias = Annotated[
    str, typer.Option("--email", parser=email, metavar="EMAIL", help="The address of the admin.")
]
Of: TypeAlias = Annotated[str, typer.Argument(parser=email, metavar="EMAIL")]


@app.command()
def create(
    address: Email,
    key: Annotated[bool, typer.Option("--key", help="Also create an API key and print it.")] = False,
    json: AsJson = False,
) -> None:
    """Create an admin, or make an admin of a user, whose sessions end then. The password of a new one is asked on the
    terminal without an echo, or is the first line of standard input.

    gengui-stream admin create --email you@example.com --key
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            if created := not await is_known(pool, address):
                await _add(pool, address)
            else:
                await _notify(settings, await change_role(pool, address, "admin", operator()))
            made = (await create_key(pool, address, actor=operator())).text if key else None
        if json:
            echo_json({"email": address, "role": "admin", "created": created} | ({"key": made} if made else {}))
        else:
            echo(made or f"{address} is an admin; the password is {'set' if created else 'unchanged'}")

    run_command(work)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List the admins.

    gengui-stream admin list
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            found = [user for user in await list_users(pool) if user.role == "admin"]
        if json:
            echo_json([asdict(user) for user in found])
        elif found:
            echo_table(("e-mail", "keys", "created"), ((user.email, user.keys, user.created_at) for user in found))
        else:
            echo("none: `gengui-stream admin create` creates one")

    run_command(work)


@app.command()
def revoke(address: Of, json: AsJson = False) -> None:
    """Make a user of an admin: sessions end, and keys allow what those of users do.

    gengui-stream admin revoke you@example.com
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            await _notify(settings, await change_role(pool, address, "user", operator()))
        echo_json({"email": address, "role": "user"}) if json else echo(f"{address} is a user, and no admin any more")

    run_command(work)


async def _add(pool: Pool, address: str) -> None:
    password = _password()
    async with PasswordHashes(1) as hashes:
        await add_admin(pool, address, await hashes.hash(password), operator())


def _password() -> str:
    """Raises BadParameter for one that the API would refuse, too."""
    if sys.stdin.isatty():
        given: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    try:
        return PASSWORD.validate_python(given)
    except ValidationError as error:
        [(_, message), *_] = placed(error)
        raise typer.BadParameter(message, param_hint="password") from None


async def _notify(settings: Settings, user_id: UUID) -> None:
    async with opened_redis(settings) as redis:
        await NotificationPublisher(redis).publish_access(user_id)
