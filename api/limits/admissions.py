"""Limits of generations: the quota of a day, and how many are in progress."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
from aiohttp import web

from api.context import ApiContext, context_of
from api.http.problems import Refusal
from api.limits.requests import add_standing
from gengui_stream.accounts.principals import Principal
from gengui_stream.errors import TransientError
from gengui_stream.limits.admission import Admission, Usage, admit, give_back, limits_of
from schemas.events import GenerationRequested

IN_PROGRESS_RETRY_S: Final = 10
"""When a generation ends cannot be known."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def admitted(
    request: web.Request, caller: Principal, event: GenerationRequested, *, repeated: bool = False
) -> AsyncIterator[None]:
    """Counts the generation for its append in the block, and gives it back if the block fails. Raises a 429 refusal
    beyond a limit. A request that is cancelled gives nothing back: its event may reach the log. `repeated`: an earlier
    request may have counted it."""
    context = context_of(request)
    limits = limits_of(context.settings, caller)

    async def ask() -> Admission:
        return await admit(context.pool, caller.user_id, event.generation_id, limits, datetime.now(UTC))

    admission = await context.admissions.admit(caller.user_id, ask, repeated=repeated)
    if daily := admission.usage.daily():
        add_standing(request, daily)
    if refused := _refusal(admission):
        context.metrics.rate_limited.labels(str(admission.refused_by)).inc()
        raise refused
    try:
        yield
    except Exception:
        await _given_back(context, caller, event, admission)
        raise


async def _given_back(context: ApiContext, caller: Principal, event: GenerationRequested, admission: Admission) -> None:
    try:
        await give_back(context.pool, caller.user_id, event.generation_id, admission)
    except TransientError as error:
        _log.warning("quota_not_given_back", generation_id=str(event.generation_id), error=str(error))


def _refusal(admission: Admission) -> Refusal | None:
    if admission.refused_by is None:
        return None
    return _quota_exceeded(admission.usage) if admission.refused_by == "daily" else _too_many(admission.usage)


def _quota_exceeded(usage: Usage) -> Refusal:
    resets, standing = f"{usage.resets_at:%Y-%m-%dT%H:%M:%SZ}", usage.daily()
    detail = f"daily: {usage.used} of {usage.limits.daily} generations of this day are used; it ends at {resets}"
    seconds = standing.retry_after_s if standing else 1
    return Refusal(429, "quota_exceeded", detail, headers={"Retry-After": str(seconds)})


def _too_many(usage: Usage) -> Refusal:
    detail = (
        f"in_progress: {usage.open} generations have not ended, of at most {usage.limits.in_progress}; wait until one "
        "has ended, or cancel one"
    )
    return Refusal(429, "too_many_in_progress", detail, headers={"Retry-After": str(IN_PROGRESS_RETRY_S)})
