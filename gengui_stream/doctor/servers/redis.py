"""Checks of Redis: availability, permissions, persistence, and no eviction."""

import re
from collections.abc import Mapping
from typing import Final

from gengui_stream.bridge.messages import STATUS_STREAM
from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, clock, connected, fail, ok, warn
from gengui_stream.errors import PermanentError, TlsError, TransientError
from gengui_stream.logging import redact_text
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.redis_io.inspection import RedisFacts, inspect_redis
from gengui_stream.redis_io.shared import opened_redis

STREAMS: Final = (QUEUE_STREAM, STATUS_STREAM)
OLDEST_VERSION: Final = (6, 2)
"""The first version with XAUTOCLAIM."""

NEARLY_FULL: Final = 0.9
CLOSED: Final = re.compile("reset by peer|closed by server", re.IGNORECASE)
"""What is left of Redis' refusal of a client without a certificate: it closes the connection before its alert is
read."""

REFUSED: Final = re.compile("WRONGPASS|NOAUTH|Authentication|invalid (username-password|password)", re.IGNORECASE)


async def check_redis(context: Context) -> list[Finding]:
    try:
        async with opened_redis(context.settings) as redis:
            return evaluate(await inspect_redis(redis, STREAMS))
    except TlsError as error:
        return [fail("redis.connection", f"Redis connection failed: {error.fault}", error.remedy)]
    except (TransientError, PermanentError) as error:
        return [unreachable(str(error), tls=context.settings.redis_dsn.startswith("rediss:"))]


def unreachable(message: str, *, tls: bool = False) -> Finding:
    """Pure. `tls`: of the URL."""
    if REFUSED.search(message):
        remedy = "set the user and the password in REDIS_URL: redis://user:password@host:port/0"
    elif tls and CLOSED.search(message):
        remedy = "set ssl_certfile and ssl_keyfile in REDIS_URL, if Redis asks for a certificate; else see its log"
    else:
        remedy = "start Redis, or correct REDIS_URL"
    said = re.sub(r"^Redis(:| at) ", "", redact_text(message))
    return fail("redis.connection", f"Redis connection failed: {said}", remedy)


def evaluate(facts: RedisFacts) -> list[Finding]:
    """Pure. The connection first. Fields that INFO does not have are not checked."""
    about = facts.about
    version = about.get("redis_version", "of unknown version")
    found = [
        connected("redis.connection", f"Redis {version}", facts.round_trip_s),
        clock("redis.clock", facts.now, facts.asked_at),
        _permissions(facts.refused),
    ]
    return found if not about else [*found, _version(version), _primary(about), _memory(about), _persistence(about)]


def _permissions(refused: tuple[str, ...]) -> Finding:
    name = "redis.permissions"
    if not refused:
        return ok(name, "the user may use every command that roles need")
    remedy = "allow the user these commands on the keys and channels of GenGui (ACL SETUSER)"
    needed = [command for command in refused if command != "INFO"]
    if needed:
        return fail(name, f"not allowed: {', '.join(needed)}", remedy)
    return warn(name, "not allowed: INFO, so memory and persistence are not checked", remedy)


def _version(version: str) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST_VERSION:
        return fail("redis.version", version, "upgrade to Redis 6.2 or later: XAUTOCLAIM is needed")
    return ok("redis.version", version)


def _primary(about: Mapping[str, str]) -> Finding:
    if about.get("role") == "slave":
        return fail("redis.writable", "a replica", "set the address of the primary in REDIS_URL")
    return ok("redis.writable", "a primary")


def _memory(about: Mapping[str, str]) -> Finding:
    """Without a limit nothing is evicted under any policy."""
    name, policy = "redis.memory", about.get("maxmemory_policy", "noeviction")
    limit, used = _number(about.get("maxmemory")), _number(about.get("used_memory"))
    if limit and policy.startswith("allkeys"):
        return fail(name, f"maxmemory-policy {policy} evicts queued jobs and statuses", "set it to noeviction")
    if limit and policy != "noeviction":
        return warn(name, f"maxmemory-policy {policy} evicts the state of jobs", "set it to noeviction")
    if limit and used > limit * NEARLY_FULL:
        remedy = "raise maxmemory, or find what fills it: writes are rejected when it is full"
        return warn(name, f"{used / limit:.0%} of maxmemory in use", remedy)
    return ok(name, policy if limit else "no limit")


def _persistence(about: Mapping[str, str]) -> Finding:
    name = "redis.persistence"
    errors = [field for field in ("aof_last_write_status", "rdb_last_bgsave_status") if about.get(field) == "err"]
    if errors:
        return fail(name, f"{', '.join(errors)}: err", "check the server's disk and log: it cannot save")
    if about.get("aof_enabled") != "1":
        remedy = "set appendonly yes: queued local jobs and statuses of existing workers are lost with the server"
        return warn(name, "no append-only file", remedy)
    return ok(name, "append-only file")


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
