"""The published schemas: sent documents satisfy them, and every document that satisfies them is accepted."""

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

import schemas
from gengui_stream.log.codec import Undecodable, decode, encode_key, encode_value
from schemas.events import EVENT_CLASSES, Event
from schemas.publish import FOLDER, documents, stale
from tests.events import ending_events, histories, requests, running_events, wide_history

ROOT: Final = Path(schemas.__file__).parents[1]
ONE_OF_EACH: Final = {str(event.type): event for event in [*requests(), *running_events(), *ending_events()]}
TYPES: Final = [cls.model_fields["type"].default for cls in EVENT_CLASSES]


FORMATS: Final = FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)
def is_a_moment(text: object) -> bool:
    """As RFC 3339 has it: with a zone."""
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None


@cache
def validator(type_: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / "events" / f"{type_}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


def sent(event: Event) -> Any:
    return json.loads(encode_value(event))


def test_every_event_has_its_schema() -> None:
    assert {path.stem for path in (FOLDER / "events").glob("*.json")} == set(TYPES) == set(ONE_OF_EACH)


@given(histories())
def test_what_is_sent_satisfies_it(history: list[Event]) -> None:
    for event in history:
        fault = best_match(validator(event.type).iter_errors(sent(event)))
        assert fault is None, fault


def test_so_does_a_whole_realistic_history() -> None:
    for event in wide_history(7):
        assert validator(event.type).is_valid(sent(event))


JUNK: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.sampled_from(["", "x" * 20_000, "2026-06-01", "2026-06-01T12:00:00Z", "\x00"]),
    st.sampled_from([-1, 0, 1e300, 2**60, [], {}, [{}]]),
)  # fmt: skip


@settings(max_examples=200)
@given(st.sampled_from(sorted(ONE_OF_EACH)), st.data())
def test_what_satisfies_it_is_read(type_: str, data: st.DataObject) -> None:
    """For documents with one field changed or removed: a producer that validates its events against the file is
    safe."""
    document = sent(ONE_OF_EACH[type_])
    names = sorted({*document, *validator(type_).schema["properties"]})
    name = data.draw(st.sampled_from([n for n in names if n != "generation_id"]))
    if data.draw(st.booleans()):
        document[name] = data.draw(JUNK)
    else:
        document.pop(name, None)
    if validator(type_).is_valid(document):
        decoded = decode(encode_key(ONE_OF_EACH[type_]), json.dumps(document).encode())
        assert not isinstance(decoded, Undecodable), (name, document.get(name), decoded)


def test_fields_of_newer_writers_satisfy_it() -> None:
    for type_, event in ONE_OF_EACH.items():
        assert validator(type_).is_valid(sent(event) | {"invented": [1]})


# files and their check


def test_nothing_is_stale() -> None:
    assert stale(documents()) == []


def test_the_build_runs_the_check() -> None:
    assert "python -m schemas.publish --check" in (ROOT / "Makefile").read_text()


# AsyncAPI


def resolved(document: Any, reference: str) -> Any:
    """The target of a reference: within the document, or in a file beside it."""
    if not reference.startswith("#/"):
        return json.loads((FOLDER / reference).read_text())
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_the_asyncapi_document_is_one_of_version_3() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text())
    assert document["asyncapi"].startswith("3.")
    assert {"title", "version"} <= set(document["info"])
    assert set(document) <= {
        "asyncapi",
        "id",
        "info",
        "servers",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    assert list(references(document))
    for reference in references(document):
        assert resolved(document, reference)
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["channel"]["$ref"].startswith("#/channels/")


def test_it_names_every_event_with_its_schema_and_its_key() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text())
    [channel] = document["channels"].values()
    assert set(channel["messages"]) == set(TYPES)
    for type_, reference in channel["messages"].items():
        message = resolved(document, reference["$ref"])
        assert message["name"] == type_
        assert resolved(document, message["payload"]["$ref"])["properties"]["type"]["const"] == type_
        assert message["bindings"]["kafka"]["key"]["format"] == "uuid"
