"""Whoever keeps a long log in the embedded broker is told."""

import pytest

from gengui_stream.dev.log_length import long_log
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.events import wide_history
from tests.integration.logs import project_everything

pytestmark = pytest.mark.stack


async def test_a_long_log_is_told_of_with_the_remedy(settings: Settings, pool: Pool, event_log: EventLog) -> None:
    history = wide_history(1)
    await event_log.append_many(history)
    await project_everything(settings, pool)

    told = await long_log(settings, long_from=len(history))
    assert told is not None
    assert f"{len(history)} events" in told
    assert "KAFKA_BOOTSTRAP_SERVERS" in told
    assert await long_log(settings, long_from=len(history) + 1) is None


async def test_a_log_that_nothing_was_read_of_is_short(settings: Settings) -> None:
    assert await long_log(settings, long_from=1) is None
