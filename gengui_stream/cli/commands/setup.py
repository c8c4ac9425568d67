"""`migrate` and `seed`: the tables, topic, bucket and users that the roles need."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer

from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.accounts.principals import Role
from gengui_stream.cli.commands.accounts.key_options import Expires, Name, Scopes, key_choice
from gengui_stream.cli.operator import operator
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.options import email as email_address
from gengui_stream.cli.output import echo, echo_json, echo_progress
from gengui_stream.cli.runner import run_command
from gengui_stream.errors import ConfigurationError
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.migrations import Phase, Progress
from gengui_stream.postgres.migrations import migrate as apply_migrations
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.database_url import DatabaseAddress

T = TypeVar("T")

PROGRESS_EVERY_S: Final = 5.0
DEMO_USER: Final = "demo@example.com"


def migrate(
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for servers that are unavailable.")] = 0,
    phase: Annotated[
        Phase,
        typer.Option(
            help="Rolling upgrade: pre before the new processes start, backfill at any time then, post once the old "
            "ones end."
        ),
    ] = "all",
    json: AsJson = False,
) -> None:
    """Migrate the database; create the topic and the bucket if they are missing. Safe to repeat.

    gengui-stream migrate --wait 60
    """

    async def work(settings: Settings) -> None:
        address = _direct_address(settings)
        applied = await _waiting(wait, lambda: apply_migrations(address.url, phase, progress=_progress()))
        partitions = await _waiting(wait, lambda: ensure_topic(settings))
        await _waiting(wait, lambda: _ensure_bucket(settings))
        if json:
            echo_json({"applied": applied, "partitions": partitions, "bucket": settings.s3_bucket})
        else:
            echo(f"migrations applied: {', '.join(applied) or 'none, all were there'}")
            echo(f"topic {settings.events_topic}: {partitions} partitions; bucket {settings.s3_bucket}")

    run_command(work)


def _direct_address(settings: Settings) -> DatabaseAddress:
    if (address := settings.database_direct_address) is None:
        fault = "needed by `migrate`, whose lock is a session's: the URL of PostgreSQL itself, not of its pooler"
        raise ConfigurationError([f"DATABASE_DIRECT_URL: {fault}"])
    return address


def _progress() -> Progress:
    """Prints how far a backfill is, after its first batch and then every few seconds."""
    printed_at: dict[str, float] = {}

    def report(name: str, rows: int) -> None:
        now = time.monotonic()
        if now - printed_at.get(name, -PROGRESS_EVERY_S) >= PROGRESS_EVERY_S:
            printed_at[name] = now
            echo_progress(f"{name}: {rows} rows")

    return report


async def _ensure_bucket(settings: Settings) -> None:
    from gengui_stream.media.object_store import open_object_store

    async with open_object_store(settings) as store:
        await store.ensure_bucket()


async def _waiting(seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of `attempt`, retried for that many seconds while it raises TransientError."""
    if not seconds:
        return await attempt()
    try:
        async with asyncio.timeout(seconds):
            return await retry_transient(attempt, asyncio.Event(), operation="migrate")
    except TimeoutError:
        return await attempt()


def seed(
    email: Annotated[
        str | None,
        typer.Option(
            parser=email_address, metavar="EMAIL", help=f"The user, created if missing; {DEMO_USER} if unset."
        ),
    ] = None,
    role: Annotated[Role, typer.Option(help="The permissions of the user's keys.")] = "user",
    *,
    name: Name = "",
    scope: Scopes = None,
    expires: Expires = None,
    json: AsJson = False,
) -> None:
    """Create a user if missing and print a new API key. The key is shown only once: the database has its hash. The
    role of a user that exists is not changed.

    gengui-stream seed --email you@example.com --role admin
    """

    if email is None and role != "user":
        raise typer.BadParameter(f"needed with --role {role}", param_hint="--email")
    user = email or DEMO_USER

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            key = await seed_user(pool, user, role, key_choice(name, scope, expires), operator())
        echo_json({"email": user, "role": role, "key": key}) if json else echo(key)

    run_command(work)
