"""The operators' live tables, read the way `gengui-stream tables` reads them."""

import asyncio
from datetime import UTC, datetime

import pytest
from faust.transport.producer import ProducerBuffer
from faust.types import FutureMessage
from structlog.testing import capture_logs

from agents.live_tables import BATCH
from agents.run import run_live_tables
from gengui_stream.errors import PermanentError
from gengui_stream.log.changelogs import changelog_topic, ensure_changelogs, read_changelog, tail_changelog
from gengui_stream.log.event_log import EventLog
from gengui_stream.process.lifecycle import retry_transient
from gengui_stream.settings import Settings
from schemas.events import (
    Event,
    GenerationCompleted,
    GenerationStarted,
    Output,
)
from tests.integration.agents.agents_runs import delay_metadata
from tests.integration.running import a_request, eventually, role_context, running
from tests.integration.silent_proxy import SilentProxy

pytestmark = pytest.mark.stack


def common(request: Event) -> dict[str, object]:
    return request.model_dump(include={"id", "generation_id", "attempt", "producer"}) | {
        "occurred_at": datetime.now(UTC)
    }


@pytest.fixture(name="live")
def with_a_group_of_its_own(settings: Settings) -> Settings:
    return settings.model_copy(update={"live_tables_group": f"{settings.consumer_group}-live"})


async def test_in_flight_and_counts_survive_a_restart(live: Settings, event_log: EventLog) -> None:
    settings = live
    waiting, started, ended = a_request(), a_request(), a_request()
    await event_log.append_many([waiting, started, ended])
    await event_log.append(GenerationStarted.model_validate(common(started)))
    await event_log.append(GenerationStarted.model_validate(common(ended)))
    expected = {str(waiting.generation_id): "queued", str(started.generation_id): "processing"}

    async def shown() -> dict[str, str]:
        rows = await read_changelog(settings, "in_flight")
        return {key: str(row["status"]) for key, row in rows.items() if isinstance(row, dict)}

    async def as_expected() -> bool:
        return await shown() == expected

    async def all_counted() -> bool:
        try:
            counts = await read_changelog(settings, "events_by_type")
        except PermanentError:  # not made yet
            return False
        return sum(int(str(count)) for count in counts.values()) == number

    number = 5
    async with running(run_live_tables, settings):
        await eventually(all_counted)
        assert len(await shown()) == 3
        rows = (await read_changelog(settings, "in_flight")).values()
        assert all(
            isinstance(row, dict) and list(row) == ["status", "attempt", "max_attempts", "since"] for row in rows
        )
    done = GenerationCompleted.model_validate(common(ended) | {"outputs": [Output(object_key="a/0.png")]})
    await event_log.append(done)
    number = 6
    async with running(run_live_tables, settings):
        await eventually(as_expected)
        await eventually(all_counted)
    async for key, value in tail_changelog(settings, "in_flight", from_start=True):
        if key == str(ended.generation_id) and value is None:
            break


async def test_a_long_log_is_followed_with_bounded_memory(
    live: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event may make a message to a changelog, which faust buffers without limit: a million took 8 GB. Its flush
    gives up when the broker takes no message for 0.1 s."""
    number, most, put, send, slow = 4_000, [0], ProducerBuffer.put, ProducerBuffer._send_pending, iter(range(5))
    requests = [a_request() for _ in range(number)]
    await event_log.append_many(requests)

    def measured(buffer: ProducerBuffer, message: FutureMessage) -> None:
        put(buffer, message)
        most[0] = max(most[0], buffer.size)

    async def slowly(buffer: ProducerBuffer, message: FutureMessage) -> None:
        if next(slow, None) is not None:
            await asyncio.sleep(0.3)
        await send(buffer, message)

    monkeypatch.setattr(ProducerBuffer, "put", measured)
    monkeypatch.setattr(ProducerBuffer, "_send_pending", slowly)
    async with running(run_live_tables, live):

        async def all_there() -> bool:
            try:
                return len(await read_changelog(live, "in_flight")) == number
            except PermanentError:  # not made yet
                return False

        await eventually(all_there)
    assert 0 < most[0] <= 2 * BATCH


async def test_they_are_kept_although_their_topics_show_late(
    live: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request()
    await event_log.append(request)
    delay_metadata(monkeypatch, changelog_topic(live, "events_by_type"), answers=20)

    async def there() -> bool:
        try:
            return str(request.generation_id) in await read_changelog(live, "in_flight")
        except PermanentError:  # not made yet
            return False

    async with running(run_live_tables, live):
        await eventually(there)


async def test_a_table_that_there_is_not(live: Settings) -> None:
    with pytest.raises(PermanentError, match="in_flight"):
        await read_changelog(live, "unknown")


async def test_brokers_that_go_away_while_faust_starts_are_waited_for(
    live: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, stop = a_request(), asyncio.Event()
    await event_log.append(request)
    host, _, port = live.kafka_bootstrap_servers.rpartition(":")
    proxy = SilentProxy(host, int(port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    own_port = server.sockets[0].getsockname()[1]
    role = role_context(live.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{own_port}"}), stop)

    async def ensure_then_go_away(settings: Settings) -> None:
        await ensure_changelogs(settings)
        if not waits():
            server.close()

    def waits() -> list[str]:
        return [str(entry["error"]) for entry in logs if entry["event"] == "waiting"]

    async def waited() -> bool:
        return bool(waits())

    async def shown() -> bool:
        return str(request.generation_id) in await read_changelog(live, "in_flight")

    monkeypatch.setattr("agents.run.ensure_changelogs", ensure_then_go_away)
    with capture_logs() as logs:
        process = asyncio.ensure_future(retry_transient(lambda: run_live_tables(role), stop, operation="live-tables"))
        try:
            await eventually(waited)
            again = await asyncio.start_server(proxy.serve, "127.0.0.1", own_port)
            await eventually(shown)
            again.close()
        finally:
            stop.set()
            await process
    assert "no broker while" in waits()[0]
    assert len(waits()) < 10
