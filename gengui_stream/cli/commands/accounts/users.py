"""`users`: who may use the API."""

from dataclasses import asdict

import typer

from gengui_stream.accounts.keys.api_keys import list_users
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings

app = typer.Typer(help="Users of the API.", no_args_is_help=True)


@app.callback()
def _users() -> None: ...


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List the users, their roles, and the number of their valid keys. `seed` creates a user.

    gengui-stream users list
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            users = await list_users(pool)
        if json:
            echo_json([asdict(user) for user in users])
        elif users:
            rows = ((user.email, user.role, user.keys, user.created_at) for user in users)
            echo_table(("e-mail", "role", "keys", "created"), rows)
        else:
            echo("none: `gengui-stream seed` creates one")

    run_command(work)
