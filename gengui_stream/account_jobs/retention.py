"""Rows that nothing needs any more: each store removes a bounded number of them at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

from gengui_stream.accounts import (
    audit_events,
    deletion,
    emails,
    idempotency,
    login_failures,
    one_time_tokens,
    sessions,
)
from gengui_stream.accounts.keys import api_keys, stream_tokens
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.lifecycle import pause, retry_transient
from gengui_stream.settings import Settings

PRUNE_EVERY_S: Final = 60.0
STEP_PAUSE_S: Final = 0.1
MEASURE_EVERY_S: Final = 5.0
ROWS_MAX: Final = 1_000
"""A step of one store removes at most so many rows, or a little more where it has several tables."""

Prune: TypeAlias = Callable[[Pool], Awaitable[int]]
"""Removes a bounded number of rows; returns the number."""


def stores(settings: Settings) -> Mapping[str, Prune]:
    """By the label of `gengui_pruned_total`. `daily_usage` has one row a user, which goes with the account."""
    return {
        "sign_ups": partial(deletion.release_sign_ups, kept=timedelta(seconds=settings.unverified_accounts_kept_s)),
        "api_keys": api_keys.prune,
        "sessions": sessions.prune,
        "one_time_tokens": one_time_tokens.prune,
        "stream_tokens": stream_tokens.prune,
        "idempotency_keys": partial(idempotency.prune, kept=timedelta(seconds=settings.idempotency_key_retention_s)),
        "login_failures": login_failures.prune,
        "emails": emails.prune,
        "audit_events": partial(audit_events.prune, kept=timedelta(seconds=settings.audit_retention_s)),
    }


async def keep_pruning(pool: Pool, pruned: Mapping[str, Prune], metrics: Metrics, stop: asyncio.Event) -> None:
    """Raises ShutdownRequested when the shutdown comes while PostgreSQL is unavailable."""
    while True:
        more = await retry_transient(partial(prune, pool, pruned, metrics), stop, operation="prune")
        if await pause(stop, STEP_PAUSE_S if more else PRUNE_EVERY_S):
            return


async def prune(pool: Pool, pruned: Mapping[str, Prune], metrics: Metrics) -> bool:
    """A step of each store; returns whether there may be more."""
    more = False
    for store, remove in pruned.items():
        number = await remove(pool)
        metrics.pruned.labels(store).inc(number)
        more = more or number >= ROWS_MAX
    return more


async def keep_measuring(pool: Pool, metrics: Metrics, stop: asyncio.Event) -> None:
    """The unsent e-mails. Raises ShutdownRequested as `keep_pruning` does."""
    while True:
        unsent = await retry_transient(partial(emails.count, pool), stop, operation="count e-mails")
        metrics.emails_unsent.labels("open").set(unsent.open)
        metrics.emails_unsent.labels("failed").set(unsent.failed)
        metrics.oldest_email_seconds.set(unsent.oldest_s)
        if await pause(stop, MEASURE_EVERY_S):
            return
