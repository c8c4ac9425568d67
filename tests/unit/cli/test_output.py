"""What commands print for people."""

from datetime import datetime

import pytest

from gengui_stream.cli.output import echo_fields, echo_table, shown_time

MOMENT = datetime.fromisoformat("2026-11-28T21:20:51.423999+02:00")


def test_a_table_without_rows_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("kind", "open"), [])
    assert capsys.readouterr().out == "none\n"


def test_a_cell_is_never_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("detail", "n"), [("x" * 400, 1)])
    assert "x" * 400 in capsys.readouterr().out


def test_numbers_are_to_the_right_and_a_column_with_words_is_to_the_left(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("n", "value"), [(1, 3000), (None, "redis://r")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()[-3:-1]] == [" 1   3000", "     redis://r"]


def test_times_are_in_utc_to_the_millisecond() -> None:
    assert shown_time(MOMENT) == "2026-11-28 19:20:51.423"


def test_tables_and_fields_have_times_in_that_form(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("key", "created"), [("a", MOMENT)])
    assert capsys.readouterr().out.split()[-3:] == ["a", "2026-11-28", "19:20:51.423"]
    echo_fields(
        {"dead_at": MOMENT, "reason": "no_s3_key\n", "detail": None, "message": {"a": 1, "b": "\x1b"}, "none": {}}
    )
    assert capsys.readouterr().out.splitlines() == [
        "dead_at  2026-11-28 19:20:51.423",
        r"reason   no_s3_key\n",
        "detail",
        "message  a=1",
        r"         b=\u001b",
        "none",
    ]
