"""Processes are replaced while the system is used: a short form of what `make bench` measures."""

import pytest

from tests.bench.rolling import agents, every_role

pytestmark = pytest.mark.timeout(900)


@pytest.mark.usefixtures("apache_kafka")
async def test_replaced_agents_pause_each_partition_for_less_than_three_seconds() -> None:
    found = await agents.measure(rounds=1)
    print(agents.section(found))
    changes = [pause for pauses in found.pauses.values() for pause in pauses]
    assert len(changes) == 8
    assert {pause.what: pause.by_partition for pause in changes if pause.longest_s >= agents.GOAL_S} == {}


@pytest.mark.usefixtures("apache_kafka")
async def test_replacing_every_process_loses_nothing_and_no_response_is_an_error() -> None:
    found = await every_role.measure(rounds=1)
    print(every_role.section(found))
    assert found.faults == []
    assert found.seen.ended > len(every_role.PROCESSES) * every_role.BETWEEN
    assert {role: len(stops) for role, stops in found.stops.items()} == every_role.PROCESSES
    assert found.seen.closed > 0
