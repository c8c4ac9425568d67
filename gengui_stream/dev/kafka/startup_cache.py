"""What makes a broker start soon, made once for each Java and lock: a formatted data directory to copy, and the JVM's
ahead-of-time cache, which has the broker's classes loaded and linked (JEP 483)."""

import asyncio
import hashlib
import logging
import shutil
import signal
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.jars import LOCK
from gengui_stream.dev.kafka.java import OPTIONS, Java, environ, release
from gengui_stream.dev.kafka.properties import PROPERTIES, Node
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child

SUMS: Final = "SHA256SUMS"
AOT_CACHE: Final = "broker.aot"
CREATED_WITHIN_S: Final = 120.0
"""From the end of the training run on: the JVM writes the cache then."""

USED_WITHIN_S: Final = 60.0
TOPIC: Final = "training"
RECORDS: Final = 100


def key() -> str:
    """Names everything that the content depends on."""
    parts = (LOCK.read_text(), release(), sysconfig.get_platform(), *OPTIONS, PROPERTIES)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class StartupCache:
    """A directory in the user's cache, whole or absent. Its files are compared with their hashes before every use."""

    def __init__(self, parent: Path) -> None:
        self.directory = parent / f"startup-{key()}"

    @property
    def template(self) -> Path:
        return self.directory / "template"

    @property
    def aot_cache(self) -> Path | None:
        """None where the JVM could not make one."""
        path = self.directory / AOT_CACHE
        return path if path.exists() else None

    def is_good(self) -> bool:
        """Blocking: some 65 MB are hashed."""
        try:
            return (self.directory / SUMS).read_text() == sums(self.directory)
        except OSError:
            return False

    async def make(self, class_path: str, say: Callable[[str], None]) -> None:
        """One process at a time. Raises the errors of a broker's start. Without disk space for the AOT cache, or when
        the JVM refuses it, there is none, and `say` receives the reason."""
        for old in (self.directory, *self.directory.parent.glob("new-*")):
            shutil.rmtree(old, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self.directory.parent))
        try:
            await _train(fresh, class_path, say)
            self._place(fresh)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _place(self, fresh: Path) -> None:
        (fresh / SUMS).write_text(sums(fresh))
        fresh.replace(self.directory)


def sums(directory: Path) -> str:
    """As `sha256sum` writes it, of every file below but the list itself."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{_sha256(path)}  {path.relative_to(directory)}\n" for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _train(directory: Path, class_path: str, say: Callable[[str], None]) -> None:
    """A broker is formatted, started, used and ended; then the JVM writes down what it loaded."""
    from aiokafka.errors import KafkaError

    cache, node = directory / AOT_CACHE, Node((free_port(),))
    data = DataDirectory(directory / "run")
    data.directory.mkdir()
    child = Child("kafka-training", data.directory / "broker.log")
    broker = Broker(child, data, node, Java(class_path), (f"-XX:AOTCacheOutput={cache}",))
    await broker.format_directory(data.directory / "template")
    shutil.copytree(data.directory / "template", directory / "template")
    try:
        with _quiet_client():
            await broker.start(directory / "template")
            with suppress(KafkaError, TimeoutError):  # the cache is good for less then
                await asyncio.wait_for(_use(f"127.0.0.1:{node.port}"), USED_WITHIN_S)
        await child.stop(grace_s=CREATED_WITHIN_S)
    finally:
        await child.stop(how=signal.SIGKILL)
    if not await _is_usable(cache, class_path, child.log):
        _discard(directory)
        reason = child.log_tail().strip().rpartition("\n")[2]
        say(f"Java made no cache of the broker's classes, so every start takes some seconds longer: {reason}")
    shutil.rmtree(data.directory)


async def _use(address: str) -> None:
    """What clients of ours do first, so that the broker's classes for it are in the cache."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=[address])
    producer = AIOKafkaProducer(bootstrap_servers=[address], enable_idempotence=True)
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=[address], group_id=TOPIC, auto_offset_reset="earliest"
    )
    try:
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, num_partitions=4, replication_factor=1)])
        await producer.start()
        for number in range(RECORDS):
            await producer.send_and_wait(TOPIC, b"", key=str(number).encode())
        await consumer.start()
        while not await consumer.getmany(timeout_ms=500):
            pass
        await consumer.commit()
    finally:
        for client in (consumer.stop, producer.stop, admin.close):
            await client()


@contextmanager
def _quiet_client() -> Iterator[None]:
    """aiokafka warns of what it tries again, as it does while a topic is new."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _is_usable(cache: Path, class_path: str, log: Path) -> bool:
    """Whether there is one and Java takes it: what it takes no more later, it passes over by itself."""
    probe = Child("java", log)
    command = Java(class_path, cache).command("-version", options=("-XX:AOTMode=on",))
    probe.start(command, environ=environ())
    try:
        await probe.ended()
    finally:
        await probe.stop()
    return probe.exit_code == 0


def _discard(directory: Path) -> None:
    for half_made in directory.glob(f"{AOT_CACHE}*"):
        half_made.unlink()
