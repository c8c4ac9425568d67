"""The end of a process costs no last search for garbage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import atexit, gc
atexit.register(lambda: print("frozen" if gc.get_freeze_count() else "not frozen"))
from gengui_stream.cli import main
main()
"""
NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DB_PORT": "1", "REDIS_URL": "redis://127.0.0.1:1/0"}


def test_a_role_that_ends_leaves_its_garbage(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "METRICS_PORT": "0", "LOG_FORMAT": "json", **NOWHERE}
    command = [sys.executable, "-c", PROGRAM, "dispatch"]
    with subprocess.Popen(
        command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any('"event": "waiting"' in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "frozen\n")
