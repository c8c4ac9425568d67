"""A crash of a role is an anomaly of the schedule."""

import json

from tests.faults.schedule.crashes import crashes


def line(event: str, last: str) -> str:
    return json.dumps({"event": event, "timestamp": "t", "exception": f"Traceback\n  File x\n{last}\n"})


def test_a_crash_is_found_with_its_reason() -> None:
    found = list(crashes("api", [line("crashed", "RuntimeError: closed"), line("starting", ""), '{"event": "crashed"']))
    assert [(anomaly.subject, anomaly.detail) for anomaly in found] == [("api", "t: RuntimeError: closed")]


def test_faust_without_a_broker_ends_by_design() -> None:
    assert list(crashes("live-tables", [line("crashed", "aiokafka.errors.NodeNotReadyError: node 1")])) == []
