"""The text of API keys: its checksum, its id, and the expression by which scanners find it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.accounts.keys.key_text import KeyText, checksum, key_id_of, key_text, new_key_text
from gengui_stream.logging import redact_text
from gengui_stream.token_patterns import SCANNED

KEYS = st.builds(key_text, st.binary(min_size=4, max_size=4), st.binary(min_size=32, max_size=32))
EARLIER = "gg_1f2e3d4c_" + "a" * 43
OTHERS = [EARLIER, "gg_session_" + "s" * 43, "gg_stream_" + "b" * 43, "gg_once_" + "c-_" + "c" * 40]
PAGE = Path(__file__).parents[3] / "docs" / "security.md"


def test_a_key_is_as_documented() -> None:
    assert key_text(bytes(4), bytes(32)) == KeyText("00000000", "gg_live_00000000_" + "A" * 43 + "3Mnoj5")
    assert new_key_text() != new_key_text()


def test_the_checksum_is_the_crc_32_in_base_62() -> None:
    assert checksum("") == "000000"
    assert checksum("123456789") == "3jZRME", "whose CRC-32 is cbf43926"


@given(KEYS)
def test_a_key_gives_its_id_and_is_found_by_scanners(made: KeyText) -> None:
    assert key_id_of(made.text) == made.key_id
    for line in (f'KEY = "{made.text}"', f"Authorization: Bearer {made.text}\n", f"?key={made.text}&x"):
        assert re.findall(SCANNED, line) == [made.text]


@given(KEYS, st.data())
def test_a_key_with_another_character_is_none(made: KeyText, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(made.text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda one: one != made.text[place]))
    assert key_id_of(made.text[:place] + other + made.text[place + 1 :]) is None


@given(st.one_of(st.text(), st.from_regex(r"gg_live_[0-9a-f]{8}_[A-Za-z0-9_-]{49}\n?", fullmatch=True)))
def test_no_text_is_an_error_and_few_are_keys(text: str) -> None:
    found = key_id_of(text)
    assert found is None or text[-6:] == checksum(text[:-6])


def test_a_key_of_an_earlier_release_has_an_id() -> None:
    assert key_id_of(EARLIER) == "1f2e3d4c"
    assert key_id_of(EARLIER + "a") is key_id_of(EARLIER[:-1]) is None


@given(KEYS)
def test_a_log_keeps_the_id_alone(made: KeyText) -> None:
    secret = made.text.removeprefix(f"gg_live_{made.key_id}_")
    for line in (f"with {made.text}.", f"x={made.text[:-6]}", f"'{made.text}'"):
        assert secret[:10] not in redact_text(line)
        assert f"gg_live_{made.key_id}_***" in redact_text(line)


@pytest.mark.parametrize("text", OTHERS)
def test_what_else_is_secret_is_found_and_masked(text: str) -> None:
    assert re.findall(SCANNED, f"see {text}, and") == [text]
    assert redact_text(f"see {text}, and") == f"see {text[: text.index('_', 3) + 1]}***, and"


@pytest.mark.parametrize("name", ["__Host-gengui-session", "gengui-session"])
def test_the_cookie_of_a_session_is_masked(name: str) -> None:
    line = f"Cookie {name}=abcdef-_123; theme=dark"
    assert redact_text(line) == f"Cookie {name}=***; theme=dark"


def test_the_expression_for_scanners_is_in_the_documentation() -> None:
    assert SCANNED in PAGE.read_text(encoding="utf-8")
