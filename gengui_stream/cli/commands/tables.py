"""`tables`: the live tables of the agents, for operators. They are not authoritative."""

from datetime import datetime
from typing import Annotated

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json, echo_table, shown_time
from gengui_stream.cli.runner import run_command
from gengui_stream.errors import PermanentError
from gengui_stream.log.changelogs import TABLES, read_changelog, tail_changelog
from gengui_stream.settings import Settings

app = typer.Typer(help="The agents' live tables.", no_args_is_help=True)


def _known(name: str) -> str:
    if name not in TABLES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(TABLES)}")
    return name


@app.command("list")
def list_tables(json: AsJson = False) -> None:
    """List the live tables and their numbers of rows; none before the live-tables agents first ran.

    gengui-stream tables list
    """

    async def work(settings: Settings) -> None:
        rows = {name: await _rows(settings, name) for name in TABLES}
        if json:
            echo_json([{"table": name, "rows": rows[name], "shows": shows} for name, shows in TABLES.items()])
        else:
            echo_table(("table", "rows", "shows"), [(name, rows[name], shows) for name, shows in TABLES.items()])

    run_command(work)


async def _rows(settings: Settings, name: str) -> int | None:
    try:
        return len(await read_changelog(settings, name))
    except PermanentError:
        return None


@app.command()
def tail(
    name: Annotated[str, typer.Argument(metavar="TABLE", callback=_known, help=", ".join(TABLES))],
    follow: Annotated[bool, typer.Option(help="Print changes as they come, or the current table.")] = True,
    json: AsJson = False,
) -> None:
    """Print the changes of a live table as they come, until Ctrl-C. A deleted key has no value.

    gengui-stream tables tail in_flight
    """

    async def work(settings: Settings) -> None:
        if not follow:
            for key, value in (await read_changelog(settings, name)).items():
                _echo_row(key, value, json)
            return
        async for key, value in tail_changelog(settings, name):
            _echo_row(key, value, json)

    run_command(work)


def _echo_row(key: str, value: object, json: bool) -> None:
    if json:
        echo_json({"key": key, "value": value})
    elif isinstance(value, dict):
        echo(f"{key}  " + "  ".join(f"{field}={_shown(field, part)}" for field, part in value.items()))
    else:
        echo(f"{key}  {'(deleted)' if value is None else value}")


def _shown(field: str, part: object) -> str:
    return shown_time(datetime.fromisoformat(str(part))) if field == "since" else str(part)
