"""`python -m tests.integration.command_server DESCRIPTOR`: the fork server, with the whole package imported.

A command that it forks writes its standard error to a file of its own.
"""

import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import gengui_stream
from gengui_stream.cli import main as run_command
from gengui_stream.cli.fork_server import import_commands
from gengui_stream.dev.forks.server import forked


def errors_beside(output: Path) -> Path:
    """The file of the standard error of a command whose standard output is in the file `output`."""
    return output.with_suffix(".err")


def main() -> None:
    for module in walk_packages(gengui_stream.__path__, "gengui_stream."):
        import_module(module.name)
    import_commands()
    request = forked(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        errors = os.open(errors_beside(Path(request.log)), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(errors, sys.stderr.fileno())
        os.close(errors)
        sys.argv = ["gengui-stream", *request.arguments]
        run_command()


if __name__ == "__main__":
    main()
