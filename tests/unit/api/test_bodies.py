"""Bodies: what is decompressed, names that come twice, and limits that no valid request exceeds."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.bodies import decompressed
from api.http.json_sizes import WHITESPACE, largest_json
from api.http.problems import Refusal
from api.http.repeated_keys import repeated_keys
from schemas.http import CreateGeneration
from schemas.operations.table import OPERATIONS
from schemas.worker import WorkerEvents


def _raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
]
packed = st.sampled_from(PACKED)


@given(packed, st.binary(max_size=300))
def test_whole_bodies_are_decompressed(packing: tuple[str, Callable[[bytes], bytes]], content: bytes) -> None:
    encoding, pack = packing
    assert decompressed(pack(content), encoding, 300) == content


@given(packed, st.binary(max_size=300), st.data())
def test_no_body_that_ends_too_soon_is_taken(
    packing: tuple[str, Callable[[bytes], bytes]], content: bytes, data: st.DataObject
) -> None:
    encoding, pack = packing
    whole = pack(content)
    with pytest.raises(Refusal) as raised:
        decompressed(whole[: data.draw(st.integers(0, len(whole) - 1))], encoding, 300)
    assert (raised.value.status, raised.value.code) == (400, "malformed_body")


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_what_follows_the_end_and_what_is_too_large_is_refused(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Refusal, match="malformed_body"):
        decompressed(pack(b"a") + b"b", encoding, 300)
    with pytest.raises(Refusal, match="body_too_large"):
        decompressed(pack(bytes(10_000_000)), encoding, 300)


names = st.sampled_from(["a", "b", "é", "\U0001f600"])
Tree = list[tuple[str, "Tree"]] | list["Tree"] | int
trees: st.SearchStrategy[object] = st.recursive(
    st.integers(),
    lambda inner: st.lists(st.tuples(names, inner), max_size=4).map(tuple) | st.lists(inner, max_size=3),
    max_leaves=12,
)


def _text(tree: object) -> str:
    """JSON in which a tuple is an object, whose names may repeat."""
    if isinstance(tree, tuple):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(value)}" for name, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_text, tree)) + "]"
    return json.dumps(tree)


def _has_repeated(tree: object) -> bool:
    if isinstance(tree, tuple):
        found = [name for name, _ in tree]
        return len(set(found)) < len(found) or any(_has_repeated(value) for value in dict(tree).values())
    return isinstance(tree, list) and any(map(_has_repeated, tree))


@given(trees)
def test_each_name_that_comes_twice_is_found(tree: object) -> None:
    """An object that another value of the same name replaces is covered by that name."""
    assert bool(repeated_keys(_text(tree))) == _has_repeated(tree)


def test_names_are_given_with_their_paths() -> None:
    text = r'{"events": [{"a": 1}, {"type": 1, "\u0074ype": 2, "error": {"code": 1, "code": 2}}], "x": 1, "x": 2}'
    assert repeated_keys(text) == ["x", "events.1.type", "events.1.error.code"]
    assert repeated_keys('{"n": ' + "9" * 10_000 + "}") == []


def test_every_body_has_a_limit_that_follows_from_its_fields() -> None:
    """Bodies of many events have a limit of their own."""
    for body in {operation.body for operation in OPERATIONS if operation.body} - {WorkerEvents}:
        assert largest_json(body) > WHITESPACE
    longest = {"prompt": "\U0001f600" * 10_000, "model": "\U0001f600" * 100, "provider": "\U0001f600" * 100}
    sent = json.dumps(longest | {"width": 1024, "height": 1024, "seed": 2**53 - 1})
    assert len(sent) <= largest_json(CreateGeneration) <= len(sent) + WHITESPACE + 200
