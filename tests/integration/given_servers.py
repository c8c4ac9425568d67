"""Servers of the test run for `gengui-stream dev`, with separate databases, topics and buckets."""

import uuid
from collections.abc import Mapping
from pathlib import Path

import asyncpg


async def give_servers(stack: Mapping[str, str], directory: Path, redis_database: int) -> None:
    """Named in `.env`, so that nothing is started."""
    name = f"dev{uuid.uuid4().hex[:12]}"
    await _create_database(stack, name)
    own = {
        **stack,
        "DATABASE_URL": stack["DATABASE_URL"].removesuffix("gengui") + name,
        "REDIS_URL": f"{stack['REDIS_URL'].rsplit('/', 1)[0]}/{redis_database}",
        "EVENTS_TOPIC": name,
        "S3_BUCKET": name,
        "CONSUMER_GROUP": name,
        "LIVE_TABLES_GROUP": f"{name}-live",
    }
    (directory / ".env").write_text("".join(f"{key}={value}\n" for key, value in own.items()))


async def _create_database(stack: Mapping[str, str], name: str) -> None:
    connection = await asyncpg.connect(stack["DATABASE_URL"])
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
