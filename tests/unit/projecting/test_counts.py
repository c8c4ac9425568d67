"""Counters against oracles that know only the events, neither the outcomes nor the states of the fold."""

from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.domain.generation.jobs import new_jobs
from gengui_stream.domain.generation.state import Generation
from gengui_stream.domain.identifiers import uuid7
from gengui_stream.projecting.folding import FoldState, decode_records, fold_records
from gengui_stream.projections import daily_counts, generation_requests, job_rows, provider_statistics, provider_usage
from gengui_stream.projections.outcomes import Applied, DeadLettered, Ignored, Outcome, Tally, transitions
from schemas.events import Event, GenerationRequested
from tests.events import GENERATION, histories, record_of
from tests.timings import TIMINGS

OTHER = uuid7(1_780_000_000_001, b"the other!")
ENDINGS = ("completed", "failed", "canceled", "timed_out", "moderated")

LOGS = st.tuples(histories(GENERATION), histories(OTHER)).map(
    lambda pair: [event for both in zip(*pair, strict=False) for event in both]
)


def fold(log: list[Event], known: FoldState | None = None, first: int = 0) -> list[Outcome]:
    records = [record_of(event, first + place) for place, event in enumerate(log)]
    return fold_records(decode_records(records), known or FoldState())


def statuses(log: list[Event]) -> list[tuple[Event, Generation | None, Generation | None]]:
    """Each event with its generation before and after, found by folding all events up to it."""
    told: list[tuple[Event, Generation | None, Generation | None]] = []
    for place, event in enumerate(log):
        known = FoldState()
        fold(log[:place], known)
        before = known.states.get(event.generation_id)
        fold([event], known)
        told.append((event, before, known.states.get(event.generation_id)))
    return told


@given(LOGS)
def test_days(log: list[Event]) -> None:
    expected: Counter[daily_counts.Key] = Counter()
    for event, before, after in statuses(log):
        if after is None:
            continue
        if before is None:
            assert isinstance(event, GenerationRequested)
            expected[event.owner_id, event.occurred_at.date(), "requested"] += 1
        if before is not None and before.status != after.status and after.status.value in ENDINGS:
            expected[after.owner_id, event.occurred_at.date(), after.status.value] += 1
    assert daily_counts.count(fold(log)) == expected


@given(LOGS)
def test_all_that_is_counted_and_done_follows_from_transitions(log: list[Event]) -> None:
    outcomes = fold(log)
    moved = transitions(outcomes)
    assert daily_counts.count(moved) == daily_counts.count(outcomes)
    assert provider_statistics.count(moved) == provider_statistics.count(outcomes)
    assert provider_statistics.count_latencies(moved) == provider_statistics.count_latencies(outcomes)
    assert provider_usage.count(moved) == provider_usage.count(outcomes)
    assert generation_requests.rows_of(moved) == generation_requests.rows_of(outcomes)
    changes, of_moves = job_rows.changes_of(outcomes, TIMINGS), job_rows.changes_of(moved, TIMINGS)
    assert [job for job in changes.made if job.run is None] == [job for job in of_moves.made if job.run is None]
    assert changes.obsolete == of_moves.obsolete
    applied = [outcome for outcome in outcomes if isinstance(outcome, Applied)]
    quiet = [outcome for outcome in applied if outcome not in moved]
    assert not any(new_jobs(outcome.before, outcome.after, TIMINGS) for outcome in quiet)


@given(LOGS)
def test_no_generation_is_counted_twice(log: list[Event]) -> None:
    counts = daily_counts.count(fold(log))
    requested = sum(counts[key] for key in counts if key[2] == "requested")
    ended = sum(counts[key] for key in counts if key[2] in ENDINGS)
    known = FoldState()
    fold(log, known)
    assert requested == len(known.states)
    assert ended == sum(state.terminal for state in known.states.values())


@given(LOGS)
def test_minutes(log: list[Event]) -> None:
    expected: Counter[provider_statistics.Key] = Counter()
    for event, before, after in statuses(log):
        if before is None or after is None or after.version == before.version or before.terminal:
            continue
        if event.type in {"generation.dispatched", "generation.failed"}:
            measure = event.type.removeprefix("generation.")
        elif after.status.value in ENDINGS:
            measure = after.status.value
        else:
            continue
        minute = event.occurred_at.replace(second=0, microsecond=0)
        expected[after.provider, after.model, minute, measure] += 1
    assert provider_statistics.count(fold(log)) == expected


@given(LOGS)
def test_latencies(log: list[Event]) -> None:
    expected: Counter[provider_statistics.LatencyKey] = Counter()
    for event, before, after in statuses(log):
        if before is not None and after is not None and before.status != after.status == "completed":
            started = before.started_at or event.occurred_at
            took = max(0, (event.occurred_at - started) / timedelta(milliseconds=1))
            at_most = next((bound for bound in provider_statistics.BUCKETS_MS if took <= bound), 2**31 - 1)
            minute = event.occurred_at.replace(second=0, microsecond=0)
            expected[after.provider, after.model, minute, at_most] += 1
    assert provider_statistics.count_latencies(fold(log)) == expected


@given(LOGS)
def test_usage(log: list[Event]) -> None:
    expected: Counter[provider_usage.Key] = Counter()
    for event, before, after in statuses(log):
        if before is None or after is None or after.version == before.version or before.status.value in ENDINGS:
            continue
        if after.attempt == before.attempt and after.status.value not in ENDINGS:
            continue
        result = after.status.value == "completed"
        if before.started_at is None and not result:
            continue
        until = before.last_heard_at if event.type.endswith((".retried", ".timed_out")) else event.occurred_at
        key = after.provider, after.model, event.occurred_at.date()
        expected[*key, "runs"] += 1
        expected[*key, "images"] += len(after.outputs) if result else 0
        expected[*key, "run_ms"] += max(0, (until - (before.started_at or until)) // timedelta(milliseconds=1))
    assert provider_usage.count(fold(log)) == expected


@given(LOGS, st.integers(0, 40))
def test_counts_of_pieces_add_up_to_the_whole(log: list[Event], cut: int) -> None:
    known = FoldState()
    first, second = fold(log[:cut], known), fold(log[cut:], known, first=cut)
    whole = fold(log)
    assert [*first, *second] == whole
    assert daily_counts.count(first) + daily_counts.count(second) == daily_counts.count(whole)
    assert provider_statistics.count(first) + provider_statistics.count(second) == provider_statistics.count(whole)
    latencies = provider_statistics.count_latencies(first) + provider_statistics.count_latencies(second)
    assert latencies == provider_statistics.count_latencies(whole)
    assert provider_usage.count(first) + provider_usage.count(second) == +provider_usage.count(whole)


@given(LOGS)
def test_every_record_is_one_entry_and_is_counted_once(log: list[Event]) -> None:
    outcomes = fold(log)
    assert [outcome.record.offset for outcome in outcomes] == list(range(len(log)))
    tally = Tally().count(outcomes)
    assert (tally.applied, tally.ignored, tally.dead_lettered) == tuple(
        sum(isinstance(outcome, kind) for outcome in outcomes) for kind in (Applied, Ignored, DeadLettered)
    )
    assert tally.applied + tally.ignored + tally.dead_lettered == len(log)


@pytest.mark.parametrize(
    ("run_ms", "at_most"),
    [(0, 50), (50, 50), (50.001, 100), (299_999, 300_000), (300_000, 300_000), (300_000.5, 2_147_483_647)],
)
def test_buckets_hold_their_upper_bound(run_ms: float, at_most: int) -> None:
    assert provider_statistics.bucket(run_ms) == at_most


def test_buckets_grow() -> None:
    bounds = provider_statistics.BUCKETS_MS
    assert list(bounds) == sorted(set(bounds))
    assert bisect_left(bounds, provider_statistics.MORE) == len(bounds)


def test_a_day_is_a_day_in_utc() -> None:
    late = datetime(2026, 6, 1, 23, 30, tzinfo=timezone(-timedelta(hours=3)))
    assert daily_counts._day(late).isoformat() == "2026-06-02"
    assert provider_statistics._minute(late).astimezone(UTC).isoformat() == "2026-06-02T02:30:00+00:00"


def test_rows_have_a_number_for_every_measure() -> None:
    day, minute = datetime(2026, 6, 1, tzinfo=UTC).date(), datetime(2026, 6, 1, 12, tzinfo=UTC)
    days = daily_counts.rows_of(Counter({(GENERATION, day, "failed"): 2}), 3)
    assert days == [(GENERATION, day, 3, 0, 0, 2, 0, 0, 0)]
    minutes = provider_statistics.rows_of(Counter({("p", "m", minute, "dispatched"): 4}), 3)
    assert minutes == [("p", "m", minute, 3, 4, 0, 0, 0, 0, 0)]
    assert provider_usage.rows_of(Counter({("p", "m", day, "images"): 2}), 3) == [("p", "m", day, 3, 0, 2, 0)]
    assert provider_statistics.latency_rows_of(Counter({("p", "m", minute, 50): 5}), 3) == [
        ("p", "m", minute, 3, 50, 5)
    ]
