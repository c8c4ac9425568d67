"""Invalid records on the log: each is accounted for, and the next event is applied."""

import json
import time
from uuid import UUID

import pytest

from agents.run import run_agents
from gengui_stream.identifiers import new_id
from gengui_stream.log.codec import encode_key, encode_value
from gengui_stream.postgres.pool import Pool
from gengui_stream.recovery.dead_letters.filters import LetterFilter, listed
from gengui_stream.recovery.dead_letters.letters import discard
from gengui_stream.settings import Settings
from tests.integration.agents.agents_runs import progress, send_raw
from tests.integration.running import a_request, eventually, running, state_of
from tests.orders import ORDER
from tests.timings import TIMINGS

pytestmark = pytest.mark.stack

LETTER, IGNORED = "dead letter", "ignored"


def a_value(**changes: object) -> bytes:
    return json.dumps(json.loads(encode_value(a_request())) | changes).encode()


def with_id(generation_id: UUID, **changes: object) -> bytes:
    return a_value(generation_id=str(generation_id), **changes)


GIVEN = new_id()
KEY = str(GIVEN).encode()

BAD = {
    "not JSON": (KEY, b"{invalid", LETTER),
    "not UTF-8": (KEY, b"\xff\xfe\x00", LETTER),
    "nothing": (KEY, b"", LETTER),
    "tombstone": (KEY, None, LETTER),
    "JSON, but a list": (KEY, b"[1, 2]", LETTER),
    "wrong schema": (KEY, with_id(GIVEN, width="wide"), LETTER),
    "newer schema": (KEY, with_id(GIVEN, schema_version=99), IGNORED),
    "unknown type": (KEY, with_id(GIVEN, type="generation.imagined"), IGNORED),
    "no key": (None, a_value(), LETTER),
    "another's key": (KEY, a_value(), LETTER),
    "key that is no id": (b"\x00\xff", a_value(), LETTER),
    "a mebibyte of zeros": (KEY, bytes(1024 * 1024), LETTER),
    "from 1970": (KEY, with_id(GIVEN, occurred_at="1970-01-01T00:00:00Z"), IGNORED),
    "from 3000": (KEY, with_id(GIVEN, occurred_at="3000-01-01T00:00:00Z"), IGNORED),
    "a null character": (KEY, with_id(GIVEN, prompt="a\u0000b"), LETTER),
}


@pytest.mark.parametrize(("key", "value", "fate"), BAD.values(), ids=BAD.keys())
async def test_a_bad_record_is_accounted_for_and_the_next_is_applied(
    settings: Settings, pool: Pool, key: bytes | None, value: bytes | None, fate: str
) -> None:
    good, now = a_request(), int(time.time() * 1000)
    await send_raw(settings, [(key, value, now), (encode_key(good), encode_value(good), now)])

    async def both_done() -> bool:
        return (await progress(pool, settings)).next_offset == 2

    async with running(run_agents, settings):
        await eventually(both_done)
    done = await progress(pool, settings)
    assert done.consistent
    assert (done.applied, done.ignored, done.dead_lettered) == (1, int(fate == IGNORED), int(fate == LETTER))
    assert await state_of(pool, good.generation_id)
    letters = await pool.fetch("SELECT record_key, record_value FROM projections.dead_letters")
    assert [(row["record_key"], row["record_value"]) for row in letters] == [(key, value)] * (fate == LETTER)


async def test_the_agents_live_through_a_discard(settings: Settings, pool: Pool) -> None:
    """And apply the later events of the generation, which were parked before."""
    event, now = a_request(), int(time.time() * 1000)
    key, request = encode_key(event), encode_value(event)
    await send_raw(settings, [(key, b"{", now), (key, request, now)])

    async def reached(offset: int) -> bool:
        return (await progress(pool, settings)).next_offset == offset

    async with running(run_agents, settings):
        await eventually(lambda: reached(2))
        [letter] = await listed(pool, settings.events_topic, LetterFilter(), limit=10)
        await discard(pool, settings.events_topic, letter.position, TIMINGS, ORDER)
        await send_raw(settings, [(key, encode_value(event.model_copy(update={"id": new_id()})), now)])
        await eventually(lambda: reached(3))
    done = await progress(pool, settings)
    assert done.consistent
    assert (done.applied, done.ignored, done.dead_lettered) == (1, 1, 1)
    assert await state_of(pool, event.generation_id)
