"""`python -m gengui_stream.cli.fork_server DESCRIPTOR`: imports what the roles need and forks one for each request."""

import gc
import os
import socket
import sys
from importlib import import_module
from pathlib import Path

from gengui_stream.bootstrap import import_roles
from gengui_stream.cli import main as run_command
from gengui_stream.dev.forks.client import SUPPORTED, ForkServer
from gengui_stream.dev.forks.server import forked
from gengui_stream.media.s3_client import read_service_description


def main() -> None:
    import_commands()
    serve(socket.socket(fileno=int(sys.argv[1])))


def import_commands() -> None:
    """What is imported stays as it is, in memory that the processes share."""
    gc.disable()
    import_roles()
    import_module("gengui_stream.cli.commands.roles")
    read_service_description()
    gc.freeze()
    gc.enable()


def serve(control: socket.socket) -> None:
    """Returns when the other end of the socket is closed, or in a forked process when its command has ended."""
    request = forked(control)
    if request is not None:
        sys.argv = ["gengui-stream", *request.arguments]
        run_command()


def split_off_fork_server() -> ForkServer | None:
    """A fork of this process, which imports for it. None where the system has no use for one, or where this process has
    threads already."""
    if not SUPPORTED:
        return None
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of numpy, which would begin threads
    import_commands()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return None
    server = ForkServer()
    server.split_off(serve)
    return server


if __name__ == "__main__":
    main()
