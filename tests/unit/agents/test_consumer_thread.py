"""faust's own detector of stuck partitions, which takes a silence for a fault, stays silent."""

import logging

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from agents.consumer_thread import BatchThread


def test_a_partition_whose_last_commit_is_old_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    thread = BatchThread.__new__(BatchThread)  # the check needs no connection
    with caplog.at_level(logging.DEBUG):
        thread.verify_event_path(1e9, TP("generation.events", 0))
    assert caplog.records == []
    assert BatchThread.verify_event_path is not AIOKafkaConsumerThread.verify_event_path
