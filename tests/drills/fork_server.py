"""`python -m tests.drills.fork_server DESCRIPTOR`: the fork server of a drill, whose roles may be the bad release."""

import os
import socket
import sys

from gengui_stream.cli import main as run_command
from gengui_stream.cli.fork_server import import_commands
from gengui_stream.dev.forks.server import forked
from tests.drills.bad_release.sitecustomize import install


def main() -> None:
    import_commands()
    request = forked(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        install(os.environ)  # as a new interpreter does at its start
        sys.argv = ["gengui-stream", *request.arguments]
        run_command()


if __name__ == "__main__":
    main()
