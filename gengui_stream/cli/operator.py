"""Who runs a command that is audited."""

import getpass
import os
from typing import Annotated, TypeAlias

import typer

from gengui_stream.accounts.audit_events import LOCAL, Actor
from gengui_stream.identifiers import process_name
from gengui_stream.recovery.audit import Order

Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")]


def order_of(command: str, reason: str = "") -> Order:
    """An order of the user of this process. `command`: for the name of the process."""
    return Order(f"{_user()} ({process_name(command)})", reason)


def operator() -> Actor:
    """The user of this process, for the audit trail of accounts."""
    return Actor(LOCAL, operator=_user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id without a name
        return f"user {os.getuid()}"
