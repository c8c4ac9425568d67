"""Checks of the object store: the bucket exists, and an object can be written, read, read by URL and deleted."""

import asyncio
import re
import ssl
import uuid
from typing import Final

import aiohttp
from yarl import URL

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, clock, connected, fail, ok, warn
from gengui_stream.errors import PermanentError, TlsError, TransientError
from gengui_stream.logging import redact_text
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.round_trip import fastest
from gengui_stream.settings import Settings

BODY: Final = b"gengui-stream doctor"
READ_TIMEOUT_S: Final = 3.0
DATE_RESOLUTION_S: Final = 1.0
_CODE: Final = re.compile(r"\((\w+)\) when calling")

REMEDIES: Final = {
    "NoSuchBucket": "run `gengui-stream migrate`, or correct S3_BUCKET",
    "404": "run `gengui-stream migrate`, or correct S3_BUCKET",
    "AccessDenied": "give the key s3:PutObject, s3:GetObject and s3:DeleteObject on the objects of the bucket",
    "403": "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the key s3:GetObject on the objects",
    "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "renew the temporary credentials: AWS_SESSION_TOKEN has expired",
    "RequestTimeTooSkewed": "synchronize this machine's clock (NTP)",
    "301": "correct AWS_REGION: the bucket is in another one",
    "PermanentRedirect": "correct AWS_REGION: the bucket is in another one",
    "400": "correct AWS_REGION and the credentials",
}
"""By the error code of the store."""

UNREACHABLE: Final = "start the object store, or correct S3_ENDPOINT"


async def check_object_store(context: Context) -> list[Finding]:
    async with open_object_store(context.settings, read_timeout_s=READ_TIMEOUT_S, tries=1) as store:
        bucket = await _bucket(store, context)
        if bucket[0].status == "fail" and not _is_refusal(bucket[0]):
            return bucket
        return [*bucket, *await _object(store, context)]


def _is_refusal(finding: Finding) -> bool:
    """A key without permission to list the bucket may have the other permissions."""
    return finding.remedy in {REMEDIES["403"], REMEDIES["AccessDenied"]}


async def _bucket(store: ObjectStore, context: Context) -> list[Finding]:
    name = "object_store.bucket"
    try:
        trip = await fastest(store.server_time)
    except TlsError as error:
        return [fail(name, f"S3 request failed: {error.fault}", error.remedy)]
    except (TransientError, PermanentError) as error:
        return [failed(name, str(error))]
    address = context.settings.s3_endpoint or "AWS"
    found = [connected(name, f"{context.settings.s3_bucket} at {address}", trip.seconds)]
    if trip.answer is not None:
        found.append(clock("object_store.clock", trip.answer, trip.middle, resolution_s=DATE_RESOLUTION_S))
    return found


async def _object(store: ObjectStore, context: Context) -> list[Finding]:
    """Writes, reads, reads by URL and deletes an object."""
    key = f"doctor/{uuid.uuid4().hex}"
    try:
        await store.put(key, BODY, "text/plain")
    except (TransientError, PermanentError) as error:
        return [failed("object_store.write", str(error))]
    try:
        found = [
            ok("object_store.write", "S3 upload works"),
            await _read(store, key),
            await _by_url(store, context, key),
        ]
    finally:
        removed = await _remove(store, key)
    return [*found, removed]


async def _read(store: ObjectStore, key: str) -> Finding:
    try:
        await store.get(key, len(BODY))
    except (TransientError, PermanentError) as error:
        return failed("object_store.read", str(error))
    return ok("object_store.read", "the object was read")


async def _by_url(store: ObjectStore, context: Context, key: str) -> Finding:
    """Reads by URL as a client of the API does. S3_PUBLIC_ENDPOINT may be unreachable from this machine."""
    name, remedy = "object_store.signed_url", "correct S3_PUBLIC_ENDPOINT: clients of the API read images there"
    try:
        url = store.presigned_url(key).url
        async with context.http.get(URL(url, encoded=True), ssl=_trusting(context.settings)) as answer:
            status, body = answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return warn(name, f"unreachable from here: {type(error).__name__}", remedy)
    if (status, body) != (200, BODY):
        return fail(name, f"the response to a signed URL was {status}", remedy)
    return ok(name, "a signed URL works")


def _trusting(settings: Settings) -> ssl.SSLContext:
    """The system's CAs, and that of the object store."""
    trusted = ssl.create_default_context()
    if settings.s3_ca_file is not None:
        trusted.load_verify_locations(settings.s3_ca_file)
    return trusted


async def _remove(store: ObjectStore, key: str) -> Finding:
    try:
        await asyncio.shield(store.remove(key))
    except (TransientError, PermanentError) as error:
        message = redact_text(str(error))
        return warn(
            "object_store.remove", f"{key} was not deleted: {message}", "give the key the permission s3:DeleteObject"
        )
    return ok("object_store.remove", "the object was deleted")


def failed(name: str, message: str) -> Finding:
    """Pure."""
    code = _CODE.search(message)
    remedy = REMEDIES.get(code[1]) if code else None
    if remedy is None:
        remedy = UNREACHABLE if code is None else "see what the store says"
    if "NoCredentials" in message or "credentials" in message.lower():
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    kind = "S3 upload failed" if name == "object_store.write" else "S3 request failed"
    return fail(name, f"{kind}: {redact_text(message).removeprefix('object store: ')}", remedy)
