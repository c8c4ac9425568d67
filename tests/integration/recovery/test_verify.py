"""`verify`: agrees with the rows of the projector, and finds every later change."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pytest

from gengui_stream.log import reader
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.verification.report import Report
from gengui_stream.recovery.verify import verify
from gengui_stream.settings import Settings
from schemas.events import Event
from tests.events import wide_history
from tests.integration.log.logs import remove_before, send_by_key
from tests.integration.projector.projecting import project_everything
from tests.integration.projector.projections import TABLES

pytestmark = pytest.mark.stack

NOW: Final = datetime.now(UTC)
UNKNOWN_ID: Final = "00000000-0000-0000-0000-000000000000"


def recent(number: int) -> Sequence[Event]:
    return wide_history(number, start=NOW)


async def a_good_database(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    """Ten generations, each with one event twice; one without its thumbnail and one that has begun; a dead letter with
    two parked events, one without a generation, and one of a future version."""
    for number in range(10):
        history = recent(number)
        await event_log.append_many([*history, history[-1]])
    await event_log.append_many([*recent(12)[:-1], *recent(13)[:2]])
    stuck = recent(11)
    await send_by_key(settings, b"nobody", b"[]")
    await send_by_key(settings, str(recent(10)[0].generation_id).encode(), b'{"type": "of.the.future"}')
    await send_by_key(settings, str(stuck[0].generation_id).encode(), b"{")
    await event_log.append_many(stuck[:2])
    await project_everything(settings, pool)


TAMPERING: Final = {
    "a changed state": (
        "UPDATE projections.generation_states SET version = version + 1",
        "generation_states",
        "version is",
    ),
    "a lost state": ("DELETE FROM projections.generation_states", "generation_states", "missing"),
    "a regressed status": (
        "UPDATE projections.generation_states SET status = 'processing'",
        "generation_states",
        "status is 'processing', should be 'completed'",
    ),
    "a changed output": (
        "UPDATE projections.generation_states SET outputs = replace(outputs, 'png', 'jpg')",
        "generation_states",
        "outputs is",
    ),
    "a changed request": (
        "UPDATE projections.generation_requests SET prompt = 'x'",
        "generation_requests",
        "prompt is 'x'",
    ),
    "a lost request": ("DELETE FROM projections.generation_requests", "generation_requests", "missing"),
    "an invented request": (
        f"""INSERT INTO projections.generation_requests
        SELECT '{UNKNOWN_ID}', owner_id, prompt, seed, width, height, model, provider, max_attempts,
        deadline, retried_from, correlation_id, traceparent, requested_at
        FROM projections.generation_requests LIMIT 1""",
        "generation_requests",
        "should not be there",
    ),
    "a changed payload": ("UPDATE projections.timeline SET payload = payload || ' '", "timeline", "payload"),
    "a lost event": ("DELETE FROM projections.timeline WHERE ignored IS NOT NULL", "timeline", "missing"),
    "a hidden reason": ("UPDATE projections.timeline SET ignored = NULL", "timeline", "ignored is None"),
    "an invented event": (
        f"INSERT INTO projections.timeline SELECT '{UNKNOWN_ID}', partition, log_offset, NULL, NULL, type, NULL, "
        f"NULL, appended_at, "
        "NULL, NULL, NULL, payload FROM projections.timeline LIMIT 1",
        "timeline",
        "should not be there",
    ),
    "an event past the position": (
        "INSERT INTO projections.timeline SELECT generation_id, partition, 100000, NULL, NULL, type, NULL, "
        "NULL, appended_at, "
        "NULL, NULL, NULL, payload FROM projections.timeline LIMIT 1",
        "timeline",
        "should not be there",
    ),
    "an event of a partition that there is not": (
        "INSERT INTO projections.timeline SELECT generation_id, 99, 0, NULL, NULL, type, NULL, NULL, appended_at, "
        "NULL, NULL, NULL, payload FROM projections.timeline LIMIT 1",
        "timeline",
        "should not be there",
    ),
    "a wrong day": ("UPDATE projections.daily_counts SET completed = completed + 1", "daily_counts", "completed is"),
    "a lost day": ("DELETE FROM projections.daily_counts", "daily_counts", "missing"),
    "a wrong minute": (
        "UPDATE projections.provider_minutes SET failed = 7",
        "provider_minutes",
        "failed is 7, should be 0",
    ),
    "a wrong bucket": (
        "UPDATE projections.provider_latencies SET completions = 0",
        "provider_latencies",
        "completions is 0",
    ),
    "an invented bucket": (
        "INSERT INTO projections.provider_latencies VALUES ('p', 'm', now(), 99, 50, 1)",
        "provider_latencies",
        "should not be there",
    ),
    "a wrong use": ("UPDATE projections.provider_usage SET run_ms = run_ms + 1", "provider_usage", "run_ms is"),
    "a lost use": ("DELETE FROM projections.provider_usage", "provider_usage", "missing"),
    "an invented use": (
        "INSERT INTO projections.provider_usage VALUES ('p', 'm', current_date, 0, 1, 1, 1)",
        "provider_usage",
        "should not be there",
    ),
    "a lost reconcile job": ("DELETE FROM jobs.jobs WHERE kind = 'reconcile'", "jobs", "missing"),
    "a lost job": ("DELETE FROM jobs.jobs WHERE kind = 'thumbnail'", "jobs", "missing"),
    "an invented job": (
        "INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, available_at) VALUES "
        f"('dispatch:x:1', 'dispatch', 0, '{UNKNOWN_ID}', 1, now())",
        "jobs",
        "should not be there",
    ),
    "a second job for the same": (
        "INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, output_id, available_at) "
        "SELECT job_key || '!', kind, partition, generation_id, attempt, output_id, now() FROM jobs.jobs LIMIT 1",
        "jobs",
        "should not be there",
    ),
    "a lost letter": ("DELETE FROM projections.dead_letters WHERE reason = 'parked'", "dead_letters", "missing"),
    "a changed letter": (
        "UPDATE projections.dead_letters SET record_value = 'x'",
        "dead_letters",
        "record_value is b'x'",
    ),
    "a parked event passed over": (
        "UPDATE projections.dead_letters SET resolution = 'discarded' WHERE reason = 'parked'",
        "dead_letters",
        "resolution is 'discarded'",
    ),
    "an invented letter": (
        "INSERT INTO projections.dead_letters SELECT topic, 99, 0, NULL, reason, '', NULL, NULL, now() FROM "
        "projections.dead_letters LIMIT 1",
        "dead_letters",
        "should not be there",
    ),
    "a wrong count": (
        "UPDATE projections.checkpoints SET applied = applied - 1, ignored = ignored + 1",
        "checkpoints",
        "applied is",
    ),
    "counts that do not add up": (
        "UPDATE projections.checkpoints SET ignored = ignored + 1",
        "checkpoints",
        "applied + ignored + dead_lettered is",
    ),
    "a position that went back": (
        "UPDATE projections.checkpoints SET next_offset = next_offset - 1",
        "checkpoints",
        "applied + ignored + dead_lettered is",
    ),
    "a position past the log": (
        "UPDATE projections.checkpoints SET next_offset = next_offset + 1, applied = applied + 1",
        "log",
        "records are gone",
    ),
    "a start that moved": (
        "UPDATE projections.checkpoints SET start_offset = 1 WHERE next_offset > 0",
        "checkpoints",
        "",
    ),
    "a position that is gone": (
        "DELETE FROM projections.checkpoints WHERE partition = (SELECT min(partition) FROM projections.timeline)",
        "timeline",
        "should not be there",
    ),
}


async def test_it_agrees_with_the_projector_and_with_no_change(settings: Settings, pool: Pool) -> None:
    settings = settings.model_copy(update={"events_topic": f"{settings.events_topic}-2", "events_partitions": 2})
    await ensure_topic(settings)
    async with EventLog(settings) as event_log:
        await a_good_database(settings, pool, event_log)
    report = await verify(settings)
    assert report.agrees, report.samples
    counts = [(p.applied, p.ignored, p.dead_lettered) for p in report.partitions]
    assert tuple(map(sum, zip(*counts, strict=True))) == (111, 11, 4)
    assert report.events == 126
    assert all(report.rows[table] for table in ("generation_states", "timeline", "daily_counts", "jobs"))
    unseen = {}
    for name, (statement, table, words) in TAMPERING.items():
        report = await after(settings, pool, statement)
        if not any(sample.table == table and words in sample.what for sample in report.samples):
            unseen[name] = report.samples
    assert not unseen
    assert (await verify(settings)).agrees


def _copy(table: str) -> str:
    return f"kept_{table.replace('.', '_')}"


async def after(settings: Settings, pool: Pool, statement: str) -> Report:
    """The findings of `verify` after the statement, in a copy of the database that is dropped again."""
    tables = (*TABLES, "jobs.jobs", "projections.checkpoints")
    for table in tables:
        await pool.execute(f"CREATE UNLOGGED TABLE {_copy(table)} AS TABLE {table}")
    try:
        assert not (await pool.execute(statement)).endswith(" 0"), statement
        return await verify(settings)
    finally:
        for table in tables:
            await pool.execute(f"TRUNCATE {table}; INSERT INTO {table} TABLE {_copy(table)}; DROP TABLE {_copy(table)}")


@pytest.mark.parametrize("kept", [0, 1], ids=["all", "all-but-the-last"])
async def test_records_that_are_gone_are_a_difference(
    settings: Settings, pool: Pool, event_log: EventLog, kept: int
) -> None:
    history = recent(0)
    positions = await event_log.append_many(history)
    await project_everything(settings, pool)
    await remove_before(settings, {positions[0].partition: len(history) - kept})
    found = [sample.what for sample in (await verify(settings)).samples if sample.table == "log"]
    assert found == [f"records are gone before {len(history)}"]


async def test_it_agrees_whatever_the_number_of_records_of_a_fetch(
    settings: Settings, pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.LogReader.read, "__defaults__", (7, reader.POLL_MS))
    await event_log.append_many([event for number in range(10) for event in recent(number)])
    await project_everything(settings, pool)
    report = await verify(settings)
    assert report.agrees, report.samples
    assert report.events == 100


async def test_an_empty_database_agrees_with_an_empty_log(settings: Settings) -> None:
    report = await verify(settings)
    assert report.agrees
    assert report.events == 0


def test_a_report_counts_all_and_shows_some() -> None:
    report = Report()
    for number in range(1_000):
        report.compare("t", str(number), ["a", "b"], [1, "x" * 1_000], [1, None])
    assert not report.agrees
    assert report.counts["t"] == 1_000
    assert len(report.samples) == 20
    assert report.samples[0].what.startswith("b is None, should be 'xxx")
    assert len(report.samples[0].what) < 300
