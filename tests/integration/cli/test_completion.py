"""Version and completion as a shell has them: from the program, which imports no command for them."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.cli.app import PANELS

NOTHING_OF_OURS: Final = """
import sys
from gengui_stream.cli import main
sys.argv = ["gengui-stream", "--version"]
try:
    main()
finally:
    print(sorted(name for name in sys.modules if name.startswith("gengui_stream.")))
"""


def test_it_prints_its_version_and_imports_no_command() -> None:
    ran = subprocess.run([sys.executable, "-c", NOTHING_OF_OURS], capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines() == [
        f"gengui-stream {version('gengui-stream')}",
        "['gengui_stream.cli', 'gengui_stream.cli.app']",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_completes_is_offered_every_command(shell: str) -> None:
    environ = {
        "_GENGUI_STREAM_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "gengui-stream ",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "gengui-stream ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    program = str(Path(sys.executable).with_name("gengui-stream"))
    ran = subprocess.run([program], capture_output=True, text=True, check=True, env=environ)
    assert {name for panel in PANELS.values() for name in panel} - set(ran.stdout.replace('"', " ").split()) == set()
