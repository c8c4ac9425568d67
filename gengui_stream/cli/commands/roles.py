"""The roles, one command each."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from gengui_stream.bootstrap import run_role
from gengui_stream.cli.runner import run_inspected_command
from gengui_stream.process.collection import collect_no_more
from gengui_stream.roles import ROLES, RoleName
from gengui_stream.settings import Inspection


class AgentsApp(StrEnum):
    """Which of the two faust applications."""

    PROJECTOR = "projector"
    LIVE_TABLES = "live-tables"


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


def _run(role: RoleName) -> None:
    def run(inspection: Inspection) -> int:
        code = run_role(role, inspection.valid(), inspection)
        collect_no_more()
        return code

    run_inspected_command(run)


def _command(name: RoleName) -> Callable[[], None]:
    """The command of a role that takes no options; its help is the role's summary."""

    def command() -> None:
        _run(name)

    command.__doc__ = f"{ROLES[name].summary}\n\n{ROLES[name].command}"
    return command


api = _command("api")
worker = _command("worker")
thumbnails = _command("thumbnails")
dispatch = _command("dispatch")
bridge = _command("bridge")
account_jobs = _command("account-jobs")
