"""`demo` and `dev`: the embedded stack and every role on this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.dev.demo.provider import DemoProvider
from gengui_stream.process.proxies import keep_local_direct
from gengui_stream.roles import ROLES

if TYPE_CHECKING:
    from gengui_stream.dev.demo.command import Outcome


def demo(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Generations to submit.")] = 8,
    output: Annotated[Path, typer.Option(help="The file of the contact sheet.")] = Path("demo-contact-sheet.png"),
    provider: Annotated[DemoProvider, typer.Option(help="The provider; runpod and gemini are fakes.")] = (
        DemoProvider.LOCAL
    ),
    json: AsJson = False,
) -> None:
    """Start everything, generate images end to end, show them, stop everything.

    gengui-stream demo --count 200 --json

    gengui-stream demo --provider gemini
    """
    keep_local_direct(os.environ)
    from gengui_stream.dev.demo.start import DemoStart, start_demo

    def run(start: DemoStart) -> "Outcome":
        from gengui_stream.cli.fork_server import split_off_fork_server

        forks = split_off_fork_server()
        from gengui_stream.dev.demo.command import run_demo

        return run_demo(start, count, provider, forks)

    def finish(outcome: "Outcome") -> int:
        from gengui_stream.dev.demo.command import finish_demo

        return finish_demo(outcome, output, as_json=json)

    raise typer.Exit(_guarded(lambda: start_demo(output, run, finish)))


def _guarded(work: Callable[[], int]) -> int:
    """The exit code. What handles errors is imported only for one: the servers start while this process imports."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - each kind of error has its line and its exit code
        from gengui_stream.cli.runner import report

        return report(error)


def _role_names(given: list[str] | None) -> list[str] | None:
    unknown = sorted(set(given or ()) - ROLES.keys())
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is not a role: {', '.join(ROLES)}")
    return given


def dev(
    reload: Annotated[
        bool, typer.Option(help="Restart the roles whose code changed, and all roles when .env changed.")
    ] = True,
    without: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Do not start this role; repeatable.", callback=_role_names)
    ] = None,
) -> None:
    """Start everything and keep it running until Ctrl-C. Data is kept in .gengui/.

    gengui-stream dev --no-reload

    gengui-stream dev --without worker
    """
    keep_local_direct(os.environ)
    from gengui_stream.dev.forks.client import started_fork_server

    forks = started_fork_server()
    from gengui_stream.dev.dev_command import DevOptions, run_dev

    left_out = tuple(ROLES[name].name for name in without or ())
    raise typer.Exit(_guarded(lambda: run_dev(forks, DevOptions(reload, left_out))))
