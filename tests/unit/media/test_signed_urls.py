"""URLs signed for objects are boto3's, for every endpoint, bucket and region."""

from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from gengui_stream.media.object_store import open_object_store
from gengui_stream.media.signed_urls import BucketUrl, SigningKey, UrlSigner
from gengui_stream.settings import load_settings

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC).timestamp()
SECRET = "secret/with+signs"
AWKWARD = "with space/ü~(1)+&=?#.png"

ENDPOINTS = [
    "http://127.0.0.1:8333",
    "http://[::1]:9000",
    "http://store.example.test:80",
    "https://store.example.test:443",
    "https://store.example.test:8443",
    "http://store.example.test:443",
    "https://Store.Example.TEST",
    "https://store.example.test/",
    "https://store.example.test/below/this",
]
REGIONS = ["us-east-1", "eu-west-3", "cn-north-1", "us-gov-west-1", "us-iso-east-1"]
BUCKETS = ["my-bucket", "my.bucket.with.dots"]
PLACES = [
    *((endpoint, "my-bucket", "eu-west-3") for endpoint in ENDPOINTS),
    *((endpoint, "my.bucket", "us-east-1") for endpoint in ENDPOINTS[:3]),
    *((None, bucket, region) for bucket in BUCKETS for region in REGIONS),
]

SESSION = boto3.Session()
"""Made once, as it reads the description of S3: a second in each process of the tests."""


@pytest.mark.parametrize("token", [None, "a/temporary+token=="], ids=["key", "token"])
@pytest.mark.parametrize(("endpoint", "bucket", "region"), PLACES)
async def test_urls_are_those_of_boto3(
    endpoint: str | None, bucket: str, region: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"S3_ENDPOINT": endpoint, "S3_BUCKET": bucket, "AWS_REGION": region, "AWS_SESSION_TOKEN": token}
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET}
    settings = load_settings({name: value for name, value in {**given, **keys}.items() if value}, env_files=())
    async with open_object_store(settings) as store:
        ours = [urlsplit(store.presigned_url(key).url) for key in ("users/a/media/b.png", AWKWARD)]
    signed_at = datetime.strptime(parse_qs(ours[0].query)["X-Amz-Date"][0] + "+0000", "%Y%m%dT%H%M%SZ%z")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: signed_at.replace(tzinfo=None))
    style = Config(signature_version="s3v4", s3={"addressing_style": "path" if endpoint else "virtual"})
    client = SESSION.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=style,
        aws_access_key_id="AKID",
        aws_secret_access_key=SECRET,
        aws_session_token=token,
    )
    theirs = [
        urlsplit(
            client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, settings.presigned_url_ttl_s)
        )
        for key in ("users/a/media/b.png", AWKWARD)
    ]
    for our, their in zip(ours, theirs, strict=True):
        assert (our.scheme, our.netloc.lower(), our.path) == (their.scheme, their.netloc.lower(), their.path)
        assert parse_qs(our.query) == parse_qs(their.query)


def signer(place: BucketUrl, *, ttl_s: int = 900) -> UrlSigner:
    return UrlSigner(place, lambda: SigningKey("AKID", SECRET, None), ttl_s=ttl_s)


def test_a_url_is_the_same_for_half_a_life_and_lives_another_half() -> None:
    sign = signer(BucketUrl.of("http://127.0.0.1:1", "b", "r"))
    first = sign.url("k", NOON)
    assert {sign.url("k", NOON + seconds) for seconds in (1, 200, 449)} == {first}
    assert sign.url("k", NOON + 450) != first
    assert signer(BucketUrl.of("http://127.0.0.1:1", "b", "r")).url("k", NOON + 10) == first, "as another process gives"


def test_a_url_says_when_it_ends_which_is_the_end_of_its_signature_or_of_its_credentials() -> None:
    place, noon = BucketUrl.of("http://127.0.0.1:1", "b", "r"), datetime.fromtimestamp(NOON, UTC)
    for seconds in (0, 1, 449):
        assert signer(place).url("k", NOON + seconds).expires_at == noon + timedelta(seconds=900)
    assert signer(place).url("k", NOON + 450).expires_at == noon + timedelta(seconds=1_350)
    assert signer(place).upload_url("k", {}, NOON + 7.9, 300).expires_at == noon + timedelta(seconds=307)
    for minutes, expected in ((5, 5), (60, 15)):
        temporary = partial(SigningKey, "AKID", SECRET, "token", noon + timedelta(minutes=minutes))
        signed = UrlSigner(place, temporary, ttl_s=900).url("k", NOON)
        assert signed.expires_at == noon + timedelta(minutes=expected)
