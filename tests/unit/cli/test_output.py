"""What commands print for people."""

from datetime import datetime

import pytest

from gengui_stream.cli.output import echo_table, shown_time


def test_a_table_without_rows_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("kind", "open"), [])
    assert capsys.readouterr().out == "none\n"


def test_a_cell_is_never_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("detail", "n"), [("x" * 400, 1)])
    assert "x" * 400 in capsys.readouterr().out


def test_times_are_in_utc_to_the_millisecond() -> None:
    assert shown_time(datetime.fromisoformat("2026-11-28T21:20:51.423999+02:00")) == "2026-11-28 19:20:51.423"
