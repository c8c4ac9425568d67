"""Names that an object of a JSON document has more than once. orjson keeps the last value of each without a word."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

PATHS_MAX: Final = 20


class _Ambiguous(dict[str, object]):
    """An object with such names."""

    repeated: tuple[str, ...] = ()


def repeated_keys(text: str) -> list[str]:
    """The paths of the names, such as `events.0.type`, at most PATHS_MAX. `text` is JSON, else ValueError or
    RecursionError is raised."""
    found: list[_Ambiguous] = []

    def made(pairs: list[tuple[str, object]]) -> dict[str, object]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        ambiguous = _Ambiguous(plain)
        ambiguous.repeated = tuple(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        found.append(ambiguous)
        return ambiguous

    document = json.loads(text, object_pairs_hook=made, parse_int=float)  # float: has no limit of digits
    return list(islice(_paths(document, ""), PATHS_MAX)) if found else []


def _paths(document: object, at: str) -> Iterator[str]:
    if isinstance(document, _Ambiguous):
        yield from (f"{at}{name}" for name in document.repeated)
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _paths(value, f"{at}{name}.")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _paths(value, f"{at}{index}.")
