"""Events of earlier schema versions, as the log has them."""

import json

import pytest

from gengui_stream.log.codec import Undecodable, decode, encode_key, encode_value
from schemas.events import EVENT_CLASSES, GenerationTimedOut
from schemas.upcasting import CURRENT_VERSIONS, UPCASTERS
from tests.events import GENERATION, NOON

TIMED_OUT = GenerationTimedOut(id=GENERATION, generation_id=GENERATION, occurred_at=NOON, producer="t", reason="late")
KEY = encode_key(TIMED_OUT)


def version_1(**changes: object) -> bytes:
    """`...` removes a field."""
    document = json.loads(encode_value(TIMED_OUT)) | {"schema_version": 1} | changes
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


@pytest.mark.parametrize("stated", [1, ...], ids=["stated", "not stated"])
@pytest.mark.parametrize(
    ("reason", "found"), [("silent", "silent"), (..., "the deadline passed before the generation ended")], ids=str
)
def test_a_time_out_of_version_1_has_a_reason(stated: object, reason: object, found: str) -> None:
    event = decode(KEY, version_1(schema_version=stated, reason=reason))
    assert event == TIMED_OUT.model_copy(update={"reason": found})


def test_an_earlier_version_is_checked_like_the_current_one() -> None:
    broken = decode(KEY, version_1(occurred_at="noon"))
    assert isinstance(broken, Undecodable)
    assert broken.reason == "wrong_schema"
    elsewhere = decode(b"elsewhere", version_1())
    assert isinstance(elsewhere, Undecodable)
    assert elsewhere.reason == "mismatched_key"


def test_every_version_but_the_current_one_has_an_upcaster() -> None:
    earlier = {(kind, version) for kind, current in CURRENT_VERSIONS.items() for version in range(1, current)}
    assert earlier == UPCASTERS.keys()
    assert len(CURRENT_VERSIONS) == len(EVENT_CLASSES)
