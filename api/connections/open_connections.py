"""How many connections are open."""

import asyncio


class OpenConnections:
    """`none` is set while none is open."""

    def __init__(self) -> None:
        self._count = 0
        self.none = asyncio.Event()
        self.none.set()

    def opened(self) -> None:
        self._count += 1
        self.none.clear()

    def closed(self) -> None:
        self._count -= 1
        if not self._count:
            self.none.set()
