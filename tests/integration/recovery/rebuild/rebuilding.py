"""Rebuilds in the process of a test."""

from gengui_stream.recovery.rebuild.outcome import Outcome, Request
from gengui_stream.recovery.rebuild.rebuild import rebuild, roll_back
from gengui_stream.recovery.rebuild.shadow.tables import ALL_TABLES
from gengui_stream.settings import Settings
from tests.orders import ORDER


class Unwatched:
    """Shows its progress to no one."""

    def step(self, text: str) -> None: ...
    def events(self, done: int, total: int) -> None: ...


EVERYTHING = Request(tables=ALL_TABLES, order=ORDER)
DIFFERENT = Request(tables=ALL_TABLES, order=ORDER, accept_differences=True)


async def rebuilt(settings: Settings, request: Request = EVERYTHING) -> Outcome:
    return await rebuild(settings, request, Unwatched())


async def rolled_back(settings: Settings) -> Outcome:
    return await roll_back(settings, ORDER, Unwatched())
