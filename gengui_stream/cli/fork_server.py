"""`python -m gengui_stream.cli.fork_server DESCRIPTOR`: imports what the roles need and forks one for each request."""

import gc
import socket
import sys
from importlib import import_module

from gengui_stream.bootstrap import import_roles
from gengui_stream.cli import main as run_command
from gengui_stream.dev.forks.server import forked


def main() -> None:
    """Serves the socket. Returns when its other end is closed, or in a forked process when its command has ended."""
    gc.disable()
    import_roles()
    import_module("gengui_stream.cli.commands.roles")
    gc.freeze()  # what was imported stays as it is, in memory that the processes share
    gc.enable()
    request = forked(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        sys.argv = ["gengui-stream", *request.arguments]
        run_command()


if __name__ == "__main__":
    main()
