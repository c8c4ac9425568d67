"""How a command ends when something goes wrong before its settings are read."""

import os

import pytest
import typer

from gengui_stream.cli import runner
from gengui_stream.process.exit_codes import ExitCode


@pytest.mark.parametrize("level", ["debug", "info", "loud"])
def test_a_bug_before_the_settings_shows_no_values_of_variables(
    level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> object:
        secret = "s3cret"
        raise RuntimeError(len(secret))

    monkeypatch.setitem(os.environ, "LOG_LEVEL", level)
    monkeypatch.setattr(runner, "inspect_settings", broken)
    with pytest.raises(typer.Exit) as ended:
        runner.run_inspected_command(lambda _: None)
    printed = capsys.readouterr()
    assert ended.value.exit_code == ExitCode.BUG
    assert "a bug in gengui-stream: RuntimeError: 6" in printed.err
    assert ("Traceback" in printed.err) == (level == "debug")
    assert "s3cret" not in printed.err.replace('secret = "s3cret"', "")
    assert not printed.out
