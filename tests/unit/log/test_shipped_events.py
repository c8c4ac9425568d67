"""Every shape of every event that a release has ever appended: the log holds them for good, so each is still read.

`shipped_events.jsonl` has a line for each: the document as it was shipped, and what is read from it today. Lines are
added when the language changes, and never edited: a change to one is a change to the past.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.log.codec import Undecodable, UnknownType, decode, encode_value
from schemas.events import EVENT_CLASSES
from schemas.upcasting import UPCASTERS

LINES: Final = [json.loads(line) for line in Path(__file__).with_name("shipped_events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "line", LINES, ids=[f"{number}-{line['shipped']['type']}" for number, line in enumerate(LINES)]
)
def test_a_shipped_event_is_read_as_ever(line: dict[str, dict[str, object]]) -> None:
    shipped = line["shipped"]
    event = decode(str(shipped["generation_id"]).encode(), json.dumps(shipped).encode())
    assert not isinstance(event, Undecodable | UnknownType), event
    assert json.loads(encode_value(event)) == line["read"]


def test_there_is_one_of_every_type_and_version() -> None:
    shipped = {(line["shipped"]["type"], line["shipped"]["schema_version"]) for line in LINES}
    current = {(cls.model_fields["type"].default, cls.model_fields["schema_version"].default) for cls in EVENT_CLASSES}
    assert shipped == current | set(UPCASTERS)


def test_every_field_of_every_type_is_in_one_of_them() -> None:
    """A new field is added here as well."""
    for cls in EVENT_CLASSES:
        own = [line["shipped"] for line in LINES if line["shipped"]["type"] == cls.model_fields["type"].default]
        assert set(cls.model_fields) <= {name for document in own for name in document}, cls.__name__
