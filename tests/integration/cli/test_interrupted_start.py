"""Ctrl-C while a command is still imported."""

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED = 130

CTRL_C = """
import os, signal, sys

def press(event, arguments):
    if event == "import" and arguments[0] == "{module}":
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
"""
"""At the import of a module that every command needs, or that this one does."""


@pytest.mark.parametrize(
    ("module", "command"),
    [("typer", "--help"), ("gengui_stream.recovery.verify", "verify"), ("gengui_stream.dev.dev_command", "dev")],
)
def test_it_ends_without_a_traceback(module: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C.format(module=module))
    ran = subprocess.run(
        [Path(sys.executable).with_name("gengui-stream"), command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (INTERRUPTED, "", "")
