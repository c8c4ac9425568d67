"""Server-sent events: the same for any fragmentation by the network, and bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.errors import PermanentError
from gengui_stream.providers.flags.event_stream import EventStreamParser, StreamedEvent


def parsed(*chunks: bytes) -> list[StreamedEvent]:
    parser = EventStreamParser(10_000)
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"event: features\ndata: {}\n\n", [StreamedEvent("features", "{}")]),
        (b"data:a\ndata: b\ndata\n\n", [StreamedEvent("message", "a\nb\n")]),
        (b"event: features-updated\n\n", [StreamedEvent("features-updated", "")]),
        (b": a comment\nid: 3\nretry: 10\n\n\n", []),
        (b"data: only begun\n", []),
        (b"data: \xff\n\n", [StreamedEvent("message", "\ufffd")]),
        (
            b"event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\rdata: 3\n\n",
            [
                StreamedEvent("a", "1"),
                StreamedEvent("b", "2"),
                StreamedEvent("message", "3"),
            ],
        ),
    ],
)
def test_what_a_stream_says(text: bytes, events: list[StreamedEvent]) -> None:
    assert parsed(text) == events


lines = st.sampled_from(
    [b"event: x", b"data: 1", b"data: \xe5\x85\x89", b"", b"", b"id: 1", b": c", b"data", b"event:"]
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(lines, ends), max_size=30), st.lists(st.integers(0, 300), max_size=20))
def test_cuts_do_not_matter(written: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    text = b"".join(line + end for line, end in written) + b"\n"
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert parsed(*(text[a:b] for a, b in pairwise(places))) == parsed(text)


@pytest.mark.parametrize("piece", [b"x" * 100, b"data: " + b"x" * 100 + b"\n"])
def test_an_event_without_end_is_refused_before_it_fills_the_memory(piece: bytes) -> None:
    with pytest.raises(PermanentError, match="10000 bytes"):
        parsed(*[piece] * 101)
    assert parsed(*[piece] * 99) == []


def test_many_events_may_have_more_bytes_than_one() -> None:
    parser = EventStreamParser(10_000)
    event = b"data: " + b"x" * 9_000 + b"\n\n"
    assert sum(len(list(parser.feed(event * 5))) for _ in range(10)) == 50
