"""`gengui-stream dev`: the whole system on this machine, kept in `.gengui/`, until Ctrl-C."""

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from gengui_stream.dev.ports import free_port, is_free
from gengui_stream.dev.preparation import keys, prepare, write_private
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.dev.supervisor import Supervisor
from gengui_stream.errors import ConfigurationError, TransientError
from gengui_stream.exit_codes import ExitCode
from gengui_stream.settings import DEV_ENV, Settings, load_settings

DIRECTORY: Final = DEV_ENV.parent


def run_dev() -> int:
    """Returns the exit code."""
    DIRECTORY.mkdir(exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say(f"another `dev` runs in {DIRECTORY.resolve()}: stop it first")
            return ExitCode.UNAVAILABLE
        try:
            asyncio.run(_dev())
        except (TransientError, ConfigurationError) as error:
            _say(str(error))
            return ExitCode.UNAVAILABLE
    return ExitCode.OK


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def given_environ() -> dict[str, str]:
    """What the user set: `.env` and, over it, the environment."""
    file = {name: value for name, value in dotenv_values(".env").items() if value}
    return {**file, **{name: value for name, value in os.environ.items() if value}}


async def _dev() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    given = given_environ()
    stack = EmbeddedStack(DIRECTORY, given=given, durable=True)
    _say("starting the servers ...")
    try:
        await stack.start()
        await _run_roles(stack, {**given, **stack.environ}, stop)
    finally:
        await stack.stop()


async def _run_roles(stack: EmbeddedStack, environ: dict[str, str], stop: asyncio.Event) -> None:
    environ["PORT"] = str(_port(int(environ.get("PORT", "3000"))))
    settings = load_settings(environ, env_files=())
    write_private(DEV_ENV, "".join(f"{name}={value}\n" for name, value in _dev_env(stack, environ).items()))
    await prepare(settings)
    known = await keys(settings, DIRECTORY / "keys.json")
    supervisor = Supervisor(
        DIRECTORY,
        environ,
        stack.servers,
        say=_say,
        changed=lambda: _write_stack(settings, known, supervisor.pids()),
    )
    supervisor.start()
    watching = asyncio.ensure_future(supervisor.watch())
    _welcome(settings, known["demo"])
    await asyncio.wait({watching, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    _say("stopping ...")
    await supervisor.stop(settings.shutdown_grace_s)
    with suppress(asyncio.CancelledError):
        await watching


def _port(wanted: int) -> int:
    if is_free(wanted):
        return wanted
    found = next((port for port in range(wanted + 1, wanted + 100) if is_free(port)), None) or free_port()
    _say(f"port {wanted} is taken: the API listens on {found}")
    return found


def _dev_env(stack: EmbeddedStack, environ: Mapping[str, str]) -> dict[str, str]:
    return {**stack.environ, "PORT": environ["PORT"]}


def _url(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def _write_stack(settings: Settings, known: Mapping[str, str], pids: Mapping[str, list[int]]) -> None:
    document = {
        "api": _url(settings),
        "kafka": settings.kafka_bootstrap_servers,
        "postgres": settings.database_dsn,
        "redis": settings.redis_dsn,
        "s3": settings.s3_endpoint,
        "keys": dict(known),
        "pids": dict(pids),
    }
    write_private(DIRECTORY / "stack.json", json.dumps(document, indent=2) + "\n")


def _welcome(settings: Settings, key: str) -> None:
    url, header = _url(settings), f"-H 'Authorization: Bearer {key}'"
    sys.stdout.write(
        f"API {url}  docs {url}/docs  demo key {key}\n\n"
        f"curl {header} -H 'Content-Type: application/json' -H 'Prefer: wait=30' "
        f'-d \'{{"prompt": "a lighthouse in a storm"}}\' {url}/v1/generations\n'
        f"curl {header} {url}/v1/generations\n"
        f"curl -N {header} {url}/v1/stream\n\n"
        f"logs in {Path(DIRECTORY, 'logs')}; Ctrl-C stops everything\n"
    )
    sys.stdout.flush()
