"""Images in an S3-compatible object store: boto3 in threads, with errors classified by whether a retry helps."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.s3_client import THREADS, create_bucket_in, new_client, new_session, public_url
from gengui_stream.media.signed_urls import SignedUrl, UrlSigner
from gengui_stream.media.signing_credentials import SigningCredentials
from gengui_stream.media.store_errors import (
    MISSING_CODES,
    ObjectMissing,
    ObjectTooLarge,
    classified,
    code_of,
    hides_missing,
    status_of,
)
from gengui_stream.process.background import background_task
from gengui_stream.settings import Settings
from gengui_stream.tls.refusals import OBJECT_STORE, refusal

CHUNK_BYTES: Final = 256 * 1024
PROBE_KEY: Final = "users/readiness-probe"
"""No output has it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The size of an object, and the content type that it was stored with. Both are None where the store answers these
    credentials as it does for an object that they may not see: it may exist."""

    bytes: int | None
    content_type: str | None


class Bucket(Protocol):
    """Objects by key. Methods raise TransientError while the object store is unavailable, else PermanentError."""

    async def get(self, key: str, max_bytes: int) -> bytes:
        """The whole object. Raises ObjectMissing, or ObjectTooLarge without reading more than `max_bytes`."""
        ...

    async def head(self, key: str) -> ObjectFacts | None:
        """None: the key surely has no object."""
        ...

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """Writes the object, replacing an existing one."""
        ...

    async def remove(self, key: str) -> None:
        """Deletes the object if it exists."""
        ...


class ObjectStore:
    """One bucket. Methods raise TransientError while the object store is unavailable, else PermanentError. The
    constructor blocks: it may ask a server for credentials."""

    def __init__(self, settings: Settings, *, read_timeout_s: float = 20, tries: int = 2) -> None:
        self._bucket = settings.s3_bucket
        self._region = settings.aws_region
        session = new_session(settings)
        self.credentials = SigningCredentials(session)
        self.credentials.refresh()
        self._client = new_client(session, settings, read_timeout_s, tries)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._signer = UrlSigner(
            public_url(settings, session),
            self.credentials.current,
            ttl_s=settings.presigned_url_ttl_s,
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def get(self, key: str, max_bytes: int) -> bytes:
        return await self._in_thread(lambda: self._get(key, max_bytes))

    async def head(self, key: str) -> ObjectFacts | None:
        try:
            return await self._in_thread(lambda: self._head(key))
        except ObjectMissing:
            return None

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        await self._in_thread(
            lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
        )

    async def ensure_bucket(self) -> None:
        """Creates the bucket if it is missing."""
        await self._in_thread(self._ensure_bucket)

    async def check(self) -> None:
        """Raises unless the bucket exists and is available: for readiness checks. Needs no right but that to read
        objects."""
        await self._in_thread(self._probe)

    async def remove(self, key: str) -> None:
        await self._in_thread(lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    async def server_time(self) -> datetime | None:
        """The store's clock in seconds, from the Date of a response. Raises as `check` does."""
        date = await self._in_thread(self._date)
        try:
            return parsedate_to_datetime(date)
        except ValueError:
            return None

    def presigned_url(self, key: str) -> SignedUrl:
        """A GET URL for clients, valid for at least half of PRESIGNED_URL_TTL_S. Cheap: no I/O. Raises
        TransientError or PermanentError without credentials."""
        return self._signer.url(key, time.time())

    def presigned_upload(self, key: str, mime_type: str, size: int, valid_s: int) -> SignedUrl:
        """A PUT URL for an object of exactly this type and size in bytes. Cheap: no I/O. Raises as `presigned_url`
        does."""
        headers = {"content-type": mime_type, "content-length": str(size)}
        return self._signer.upload_url(key, headers, time.time(), valid_s)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def guarded() -> T:
            with _translated():
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def _date(self) -> str:
        """Every response has it, also one that refuses to show the bucket."""
        try:
            headers = self._client.head_bucket(Bucket=self._bucket)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            if not hides_missing(error):
                raise
            self._probe()  # a wrong key is refused as well
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        return headers.get("date", "")

    def _probe(self) -> None:
        try:
            with closing(self._client.get_object(Bucket=self._bucket, Key=PROBE_KEY)["Body"]):
                pass
        except ClientError as error:
            if not (code_of(error) in MISSING_CODES or hides_missing(error)):
                raise

    def _head(self, key: str) -> ObjectFacts:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if not hides_missing(error):
                raise
            return ObjectFacts(None, None)
        return ObjectFacts(found["ContentLength"], found.get("ContentType"))

    def _get(self, key: str, max_bytes: int) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if hides_missing(error):
                raise ObjectMissing(f"{key} is missing, or the credentials may not read it: {error}") from error
            raise
        with closing(answer["Body"]) as body:  # its own context manager would return the raw response
            if answer["ContentLength"] > max_bytes:
                raise ObjectTooLarge(f"{key}: {answer['ContentLength']} bytes; the limit is {max_bytes}")
            parts = list(_limited(body.iter_chunks(CHUNK_BYTES), max_bytes))
        return b"".join(parts)

    def _ensure_bucket(self) -> None:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if hides_missing(error):  # the right to read objects is not the right to see the bucket
                return self._probe()
            if status_of(error) != 404:
                raise
            self._create_bucket()

    def _create_bucket(self) -> None:
        try:
            if self._region == "us-east-1":  # the one region that S3 rejects as a constraint
                self._client.create_bucket(Bucket=self._bucket)
            else:
                create_bucket_in(self._client, self._bucket, self._region)
        except ClientError as error:
            if code_of(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise


async def looked_up(store: Bucket, keys: Iterable[str]) -> dict[str, ObjectFacts | None]:
    """By key; None: the object is surely not there. Raises TransientError while the object store is unavailable."""
    wanted = list(dict.fromkeys(keys))
    found = await asyncio.gather(*(_head(store, key) for key in wanted))
    return dict(zip(wanted, found, strict=True))


async def _head(store: Bucket, key: str) -> ObjectFacts | None:
    try:
        return await store.head(key)
    except PermanentError:  # nothing can be said with these credentials, or of such a key
        return ObjectFacts(None, None)


@asynccontextmanager
async def open_object_store(
    settings: Settings, *, read_timeout_s: float = 20, tries: int = 2
) -> AsyncIterator[ObjectStore]:
    """Makes no request to the store yet. Creating the client reads boto3's service description, and perhaps asks a
    server for credentials, so it runs in a thread. Credentials are kept fresh while the block runs."""
    store = await asyncio.to_thread(partial(ObjectStore, settings, read_timeout_s=read_timeout_s, tries=tries))
    try:
        async with background_task(store.credentials.keep_fresh):
            yield store
    finally:
        store.close()


def _limited(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    """Counts the received bytes, as a store may declare any length."""
    read = 0
    for chunk in chunks:
        read += len(chunk)
        if read > max_bytes:
            raise ObjectTooLarge(f"more than {max_bytes} bytes")
        yield chunk


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise classified(error) from error
    except (ParamValidationError, NoCredentialsError) as error:
        raise PermanentError(f"object store: {error}") from error
    except (BotoCoreError, OSError) as error:
        unavailable = TransientError(f"object store: {type(error).__name__}: {error}")
        raise refusal(error, "object store", OBJECT_STORE) or unavailable from error
