"""`gengui-stream doctor` as a user runs it; and its checks of flags, providers and roles."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from agents.run import run_agents, run_live_tables
from gengui_stream.account_jobs.role import run_account_jobs
from gengui_stream.bridge.run import run_bridge
from gengui_stream.dispatch.role import run_dispatch
from gengui_stream.doctor.examination import Check, Context, examine
from gengui_stream.doctor.findings import Finding, fail, ok
from gengui_stream.errors import TransientError
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.health.liveness import Health
from gengui_stream.health.server import served_health
from gengui_stream.log.event_log import EventLog
from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings, load_settings
from gengui_stream.thumbnails.role import run_thumbnails
from gengui_stream.worker.run import run_worker
from tests.integration.cli.test_cli_faults import NOWHERE, PLAIN
from tests.integration.commands import command
from tests.integration.doctor.doctoring import NO_PROCESS, examined, failed
from tests.integration.log.logs import send_by_key
from tests.integration.projector.projecting import projecting
from tests.integration.providers.growthbook_server import CLIENT_KEY, GrowthBookServer, growthbook_server
from tests.integration.running import a_request, eventually, running

WITHIN_S = 30.0
"""How long it may take when nothing answers, on a machine that does other things; alone it takes 8 s."""


async def test_with_nothing_there_each_server_is_named_in_a_line() -> None:
    ran = await command(
        {**NOWHERE, "RUNPOD_API_KEY": "hunter2", "RUNPOD_ENDPOINT_ID": "e1"}, "doctor", new_process=True
    )
    assert ran.code == 1
    assert "hunter2" not in ran.out + ran.err
    assert ran.err == ""
    failures = [line.split()[1] for line in ran.out.splitlines() if line.startswith("fail")]
    assert failures[:4] == ["postgresql.connection", "redis.connection", "kafka.connection", "object_store.bucket"]
    remedies = [line for line in ran.out.splitlines() if line.startswith("      → ")]
    assert len(remedies) == sum(not line.startswith(("ok", "--", "  ")) for line in ran.out.splitlines()[:-1])


def test_without_a_server_of_ones_own_it_asks_for_dev(tmp_path: Path) -> None:
    (tmp_path / ".gengui").mkdir()
    (tmp_path / ".gengui" / "dev.env").write_text(
        "".join(f"{name}={NOWHERE[name]}\n" for name in NOWHERE.keys() - PLAIN)
    )
    doctor = [sys.executable, "-m", "gengui_stream.cli", "doctor", "--json"]
    asked = ("settings", "warn", "run `make dev`")
    for environ, expected in ((PLAIN, True), (NOWHERE, False)):
        ran = subprocess.run(doctor, cwd=tmp_path, env=environ, capture_output=True, check=False)
        found = {(one["name"], one["status"], one["remedy"]) for one in orjson.loads(ran.stdout)["findings"]}
        assert (ran.returncode, asked in found) == (1, expected)


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Takes every connection, and never says a word."""
    opened: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: opened.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in opened:
            writer.close()
        server.close()


async def test_servers_that_never_answer_are_not_waited_for() -> None:
    async with silent_server() as port:
        address = f"127.0.0.1:{port}"
        environ = {
            **PLAIN,
            "DATABASE_URL": f"postgresql://u:hunter2@{address}/x",
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "REDIS_URL": f"redis://:hunter2@{address}",
            "S3_ENDPOINT": f"http://{address}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "hunter2-secret",
            "GEMINI_API_KEY": "hunter2",
            "GEMINI_BASE_URL": f"http://{address}",
            "RUNPOD_API_KEY": "hunter2",
            "RUNPOD_ENDPOINT_ID": "e1",
            "RUNPOD_BASE_URL": f"http://{address}",
            "GROWTHBOOK_API_HOST": f"http://{address}",
            "GROWTHBOOK_CLIENT_KEY": "sdk-1",
            "PORT": str(port),
        }
        ran = await command(environ, "doctor", "--json")
    assert ran.code == 1
    assert "hunter2" not in ran.out + ran.err
    assert ran.document["seconds"] < WITHIN_S
    names = {one["name"].partition(".")[0] for one in ran.document["findings"] if one["status"] == "fail"}
    assert {"postgresql", "redis", "kafka", "object_store", "provider"} <= names


async def test_only_invalid_settings_are_reported() -> None:
    ran = await command({**PLAIN, "PORT": "many", "LOG_LEVEL": "loud", "KAFKA_SERVERS": "k"}, "doctor", "--json")
    found = [(one["name"], one["status"]) for one in ran.document["findings"]]
    assert (ran.code, found) == (1, [("settings", "fail"), ("settings", "fail"), ("settings", "warn")])


# how checks are run


async def examine_with(*checks: Check) -> tuple[list[Finding], dict[str, tuple[str, ...]], bool]:
    report = await examine(load_settings({}, env_files=()), Path("nowhere"), checks, lambda _: None)
    return list(report.findings), dict(report.not_checked), report.abandoned


def giving(*findings: Finding) -> "Check":
    async def run(_: Context) -> Sequence[Finding]:
        return findings

    return Check(findings[0].name, run)


async def test_what_a_check_raises_is_a_finding_and_shows_no_secret() -> None:
    async def unavailable(_: Context) -> Sequence[Finding]:
        raise TransientError("postgresql://u:hunter2@h is unavailable")

    async def buggy(_: Context) -> Sequence[Finding]:
        raise KeyError("redis://:hunter2@h")

    findings, _, abandoned = await examine_with(Check("one", unavailable), Check("other", buggy))
    assert [(finding.name, finding.status) for finding in findings] == [("one", "fail"), ("other", "fail")]
    assert not any("hunter2" in finding.detail for finding in findings)
    assert not abandoned


async def test_what_needs_a_server_that_fails_is_not_checked() -> None:
    async def never(_: Context) -> Sequence[Finding]:
        raise AssertionError("it was run")

    async def needing(context: Context) -> Sequence[Finding]:
        return [ok("c", " ".join(sorted(context.available)))]

    findings, not_checked, _ = await examine_with(
        giving(ok("a", "")), giving(fail("b", "", "")), Check("c", needing, needs=frozenset("a")),
        Check("d", never, needs=frozenset("ab")),
    )  # fmt: skip
    assert [(finding.name, finding.detail) for finding in findings] == [("a", ""), ("b", ""), ("c", "a")]
    assert not_checked == {"d": ("b",)}


# flags, providers, roles, backlog


@pytest.mark.stack
@pytest.mark.parametrize(
    ("features", "status", "name"),
    [
        ({"image_provider": {"defaultValue": "local"}}, "ok", "flags.image_provider"),
        ({"image_provider": {"defaultValue": {"provider": "local"}}}, "ok", "flags.image_provider"),
        ({"image_provider": {"defaultValue": "flux"}}, "fail", "flags.image_provider"),
        ({"image_provider": {"defaultValue": "gemini"}}, "fail", "flags.image_provider"),
        ({}, "warn", "flags.image_provider"),
    ],
)
async def test_what_flags_say(
    features: dict[str, object], status: str, name: str, settings: Settings, tmp_path: Path
) -> None:
    async with growthbook_server() as server:
        server.features = features
        found = await examined(_with_flags(settings, server), tmp_path, "flags")
    assert (found["flags.growthbook"].status, found[name].status) == ("ok", status)


def _with_flags(settings: Settings, server: GrowthBookServer) -> Settings:
    return settings.model_copy(update={"growthbook_api_host": server.url, "growthbook_client_key": CLIENT_KEY})


@pytest.mark.stack
async def test_flags_that_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    async with growthbook_server() as server:
        own = _with_flags(settings, server)
        server.status = 400
        assert "GROWTHBOOK_CLIENT_KEY" in ((await examined(own, tmp_path, "flags"))["flags.growthbook"].remedy or "")
        server.status, server.encryption_key = 200, "AAAAAAAAAAAAAAAAAAAAAA=="
        encrypted = (await examined(own, tmp_path, "flags"))["flags.growthbook"]
        assert (encrypted.status, "GROWTHBOOK_DECRYPTION_KEY" in (encrypted.remedy or "")) == ("fail", True)
    assert (await examined(own, tmp_path, "flags"))["flags.growthbook"].status == "warn"


@pytest.mark.stack
async def test_gemini_with_a_wrong_key_and_with_a_model_that_is_gone(settings: Settings, tmp_path: Path) -> None:
    async with fake_gemini(key="good") as server:

        async def evaluated(key: str, model: str) -> Finding:
            changes = {"gemini_api_key": SecretStr(key), "gemini_base_url": server.url, "gemini_model": model}
            found = await examined(settings.model_copy(update=changes), tmp_path, "provider.gemini")
            assert "hunter2" not in str(found)
            return found[f"provider.gemini.{model}"]

        usual = settings.gemini_model
        assert (await evaluated("good", usual)).status == "ok"
        assert "GEMINI_API_KEY" in ((await evaluated("hunter2", usual)).remedy or "")
        assert "GEMINI_MODEL" in ((await evaluated("good", "gemini-of-old")).remedy or "")


@pytest.mark.stack
async def test_roles_are_found_by_their_port_or_by_what_they_leave_behind(settings: Settings, tmp_path: Path) -> None:
    metrics, health = new_metrics(), Health()
    metrics.model_retirement.labels("gemini", "gemini-of-old").set(time.time() + 3600)
    with served_health(
        load_settings({"METRICS_PORT": "0"}, env_files=()), ROLES["dispatch"], health, metrics.registry
    ) as port:
        addresses = dict.fromkeys(ROLES, NO_PROCESS) | {"dispatch": f"http://127.0.0.1:{port}"}
        (tmp_path / "stack.json").write_bytes(orjson.dumps({"health": addresses}))
        found = await examined(settings, tmp_path, "redis", "kafka", "roles")
        assert failed(found) == {"role.agents", "role.thumbnails"}
        assert found["role.dispatch"].status == "warn"  # it waits for its servers
        public = settings.model_copy(update={"public_url": f"http://127.0.0.1:{port}/"})
        assert (await examined(public, tmp_path, "redis", "kafka", "roles"))["role.api"].detail.endswith(
            f"(http://127.0.0.1:{port})"
        )
        health.started()
        keyed = settings.model_copy(update={"gemini_api_key": SecretStr("k")})
        found = await examined(keyed, tmp_path, "redis", "kafka", "roles", "provider.gemini.retirement")
        assert found["role.dispatch"].status == "ok"
        assert found["provider.gemini.gemini-of-old.retirement"].status == "warn"
    roles = (run_agents, run_live_tables, run_dispatch, run_thumbnails, run_bridge, run_worker, run_account_jobs)
    async with AsyncExitStack() as stack:
        for role in roles:
            await stack.enter_async_context(running(role, settings))

        async def all_there() -> bool:
            found = await examined(settings, tmp_path, "postgresql", "redis", "kafka", "roles")
            there = [
                name
                for name, finding in found.items()
                if name.startswith("role.") and "running elsewhere" in finding.detail
            ]
            return len(there) == len(roles)

        await eventually(all_there)


async def test_a_process_that_hangs_as_a_whole_is_named(tmp_path: Path) -> None:
    """Paused, its kernel still accepts connections for it, and the servers still count it among their clients."""
    async with silent_server() as port:
        addresses = {"health": {"thumbnails": f"http://127.0.0.1:{port}"}}
        (tmp_path / "stack.json").write_bytes(orjson.dumps(addresses))
        found = await examined(load_settings(PLAIN, env_files=()), tmp_path, "roles")
    assert "role.thumbnails" in failed(found)
    assert "does not respond" in found["role.thumbnails"].detail


@pytest.mark.stack
async def test_what_does_not_get_done_is_named(
    settings: Settings, pool: Pool, event_log: EventLog, tmp_path: Path
) -> None:
    subjects = ("jobs", "projections.lag", "dead_letters.log", "dead_letters.redis")
    assert failed(await examined(settings, tmp_path, *subjects)) == set()
    async with projecting(settings):
        request = a_request()
        await event_log.append(request)
        await send_by_key(settings, str(a_request().generation_id).encode(), b"\xff{")

        async def folded() -> bool:
            counts = "SELECT (SELECT count(*) FROM jobs.jobs), (SELECT count(*) FROM projections.dead_letters)"
            row = await pool.fetchrow(counts)
            return row is not None and tuple(row) == (2, 1)

        await eventually(folded)
    await pool.execute("UPDATE jobs.jobs SET available_at = now() - interval '2 minutes' WHERE kind = 'dispatch'")
    await pool.execute("UPDATE projections.generation_requests SET deadline = now() - interval '5 minutes'")
    found = await examined(settings, tmp_path, *subjects)
    assert failed(found) == {"jobs.dispatch", "generations"}
    assert (found["jobs.dispatch"].detail[:9], found["dead_letters.log"].status) == ("Job stuck", "warn")
