"""The system that a drill destroys a part of, and what a disaster may do to it."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from tests.faults.schedule.fleet import Fleet
from tests.faults.schedule.run import ScheduleRun

WITHIN_S: Final = 120.0
COMMAND_TRIES: Final = 20
UNAVAILABLE: Final = 69

RESOLVED: Final = "SELECT partition, log_offset FROM projections.dead_letters WHERE resolution IS NOT NULL"


@dataclass(slots=True)
class Ground:
    """`directory`: of the servers' data, and for backups. `commands`: what the operator ran, with the seconds that it
    took. `images_lost`: a backup without the latest images is back. `migrations`: from when to when each ran."""

    fleet: Fleet
    run: ScheduleRun
    directory: Path
    say: Callable[[str], None]
    commands: list[str] = field(default_factory=list)
    images_lost: bool = False
    destroyed_at: float = 0.0
    migrations: list[tuple[datetime, datetime]] = field(default_factory=list)

    async def destroy(self, server: str, data: Path, *, instead: Path | None = None) -> None:
        """Ends the server together with its data; the supervisor starts it again, on `instead` or on nothing."""
        said = len(self.fleet.said)
        self.destroyed_at = self.destroyed_at or time.monotonic()
        await asyncio.to_thread(data.rename, data.with_name(f"{data.name}.lost-{time.monotonic_ns()}"))
        self.fleet.signal(server, signal.SIGKILL)
        if instead is not None:
            await asyncio.to_thread(instead.rename, data)
        self.say(f"{server} and {data} are gone")
        again = f"{server} runs again"  # with all that its start makes, such as the database
        await _until(lambda: _true(any(line.startswith(again) for line in self.fleet.said[said:])), again)

    async def paused(self, server: str, action: Callable[[], Awaitable[None]]) -> None:
        self.fleet.signal(server, signal.SIGSTOP)
        try:
            await action()
        finally:
            self.fleet.signal(server, signal.SIGCONT)

    async def released(self, environ: Mapping[str, str], roles: Collection[str]) -> None:
        """Restarts the roles as an operator does; `environ` may make them another release."""
        supervisor = self.fleet.supervisor
        supervisor.own = {**supervisor.own, **dict.fromkeys(roles, environ)}
        self.destroyed_at = self.destroyed_at or time.monotonic()
        await supervisor.restart(list(roles), self.fleet.settings.shutdown_grace_s)
        self.say(f"{', '.join(roles)} restart with {dict(environ)}")

    async def until_crashed(self, roles: Collection[str]) -> None:
        said = len(self.fleet.said)
        await _until(
            lambda: _true(any(f"{role} ended (70)" in line for line in self.fleet.said[said:] for role in roles)),
            "the record ended a process",
        )

    async def command(self, *arguments: str) -> str:
        """`gengui-stream …`, repeated while a server is unavailable; fails with what it printed otherwise."""
        began = time.monotonic()
        code, output = await self.fleet.commands.run(*arguments)
        for _ in range(COMMAND_TRIES):
            if code != UNAVAILABLE:
                break
            await asyncio.sleep(1)
            code, output = await self.fleet.commands.run(*arguments)
        assert code == 0, f"{' '.join(arguments)} ended with {code}: {output}"
        self.commands.append(f"gengui-stream {' '.join(arguments)}  ({time.monotonic() - began:.1f} s)")
        self.say(f"{self.commands[-1]}\n{output.rstrip()}")
        return output

    async def migrated(self) -> None:
        """The roles run meanwhile: one may start between two migrations, and end at what is missing yet."""
        began = datetime.now(UTC)
        await self.command("migrate")
        self.migrations.append((began, datetime.now(UTC)))

    async def until(self, condition: str, *arguments: object) -> None:
        """Until the query answers with true."""

        async def holds() -> bool:
            connection = await asyncpg.connect(self.fleet.settings.database_dsn)
            try:
                return bool(await connection.fetchval(condition, *arguments))
            finally:
                await connection.close()

        await _until(holds, condition)

    async def projected(self) -> None:
        """Until the projections have all that the log has by now, once PostgreSQL answers again."""

        async def reached() -> bool:
            try:
                await self.run.projected()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return False
            return True

        await _until(reached, "the projections have caught up")

    async def resolved_letters(self) -> set[str]:
        """The positions of dead letters that were retried or discarded."""
        connection = await asyncpg.connect(self.fleet.settings.database_dsn)
        try:
            rows = await connection.fetch(RESOLVED)
        finally:
            await connection.close()
        return {f"{partition}:{offset}" for partition, offset in rows}

    async def more_accepted(self, count: int) -> None:
        wanted = self.run.accepted + count
        await _until(lambda: _true(self.run.accepted >= wanted), f"{count} more accepted")

    async def more_ended(self, count: int) -> None:
        await self.until(
            "SELECT count(*) >= $1 FROM projections.generation_states WHERE settled", await self._ended() + count
        )

    async def _ended(self) -> int:
        connection = await asyncpg.connect(self.fleet.settings.database_dsn)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM projections.generation_states WHERE settled"))
        finally:
            await connection.close()


async def _true(value: object) -> bool:
    return bool(value)


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise AssertionError(f"not within {WITHIN_S:.0f} s: {what}; load {os.getloadavg()}") from error
