"""The log on Kafka and in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from gengui_stream.log.event_log import EventLog
from gengui_stream.log.unpacking.records import LogRecord
from gengui_stream.settings import Settings
from gengui_stream.testing.event_log import InMemoryEventLog
from tests.contracts.event_log import EventLogContract
from tests.integration.log.logs import everything


@dataclass(frozen=True)
class KafkaLog:
    appender: EventLog
    settings: Settings

    async def read(self, start: Mapping[int, int] | None = None) -> Sequence[LogRecord]:
        return await everything(self.settings, start)


@dataclass(frozen=True)
class InMemoryLog:
    appender: InMemoryEventLog

    async def read(self, start: Mapping[int, int] | None = None) -> Sequence[LogRecord]:
        return self.appender.read(start)


class TestInMemory(EventLogContract):
    @pytest.fixture
    def log(self) -> InMemoryLog:
        return InMemoryLog(InMemoryEventLog())


@pytest.mark.stack
class TestOnKafka(EventLogContract):
    @pytest.fixture
    def log(self, settings: Settings, event_log: EventLog) -> KafkaLog:
        return KafkaLog(event_log, settings)
