"""`skip`: past offsets that cannot be projected."""

from dataclasses import asdict
from typing import Annotated

import typer

from gengui_stream.cli.operator import Reason, order_of
from gengui_stream.cli.options import AsJson, position
from gengui_stream.cli.output import echo, echo_json
from gengui_stream.cli.runner import run_command
from gengui_stream.log.positions import Position
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.recovery.skip import skip as skip_offsets
from gengui_stream.settings import Settings


def skip(
    at: Annotated[Position, typer.Argument(parser=position, metavar="PARTITION:OFFSET")],
    reason: Reason,
    through: Annotated[int | None, typer.Option(min=0, help="The last offset to skip; else only the one.")] = None,
    json: AsJson = False,
) -> None:
    """Skip the next offset of a partition for good, or several, when the agents cannot get past it.

    Each skipped offset is kept as a discarded dead letter, with the reason and the user. Prefer `dead-letters`
    wherever the agents still run.

    gengui-stream skip 2:1041 --reason "records lost with the broker's disk"
    """
    order = order_of("skip", reason)

    async def work(settings: Settings) -> None:
        async with opened_pool(settings, size=1) as pool:
            last = at.offset if through is None else through
            done = await skip_offsets(settings, pool, at, last, order)
        if json:
            echo_json(asdict(done) | {"first": str(done.first), "last": str(done.last)})
        else:
            echo(f"skipped {done.first} to {done.last}; {done.found} of these offsets hold a record")

    run_command(work)
