"""The turns of `make test-cluster` and what it computes from its samples."""

import json
from collections import Counter

from gengui_stream.roles import ROLES
from tests.cluster.brokers import DUTIES
from tests.cluster.probe import Gap, Sample, gap_of
from tests.cluster.readiness import ReadinessWatch, Unready
from tests.cluster.report import AgentsFigures, ClusterReport, Struck
from tests.cluster.turns import BESIDES, processes_of, short_turns, turns
from tests.cluster.two_lost import TwoLost
from tests.faults.schedule.report import ScheduleReport

GAP = Gap(1.2, 3.4, 2, 10.0, 900.0)


def test_every_role_and_every_duty_is_killed_and_paused_once() -> None:
    assert Counter((turn.subject, turn.kind) for turn in turns(7)) == Counter(
        (subject, kind) for subject in (*ROLES, *DUTIES) for kind in ("kill", "long pause")
    )


def test_the_seed_decides_the_order_and_the_process() -> None:
    assert turns(7) == turns(7)
    assert turns(7) != turns(8)
    agents = {turn.process for seed in range(30) for turn in turns(seed) if turn.subject == "agents"}
    assert agents == {0, 1, 2}


def test_a_short_run_has_a_broker_and_a_role() -> None:
    assert sorted(map(str, short_turns(7))) == [
        "kill agents",
        "kill the leader",
        "long pause agents",
        "long pause the leader",
    ]


def test_each_process_of_a_role_can_be_named() -> None:
    assert processes_of("agents") == ["agents", "agents-2", "agents-3"]
    assert {name for role in ROLES for name in processes_of(role)} == {*ROLES, *BESIDES}


def test_a_gap_is_the_longest_time_of_an_event_that_became_visible_after_the_fault() -> None:
    before = Sample(0, due=1.0, confirmed=1.1, visible=9.0)
    waiting = Sample(1, due=9.9, confirmed=12.0, visible=14.0)
    quick = Sample(0, due=11.0, confirmed=11.1, visible=11.2)
    gap = gap_of([before, waiting, quick], since=10.0)
    assert (gap.confirmed_s, gap.visible_s, gap.partitions) == (2.1, 4.1, 1)


def test_unready_is_what_the_others_answered_since_then() -> None:
    watch = ReadinessWatch(["http://a", "http://b"])
    watch.found += [
        Unready(1.0, "http://a", 5.0, "before"),
        Unready(11.0, "http://a", 2.0, "503"),
        Unready(12.0, "http://b", 3.0, "of the one that was struck"),
    ]
    assert watch.unready_s(10.0, without="http://b") == 2.0
    assert watch.unready_s(10.0, without=None) == 5.0


def test_a_report_has_a_row_for_each_turn_and_each_number_of_agents() -> None:
    report = ClusterReport(
        seed=7,
        quiet=GAP,
        struck=[Struck("kill api", "api-2", GAP, 4.4, 0.0), Struck("kill the leader", "kafka-2", GAP, 9.1, 0.5)],
        two_lost=TwoLost(503, 8.0, "5", 200, 503),
        figures=[AgentsFigures(2, 20_000, 499, 8.0, 21.0, 90.0)],
    )
    text = report.as_text()
    assert text.index("| kill the leader | kafka-2 | 1.2 | 3.4 | 2 | 9 | 0.5 |") < text.index("| kill api | api-2 |")
    assert "a request is answered with 503 after 8.0 s (`Retry-After: 5`), a read with 200, `/readyz` with 503" in text
    assert "| 2 | 20,000 | 499 | 8.0 | 21.0 | 90.0 |" in text
    assert json.loads(report.as_json())["struck"][0]["gap"]["visible_s"] == 3.4


def test_the_counts_of_a_schedule_are_in_its_json() -> None:
    schedule = ScheduleReport(seed=7, count=1, statuses=Counter({"completed": 3}))
    assert json.loads(schedule.as_json())["statuses"] == {"completed": 3}
    report = ClusterReport(seed=7, schedule=schedule)
    assert json.loads(report.as_json())["schedule"]["statuses"] == {"completed": 3}
