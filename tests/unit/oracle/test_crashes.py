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


def test_the_error_of_a_group_is_the_last_that_it_names() -> None:
    group = (
        "  | ExceptionGroup: errors (1 sub-exception)\n  +-+-- 1 --\n    | OSError: refused\n    +------------------"
    )
    [found] = crashes("dispatch", [line("crashed", group)])
    assert found.detail.endswith(": OSError: refused")
