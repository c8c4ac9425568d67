"""Debian's PgBouncer in transaction mode, in front of the test's PostgreSQL."""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gengui_stream.dev.ports import free_port
from tests.integration.running import eventually

BINARY: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

UNPRIVILEGED: Final = 65_534

# Two sessions for all clients: statements of one client reach one and the other.
CONFIGURATION: Final = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
min_pool_size = 2
server_round_robin = 1
max_client_conn = 200
{run_as}
"""


@asynccontextmanager
async def pooled_url(server_url: str) -> AsyncIterator[str]:
    """The URL of the same database through a PgBouncer that runs meanwhile."""
    parts, port = urlsplit(server_url), free_port()
    server = {"host": parts.hostname, "server_port": parts.port, "user": parts.username}
    run_as = f"user = {pwd.getpwuid(UNPRIVILEGED).pw_name}" if os.getuid() == 0 else ""
    with tempfile.TemporaryDirectory() as directory:
        file = _written(Path(directory), CONFIGURATION.format(port=port, run_as=run_as, **server))
        process = await asyncio.create_subprocess_exec(str(BINARY), "-q", str(file))
        try:
            await eventually(lambda: _accepts(port))
            yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
        finally:
            process.kill()
            await process.wait()


def _written(directory: Path, configuration: str) -> Path:
    directory.chmod(0o755)  # as root, PgBouncer changes to a user that owns nothing
    file = directory / "pgbouncer.ini"
    file.write_text(configuration)
    return file


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
