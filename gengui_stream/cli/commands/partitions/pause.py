"""`pause` and `resume`: whether the agents project a partition."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, NoReturn, TypeAlias

import typer

from gengui_stream.cli.operator import Reason, order_of
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json
from gengui_stream.cli.runner import run_command
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.recovery import pauses
from gengui_stream.recovery.audit import Order
from gengui_stream.settings import Settings

Partitions: TypeAlias = Annotated[list[int] | None, typer.Argument(min=0, metavar="PARTITION...")]
Every: TypeAlias = Annotated[bool, typer.Option("--all", help="All partitions.")]

Change: TypeAlias = Callable[[Pool, Settings, Collection[int], Order], Awaitable[list[int]]]


def pause(reason: Reason, partitions: Partitions = None, every: Every = False, json: AsJson = False) -> None:
    """Stop projecting partitions until they are resumed. Their agents heed it within two seconds, and after a restart.

    The log goes on, other partitions are projected, and no job of a paused partition is claimed.

    gengui-stream pause 2 --reason "the record at 2:1041 ends the agents"
    """
    _change(pauses.pause, "paused", partitions, order_of("pause", reason), every=every, json=json)


def resume(partitions: Partitions = None, every: Every = False, reason: Reason = "", json: AsJson = False) -> None:
    """Project paused partitions again, from where they stopped.

    gengui-stream resume 2
    """
    _change(pauses.resume, "resumed", partitions, order_of("resume", reason), every=every, json=json)


def _change(change: Change, verb: str, given: list[int] | None, order: Order, *, every: bool, json: bool) -> NoReturn:
    if bool(given) is every:
        raise typer.BadParameter("either partitions, such as 2, or --all are needed")

    async def work(settings: Settings) -> None:
        wanted = sorted(set(given or range(settings.events_partitions)))
        async with opened_pool(settings, size=1) as pool:
            done = await change(pool, settings, wanted, order)
        if json:
            echo_json({verb: done, "unchanged": sorted(set(wanted) - set(done))})
            return
        for partition in wanted:
            echo(f"partition {partition}: {verb if partition in done else f'was {verb} already'}")

    run_command(work)
