"""The fork server of the tests in this process: commands and roles start from it without an import."""

import asyncio
import atexit
from functools import cache

from gengui_stream.dev.forks.client import ForkServer


@cache
def fork_server() -> ForkServer:
    """It ends with this process."""
    server = ForkServer()
    server.start("tests.integration.command_server")
    atexit.register(lambda: asyncio.run(server.stop()))
    return server
