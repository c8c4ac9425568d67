"""All commands on one screen. The module of a command is imported when that command runs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

import typer
from typer._click import Context
from typer.core import TyperGroup

Command: TypeAlias = Callable[..., None]

PANELS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Begin": {
            "demo": "stack:demo",
            "dev": "stack:dev",
            "migrate": "setup:migrate",
            "seed": "setup:seed",
            "fake": "fakes:app",
        },
        "Processes": {
            "api": "roles:api",
            "agents": "roles:agents",
            "dispatch": "roles:dispatch",
            "worker": "roles:worker",
            "thumbnails": "roles:thumbnails",
            "bridge": "roles:bridge",
            "account-jobs": "roles:account_jobs",
        },
        "Operate": {
            "doctor": "doctor:doctor",
            "lag": "partitions.lag:lag",
            "verify": "state:verify",
            "rebuild": "rebuild:rebuild",
            "jobs": "state:jobs",
            "backfill-thumbnails": "backfill:backfill_thumbnails",
            "config": "config:app",
            "events": "events:app",
            "tables": "tables:app",
            "dead-letters": "dead.letters:app",
            "dead-statuses": "dead.statuses:app",
            "pause": "partitions.pause:pause",
            "resume": "partitions.pause:resume",
            "skip": "partitions.skip:skip",
            "show": "generations:show",
            "repair": "generations:repair",
            "audit": "state:audit",
            "costs": "state:costs",
            "accounts": "accounts.dumps:app",
            "users": "accounts.users:app",
            "admin": "accounts.admins:app",
            "keys": "accounts.keys:app",
            "emails": "accounts.emails:app",
        },
    }
)
"""By panel of the help and name: the module in `commands` and the name of the function there."""


EXIT_CODES: Final = (
    "Exit codes: 0 success, 1 a finding, 2 usage, 69 a server is unavailable, 70 a bug, 78 configuration, 130 Ctrl-C."
)

WITHOUT_COMMANDS: Final = frozenset({"--version", "--show-completion", "--install-completion"})
"""Options for which no command is imported."""


class Commands(TyperGroup):
    """Says what is wrong with an argument as the settings and the API do, whatever library checks it."""

    def invoke(self, ctx: Context) -> object:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _sentence(error)
            raise


def _sentence(error: typer.BadParameter) -> str:
    from pydantic import ValidationError

    from gengui_stream.fault_sentences import sentence

    match error.__cause__:
        case ValidationError() as invalid:
            [fault, *_] = invalid.errors(include_url=False, include_input=False)
            return sentence(fault)
        case _:
            return error.message


def command_line(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the one command that the first argument names, or with all of them if it names none."""
    app = typer.Typer(
        name="gengui-stream",
        cls=Commands,
        help="An event-sourced media-generation core: the log, its folds, and the processes around them.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)  # an application of one command would otherwise not expect its name
    targets = {name: (panel, target) for panel, commands in PANELS.items() for name, target in commands.items()}
    for name in _needed(arguments, targets):
        _add(app, name, *targets[name])
    return app


def _needed(arguments: Sequence[str], names: Collection[str]) -> Collection[str]:
    first = arguments[:1]
    if set(first) & WITHOUT_COMMANDS:
        return ()
    return first if set(first) & set(names) else names


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gengui-stream {version('gengui-stream')}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def _add(app: typer.Typer, name: str, panel: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    command: typer.Typer | Command = getattr(import_module(f"gengui_stream.cli.commands.{module}"), attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, rich_help_panel=panel)
    else:
        app.command(name, rich_help_panel=panel)(command)
