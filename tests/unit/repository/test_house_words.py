"""The check of avoided words."""

import pytest

from tests.house_words import findings


@pytest.mark.parametrize(
    "line", ["what Nobody reads", "def test_who_is_told() -> None:", "PATIENCE_S: Final = 60.0", "kept for ever"]
)
def test_an_avoided_word_is_found_in_prose_and_in_names(line: str) -> None:
    assert [number for number, _, _ in findings(f"plain\n{line}\n")] == [2]


@pytest.mark.parametrize(
    "line", ['pwd.getpwnam("nobody")', "the log event `thumbnail_put_off`", "shell, planes, hello"]
)
def test_a_technical_meaning_is_allowed(line: str) -> None:
    assert list(findings(line)) == []
