"""The object store over TLS: verified, or refused with what to set."""

import uuid
from pathlib import Path

import pytest

from gengui_stream.errors import TlsError
from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import Settings, load_settings
from tests.integration.doctor.doctoring import examined
from tests.integration.tls import refusals
from tests.integration.tls.certificates import OTHER_HOST, Certificates
from tests.integration.tls.refusals import Refused, check_refusal
from tests.integration.tls.servers.object_store import ObjectStoreWithTls


def given(environ: dict[str, str], ca: Path | None = None) -> Settings:
    own = {"S3_CA_FILE": str(ca)} if ca else {}
    return load_settings({**environ, **own, "S3_BUCKET": f"b{uuid.uuid4().hex[:16]}"}, env_files=())


async def round_trip(settings: Settings) -> bytes:
    async with open_object_store(settings, tries=1) as store:
        await store.ensure_bucket()
        await store.put("key", b"body", "text/plain")
        return await store.get("key", 100)


async def test_it_is_verified_by_its_ca(
    object_store: ObjectStoreWithTls, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = given(object_store.environ(), certificates.ca)
    assert await round_trip(settings) == b"body"
    found = await examined(settings, tmp_path, "object_store", "tls")
    assert {finding.status for finding in found.values()} == {"ok"}, found
    assert "object_store.tls" in found
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.ca))
    assert await round_trip(given(object_store.environ())) == b"body"


async def test_what_is_not_trusted_is_refused(
    object_store: ObjectStoreWithTls, certificates: Certificates, tmp_path: Path
) -> None:
    ca = "set S3_CA_FILE to a PEM file with the CA of the server's certificate"
    for settings, expected in (
        (given(object_store.environ(), certificates.other_ca), Refused(refusals.UNKNOWN_CA, ca)),
        (given(object_store.environ()), Refused(refusals.UNKNOWN_CA, ca)),
        (
            given(object_store.environ(host=OTHER_HOST), certificates.ca),
            Refused("hostname '127.0.0.1' doesn't match", "set S3_ENDPOINT to a name in the server's certificate"),
        ),
        (
            given(object_store.environ(expired=True), certificates.ca),
            Refused(refusals.EXPIRED, "renew the server's certificate"),
        ),
    ):
        with pytest.raises(TlsError) as raised:
            await round_trip(settings)
        check_refusal(raised, expected)
        found = (await examined(settings, tmp_path, "object_store"))["object_store.bucket"]
        assert found.status == "fail"
        assert expected.fault in found.detail
        assert expected.remedy in str(found.remedy)
