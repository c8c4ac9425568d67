"""`gengui-stream dev` applies changed code: on a copy of the packages in its working directory."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import psutil
import pytest

from gengui_stream.dev.reload.import_graph import PACKAGES
from tests.faults.system import ROLES, DevSystem
from tests.integration.given_servers import give_servers
from tests.integration.running import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[3]
REDIS_DATABASE: Final = 4_094


@pytest.fixture(scope="module")
def shared(stack: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevSystem]:
    directory = tmp_path_factory.mktemp("reload")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    asyncio.run(give_servers(stack, directory, REDIS_DATABASE))
    made = DevSystem(directory, reload=True)
    yield made
    asyncio.run(made.stop())


@pytest.fixture
def system(shared: DevSystem) -> DevSystem:
    if not shared.alive:
        asyncio.run(shared.start())
        asyncio.run(watched(shared, "gengui_stream/settings/example.py", "no role imports it"))
    return shared


def pids(system: DevSystem) -> dict[str, list[int]]:
    return {role: system.pids(role) for role in ROLES}


async def says(system: DevSystem, *lines: str) -> None:
    async def said() -> bool:
        return all(line in system.said() for line in lines)

    await eventually(said)


async def restarted(system: DevSystem, before: dict[str, list[int]], *roles: str) -> None:
    """Those, and no others."""

    async def runs_again() -> bool:
        return all(system.pids(role) not in ([], before[role]) for role in roles)

    await eventually(runs_again)
    assert {role for role in ROLES if system.pids(role) != before[role]} == set(roles)


async def settings_read(system: DevSystem) -> None:
    """A role that is starting would read the file that the test is about to write, and end."""

    async def alive() -> bool:
        health = system.document()["health"]
        assert isinstance(health, dict)
        urls = [str(url) for url in health.values()]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            return all([await _is_alive(http, url) for url in urls])

    await eventually(alive)


async def _is_alive(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/livez") as response:
            return bool((await response.json())["status"] == "alive")
    except aiohttp.ClientError:
        return False


def append(system: DevSystem, file: str, code: str) -> None:
    with (system.directory / file).open("a") as module:
        module.write(code)


def has_watches(system: DevSystem) -> bool:
    """Whether the watching process has begun to watch."""
    with suppress(ValueError, OSError, psutil.NoSuchProcess):
        process = system.child("gengui_stream.dev.reload")
        return any("inotify" in found.read_text() for found in Path(f"/proc/{process.pid}/fdinfo").iterdir())
    return False


async def watched(system: DevSystem, file: str, outcome: str) -> None:
    """Leaves no change behind: it would be one with that of the test. A change is missed while the watching process
    starts, and one that continues is not complete."""

    async def noticed() -> bool:
        await eventually(watches)
        append(system, file, "\n# changed\n")
        with suppress(AssertionError):
            await eventually(said, within_s=10.0)
        return await said()

    async def watches() -> bool:
        return has_watches(system)

    async def said() -> bool:
        return f"{file} changed: {outcome}" in system.said()

    await eventually(noticed)


async def test_a_role_whose_code_changed_runs_the_new_code_and_the_others_go_on(system: DevSystem) -> None:
    before = pids(system)
    append(system, "gengui_stream/bridge/run.py", "\nimport sys\nsys.stderr.write('the new bridge\\n')\n")
    await says(system, "gengui_stream/bridge/run.py changed: restarting bridge")
    await restarted(system, before, "bridge")

    async def new_code() -> bool:
        return "the new bridge" in system.log("bridge").read_text()

    await eventually(new_code)


async def test_what_does_not_parse_restarts_nothing_until_it_parses(system: DevSystem) -> None:
    before, module = pids(system), system.directory / "gengui_stream" / "worker" / "run.py"
    proper = module.read_text()
    module.write_text(f"{proper}\nx = (\n")
    await says(system, "gengui_stream/worker/run.py:", "was never closed; the roles keep their current code")
    assert pids(system) == before
    module.write_text(f"{proper}\nx = ()\n")
    await says(system, "gengui_stream/worker/run.py changed: restarting worker")
    await restarted(system, before, "worker")


async def test_many_files_at_once_are_one_restart(system: DevSystem) -> None:
    before, already = pids(system), system.said().count("changed: restarting")
    watcher = system.child("gengui_stream.dev.reload")
    watcher.suspend()  # so that it finds them at once, however long the test takes to write them
    for name in ("thumbnails/role", "dispatch/role", "reconcile/handler"):
        append(system, f"gengui_stream/{name}.py", "\n# changed\n")
    watcher.resume()
    await says(system, "gengui_stream/thumbnails/role.py changed: restarting dispatch, thumbnails")
    await restarted(system, before, "dispatch", "thumbnails")
    assert system.said().count("changed: restarting") == already + 1


async def test_settings_that_changed_restart_every_role_and_faults_none(system: DevSystem) -> None:
    await settings_read(system)
    before, file = pids(system), system.directory / ".env"
    proper = file.read_text()
    file.write_text(f"{proper}MAX_ATTEMPTS=none\n")
    await says(system, "MAX_ATTEMPTS", "the roles keep their current settings")
    assert pids(system) == before, system.said()
    file.write_text(f"{proper}MAX_ATTEMPTS=2\n")
    await says(system, ".env changed: restarting every role")
    await restarted(system, before, *ROLES)


async def test_a_watcher_that_was_killed_is_started_again(system: DevSystem) -> None:
    before = pids(system)
    system.child("gengui_stream.dev.reload").kill()
    await says(system, "the watcher of the code ended (-9); starting it again")
    await watched(system, "gengui_stream/bridge/messages.py", "restarting")
    await restarted(system, before, "bridge")
