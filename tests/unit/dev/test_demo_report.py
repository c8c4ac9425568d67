"""What the demo prints at its end, for people."""

import pytest

from gengui_stream.dev.demo.report import Counts, DemoReport, print_report
from gengui_stream.dev.demo.run import DemoRun


def test_measurements_are_words_and_numbers_and_nothing_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    run = DemoRun(1, lambda _, one: None)
    run.delays_ms += [1.0, 2.0]
    print_report(DemoReport(run, (), Counts(events=3, applied=3, ignored=0, dead_lettered=0), 1.5), ())
    lines = capsys.readouterr().out.splitlines()
    assert "submit_to_completed_ms: p50 -, p99 -" in lines
    assert "publish_to_visible_ms: p50 1.0, p99 2.0" in lines
    assert not any(sign in line for line in lines for sign in "{}'")
    assert "None" not in " ".join(lines)
