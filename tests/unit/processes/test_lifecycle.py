"""The life of a role: exit codes, waiting for servers, signals; with entries of the test."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs

from gengui_stream import bootstrap
from gengui_stream.bootstrap import Entry, run_role, run_until_stopped
from gengui_stream.errors import BugError, ConfigurationError, FencedError, PermanentError, TransientError
from gengui_stream.process import lifecycle
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.process.lifecycle import RetryLimit, ShutdownRequested, pause, retry_transient
from gengui_stream.settings import Settings, load_settings

SETTINGS = load_settings({"SHUTDOWN_GRACE_S": "0.1"}, env_files=())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FIRST_PAUSE_S", 0.01)


def told() -> None:
    """The signal of an operator or a supervisor."""
    os.kill(os.getpid(), signal.SIGTERM)


async def until_told(settings: Settings, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().call_soon(told)
    await stop.wait()


async def test_told_to_end_it_ends_well() -> None:
    assert await run_until_stopped(until_told, "api", SETTINGS) is ExitCode.OK


async def test_a_role_that_ends_by_itself_has_a_bug() -> None:
    async def at_once(settings: Settings, stop: asyncio.Event) -> None: ...

    assert await run_until_stopped(at_once, "api", SETTINGS) is ExitCode.BUG


async def test_what_may_pass_is_waited_for() -> None:
    tries = 0

    async def third_time(settings: Settings, stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise TransientError("away")
        await until_told(settings, stop)

    assert await run_until_stopped(third_time, "api", SETTINGS) is ExitCode.OK
    assert tries == 3


async def test_a_wait_ends_when_told() -> None:
    async def away(settings: Settings, stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(told)
        raise TransientError("away")

    assert await run_until_stopped(away, "api", SETTINGS) is ExitCode.OK


async def test_the_end_of_a_wait_in_a_group_is_no_other_wait() -> None:
    """As in the API, which waits for its servers while it serves."""

    async def waiting(settings: Settings, stop: asyncio.Event) -> None:
        async def away() -> None:
            asyncio.get_running_loop().call_soon(told)
            raise TransientError("away")

        async with asyncio.TaskGroup() as group:
            group.create_task(retry_transient(away, stop, operation="api"))

    with capture_logs() as logs:
        assert await run_until_stopped(waiting, "api", SETTINGS) is ExitCode.OK
    assert [(log["operation"], log["error"]) for log in logs if log["event"] == "waiting"] == [("api", "away")]


def failing(error: Exception) -> Entry:
    async def fail(settings: Settings, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raising(error))
            group.create_task(stop.wait())

    return fail


async def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [BugError("x"), FencedError("x"), PermanentError("x"), RuntimeError("x")])
async def test_anything_else_ends_it(error: Exception) -> None:
    with pytest.raises(type(error)):
        await run_until_stopped(failing(error), "api", SETTINGS)


async def test_a_fault_of_the_settings_is_distinguished_wherever_it_occurs() -> None:
    """The exit code says that a restart does not help."""
    with pytest.raises(ConfigurationError):
        await run_until_stopped(failing(ConfigurationError(["X: y"])), "api", SETTINGS)


async def test_what_passes_in_a_group_passes() -> None:
    tries = 0

    async def twice(settings: Settings, stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await failing(TransientError("away"))(settings, stop)
        await until_told(settings, stop)

    assert await run_until_stopped(twice, "api", SETTINGS) is ExitCode.OK


async def test_a_role_that_does_not_listen_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "LAST_SECONDS", 0.2)

    async def deaf(settings: Settings, stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(told)
        await asyncio.Event().wait()

    began = time.monotonic()
    assert await run_until_stopped(deaf, "api", SETTINGS) is ExitCode.BUG
    assert time.monotonic() - began < 10


def test_a_role_with_wrong_settings_is_not_to_be_started_again() -> None:
    """Here with a port for metrics that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SETTINGS.model_copy(update={"metrics_port": taken.getsockname()[1]})
        assert run_role("dispatch", settings) == ExitCode.CONFIGURATION


# waiting


async def test_a_pause_is_as_long_as_it_says_or_until_told() -> None:
    stop = asyncio.Event()
    assert not await pause(stop, 0.01)
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert await pause(stop, 60)
    assert await pause(stop, 60)


def after(failures: int) -> Callable[[], Awaitable[int]]:
    tries = 0

    async def attempt() -> int:
        nonlocal tries
        tries += 1
        if tries <= failures:
            raise TransientError("away")
        return tries

    return attempt


async def test_persist_returns_the_first_success() -> None:
    assert await retry_transient(after(0), asyncio.Event(), operation="it") == 1
    assert await retry_transient(after(2), asyncio.Event(), operation="it") == 3


async def test_persist_gives_up_only_when_told_and_on_what_does_not_pass() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stop.set)
    with pytest.raises(ShutdownRequested):
        await retry_transient(after(1_000), stop, operation="it")
    with pytest.raises(PermanentError):
        await retry_transient(lambda: raising(PermanentError("x")), asyncio.Event(), operation="it")


async def test_retries_end_once_they_have_failed_for_too_long_while_the_server_answers() -> None:
    async def answers() -> None: ...

    async with asyncio.timeout(10):
        with pytest.raises(BugError, match=r"it has failed for 0\.2 s while the server answered: away"):
            await retry_transient(after(1_000), asyncio.Event(), operation="it", limit=RetryLimit(0.2, answers))


async def test_an_outage_of_any_length_is_waited_for() -> None:
    """The limit is shorter than every pause, but the server is not available."""
    stop = asyncio.Event()
    limit = RetryLimit(0.0, lambda: raising(TransientError("no server")))
    assert await retry_transient(after(4), stop, operation="it", limit=limit) == 5


@pytest.mark.parametrize(
    ("failed_at", "logged_at"),
    [((0.0, 0.3, 0.6, 0.9), [0.0]), ((0.0, 0.9, 1.0, 1.9), [0.0, 1.0]), ((0.5, 0.9, 1.0, 200.0), [0.5, 1.0, 200.0])],
)
async def test_a_wait_is_not_logged_at_every_failure(failed_at: Sequence[float], logged_at: Sequence[float]) -> None:
    """But at each doubling of its time, so that an outage does not fill the log."""
    times = iter((0.0, *failed_at))
    with capture_logs() as logs:
        await retry_transient(after(len(failed_at)), asyncio.Event(), operation="it", clock=lambda: next(times))
    assert [log["waited_s"] for log in logs if log["event"] == "waiting"] == logged_at
