"""`gengui-stream dev`: the whole system on this machine, kept in `.gengui/`, until Ctrl-C."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from gengui_stream.dev.demo.client import open_client
from gengui_stream.dev.dev_files import (
    DIRECTORY,
    environ_of_roles,
    given_environ,
    given_settings,
    not_started,
    superseded,
    url_of,
    write_env,
    write_stack,
)
from gengui_stream.dev.forks.client import ForkServer
from gengui_stream.dev.ports import default_metrics_ports, free_port, is_free
from gengui_stream.dev.preparation import Preparation
from gengui_stream.dev.processes.supervisor import Supervisor
from gengui_stream.dev.reload.reloader import Reloader, reloading
from gengui_stream.dev.servers import Server
from gengui_stream.dev.shown_emails import ShownEmails
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.logging import log_for_people
from gengui_stream.process.background import background_task
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.roles import RoleName
from gengui_stream.settings import Settings, load_settings
from gengui_stream.settings.advice import remarks

READY_WITHIN_S: Final = 60.0
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class DevOptions:
    """`reload`: restart roles whose code changes. `without`: roles that are not started."""

    reload: bool
    without: tuple[RoleName, ...] = ()


def run_dev(forks: ForkServer | None, options: DevOptions) -> int:
    """Returns the exit code."""
    try:
        DIRECTORY.mkdir(exist_ok=True)
        lock = (DIRECTORY / "lock").open("w")
    except OSError as error:
        _say(f"{DIRECTORY.absolute()}, where `dev` keeps its data, cannot be written: {error.strerror}")
        return ExitCode.CONFIGURATION
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say(f"another `dev` runs in {DIRECTORY.resolve()}: stop it first")
            return ExitCode.UNAVAILABLE
        return _guarded(forks, options)


def _guarded(forks: ForkServer | None, options: DevOptions) -> int:
    try:
        asyncio.run(_until_signalled(forks, options))
    except ConfigurationError as error:
        _say(str(error))
        return ExitCode.CONFIGURATION
    except TransientError as error:
        _say(str(error))
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def _until_signalled(forks: ForkServer | None, options: DevOptions) -> None:
    """A signal ends the work gracefully; a second one ends it at once, with the child processes."""
    working = asyncio.ensure_future(_dev(forks, options))

    def told() -> None:
        if working.cancelling():
            os._exit(INTERRUPTED)
        _say("stopping ...")
        working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told)
    with suppress(asyncio.CancelledError):
        await working


async def _dev(forks: ForkServer | None, options: DevOptions) -> None:
    inspection = given_settings()
    wanted, given = inspection.valid().port, given_environ(inspection)
    for line in (*remarks(inspection), *not_started(inspection)):
        _say(line)
    stack = EmbeddedStack(DIRECTORY, given=given, say=_say)
    port = _port(wanted)
    for address, names in superseded(given, stack.environ).items():
        _say(f"{', '.join(names)}: not used without {address}, for which a server is started here")
    environ = environ_of_roles(given, {**stack.environ, "PORT": str(port)})
    settings = load_settings(environ, env_files=())
    log_for_people(settings, "dev")
    preparation = Preparation(settings, DIRECTORY / "keys.json")
    _say("starting the servers ...")
    try:
        await stack.start(after=preparation.steps)
        write_env(inspection, stack.environ, port)
        kept = {**stack.environ, "PORT": str(port)}
        supervised = _Supervised(environ, stack.servers, preparation.keys, forks)
        await _run(settings, supervised, options, kept)
    finally:
        await stack.stop()
        if forks is not None:
            await forks.stop()


class _Supervised(NamedTuple):
    """What the roles start with. `keys`: of the users `demo` and `worker`."""

    environ: Mapping[str, str]
    servers: Sequence[Server]
    keys: Mapping[str, str]
    forks: ForkServer | None


async def _run(settings: Settings, supervised: _Supervised, options: DevOptions, kept: Mapping[str, str]) -> None:
    """`kept`: the settings that a changed `.env` does not change."""
    known = supervised.keys
    ports = default_metrics_ports()
    if settings.metrics_port is not None:
        _say(f"METRICS_PORT is for one process: each role here has a port of its own, see {DIRECTORY / 'stack.json'}")
    supervisor = Supervisor(
        DIRECTORY,
        supervised.environ,
        supervised.servers,
        metrics_ports=ports,
        say=_say,
        changed=lambda: write_stack(settings, known, ports, supervisor.pids()),
        forks=supervised.forks,
        without=options.without,
    )
    emails = ShownEmails(supervisor.roles["account-jobs"].log, _say) if "account-jobs" in supervisor.roles else None
    _say("starting the roles ...")
    try:
        await supervisor.start()
        async with (
            _watched(supervisor) as watching,
            _reloaded(supervisor, settings, kept) if options.reload else nullcontext(),
            background_task(emails.keep_showing) if emails is not None else nullcontext(),
        ):
            await _until_ready(settings, known["demo"], supervisor, watching)
            if not watching.done():
                _welcome(settings, known)
            await watching
    finally:
        await supervisor.stop(settings.shutdown_grace_s)


@asynccontextmanager
async def _watched(supervisor: Supervisor) -> AsyncIterator["asyncio.Future[None]"]:
    """Restarts dead processes meanwhile."""
    watching = asyncio.ensure_future(supervisor.watch())
    try:
        yield watching
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _reloaded(supervisor: Supervisor, settings: Settings, kept: Mapping[str, str]) -> AbstractAsyncContextManager[None]:
    def environ() -> Mapping[str, str] | None:
        inspection = given_settings()
        for line in (*inspection.faults, *remarks(inspection)):
            _say(line)
        if inspection.settings is None:
            _say("the roles keep their current settings")
            return None
        return environ_of_roles(given_environ(inspection), kept)

    reloader = Reloader(supervisor, environ, settings.shutdown_grace_s, _say)
    return reloading(reloader, DIRECTORY / "logs" / "reload.log")


async def _until_ready(settings: Settings, key: str, supervisor: Supervisor, watching: "asyncio.Future[None]") -> None:
    """The commands printed afterwards work as printed. Returns after a minute at the latest: the logs explain the
    rest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S), open_client(url_of(settings), key) as client:
            while not (supervisor.stands() and await client.ready()):
                await asyncio.wait({watching}, timeout=0.1)
                if watching.done():  # with the reason why a role cannot start
                    return
            return
    _say(f"not ready within {READY_WITHIN_S:.0f} s: {url_of(settings)}/readyz and the logs say why")


def _port(wanted: int) -> int:
    if wanted and is_free(wanted):
        return wanted
    found = next((port for port in range(wanted + 1, wanted + 100) if is_free(port)), None) if wanted else None
    found = found or free_port()
    _say(f"port {wanted} is taken: the API listens on {found}" if wanted else f"the API listens on port {found}")
    return found


def _welcome(settings: Settings, known: Mapping[str, str]) -> None:
    url, header = url_of(settings), f"-H 'Authorization: Bearer {known['demo']}'"
    sys.stdout.write(
        f"API {url}  docs {url}/docs  demo key {known['demo']}  worker key {known['worker']}\n\n"
        f"curl {header} -H 'Content-Type: application/json' -H 'Prefer: wait=30' "
        f'-d \'{{"prompt": "a lighthouse in a storm"}}\' {url}/v1/generations\n'
        f"curl {header} {url}/v1/generations\n"
        f"curl -N {header} {url}/v1/stream\n\n"
        f"{_limit(settings)}; logs in {DIRECTORY / 'logs'}; Ctrl-C stops everything\n"
    )
    sys.stdout.flush()


def _limit(settings: Settings) -> str:
    limit = settings.rate_limit_user_daily
    return f"{limit:,} generations a day (RATE_LIMIT_USER_DAILY)" if limit else "no limit of generations"
