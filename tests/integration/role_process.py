"""A role as a process of its own, which a test pauses or kills."""

import asyncio
import os
import signal
import sys
from typing import Self

from pydantic import SecretStr

from gengui_stream.settings import Settings
from tests.integration.running import DEADLINE_S


def environment(settings: Settings) -> dict[str, str]:
    """These settings for another process."""
    values = {name: value for name, value in settings.model_dump().items() if value is not None}
    plain = {
        name.upper(): str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
    }
    return {**os.environ, **plain}


class RoleProcess:
    """`gengui-stream` with these arguments; killed at the end if it still lives."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self._settings = settings
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gengui_stream.cli", *self._arguments, env=environment(self._settings)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = DEADLINE_S) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.process.wait(), within_s)
