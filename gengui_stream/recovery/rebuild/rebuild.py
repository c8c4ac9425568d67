"""The steps of a rebuild: fill, index, catch up, compare, swap. Each run goes on where the one before stopped."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import asyncpg
import structlog

from gengui_stream.errors import ConfigurationError, PermanentError, TransientError
from gengui_stream.log.reader import LogReader, open_reader
from gengui_stream.log.topics import check_topic
from gengui_stream.postgres.migrations import unapplied_migrations
from gengui_stream.postgres.pool import Connection, transient_errors
from gengui_stream.recovery.audit import Order, write_act
from gengui_stream.recovery.rebuild.comparison import compare
from gengui_stream.recovery.rebuild.fold.fill import Span
from gengui_stream.recovery.rebuild.fold.follower import Follower, opened_follower
from gengui_stream.recovery.rebuild.fold.processes import fill_in_processes, shares
from gengui_stream.recovery.rebuild.outcome import Outcome, Request, Watch
from gengui_stream.recovery.rebuild.positions import Live, ends_at, live_positions, shadow_offsets
from gengui_stream.recovery.rebuild.sample import differing_from_plain_fold
from gengui_stream.recovery.rebuild.shadow import decisions, run_state, tables
from gengui_stream.recovery.rebuild.shadow.connection import RETIRED, SHADOW, opened_session
from gengui_stream.recovery.rebuild.shadow.indexes import analyze, build_indexes
from gengui_stream.recovery.rebuild.shadow.run_state import Phase, RunState
from gengui_stream.recovery.rebuild.swap import Swap, swap
from gengui_stream.settings import Settings

NEAR: Final = 50_000
APPROACHES: Final = 10

LOCK: Final = 0x67656E52
"""Of PostgreSQL, held by the session of a rebuild: there is one at a time."""

_log = structlog.get_logger(__name__)


async def rebuild(settings: Settings, request: Request, watch: Watch) -> Outcome:
    """Raises PermanentError when the request cannot be done or another rebuild runs, TransientError when a server is
    unavailable or has no room left, ConfigurationError when the tables are of another release. The live tables change
    in the swap alone."""
    async with _opened(settings) as (control, reader):
        run = _Run(settings, request, watch, control, reader)
        try:
            return await run.run()
        except TransientError as error:
            if asyncpg.DiskFullError.__name__ in str(error):  # perhaps of another process
                await run_state.drop(control, SHADOW)
                raise TransientError(
                    "PostgreSQL's disk is full, and the unfinished rebuild was removed: it needs about as much room as "
                    f"the tables that it rebuilds ({error})"
                ) from error
            raise


async def roll_back(settings: Settings, order: Order, watch: Watch, *, forget_decisions: bool = False) -> Outcome:
    """Swaps the tables of before the last rebuild back in, after they have caught up. Goes on with an interrupted
    rollback. Raises as `rebuild` does, and PermanentError when dead letters were decided since the swap, unless
    `forget_decisions`: the old rows do not have it."""
    async with _opened(settings, newer=True) as (control, reader):
        state = await run_state.load(control, SHADOW)
        if state is None or state.phase is not Phase.ROLLING_BACK:
            state = await _bring_back(settings, control, reader, forget_decisions=forget_decisions)
        request = Request(tables=state.tables, order=order, accept_differences=True)
        return await _Run(settings, request, watch, control, reader).go_on_with_retired()


async def _bring_back(
    settings: Settings, control: Connection, reader: LogReader, *, forget_decisions: bool
) -> RunState:
    state = await run_state.load(control, RETIRED)
    if state is None:
        raise PermanentError("there is nothing to roll back to: no rebuild has swapped tables")
    live = await live_positions(settings, control, reader)
    changed = any(state.revisions.get(at, revision) != revision for at, revision in live.revisions.items())
    if changed and not forget_decisions:
        raise PermanentError(
            "dead letters, skipped offsets or repaired generations have changed since the swap, and the old rows do "
            "not have it: --accept-differences rolls back all the same"
        )
    await run_state.bring_back(control)
    return state


async def discard(settings: Settings, order: Order) -> list[str]:
    """Drops the unfinished rebuild and what the last one retired; returns the schemas that there were."""
    async with _opened_control(settings, newer=True) as control, control.transaction():
        dropped = [schema for schema in (SHADOW, RETIRED) if await run_state.drop(control, schema)]
        await write_act(control, order, "rebuild --discard", ", ".join(dropped), {})
        return dropped


@asynccontextmanager
async def _opened(settings: Settings, *, newer: bool = False) -> AsyncIterator[tuple[Connection, LogReader]]:
    await check_topic(settings)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(_opened_control(settings, newer=newer))
        yield control, await stack.enter_async_context(open_reader(settings))


@asynccontextmanager
async def _opened_control(settings: Settings, *, newer: bool) -> AsyncIterator[Connection]:
    """`newer`: also on the tables of a newer release, which suit this one, too."""
    async with opened_session(settings) as control:
        with transient_errors():
            if not await control.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise PermanentError("another rebuild is running: `gengui-stream rebuild status` shows it")
            await _check_release(control, newer=newer)
            yield control


async def _check_release(control: Connection, *, newer: bool) -> None:
    applied = {row["name"]: row["sha256"] for row in await control.fetch("SELECT name, sha256 FROM migrations.applied")}
    missing, unknown = unapplied_migrations(applied)
    if unknown and not newer:
        raise ConfigurationError(
            [f"the tables are of a newer release, with {unknown[-1]}: rebuild with that release, or roll it back first"]
        )
    if missing:
        raise ConfigurationError([f"the tables lack {missing[0]}: run `gengui-stream migrate` first"])


class _Run:
    def __init__(
        self,
        settings: Settings,
        request: Request,
        watch: Watch,
        control: Connection,
        reader: LogReader,
    ) -> None:
        self._settings = settings
        self._request = request
        self._watch = watch
        self._control = control
        self._reader = reader
        self._outcome = Outcome()
        self._decided: dict[int, int] = {}
        self._action = "rebuild"

    async def run(self) -> Outcome:
        live = await self._live()
        ends = None
        if self._request.upto is not None:
            ends = live.held_back(await ends_at(self._settings, self._reader, self._request.upto))
        await self._prepare(live, ends)
        await self._fill(ends or await self._last())
        await self._index()
        if ends is not None:
            await run_state.set_phase(self._control, Phase.STOPPED)
            self._outcome.because = f"--to: schema {SHADOW} holds the rows of that moment"
            return self._outcome
        await run_state.set_phase(self._control, Phase.CATCHING_UP)
        await self._approach()
        return await self._finish(comparable=not (live.lost and self._whole), sampled=self._whole)

    async def go_on_with_retired(self) -> Outcome:
        live = await self._live()
        await run_state.set_revisions(self._control, live.revisions)
        self._action = "rebuild --rollback"
        self._outcome.resumed = True
        self._decided = await shadow_offsets(self._settings, self._control)
        await self._approach()
        return await self._finish(comparable=False, sampled=False)

    async def _approach(self) -> None:
        """Fills up what has come meanwhile, until little is missing: the rest is folded by this process alone, which
        holds the records of all partitions."""
        for _ in range(APPROACHES):
            last, found = await self._last(), await shadow_offsets(self._settings, self._control)
            if sum(max(0, until - found[partition]) for partition, until in last.items()) < NEAR:
                return
            await self._fill(last)

    async def _live(self) -> Live:
        return await live_positions(self._settings, self._control, self._reader)

    async def _prepare(self, live: Live, ends: Mapping[int, int] | None) -> None:
        """Takes up an unfinished rebuild of the same tables, or begins a new one."""
        state = await run_state.load(self._control)
        if state is not None and state.phase is Phase.ROLLING_BACK:
            raise PermanentError(
                "a rollback is unfinished: `rebuild --rollback` goes on with it, `rebuild --discard` gives it up"
            )
        if state is not None and await self._suits(state, live, ends):
            self._outcome.resumed = True
            return
        if await run_state.drop(self._control, SHADOW):
            _log.info("unfinished_rebuild_dropped")
        async with self._control.transaction():
            await tables.create(self._control)
            await run_state.insert(self._control, self._request.tables, ends, live.revisions)

    async def _suits(self, state: RunState, live: Live, ends: Mapping[int, int] | None) -> bool:
        return (
            state.tables == self._request.tables
            and state.ends == ends
            and all(live.revisions.get(at, revision) == revision for at, revision in state.revisions.items())
            and not await tables.differing(self._control, (*state.tables, *tables.FOLD_TABLES))
        )

    async def _fill(self, ends: Mapping[int, int]) -> None:
        began, found = time.monotonic(), await shadow_offsets(self._settings, self._control)
        missing = {partition: max(0, until - found[partition]) for partition, until in ends.items()}
        total, at = sum(missing.values()), dict(found)

        def done(partition: int, next_offset: int) -> None:
            at[partition] = next_offset
            self._watch.events(sum(at.values()) - sum(found.values()), total)

        spans = [Span(partition, until) for partition, until in ends.items() if missing[partition]]
        if spans:
            self._watch.step("folding the log")
            shared = shares(spans, missing, self._request.processes)
            await fill_in_processes(self._settings, shared, self._built, self._request.max_rate, done)
        self._outcome.events += total
        self._outcome.fold_s += time.monotonic() - began

    @property
    def _built(self) -> Sequence[str]:
        return sorted({*self._request.tables, *tables.FOLD_TABLES})

    async def _index(self) -> None:
        began = time.monotonic()
        await build_indexes(self._settings, (*self._request.tables, "dead_letters"), self._watch.step)
        self._watch.step("ANALYZE")
        await analyze(self._control, self._request.tables)
        await self._decide()
        self._outcome.index_s = time.monotonic() - began

    async def _decide(self) -> None:
        """Carries over the decisions on dead letters that are new since the last call."""
        offsets = await shadow_offsets(self._settings, self._control)
        since = self._decided or dict.fromkeys(offsets, 0)
        await decisions.carry_over(self._control, self._settings.events_topic, since)
        self._decided = offsets

    async def _finish(self, *, comparable: bool, sampled: bool) -> Outcome:
        async with opened_follower(self._settings, self._built, lambda *_: None) as follower:
            if comparable:
                await self._compare(follower)
            self._outcome.offsets = follower.offsets
            if sampled:
                self._outcome.unlike_plain_fold = await differing_from_plain_fold(self._settings, self._control)
            if self._outcome.unlike_plain_fold:
                self._outcome.because = "rebuilt rows differ from a plain fold of the log, which is a bug"
            elif self._request.dry_run:
                self._outcome.because = "--dry-run"
            elif self._outcome.differs and not self._request.accept_differences:
                self._outcome.because = "rows differ: --accept-differences swaps all the same"
            else:
                await self._swap(follower)
        return self._outcome

    async def _compare(self, follower: Follower) -> None:
        self._watch.step("comparing")
        began = time.monotonic()

        async def follow(offsets: Mapping[int, int]) -> None:
            await follower.follow(offsets)
            await self._decide()

        self._outcome.compared = await compare(self._settings, self._request.tables, follow)
        self._outcome.compare_s = time.monotonic() - began

    async def _swap(self, follower: Follower) -> None:
        self._watch.step("swapping")
        revisions = await run_state.revisions(self._control)
        places = (self._settings.events_topic, self._request.tables, revisions, self._decided)
        plan = Swap(*places, self._request.order, self._action)
        self._outcome.swapped = await swap(self._control, plan, follower, self._last)
        self._outcome.offsets = follower.offsets

    async def _last(self) -> Mapping[int, int]:
        """A single projection never gets ahead of the others, which are not swapped."""
        live = await self._live()
        return live.last() if self._whole else live.level()

    @property
    def _whole(self) -> bool:
        return tables.is_all(self._request.tables)
