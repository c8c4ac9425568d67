"""`emails`: those that are not sent."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, NoReturn, TypeAlias
from uuid import UUID

import typer

from gengui_stream.accounts import emails
from gengui_stream.accounts.emails import UnsentEmail
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json, echo_table
from gengui_stream.cli.runner import run_command
from gengui_stream.errors import PermanentError
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.settings import Settings

app = typer.Typer(help="E-mails that are not sent: list, retry, discard.", no_args_is_help=True)

EmailId: TypeAlias = Annotated[UUID | None, typer.Argument(metavar="[ID]")]
AllFailed: TypeAlias = Annotated[bool, typer.Option("--failed", help="All that the server refused too often.")]


@app.command("list")
def list_unsent(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that the server refused too often.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most this many.")] = 100,
    json: AsJson = False,
) -> None:
    """List e-mails that are not sent, the oldest first. Those that failed are not tried again by themselves.

    gengui-stream emails list --failed
    """

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            found = await emails.unsent(pool, failed=failed, limit=limit)
        if json:
            echo_json([asdict(email) for email in found])
        else:
            echo_table(("id", "kind", "recipient", "created", "tries", "next try", "last error"), map(_row, found))

    run_command(work)


@app.command()
def retry(email_id: EmailId = None, failed: AllFailed = False, json: AsJson = False) -> None:
    """Send an e-mail as soon as possible, also one that failed.

    gengui-stream emails retry --failed
    """
    _resolve(emails.retry, "retried", email_id, failed=failed, json=json)


@app.command()
def discard(email_id: EmailId = None, failed: AllFailed = False, json: AsJson = False) -> None:
    """Remove an e-mail unsent.

    gengui-stream emails discard 0195b7a0-0000-7000-8000-000000000000
    """
    _resolve(emails.discard, "discarded", email_id, failed=failed, json=json)


def _resolve(
    resolve: Callable[[Pool, UUID | None], Awaitable[list[UUID]]],
    done: str,
    email_id: UUID | None,
    *,
    failed: bool,
    json: bool,
) -> NoReturn:
    if (email_id is None) is not failed:
        raise typer.BadParameter("either an id or --failed is needed")

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            ids = await resolve(pool, email_id)
        if email_id is not None and not ids:
            raise PermanentError(f"there is no unsent e-mail {email_id}: see `gengui-stream emails list`")
        echo_json({done: ids}) if json else echo(f"{done} {len(ids)}")

    run_command(work)


def _row(email: UnsentEmail) -> tuple[object, ...]:
    shown = "never: failed" if email.failed_at else email.available_at
    return email.email_id, email.kind, email.recipient, email.created_at, email.tries, shown, email.last_error or ""
