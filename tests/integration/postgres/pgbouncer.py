"""Debian's PgBouncer in transaction mode, in front of the test's PostgreSQL."""

import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child, listens

BINARY: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

UNPRIVILEGED: Final = 65_534

READY_WITHIN_S: Final = 30.0

CONFIGURATION: Final = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
{more}
{run_as}
"""

# Two sessions for all clients: statements of one client reach one and the other.
TWO_SESSIONS: Final = """
default_pool_size = 2
min_pool_size = 2
server_round_robin = 1
max_client_conn = 200
"""


@asynccontextmanager
async def running_pooler(directory: Path, host: str, server_port: int, user: str, more: str) -> AsyncIterator[int]:
    """The port of a PgBouncer in transaction mode that runs during the block. `more`: further lines of its
    configuration."""
    port, child = free_port(), Child("pgbouncer", directory / "pgbouncer.log")
    run_as = f"user = {pwd.getpwuid(UNPRIVILEGED).pw_name}" if os.getuid() == 0 else ""
    file = directory / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(host=host, server_port=server_port, user=user, port=port, more=more, run_as=run_as)
    )
    child.start([str(BINARY), "-q", file])
    try:
        await child.until_ready(lambda: listens(port), READY_WITHIN_S)
        yield port
    finally:
        await child.stop()


@asynccontextmanager
async def pooled_url(server_url: str) -> AsyncIterator[str]:
    """The URL of the same database through a PgBouncer that runs meanwhile."""
    parts = urlsplit(server_url)
    host, server_port, user = parts.hostname or "", parts.port or 0, parts.username or ""
    with _readable_directory() as directory:
        async with running_pooler(directory, host, server_port, user, TWO_SESSIONS) as port:
            yield f"postgresql://{user}@127.0.0.1:{port}{parts.path}"


@contextmanager
def _readable_directory() -> Iterator[Path]:
    """As root, PgBouncer changes to a user that owns nothing."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
