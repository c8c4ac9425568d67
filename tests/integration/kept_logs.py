"""A broker of the test's own that keeps its log in the object store, and a gate before the store that can be shut."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3

from gengui_stream.dev import log_bucket
from gengui_stream.dev.log_bucket import Hole
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.log.positions import Position
from gengui_stream.log.topics import ensure_topic
from gengui_stream.settings import Settings

CHUNK: Final = 65_536


class Gate:
    """Lets connections through to the store, until it is shut."""

    def __init__(self, store: str) -> None:
        self._store = urlsplit(store)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._at_batch: Callable[[], None] | None = None
        self.url = ""

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def reopen(self) -> None:
        await self.open(int(self.url.rsplit(":", 1)[1]))

    async def shut(self) -> None:
        """Nobody gets through, and who was is cut off."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def at_the_next_batch(self, happens: Callable[[], None]) -> None:
        """It comes to the gate, and no further."""
        self._at_batch = happens

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(self._store.hostname, self._store.port)
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._copy(reader, forth))
                    group.create_task(self._copy(back, writer))
        finally:
            forth.close()
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if self._at_batch is not None and _writes_a_batch(chunk):
                happens, self._at_batch = self._at_batch, None
                happens()
                return
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


def _writes_a_batch(chunk: bytes) -> bool:
    request = chunk.split(b"\r\n", 1)[0]
    return request.startswith(b"PUT ") and b"/records/" in request


class Batches:
    """The objects that the broker keeps of a topic, to be taken away and put back."""

    def __init__(self, store: Mapping[str, str], topic: str) -> None:
        self._topic = topic
        self._client = boto3.client(
            "s3",
            endpoint_url=store["S3_ENDPOINT"],
            region_name=store["AWS_REGION"],
            aws_access_key_id=store["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=store["AWS_SECRET_ACCESS_KEY"],
        )

    def close(self) -> None:
        self._client.close()

    def place(self, at: Position) -> Hole:
        return Hole(f"clusters/tansu_cluster/topics/{self._topic}/partitions/{at.partition:010}/", at.offset)

    def take(self, at: Position) -> bytes:
        """The batch that begins there, as if it were not written yet."""
        key = self.place(at).key
        found: bytes = self._client.get_object(Bucket=log_bucket.BUCKET, Key=key)["Body"].read()
        self._client.delete_object(Bucket=log_bucket.BUCKET, Key=key)
        return found

    def put(self, at: Position, batch: bytes) -> None:
        self._client.put_object(Bucket=log_bucket.BUCKET, Key=self.place(at).key, Body=batch)


class KeptLog:
    """`settings` are those of the test, but for the broker."""

    def __init__(self, settings: Settings, stack: EmbeddedStack, gate: Gate, store: Mapping[str, str]) -> None:
        self.settings, self.stack, self.gate, self.store = settings, stack, gate, store
        [self.broker] = stack.servers
        self.batches = Batches(store, settings.events_topic)


@asynccontextmanager
async def kept_log(stack: Mapping[str, str], settings: Settings, directory: Path) -> AsyncIterator[KeptLog]:
    gate = Gate(stack["S3_ENDPOINT"])
    await gate.open()
    given = {name: value for name, value in stack.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    embedded = EmbeddedStack(directory, given={**given, "S3_ENDPOINT": gate.url}, durable=True)
    try:
        await embedded.start()
        own = settings.model_copy(update={"kafka_bootstrap_servers": embedded.environ["KAFKA_BOOTSTRAP_SERVERS"]})
        await ensure_topic(own)
        log = KeptLog(own, embedded, gate, stack)
        with closing(log.batches):
            yield log
    finally:
        await embedded.stop()
        await gate.shut()
