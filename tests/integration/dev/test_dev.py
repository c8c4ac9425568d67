"""`gengui-stream dev` end to end, with servers named in `.env`."""

import asyncio
import re
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import psutil
import pytest

from gengui_stream.process.exit_codes import ExitCode
from tests.databases import connected
from tests.faults.system import ROLES, DevSystem
from tests.integration.given_servers import give_servers
from tests.integration.running import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

REDIS_DATABASE = 4_095

SLOW_TO_LOAD = """
import sys, time

def slow(event, arguments):
    if event == "open" and str(arguments[0]).endswith("/bridge.log") and "fork_server" in sys.orig_argv[2]:
        time.sleep(8)

sys.addaudithook(slow)
"""
"""The role that nothing else waits for comes to life as slowly as on a busy machine: it opens its log first of all."""


@pytest.fixture(scope="module")
def shared(stack: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevSystem]:
    """On things of its own in the servers of the test run."""
    directory = tmp_path_factory.mktemp("dev")
    asyncio.run(give_servers(stack, directory, REDIS_DATABASE))
    (directory / "sitecustomize.py").write_text(SLOW_TO_LOAD)
    made = DevSystem(directory, {"PYTHONPATH": str(directory)})
    yield made
    asyncio.run(made.stop())


@pytest.fixture
def system(shared: DevSystem) -> DevSystem:
    """Running, with logs of this run alone: the tests come in any order, and some of them stop it."""
    if not shared.alive:
        for log in (shared.directory / "dev.log", *(shared.directory / ".gengui" / "logs").glob("*.log")):
            log.unlink(missing_ok=True)
        asyncio.run(shared.start())
    return shared


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid)


def log_of(system: DevSystem, role: str) -> bytes:
    return system.log(role).read_bytes()


def _curl_lines(system: DevSystem) -> list[str]:
    return [line for line in system.said().splitlines() if line.startswith("curl ")]


def _shell(command: str) -> bytes:
    return subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60).stdout


def _first_line(command: str) -> bytes:
    with subprocess.Popen(["bash", "-c", f"exec timeout 60 {command}"], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            return running.stdout.readline()
        finally:
            running.terminate()


def test_the_three_curl_lines_work_as_printed(system: DevSystem) -> None:
    create, show, stream = _curl_lines(system)
    made = orjson.loads(_shell(create))
    assert made["status"] == "completed"
    assert made["outputs"]
    assert [one["id"] for one in orjson.loads(_shell(show))["data"]][:1] == [made["id"]]
    assert _first_line(stream).startswith(b"retry: ")


def test_it_says_where_everything_is(system: DevSystem) -> None:
    document, settings = system.document(), system.settings
    assert document["kafka"] == settings.kafka_bootstrap_servers
    assert document["postgres"] == settings.database_dsn
    assert document["redis"] == settings.redis_dsn
    assert document["s3"] == settings.s3_endpoint
    assert document["api"] == f"http://127.0.0.1:{settings.port}"
    assert system.key() in system.said()
    assert system.key("worker") != system.key()
    assert f"worker key {system.key('worker')}" in system.said()
    for name in ("dev.env", "stack.json", "keys.json"):
        assert stat.S_IMODE((system.directory / ".gengui" / name).stat().st_mode) == 0o600


async def test_every_role_says_where_it_is_alive(system: DevSystem) -> None:
    health = system.document()["health"]
    assert isinstance(health, dict)
    assert sorted(health) == sorted(ROLES)
    assert len(set(health.values())) == len(ROLES)
    async with aiohttp.ClientSession() as http:
        for role, url in health.items():

            async def alive(url: str = url) -> bool:
                async with http.get(f"{url}/livez") as answer:
                    return answer.status == 200 and (await answer.json())["status"] == "alive"

            await eventually(alive)
            async with http.get(f"{url}/metrics") as answer:
                assert "process_resident_memory_bytes" in await answer.text(), role


def test_what_is_given_is_not_started(system: DevSystem) -> None:
    pids = system.document()["pids"]
    assert isinstance(pids, dict)
    assert sorted(pids) == sorted(ROLES)
    assert all(runs(pid) for found in pids.values() for pid in found)


async def test_another_terminal_finds_it_by_itself(system: DevSystem) -> None:
    code, output = await system.command("verify", "--json")
    assert (code, orjson.loads(output)["agrees"]) == (0, True)


async def test_the_doctor_finds_no_faults(system: DevSystem) -> None:
    await system.ready()

    async def well() -> bool:
        code, output = await system.command("doctor", "--json")
        document = orjson.loads(output)
        roles = [one for one in document["findings"] if one["name"].startswith("role.") and "alive at" in one["detail"]]
        return (code, document["not_checked"], len(roles)) == (0, {}, len(ROLES))

    await eventually(well)


async def test_an_e_mail_is_shown_in_the_terminal_with_its_link(system: DevSystem) -> None:
    [url] = re.findall(r"^DATABASE_URL=(.*)$", (system.directory / ".env").read_text(), re.MULTILINE)
    async with connected(url) as connection:
        user_id = await connection.fetchval(
            "INSERT INTO accounts.users (user_id, email, role, user_name, password_hash)"
            " VALUES (gen_random_uuid(), 'ada@example.com', 'user', 'ada', 'hash') RETURNING user_id"
        )
        await connection.execute(
            "INSERT INTO accounts.emails (email_id, kind, user_id, recipient)"
            " VALUES (gen_random_uuid(), 'verification', $1, 'ada@example.com')",
            user_id,
        )

    async def shown() -> bool:
        said = system.said()
        return "e-mail | To: ada@example.com" in said and "/verify-email?token=gg_once_" in said

    await eventually(shown)


async def test_a_second_one_is_refused(system: DevSystem) -> None:
    code, output = await system.command("dev")
    assert code == ExitCode.UNAVAILABLE
    assert "another `dev` runs" in output


async def test_a_role_that_dies_is_started_again_and_said_so(system: DevSystem) -> None:
    old = system.signal("bridge", signal.SIGKILL)

    async def missing() -> bool:
        return system.pids("bridge") == []

    await eventually(missing)
    before = log_of(system, "bridge").count(b"bridge_started")
    await system.revived("bridge", old)
    assert "bridge ended (-9); starting it again in 0.5 s" in system.said()
    assert f"bridge runs again, process {system.pids('bridge')[0]}" in system.said()

    async def works() -> bool:
        return log_of(system, "bridge").count(b"bridge_started") == before + 1

    await eventually(works)


def test_it_is_ready_once_every_role_would_end_gracefully(system: DevSystem) -> None:
    for role in ROLES:
        assert b'"starting"' in log_of(system, role), role


async def test_ctrl_c_tells_streams_and_leaves_nothing_behind(system: DevSystem) -> None:
    """Each role ends by itself, within its grace."""
    pids = [system.pids(role)[0] for role in ROLES]
    async with _stream(system) as heard:
        assert await system.stop() == ExitCode.OK
        assert b"the server is stopping" in await heard.read()
    assert not [pid for pid in pids if runs(pid)]
    for role in ROLES:
        last = orjson.loads(log_of(system, role).splitlines()[-1])
        assert (last["event"], last.get("code")) == ("ended", 0), role


@asynccontextmanager
async def _stream(system: DevSystem) -> AsyncIterator[aiohttp.StreamReader]:
    headers = {"Authorization": f"Bearer {system.key()}"}
    async with aiohttp.ClientSession() as http, http.get(f"{system.url}/v1/stream", headers=headers) as response:
        await response.content.readuntil(b"\n\n")
        yield response.content


async def test_settings_that_are_wrong_start_nothing(tmp_path: Path) -> None:
    system = DevSystem(tmp_path, {"PORT": "70000"})
    child = system.role("dev")
    await asyncio.wait_for(child.ended(), 20)
    assert child.exit_code == ExitCode.CONFIGURATION
    assert "PORT" in child.log_tail()
    assert "starting the servers" not in child.log_tail()
