"""`gengui-stream dead-statuses`: what the bridge could not read is listed, delivered again, or discarded."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gengui_stream.bridge.messages import DEAD_STREAM, STATUS_STREAM
from gengui_stream.bridge.run import run_bridge
from gengui_stream.identifiers import new_id
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.streams import ProducerStreams
from gengui_stream.settings import Settings
from schemas.events import GenerationFailed
from tests.integration.commands import command
from tests.integration.running import eventually, logged, running

pytestmark = pytest.mark.stack

MEDIA_ID = str(new_id())
MESSAGES = [
    {"mediaId": MEDIA_ID, "status": "painting"},
    {"mediaId": "42", "status": "processing", "note": "\x1b[31m\udcff"},
    {"mediaId": MEDIA_ID, "status": "completed"},
]


@pytest_asyncio.fixture
async def bridged(settings: Settings) -> AsyncIterator[Settings]:
    """A system with these dead statuses."""
    async with opened_client(settings) as redis, running(run_bridge, settings):
        await ProducerStreams(shared(redis)).add_many(STATUS_STREAM, MESSAGES)
        await eventually(lambda: _dead(settings, len(MESSAGES)))
        yield settings


async def _dead(settings: Settings, number: int) -> bool:
    async with opened_client(settings) as redis:
        return int(await redis.xlen(DEAD_STREAM)) == number


async def test_dead_statuses_are_listed_retried_and_discarded(bridged: Settings) -> None:
    listed = await command(bridged, "dead-statuses", "list", "--json")
    assert listed.code == 0
    unknown, bad_id, no_key = listed.document
    assert [one["reason"] for one in (unknown, bad_id, no_key)] == ["unknown_status", "bad_media_id", "no_s3_key"]
    assert unknown["message"] == {"mediaId": MEDIA_ID, "status": "painting"}
    assert bad_id["message"]["note"] == "\x1b[31m\\xff"
    table = await command(bridged, "dead-statuses", "list", "--reason", "no_s3_key")
    assert [(row[0], row[3]) for row in table.rows] == [(no_key["id"], "no_s3_key")]
    shown = await command(bridged, "dead-statuses", "show", bad_id["id"])
    assert (shown.code, "\x1b" in shown.out) == (0, False)
    assert "bad_media_id" in shown.out

    retried = await command(bridged, "dead-statuses", "retry", unknown["id"], "--set", "status=failed", "--json")
    assert (retried.code, retried.document) == (0, {"retried": [unknown["id"]]})
    await eventually(lambda: _dead(bridged, 2))

    async def failed() -> bool:
        return [type(event) for event in await logged(bridged)] == [GenerationFailed]

    await eventually(failed)
    again = await command(bridged, "dead-statuses", "retry", "--all", "--reason", "no_s3_key")
    assert (again.code, again.out) == (0, "retried 1\n")
    await eventually(lambda: _dead(bridged, 2))  # it came back
    discarded = await command(bridged, "dead-statuses", "discard", "--all", "--reason", "bad_media_id", "--json")
    assert discarded.document == {"discarded": [bad_id["id"]]}
    assert await _dead(bridged, 1)


async def test_arguments_that_name_nothing_are_refused(settings: Settings) -> None:
    assert (await command(settings, "dead-statuses", "list")).out == "none\n"
    unknown = await command(settings, "dead-statuses", "show", "1-1")
    assert (unknown.code, "there is no dead status 1-1" in unknown.err) == (1, True)
    for text in ("retry", "discard --all", "show x", "retry 1-1 --all", "retry 1-1 --set x"):
        arguments = text.split()
        assert (await command(settings, "dead-statuses", *arguments)).code == 2, arguments
