"""Text of strangers for a terminal."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.printable import printable, printable_lines


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_nothing_controls_a_terminal_and_json_reads_the_same(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in shown)
    storable = text.encode(errors="ignore").decode()
    assert json.loads(printable(json.dumps(storable, ensure_ascii=False))) == storable


def test_letters_of_any_script_and_emoji_are_left_alone() -> None:
    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}"
    for text in ("Привет мир", "ünïcödé", "日本語", family, "a\\nb"):
        assert printable(text) == text


def test_what_reorders_text_is_shown() -> None:
    assert printable("a\u202eb\u2066c\u200f") == r"a\u202eb\u2066c\u200f"
    assert printable("\x1b[31m\t\r\n\x9b") == r"\u001b[31m\t\r\n\u009b"
    assert printable_lines("a\n\x07b") == "a\n\\u0007b"
