"""Deletes accounts whose grace time has passed: first their generations, through the log, then the row's content.

Every step may be repeated. A process that was killed, or another one, starts with the generations that the projections
do not have as deleted yet; an event that is appended again has the same id, and the fold ignores it. Of a generation
that is requested at the last moment nothing is left behind: from `delete_after` on every request is refused, and the
row keeps its content until the projections have all that the log had SETTLED_S later, and no generation is left.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from gengui_stream.accounts import deletion
from gengui_stream.accounts.deletion import DueDeletion
from gengui_stream.domain.generation import decide
from gengui_stream.identifiers import process_name
from gengui_stream.log.ends import LogEnds
from gengui_stream.log.event_log import Appender
from gengui_stream.log.positions import Position
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.process.lifecycle import pause, retry_transient
from gengui_stream.projecting import checkpoints
from gengui_stream.queries import generations
from gengui_stream.queries.generations import Filters, OwnedGeneration
from gengui_stream.settings import Settings
from gengui_stream.stamps import repeatable_stamp
from schemas.events import Event

POLL_S: Final = 5.0
PAGE: Final = 200
SETTLED_S: Final = 120.0
"""Longer than a request that was authenticated before `delete_after` takes to append its event: no key is cached, its
body arrives within HTTP_RECEIVE_TIMEOUT_S (30 s by default), the API waits for the brokers for APPEND_WITHIN_S (8 s),
and its producer gives a request to them up after 15 s."""

_EVENT_IDS: Final = UUID("6f1f4ad5-6a55-5c3e-8a43-0d0a3a4d7f60")

_log = structlog.get_logger(__name__)


class AccountDeleter:
    """`settled_s`: SETTLED_S by default."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        log: Appender,
        ends: LogEnds,
        metrics: Metrics,
        *,
        settled_s: float | None = None,
    ) -> None:
        self._topic = settings.events_topic
        self._partitions = range(settings.events_partitions)
        self._pool = pool
        self._log = log
        self._ends = ends
        self._metrics = metrics
        self._settled_s = SETTLED_S if settled_s is None else settled_s
        self._appended: dict[UUID, Mapping[int, Position]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises ShutdownRequested when that happens while it waits for a server."""
        while True:
            await retry_transient(partial(self.delete_due, stop), stop, operation="account deletions")
            if await pause(stop, POLL_S):
                return

    async def delete_due(self, stop: asyncio.Event) -> None:
        """A step of each deletion that is due."""
        for one in await deletion.due(self._pool):
            if stop.is_set():
                return
            await self._delete(one)

    async def _delete(self, account: DueDeletion) -> None:
        await deletion.close(self._pool, account.user_id)
        if not await self._has_projected(self._appended.get(account.user_id, {})):
            return
        if await self._delete_generations(account.user_id) or account.closed_s < self._settled_s:
            return
        if await self._is_settled(account.user_id) and await deletion.forget(self._pool, account.user_id):
            self._appended.pop(account.user_id, None)
            self._metrics.accounts_deleted.inc()
            _log.info("account_deleted", user_id=str(account.user_id))

    async def _delete_generations(self, user_id: UUID) -> int:
        """Appends a deletion of each generation that the projections do not have as deleted; returns their number."""
        number, after = 0, None
        while True:
            page = await generations.page(self._pool, user_id, Filters(), after, PAGE)
            events = deletions(page.generations)
            if events:
                self._remember(user_id, await self._log.append_many(events))
                _log.info("generations_deleted", user_id=str(user_id), generations=len(events))
            number, after = number + len(events), page.after
            if after is None:
                return number

    def _remember(self, user_id: UUID, positions: Sequence[Position]) -> None:
        last = dict(self._appended.get(user_id, {}))
        for position in positions:
            last[position.partition] = max(position, last.get(position.partition, position), key=lambda at: at.offset)
        self._appended[user_id] = last

    async def _has_projected(self, positions: Mapping[int, Position]) -> bool:
        """Otherwise the same generations would be found again."""
        for position in positions.values():
            if not await checkpoints.has_reached(self._pool, self._topic, position):
                return False
        return True

    async def _is_settled(self, user_id: UUID) -> bool:
        """Whether the projections have what the log has now, and none of the user's generations is left."""
        ends, projected = await self._ends(self._partitions), await checkpoints.projected(self._pool, self._topic)
        if any(projected.get(partition, 0) < end for partition, end in ends.items()):
            return False
        return not (await generations.page(self._pool, user_id, Filters(), None, 1)).generations


def deletions(found: Sequence[OwnedGeneration]) -> list[Event]:
    """The events that delete them. A deletion cancels what still runs. Repeatable: ids derive from the generations'."""
    events: list[Event] = []
    for one in found:
        stamp = repeatable_stamp(_EVENT_IDS, str(one.state.generation_id), process_name("account-jobs"))
        decision = decide.delete(one.state, stamp)
        events += decision if isinstance(decision, tuple) else ()
    return events
