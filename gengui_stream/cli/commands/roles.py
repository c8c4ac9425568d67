"""The roles, one command each."""

from enum import StrEnum
from typing import Annotated

import typer

from gengui_stream.bootstrap import run_role
from gengui_stream.cli.runner import run_inspected_command
from gengui_stream.roles import RoleName


class AgentsApp(StrEnum):
    """Which of the two faust applications."""

    PROJECTOR = "projector"
    LIVE_TABLES = "live-tables"


def api() -> None:
    """Serve the HTTP API.

    gengui-stream api
    """
    _run("api")


def agents(
    app: Annotated[AgentsApp, typer.Option(help="The fold into PostgreSQL, or the operators' live tables.")] = (
        AgentsApp.PROJECTOR
    ),
) -> None:
    """Run the faust agents.

    gengui-stream agents

    gengui-stream agents --app live-tables
    """
    _run("agents" if app is AgentsApp.PROJECTOR else "live-tables")


def worker() -> None:
    """Run the reference worker of the local provider, which draws images.

    gengui-stream worker
    """
    _run("worker")


def thumbnails() -> None:
    """Make thumbnails of completed images.

    gengui-stream thumbnails
    """
    _run("thumbnails")


def dispatch() -> None:
    """Submit queued generations to their providers, cancel and reconcile them.

    gengui-stream dispatch
    """
    _run("dispatch")


def bridge() -> None:
    """Turn the Redis messages of existing workers into events.

    gengui-stream bridge
    """
    _run("bridge")


def _run(role: RoleName) -> None:
    run_inspected_command(lambda inspection: run_role(role, inspection.valid(), inspection))
