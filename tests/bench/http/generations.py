"""Many completed generations, written directly as rows of the projections, for measurements of reads."""

from typing import Final
from uuid import UUID

import asyncpg

from gengui_stream.postgres.pool import Pool

OWNERS: Final = 100
"""So many users share the rows evenly; the demo user is one of them."""

PROMPT: Final = (
    "a lighthouse in a storm at dusk, long exposure, waves breaking over the rocks, volumetric light, "
    "35mm film grain, muted teal and amber palette, highly detailed, wide shot, no people"
)

REQUESTS: Final = """
INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model, provider,
    max_attempts,
    deadline, correlation_id, traceparent, requested_at)
SELECT gen_random_uuid(), ($1::uuid[])[1 + n % $2], $3 || ' #' || n, n, 1024, 1024, 'local-sketch', 'local', 3,
    moment + interval '10 minutes', gen_random_uuid()::text, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    moment
FROM (SELECT n, now() - n * interval '1 second' AS moment FROM generate_series(0, $4 - 1) n) numbered
"""

STATES: Final = """
INSERT INTO projections.generation_states (generation_id, partition, log_offset, status, version, attempt, provider,
    percent,
    cancel_requested, dispatched_at, started_at, ended_at, heartbeat_at, outputs,
    provider_model, settled)
SELECT generation_id, seed % 8, seed, 'completed', 9, 1, provider, 100, false, requested_at + interval '20 ms',
    requested_at + interval '40 ms', requested_at + interval '2 seconds', requested_at + interval '1 second',
    json_build_array(json_build_object('id', '0',
        'object_key', format('users/%s/media/%s.png', owner_id, generation_id),
        'mime_type', 'image/png', 'width', 1024, 'height', 1024, 'bytes', 1572864,
        'sha256', repeat('9f', 32),
        'thumbnail', json_build_object('object_key', format('users/%s/media/thumbs/%s.png', owner_id, generation_id),
            'mime_type', 'image/webp', 'width', 128, 'height', 128, 'bytes', 4096),
        'thumbnail_error', null)), model, true
FROM projections.generation_requests
"""

OWN: Final = "SELECT generation_id FROM projections.generation_requests WHERE owner_id = $1 ORDER BY generation_id"


async def fill(pool: Pool, count: int) -> list[UUID]:
    """Writes `count` generations and returns the ids of those that belong to the demo user."""
    owner_id: UUID = await pool.fetchval("SELECT user_id FROM accounts.users WHERE email = 'demo@example.com'")
    async with pool.acquire() as connection:
        await _write(connection, owner_id, count)
    return [row["generation_id"] for row in await pool.fetch(OWN, owner_id)]


async def _write(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", owner_id: UUID, count: int) -> None:
    others: list[UUID] = await connection.fetchval(
        "SELECT array_agg(gen_random_uuid()) FROM generate_series(2, $1::int)", OWNERS
    )
    async with connection.transaction():
        await connection.execute(REQUESTS, [owner_id, *others], OWNERS, PROMPT, count)
        await connection.execute(STATES)
    await connection.execute("VACUUM ANALYZE projections.generation_requests")
    await connection.execute("VACUUM ANALYZE projections.generation_states")
