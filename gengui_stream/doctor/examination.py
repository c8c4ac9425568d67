"""Runs the checks concurrently, each within a time limit: first those of servers, then those that need a server."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

import aiohttp
import structlog

from gengui_stream.doctor.findings import Finding, Status, fail, worst
from gengui_stream.errors import GenGuiError
from gengui_stream.logging import redact_text
from gengui_stream.settings import Settings

LIMIT_S: Final = 5.0
"""The limit of one check; the checks run in two rounds."""

NO_ANSWER: Final = "no answer within"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """`directory`: where `make dev` keeps its data. `limit_s`: of one check. `available`: the available servers, for
    checks of the second round."""

    settings: Settings
    http: aiohttp.ClientSession
    directory: Path
    limit_s: float
    available: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """`needs`: names of server checks; if one of these servers is unavailable, the check does not run. `after_servers`:
    runs in the second round, whichever servers are available."""

    name: str
    run: Callable[[Context], Awaitable[Sequence[Finding]]]
    needs: frozenset[str] = field(default=frozenset())
    after_servers: bool = False


Progress: TypeAlias = Callable[[Collection[str]], None]
"""Called with the names of the running checks."""


@dataclass(frozen=True, slots=True)
class Report:
    """`not_checked`: the unavailable servers that a check needs, by its name. `abandoned`: a check neither ended nor
    could be cancelled."""

    findings: tuple[Finding, ...]
    not_checked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    abandoned: bool = False

    @property
    def status(self) -> Status:
        return worst(self.findings)


async def examine(
    settings: Settings, directory: Path, checks: Sequence[Check], progress: Progress, *, limit_s: float = LIMIT_S
) -> Report:
    """The findings in the order of the checks. Errors of checks become findings."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True) as http:
        return await _examine(Context(settings, http, directory, limit_s), checks, progress)


async def _examine(context: Context, checks: Sequence[Check], progress: Progress) -> Report:
    first = [check for check in checks if not (check.needs or check.after_servers)]
    found = await _round(context, first, progress)
    available = frozenset(name for name, findings in found.items() if findings and findings[0].status != "fail")
    later = [check for check in checks if check not in first]
    able = [check for check in later if check.needs <= available]
    found |= await _round(replace(context, available=available), able, progress)
    findings = [finding for check in checks for finding in found.get(check.name, ())]
    not_checked = {check.name: tuple(sorted(check.needs - available)) for check in later if check not in able}
    abandoned = any(finding.detail.startswith(NO_ANSWER) for finding in findings)
    return Report(tuple(findings), not_checked, abandoned)


async def _round(context: Context, checks: Sequence[Check], progress: Progress) -> dict[str, Sequence[Finding]]:
    tasks = {check.name: asyncio.ensure_future(_findings(check, context)) for check in checks}
    while running := [name for name, task in tasks.items() if not task.done()]:
        progress(running)
        await asyncio.wait([tasks[name] for name in running], return_when=asyncio.FIRST_COMPLETED)
    return {name: task.result() for name, task in tasks.items()}


async def _findings(check: Check, context: Context) -> Sequence[Finding]:
    """A check that neither ends nor can be cancelled is abandoned."""
    checking = asyncio.ensure_future(check.run(context))
    await asyncio.wait({checking}, timeout=context.limit_s)
    if not checking.done():
        checking.cancel()
        checking.add_done_callback(_ignore_outcome)
        detail = f"{NO_ANSWER} {context.limit_s:g} s"
        return [fail(check.name, detail, "check the server and the network between")]
    error = checking.exception()
    if error is None:
        return checking.result()
    if isinstance(error, GenGuiError):
        return [fail(check.name, redact_text(str(error)), "see docs/troubleshooting.md")]
    _log.debug("check_crashed", check=check.name, exc_info=error)
    message = redact_text(f"{type(error).__name__}: {error}")
    return [
        fail(check.name, f"the check failed: {message}", "a bug in gengui-stream: LOG_LEVEL=debug shows the traceback")
    ]


def _ignore_outcome(checking: "asyncio.Future[Sequence[Finding]]") -> None:
    if not checking.cancelled():
        checking.exception()
