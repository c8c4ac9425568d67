"""Findings from facts. Pure: each fault of a server is named, with its remedy."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gengui_stream.doctor import backlog, host, providers, role_processes
from gengui_stream.doctor.backlog import OpenJobs
from gengui_stream.doctor.findings import Finding
from gengui_stream.doctor.role_processes import LivezResponse, Traces
from gengui_stream.postgres.inspection import our_tables
from gengui_stream.providers.runpod.responses import Response as RunpodResponse
from gengui_stream.recovery.lag import PartitionLag
from gengui_stream.redis_io.inspection import GroupReader, StreamFacts
from gengui_stream.roles import ROLES, RoleName
from gengui_stream.settings import load_settings
from tests.unit.doctor.findings import NOW, statuses


def test_every_table_of_ours_is_known() -> None:
    assert {"jobs.jobs", "projections.timeline", "projections.dead_letters", "accounts.api_keys"} <= set(our_tables())


def runpod(status: int, body: object = None) -> Finding:
    return providers.evaluate_runpod("e1", RunpodResponse(status, body))


def test_runpods_answers() -> None:
    assert "RUNPOD_API_KEY" in (runpod(401).remedy or "")
    assert "RUNPOD_ENDPOINT_ID" in (runpod(404).remedy or "")
    assert runpod(500).status == "fail"

    def workers(queued: int = 0, **counts: int) -> Finding:
        return runpod(200, {"jobs": {"inQueue": queued}, "workers": counts})

    assert workers(idle=1).status == workers(running=2, unhealthy=1).status == workers(initializing=1).status == "ok"
    assert workers().status == "ok"  # scaled to none, and nothing to do
    assert (workers(queued=3).status, "max workers" in (workers(queued=3).remedy or "")) == ("fail", True)
    assert workers(queued=3, throttled=2).status == "warn"
    assert workers(unhealthy=2).status == "fail"
    assert runpod(200, "rubbish").status == "ok"


def test_geminis_answers() -> None:
    model = b'{"name": "models/m", "supportedGenerationMethods": ["generateContent"]}'
    assert providers.evaluate_gemini("m", 200, model).status == "ok"
    assert providers.evaluate_gemini("m", 200, b"not json").status == "ok"
    assert "GEMINI_MODEL" in (providers.evaluate_gemini("m", 404, b"").remedy or "")
    other = b'{"supportedGenerationMethods": ["embedContent"]}'
    assert "GEMINI_MODEL" in (providers.evaluate_gemini("m", 200, other).remedy or "")
    wrong_key = b'{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}'
    found = providers.evaluate_gemini("m", 400, wrong_key)
    assert ("API key not valid" in found.detail, "GEMINI_API_KEY" in (found.remedy or "")) == (True, True)
    soon, later = NOW + timedelta(days=5), NOW + timedelta(days=300)
    assert [providers.evaluate_retirement("m", at, NOW).status for at in (soon, later)] == ["warn", "ok"]


def test_who_reads_the_local_queue() -> None:
    def evaluated(length: int, *readers: GroupReader, **environ: str) -> str:
        settings = load_settings({"GEMINI_API_KEY": "k", **environ}, env_files=())
        return providers.evaluate_local(StreamFacts(length, 0, readers), settings).status

    reading, busy, gone = GroupReader("a", 1, 0), GroupReader("b", 60, 1), GroupReader("c", 500, 1)
    assert evaluated(5, reading) == evaluated(5, busy, gone) == "ok"
    assert evaluated(5, gone) == evaluated(5) == "fail"
    assert evaluated(0) == "warn"
    assert evaluated(0, DEFAULT_PROVIDER="gemini") == "ok"
    assert evaluated(0, DEFAULT_PROVIDER="gemini", PROVIDER_FALLBACKS="gemini,local") == "warn"
    assert evaluated(1, DEFAULT_PROVIDER="gemini") == "fail"


def traces(statuses: int = 0, **processes: int | None) -> Traces:
    known: dict[RoleName, int | None] = {role.name: processes.get(role.name) for role in ROLES.values()}
    return Traces(known, statuses)


def role(name: RoleName, answer: LivezResponse | None, found: Traces) -> str:
    return role_processes.evaluate(name, "http://127.0.0.1:1", answer, found).status


@pytest.mark.parametrize("name", [role.name for role in ROLES.values()])
def test_what_livez_says_counts_first(name: RoleName) -> None:
    assert role(name, LivezResponse(200, "alive", 0.1), traces()) == "ok"
    assert role(name, LivezResponse(200, "starting", 0.1), traces()) == "warn"
    stalled = role_processes.evaluate(name, "http://127.0.0.1:1", LivezResponse(503, "stalled", 42.0), traces())
    assert (stalled.status, "42 s" in stalled.detail, "restart" in (stalled.remedy or "")) == ("fail", True, True)
    assert role(name, LivezResponse(0, "silent", 0.0), traces(**{name: 2})) == "fail"
    assert role(name, None, traces(**{name: 2})) == "ok"


def test_who_is_missing_and_needed() -> None:
    assert [role(name, None, traces(**{name: 0})) for name in ("agents", "dispatch", "thumbnails")] == ["fail"] * 3
    assert [role(name, None, traces()) for name in ("agents", "dispatch", "thumbnails")] == ["warn"] * 3
    assert role("api", None, traces()) == role("account-jobs", None, traces(**{"account-jobs": 0})) == "warn"
    assert role("live-tables", None, traces(**{"live-tables": 0})) == "ok"
    assert role("bridge", None, traces(bridge=0)) == "ok"
    assert role("bridge", None, traces(7, bridge=0)) == "fail"


JOBS = OpenJobs(kind="dispatch", open=3, overdue=0, oldest_s=0.0, tries=1, error=None)


def test_jobs_that_do_not_get_done() -> None:
    assert statuses(backlog.evaluate_jobs([])) == {"jobs": "ok"}
    assert statuses(backlog.evaluate_jobs([JOBS])) == {"jobs.dispatch": "ok"}
    [stuck] = backlog.evaluate_jobs([replace(JOBS, overdue=2, oldest_s=70.0)])
    assert (stuck.status, stuck.detail[:9], "gengui-stream dispatch" in (stuck.remedy or "")) == (
        "fail",
        "Job stuck",
        True,
    )
    [thumbnails] = backlog.evaluate_jobs([replace(JOBS, kind="thumbnail", overdue=2)])
    assert thumbnails.detail.startswith("Thumbnails not generating")
    assert "gengui-stream thumbnails" in (thumbnails.remedy or "")
    secret = "object store: postgres://u:hunter2@h refused"
    [failing] = backlog.evaluate_jobs([replace(JOBS, tries=7, error=secret)])
    assert (failing.status, "tried 7 times" in failing.detail, "hunter2" in failing.detail) == ("warn", True, False)


def test_a_projection_that_falls_behind() -> None:
    def evaluated(seconds: float) -> str:
        return backlog.evaluate_lag([PartitionLag(0, 10, 5, 5, seconds), PartitionLag(1, 5, 5, 0, 0.0)]).status

    assert [evaluated(seconds) for seconds in (0.0, 9.0, 20.0, 100.0)] == ["ok", "ok", "warn", "fail"]


def test_dead_letters_are_a_warning() -> None:
    assert backlog.evaluate_dead_letters(0, 0).status == "ok"
    assert backlog.evaluate_dead_letters(1, 4).status == "warn"


def test_room_on_the_disk() -> None:
    gib = host.GIB
    found = [host.evaluate(free * gib, 100 * gib, "/x").status for free in (50, 3, 0)]
    assert found == ["ok", "warn", "fail"]
