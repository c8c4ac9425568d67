"""Each disaster, and how docs/recovery.md recovers from it."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import asyncpg
from aiokafka import AIOKafkaProducer

from gengui_stream.log.partitions import partition_of
from tests.drills.bad_release.sitecustomize import POISON
from tests.drills.ground import Ground

BAD_RELEASE: Final = Path(__file__).with_name("bad_release")
AGENTS: Final = ("agents", "agents-2")
NO_LIMITS: Final = {"DEAD_LETTERS_MAX_CONSECUTIVE": "1000000", "DEAD_LETTERS_MAX_SHARE": "1"}


async def lose_postgres(ground: Ground) -> None:
    """Its data is gone, and an empty server comes up in its place."""
    dump = ground.directory / "accounts.dump"
    async with _closed_api(ground):
        await ground.command("accounts", "dump", str(dump))
        data = await _postgres_data(ground)
        with _held(ground, *AGENTS):
            await ground.destroy("postgres", data)
            await ground.migrated()
            await ground.command("rebuild", "--all")
        await ground.command("accounts", "load", str(dump))


async def old_backup(ground: Ground) -> None:
    """A base backup is restored that lacks the latest generations: nothing is to be done but to start it."""
    data, copy = await _postgres_data(ground), ground.directory / "backup"
    connection = await asyncpg.connect(ground.fleet.settings.database_dsn)
    try:
        await connection.execute("SELECT pg_backup_start('drill', fast => true)")
        await asyncio.to_thread(_copied, data, copy)
        label = await connection.fetchval("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)")
    finally:
        await connection.close()
    await asyncio.to_thread(_complete, data, copy, str(label))
    await ground.more_accepted(5)
    async with _closed_api(ground):
        await ground.destroy("postgres", data, instead=copy)


async def lose_redis(ground: Ground) -> None:
    """It comes up again, empty: the queue of the local provider and the notifications are gone."""
    await ground.destroy("valkey", ground.directory / "valkey")


async def lose_store(ground: Ground) -> None:
    """Its last backup is restored: images made since are lost, and named."""
    copy, store = ground.directory / "store-backup", ground.directory / "seaweed"
    await ground.paused("seaweed", lambda: asyncio.to_thread(_copied, store, copy))
    await ground.more_ended(3)
    await ground.destroy("seaweed", store, instead=copy)
    ground.images_lost = True
    await ground.command("backfill-thumbnails")


async def bad_release(ground: Ground) -> None:
    """Its fold dead-letters everything, and its limits were switched off."""
    await ground.released({"PYTHONPATH": str(BAD_RELEASE), "DRILL_FOLD": "refuse", **NO_LIMITS}, AGENTS)
    await ground.until("SELECT count(*) >= 10 FROM projections.dead_letters WHERE reason = 'wrong_schema'")
    await ground.released({}, AGENTS)
    await ground.command("rebuild", "--all", "--accept-differences")


async def poison(ground: Ground) -> None:
    """A record ends every process that folds it, again and again."""
    crashing = {"PYTHONPATH": str(BAD_RELEASE), "DRILL_FOLD": "crash"}
    await ground.released(crashing, AGENTS)
    settings = ground.fleet.settings
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        partition = partition_of(b"poison", settings.events_partitions)
        sent = await producer.send_and_wait(settings.events_topic, POISON, b"poison", partition=partition)
    finally:
        await producer.stop()
    await ground.until_crashed(AGENTS)
    await ground.released({**crashing, "PROJECTOR_BATCH_MAX": "1"}, AGENTS)
    stopped = "SELECT next_offset = $2 FROM projections.checkpoints WHERE partition = $1"
    await ground.until(stopped, partition, sent.offset)
    await ground.command("skip", f"{partition}:{sent.offset}", "--reason", "it ends the agents")


Disaster: TypeAlias = Callable[[Ground], Awaitable[None]]

DISASTERS: Final[Mapping[str, Disaster]] = MappingProxyType(
    {
        "lose-postgres": lose_postgres,
        "old-backup": old_backup,
        "lose-redis": lose_redis,
        "lose-store": lose_store,
        "bad-release": bad_release,
        "poison": poison,
    }
)


@asynccontextmanager
async def _closed_api(ground: Ground) -> AsyncIterator[None]:
    """As behind a load balancer that sends nothing until the projections have caught up: before that the API would not
    know keys or generations, or answer with earlier versions."""
    with _held(ground, "api"):
        yield
        await ground.projected()


@contextmanager
def _held(ground: Ground, *roles: str) -> Iterator[None]:
    """As if the roles were stopped, and started afterwards."""
    for role in roles:
        ground.fleet.signal(role, signal.SIGSTOP)
    try:
        yield
    finally:
        for role in roles:
            ground.fleet.signal(role, signal.SIGCONT)


async def _postgres_data(ground: Ground) -> Path:
    connection = await asyncpg.connect(ground.fleet.settings.database_dsn)
    try:
        return Path(str(await connection.fetchval("SHOW data_directory")))
    finally:
        await connection.close()


def _copied(data: Path, copy: Path) -> None:
    """Files that a server removes meanwhile do not belong to the copy."""

    def copied(source: str, target: str) -> None:
        try:
            shutil.copy2(source, target)
            shutil.chown(target, Path(source).stat().st_uid, Path(source).stat().st_gid)
        except FileNotFoundError:
            return

    shutil.copytree(data, copy, copy_function=copied, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    for directory in (copy, *(found for found in copy.rglob("*") if found.is_dir())):
        original = data / directory.relative_to(copy)
        if original.exists():
            shutil.chown(directory, original.stat().st_uid, original.stat().st_gid)


def _complete(data: Path, copy: Path, label: str) -> None:
    """The log that was written during the copy, and the label that says where to begin."""
    shutil.rmtree(copy / "pg_wal")
    _copied(data / "pg_wal", copy / "pg_wal")
    (copy / "postmaster.pid").unlink(missing_ok=True)
    (copy / "backup_label").write_text(label)
    shutil.chown(copy / "backup_label", data.stat().st_uid, data.stat().st_gid)
