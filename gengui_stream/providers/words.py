"""What a provider says, as text for the owner of a generation. Pure and total."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

WORDS_MAX: Final = 500
HIDDEN: Final = "…"

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_NAMES: Final = ("error_message", "message", "error", "detail", "details")
_DEPTH_MAX: Final = 4


def one_line(text: str, limit: int = WORDS_MAX) -> str:
    """Without control characters and lone surrogates, which an event or a terminal must not contain."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:limit]


def words_of(value: object, limit: int = WORDS_MAX, depth: int = _DEPTH_MAX) -> str:
    """The error message in a string, an object or a list, by the names that providers and their workers use; empty when
    there is none."""
    match value:
        case str():
            return one_line(value, limit)
        case [first, *_] if depth:
            return words_of(first, limit, depth - 1)
        case Mapping() if depth:
            found = (words_of(value.get(name), limit, depth - 1) for name in _NAMES)
            return next((words for words in found if words), "")
        case _:
            return ""


def with_words(sentence: str, words: str) -> str:
    return f"{sentence}: {words[:WORDS_MAX]}" if words else sentence


def without(text: str, secrets: Iterable[str]) -> str:
    """A server may echo what it was sent."""
    for secret in filter(None, secrets):
        text = re.sub(re.escape(secret), HIDDEN, text, flags=re.IGNORECASE)
    return text
