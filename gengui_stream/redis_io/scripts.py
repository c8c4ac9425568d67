"""Lua scripts: several steps on Redis as one."""

from collections.abc import Sequence

from gengui_stream.redis_io.clients import client_of, transient_errors
from gengui_stream.redis_io.handle import SharedRedis


class Script:
    """Sent once, then called by its digest."""

    def __init__(self, redis: SharedRedis, text: str) -> None:
        self._script = client_of(redis).register_script(text)

    async def __call__(self, keys: Sequence[str], args: Sequence[str | int]) -> object:
        """Raises TransientError while Redis is unavailable: the script may or may not have run."""
        with transient_errors():
            reply: object = await self._script(keys=list(keys), args=list(args))
        return reply
