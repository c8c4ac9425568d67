"""Paths in the bucket, and URLs signed for them."""

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gengui_stream.media.object_keys import media_key, thumbnail_key
from gengui_stream.media.signed_urls import BucketUrl, SigningKey, UrlSigner

OWNER, GENERATION = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC).timestamp()


def test_keys_are_the_original_services() -> None:
    assert media_key(OWNER, GENERATION, "image/png") == f"users/{OWNER}/media/{GENERATION}.png"
    assert thumbnail_key(OWNER, GENERATION, "image/webp") == f"users/{OWNER}/media/thumbs/{GENERATION}.webp"


def test_further_outputs_carry_their_id() -> None:
    keys = {media_key(OWNER, GENERATION, "image/jpeg", output_id) for output_id in ("0", "1", "b")}
    assert keys == {f"users/{OWNER}/media/{GENERATION}{suffix}.jpg" for suffix in ("", "-1", "-b")}


def test_an_unknown_type_still_has_a_key() -> None:
    assert media_key(OWNER, GENERATION, "image/x-new").endswith(".bin")


def signer(place: BucketUrl, *, ttl_s: int = 900, token: str | None = None) -> UrlSigner:
    return UrlSigner(place, lambda: SigningKey("AKID", "secret/with+signs", token), ttl_s=ttl_s)


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:8333", "https://s3.example.test/"])
@pytest.mark.parametrize("token", [None, "a/temporary+token=="])
@pytest.mark.parametrize("key", ["users/a/media/b.png", "with space/ü~(1)+&=?#.png"])
def test_signatures_are_botocores(endpoint: str | None, token: str | None, key: str) -> None:
    """The library's signer gives the same signature for the same moment."""
    url = signer(BucketUrl.of(endpoint, "my-bucket", "eu-west-3"), token=token).url(key, NOON)
    request = AWSRequest("GET", urlsplit(url)._replace(query="").geturl())
    theirs = S3SigV4QueryAuth(Credentials("AKID", "secret/with+signs", token), "s3", "eu-west-3", expires=900)
    request.context["timestamp"] = parse_qs(urlsplit(url).query)["X-Amz-Date"][0]
    modify: Callable[[AWSRequest], None] = vars(S3SigV4QueryAuth.__mro__[1])["_modify_request_before_signing"].__get__(
        theirs
    )
    modify(request)
    canonical = theirs.canonical_request(request)
    signature = theirs.signature(theirs.string_to_sign(request, canonical), request)
    assert parse_qs(urlsplit(url).query)["X-Amz-Signature"] == [signature]


def test_a_url_is_the_same_for_half_a_life_and_lives_another_half() -> None:
    sign = signer(BucketUrl.of("http://127.0.0.1:1", "b", "r"))
    first = sign.url("k", NOON)
    assert {sign.url("k", NOON + seconds) for seconds in (1, 200, 449)} == {first}
    assert sign.url("k", NOON + 450) != first
    assert signer(BucketUrl.of("http://127.0.0.1:1", "b", "r")).url("k", NOON + 10) == first, "as another process gives"
