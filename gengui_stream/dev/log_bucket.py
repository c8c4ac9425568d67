"""The bucket in which the embedded broker keeps its log, and the holes that it leaves there.

Tansu (0.6.0, tansu-storage/src/dynostore.rs) takes a batch in steps: it counts it, moves the partition's end on, and
writes it. Killed before the last step, or with the store away at that moment, it leaves offsets behind that were given
away and hold nothing, for ever. No event is lost by that: its producer was not told that it is on the log, and appends
it again. But who insists on every offset, as the projector does (law 1), waits in front of the hole for ever. So an
empty record is written there, which becomes a dead letter with the reason `empty`.

It is written only where there is no object. If the batch that belongs there is under way after all, the first of the
two stays, and the broker tells the other's producer that it failed.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

import boto3
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from gengui_stream.errors import TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET: Final = "gengui-log"
REGION: Final = "us-east-1"
LAST_OFFSET_DELTA: Final = "bytes=23-26"
"""Of a record batch: https://kafka.apache.org/documentation/#recordbatch"""

CONFIRMED_AFTER_S: Final = 1.0
"""A batch that is under way is written within milliseconds."""

ALREADY_THERE: Final = frozenset({"PreconditionFailed", "412"})
SUFFIX: Final = ".batch"


@dataclass(frozen=True, slots=True)
class Hole:
    """An offset below the partition's end at which there is no record. `folder` is the partition's, with a slash."""

    folder: str
    offset: int

    def __str__(self) -> str:
        *_, topic, _, partition, _ = self.folder.split("/")
        return f"{topic}/{int(partition)}:{self.offset}"

    @property
    def key(self) -> str:
        return f"{self.folder}records/{self.offset:020}{SUFFIX}"


def missing_offsets(start: int, bases: Sequence[int], end: int, length_of: Callable[[int], int]) -> list[int]:
    """What no batch covers of the offsets from `start` to `end`. `bases`: the batches' first offsets, in order.
    `length_of` a batch is asked only where the next one does not begin right behind its first record."""
    places = [base for base in bases if base < end]
    missing = list(range(start, min([*places[:1], end])))
    for base, following in pairwise([*places, end]):
        covered = 1 if following == base + 1 else length_of(base)
        missing += range(base + covered, following)
    return missing


def empty_batch(at_ms: int) -> bytes:
    """One record without key and value. `at_ms` is its time, in Unix milliseconds."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1024)
    builder.append(0, at_ms, None, None, [])
    return bytes(builder.build())


class LogBucket:
    """Blocking: call it in a thread. Raises TransientError while the store is away."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=environ["S3_ENDPOINT"],
            region_name=environ.get("AWS_REGION", REGION),
            aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
            config=Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ensure(self) -> None:
        """Makes the bucket unless it is there, and sees that it can be written."""
        with _store_errors():
            with suppress(self._client.exceptions.BucketAlreadyOwnedByYou, self._client.exceptions.BucketAlreadyExists):
                self._client.create_bucket(Bucket=BUCKET)
            self._client.put_object(Bucket=BUCKET, Key=".ready", Body=b"")

    def holes(self) -> list[Hole]:
        """Of all partitions, at this moment: what is being written just now looks like one."""
        with _store_errors():
            return [hole for folder in self._partitions() for hole in self._holes_of(folder)]

    def fill(self, hole: Hole) -> bool:
        """Whether it was filled; False when a record has come there meanwhile."""
        body = empty_batch(int(time.time() * 1000))
        with _store_errors():
            try:
                self._client.put_object(Bucket=BUCKET, Key=hole.key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in ALREADY_THERE:
                    raise
                return False
        return True

    def _partitions(self) -> Iterator[str]:
        for cluster in self._folders("clusters/"):
            for topic in self._folders(f"{cluster}topics/"):
                yield from self._folders(f"{topic}partitions/")

    def _folders(self, folder: str) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=folder, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield found["Prefix"]

    def _holes_of(self, folder: str) -> list[Hole]:
        """The end is asked for first: what is counted in it was under way before the list was made."""
        start, end = self._bounds(folder)
        bases = list(self._bases(folder)) if end > start else []
        offsets = missing_offsets(start, bases, end, lambda base: self._length(Hole(folder, base).key))
        return [Hole(folder, offset) for offset in offsets]

    def _bounds(self, folder: str) -> tuple[int, int]:
        try:
            found = self._client.get_object(Bucket=BUCKET, Key=f"{folder}watermark.json")
        except self._client.exceptions.NoSuchKey:  # nothing was appended yet
            return 0, 0
        watermark: dict[str, int | None] = json.loads(found["Body"].read())
        return watermark["low"] or 0, watermark["high"] or 0

    def _bases(self, folder: str) -> Iterator[int]:
        prefix = f"{folder}records/"
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for found in page.get("Contents", ()):
                yield int(found["Key"].removeprefix(prefix).removesuffix(SUFFIX))

    def _length(self, key: str) -> int:
        found = self._client.get_object(Bucket=BUCKET, Key=key, Range=LAST_OFFSET_DELTA)
        return int.from_bytes(found["Body"].read(), "big") + 1


async def fill_holes(environ: Mapping[str, str]) -> list[Hole]:
    """Those that were filled. Raises TransientError while the store is away."""
    with await asyncio.to_thread(LogBucket, environ) as bucket:
        found = set(await asyncio.to_thread(bucket.holes))
        if not found:
            return []
        await asyncio.sleep(CONFIRMED_AFTER_S)
        lasting = [hole for hole in await asyncio.to_thread(bucket.holes) if hole in found]
        return [hole for hole in lasting if await asyncio.to_thread(bucket.fill, hole)]


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise TransientError(f"the object store refuses: {error}") from error
    except (BotoCoreError, ResponseParserError) as error:  # the latter when it is not yet what answers at its address
        raise TransientError(f"the object store is away: {error}") from error
