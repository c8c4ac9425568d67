"""The schedule of faults: a function of its seed that reaches every target."""

from collections import Counter

from tests.faults.schedule.plan import LONG_PAUSE_S, MACHINE, Fault, schedule

ROLES, SERVERS = ["api", "agents", "worker"], ["kafka", "postgres"]


def faults(seed: int, count: int = 100) -> list[Fault]:
    return list(schedule(seed, count, roles=ROLES, servers=SERVERS, every_s=2.0))


def test_the_same_seed_makes_the_same_schedule_and_another_one_another() -> None:
    assert faults(7) == faults(7) != faults(8)
    assert faults(7, 20) == faults(7)[:20]


def test_every_target_is_killed_and_paused_and_so_is_the_whole_machine() -> None:
    struck = Counter((fault.target, fault.kind) for fault in faults(7))
    assert all(struck[target, kind] for target in (*ROLES, *SERVERS) for kind in ("kill", "pause"))
    assert all(struck[role, "long pause"] for role in ROLES)
    assert struck[MACHINE, "kill"]


def test_a_long_pause_outlasts_the_sessions_and_leases() -> None:
    longest = [fault.pause_s for fault in faults(7) if fault.kind == "long pause"]
    assert longest
    assert min(longest) >= LONG_PAUSE_S[0] > 6
    assert {fault.pause_s for fault in faults(7) if fault.kind == "kill"} == {0.0}
