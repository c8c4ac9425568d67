"""The state that recognises an event appended again, at any later point.

Most events need none: within an attempt each rule of the fold only moves forward, and an event with the number of an
earlier attempt is stale. Two kinds are left. An event without a number could count for a later attempt: it is fenced by
time, against other events without a number. An event that came too early could count once its moment has come: its id
is kept. These ids are few; a generation that gets more than EARLY_MAX fails.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from uuid import UUID

from gengui_stream.domain.generation.state import DuplicateFilter, Generation, Status
from schemas.events import Event

EARLY_MAX: Final = 32
"""Far more than any correct set of producers causes, and 1 KiB at most in a row of the database."""

UNNUMBERED_TYPES: Final = frozenset(
    {
        "generation.dispatched",
        "generation.accepted",
        "generation.started",
        "generation.progressed",
        "generation.heartbeat_received",
        "generation.failed",
        "generation.retried",
        "generation.timed_out",
    }
)
"""The types that a later attempt could take for its own. Other events without a number apply to any attempt."""

_NONE: Final = DuplicateFilter()


def came_early_before(state: Generation, event: Event) -> bool:
    """Whether the same event was ignored before because it came too early."""
    return state.duplicates is not None and event.id in state.duplicates.early


def is_of_earlier_attempt(state: Generation, event: Event) -> bool:
    """Whether an event without an attempt number is no later than those of the earlier attempts."""
    known = state.duplicates
    if event.attempt is not None or known is None or known.unnumbered_until is None:
        return False
    return event.type in UNNUMBERED_TYPES and event.occurred_at <= known.unnumbered_until


def has_too_many_early(state: Generation) -> bool:
    return state.duplicates is not None and len(state.duplicates.early) >= EARLY_MAX


def with_early(state: Generation, ids: Iterable[UUID]) -> Generation:
    """Keeps the ids of events that came too early."""
    known = state.duplicates or _NONE
    return state._replace(duplicates=replace(known, early=(*known.early, *ids)))


def with_unnumbered(event: Event, after: Generation) -> Generation:
    """Keeps the time of an event without an attempt number. `after`: the state after the event, applied or ignored. The
    fence follows while the next attempt waits for its dispatch."""
    if event.attempt is not None or event.type not in UNNUMBERED_TYPES or after.terminal:
        return _fenced(after)
    known = after.duplicates or _NONE
    latest = event.occurred_at if known.latest_unnumbered is None else max(known.latest_unnumbered, event.occurred_at)
    if latest != known.latest_unnumbered:
        after = after._replace(duplicates=replace(known, latest_unnumbered=latest))
    return _fenced(after)


def _fenced(state: Generation) -> Generation:
    known = state.duplicates
    if known is None or state.status is not Status.QUEUED or state.attempt == 1:
        return state
    latest = known.latest_unnumbered
    if latest == known.unnumbered_until:
        return state
    return state._replace(duplicates=replace(known, unnumbered_until=latest))
