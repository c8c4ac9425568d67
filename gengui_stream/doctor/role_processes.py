"""Checks of each role: by its `/livez` if it can be reached, else by its traces on the servers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

import aiohttp
import orjson

from gengui_stream.bridge.messages import STATUS_STREAM
from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.log.inspection import GroupFacts, inspect_log
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.postgres.sessions import ACCOUNT_JOBS, has_session
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.redis_io.inspection import StreamFacts, count_subscribers, inspect_stream
from gengui_stream.redis_io.notifications import jobs_channel
from gengui_stream.redis_io.shared import opened_redis
from gengui_stream.roles import ROLES, RoleName

TIMEOUT: Final = aiohttp.ClientTimeout(total=2, sock_connect=1)
READING_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Traces:
    """Processes of each role as the servers know them; None where the server is unavailable. `statuses`: reports of
    existing workers that the bridge has not read."""

    processes: Mapping[RoleName, int | None]
    statuses: int


@dataclass(frozen=True, slots=True)
class LivezResponse:
    """The response of `/livez`. Status 0: a process accepts connections there, and does not respond."""

    status: int
    word: str
    tick_age_s: float


async def check_roles(context: Context) -> list[Finding]:
    traces = await _traces(context)
    reached = await asyncio.gather(*(_reached(context, name) for name in traces.processes))
    return [
        evaluate(name, where, response, traces)
        for name, (where, response) in zip(traces.processes, reached, strict=True)
    ]


async def _reached(context: Context, name: RoleName) -> tuple[str, LivezResponse | None]:
    """The API may run on another machine: then its PUBLIC_URL is queried."""
    where, public = address(context, name), context.settings.public_url
    response = await _livez(context, name, where)
    if response is None and name == "api" and public is not None:
        where = public.rstrip("/")
        response = await _livez(context, name, where)
    return where, response


def address(context: Context, name: RoleName) -> str:
    """The address that `make dev` wrote, else the default of the role on this machine."""
    known = _written(context)
    if name in known:
        return known[name]
    role, settings = ROLES[name], context.settings
    host = settings.metrics_host if role.metrics_port and settings.metrics_host else settings.host
    shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not listened on
    port = role.metrics_port or settings.port
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _written(context: Context) -> Mapping[str, str]:
    try:
        found: object = orjson.loads((context.directory / "stack.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    health = found.get("health") if isinstance(found, dict) else None
    return {str(name): str(url) for name, url in health.items()} if isinstance(health, dict) else {}


async def _livez(context: Context, name: RoleName, where: str) -> LivezResponse | None:
    """None when no role of this system responds there."""
    try:
        async with context.http.get(f"{where}{ROLES[name].health_path}", timeout=TIMEOUT) as response:
            document: object = orjson.loads(await response.read())
            status = response.status
    except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
        silent = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
        return LivezResponse(0, "silent", 0.0) if silent else None
    if not (isinstance(document, dict) and isinstance(document.get("status"), str)):
        return None
    age = document.get("tick_age_s")
    return LivezResponse(status, str(document["status"]), float(age) if isinstance(age, int | float) else 0.0)


def evaluate(name: RoleName, where: str, response: LivezResponse | None, traces: Traces) -> Finding:
    """Pure."""
    line = f"role.{name}"
    command = ROLES[name].command
    if response is not None and response.status == 503:
        detail = f"it makes no progress; its event loop last ticked {response.tick_age_s:.0f} s ago ({where})"
        return fail(line, detail, "restart the process; its log shows its last action")
    if response is not None and response.status == 0:
        detail = f"it accepts connections and does not respond ({where})"
        return fail(line, detail, "restart the process; or correct the port, if another program listens there")
    if response is not None and response.word == "starting":
        return warn(line, f"it is waiting for a server ({where})", "see the findings of the servers, and its log")
    if response is not None:
        return ok(line, f"alive at {where}")
    number = traces.processes[name]
    if number:
        counted = "" if name == "account-jobs" else f"{number} "
        return ok(line, f"{counted}running elsewhere: not at {where}")
    return _missing(name, line, f"no process found, nor at {where}", f"start `{command}`", traces)


def _missing(name: RoleName, line: str, detail: str, remedy: str, traces: Traces) -> Finding:
    match name:
        case "agents" | "dispatch" | "thumbnails":
            return fail(line, detail, remedy) if traces.processes[name] == 0 else warn(line, detail, remedy)
        case "account-jobs":
            return warn(line, detail, f"{remedy}: without it no e-mail is sent, no account deleted, no old row removed")
        case "api":
            return warn(line, detail, f"{remedy}, unless it runs on another machine")
        case "bridge" if traces.statuses:
            return fail(line, f"{traces.statuses} worker reports are unread: {detail}", remedy)
        case "bridge":
            return ok(line, "not running: only existing workers, which report by Redis, need it")
        case "live-tables":
            return ok(line, "not running: only the operators' live view needs it")
        case "worker":
            return ok(line, "not running here: see provider.local")
        case _:
            assert_never(name)


async def _traces(context: Context) -> Traces:
    """Members of Kafka consumer groups; subscribers of job channels and readers of streams at Redis; sessions."""
    processes: dict[RoleName, int | None] = {
        "api": None,
        "agents": None,
        "live-tables": None,
        "dispatch": None,
        "worker": None,
        "thumbnails": None,
        "bridge": None,
        "account-jobs": None,
    }
    statuses, settings = 0, context.settings
    if "kafka" in context.available:
        groups = (await inspect_log(settings, (settings.consumer_group, settings.live_tables_group))).groups
        processes["agents"] = _members(groups, settings.consumer_group)
        processes["live-tables"] = _members(groups, settings.live_tables_group)
    if "redis" in context.available:
        async with opened_redis(context.settings) as redis:
            processes["dispatch"] = await count_subscribers(redis, jobs_channel("dispatch"))
            processes["thumbnails"] = await count_subscribers(redis, jobs_channel("thumbnail"))
            reports = await inspect_stream(redis, STATUS_STREAM)
            processes["bridge"], statuses = _readers(reports), reports.waiting
            processes["worker"] = _readers(await inspect_stream(redis, QUEUE_STREAM))
    if "postgresql" in context.available:
        async with opened_pool(settings, size=1) as pool:
            processes["account-jobs"] = int(await has_session(pool, ACCOUNT_JOBS))
    return Traces(processes, statuses)


def _members(groups: Mapping[str, GroupFacts], name: str) -> int:
    return groups[name].members if name in groups else 0


def _readers(stream: StreamFacts) -> int:
    return sum(reader.idle_s < READING_S for reader in stream.readers)
