"""The fold by faust's own guide: one agent, JSON values, and one upsert, so one transaction, for each event.

No position, no timeline, no validation: a row that merges what the events say, and how many of them it has seen.

python -m tests.bench.fold.stock_faust worker --without-web
"""

from typing import Any, Final

import asyncpg
import faust
import orjson
from faust.types import StreamT

from gengui_stream.settings import Settings, load_settings

TABLE: Final = """
CREATE TABLE stock_generations (
    generation_id uuid PRIMARY KEY, owner_id uuid, prompt text, status text NOT NULL, percent double precision,
    stage text, outputs text, thumbnail text, error text, occurred_at text NOT NULL, events bigint NOT NULL
) WITH (fillfactor = 70)
"""

PROGRESS: Final = "SELECT coalesce(sum(events), 0)::bigint FROM stock_generations"

UPSERT: Final = """
INSERT INTO stock_generations AS g VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)
ON CONFLICT (generation_id) DO UPDATE SET
    owner_id = coalesce(EXCLUDED.owner_id, g.owner_id), prompt = coalesce(EXCLUDED.prompt, g.prompt),
    status = CASE WHEN g.status IN ('completed', 'failed', 'canceled') THEN g.status ELSE EXCLUDED.status END,
    percent = greatest(EXCLUDED.percent, g.percent), stage = coalesce(EXCLUDED.stage, g.stage),
    outputs = coalesce(EXCLUDED.outputs, g.outputs), thumbnail = coalesce(EXCLUDED.thumbnail, g.thumbnail),
    error = coalesce(EXCLUDED.error, g.error), occurred_at = EXCLUDED.occurred_at, events = g.events + 1
"""


def row_of(event: dict[str, Any]) -> tuple[object, ...]:
    said = event.get
    return (
        event["generation_id"],
        said("owner_id"),
        said("prompt"),
        event["type"].removeprefix("generation."),
        said("percent"),
        said("stage"),
        orjson.dumps(event["outputs"]).decode() if "outputs" in event else None,
        said("object_key"),
        orjson.dumps(event["error"]).decode() if "error" in event else None,
        event["occurred_at"],
    )


def new_app(settings: Settings) -> faust.App:
    app = faust.App(
        settings.consumer_group,
        broker=f"kafka://{settings.kafka_bootstrap_servers}",
        store="memory://",
        topic_partitions=settings.events_partitions,
        topic_disable_leader=True,
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=6,
    )
    topic = app.topic(settings.events_topic, key_type=bytes, value_serializer="json")

    @app.agent(topic)
    async def fold(events: StreamT[dict[str, Any]]) -> None:
        connection = await asyncpg.connect(settings.database_dsn)
        upsert = await connection.prepare(UPSERT)
        async for event in events:
            await upsert.fetch(*row_of(event))

    return app


if __name__ == "__main__":
    new_app(load_settings(env_files=())).main()
