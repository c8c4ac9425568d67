"""What the processes are scaled by: each query runs on the real servers, and measures what it says."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from gengui_stream.metrics import new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.providers.local.redis_keys import QUEUE_STREAM
from gengui_stream.roles import ROLES
from tests.deploy.kubernetes.pods import of_kind, pods
from tests.deploy.kubernetes.rendering import rendered

DOCUMENTS: Final = rendered("production")
SCALED: Final[dict[str, Any]] = {each["metadata"]["name"]: each["spec"] for each in of_kind(DOCUMENTS, "ScaledObject")}
API: Final = next(of_kind(DOCUMENTS, "HorizontalPodAutoscaler"))["spec"]


def trigger(role: str, kind: str) -> Any:
    [found] = SCALED[role]["triggers"]
    assert found["type"] == kind
    return found["metadata"]


def test_every_role_has_a_number_or_a_measure_and_not_both() -> None:
    """`kubectl apply` would otherwise set back the number that was scaled to."""
    deployments = {each["metadata"]["name"]: each["spec"] for each in of_kind(DOCUMENTS, "Deployment")}
    fixed = {name for name, spec in deployments.items() if "replicas" in spec}
    scaled = {spec["scaleTargetRef"]["name"] for spec in [*SCALED.values(), API]}
    assert fixed | scaled == set(ROLES)
    assert fixed & scaled == set()


def test_there_are_at_most_as_many_agents_as_partitions() -> None:
    partitions = int(pods("production")["agents"].environ["EVENTS_PARTITIONS"])
    assert SCALED["agents"]["maxReplicaCount"] == partitions


def test_no_role_falls_below_two_where_its_end_would_be_noticed() -> None:
    least = {name: spec["minReplicaCount"] for name, spec in SCALED.items()} | {"api": API["minReplicas"]}
    assert least == {"api": 2, "agents": 2, "dispatch": 2, "thumbnails": 2, "worker": 1}


def test_the_metrics_of_the_query_are_the_agents() -> None:
    query = trigger("agents", "prometheus")["query"]
    known = {metric.name for metric in new_metrics("agents").registry.collect()}
    named = set(re.findall(r"gengui_\w+", query))
    assert named == {"gengui_oldest_unprocessed_seconds", "gengui_partition_paused"}
    assert named <= known


def test_the_stream_of_the_workers_is_the_queue() -> None:
    """Its length is that of the open jobs: tests/integration/worker/test_worker.py."""
    assert trigger("worker", "redis-streams")["stream"] == QUEUE_STREAM


DUE: Final = """
    INSERT INTO jobs.jobs (job_key, kind, partition, generation_id, attempt, available_at, leased_until)
    SELECT kind || state, kind, 0, gen_random_uuid(), 1,
        now() + CASE state WHEN 'later' THEN interval '1 hour' ELSE interval '0' END,
        CASE state WHEN 'claimed' THEN now() + interval '1 minute' WHEN 'lost' THEN now() - interval '1 minute' END
    FROM unnest($1::text[]) AS kind, unnest(ARRAY['due', 'later', 'claimed', 'lost']) AS state
"""


@pytest.mark.parametrize(
    ("role", "kinds"), [("dispatch", ["dispatch", "cancel", "reconcile"]), ("thumbnails", ["thumbnail", "deletion"])]
)
async def test_jobs_count_while_they_are_due_and_not_claimed(role: str, kinds: list[str], pool: Pool) -> None:
    query = trigger(role, "postgresql")["query"]
    assert await pool.fetchval(query) == 0
    await pool.execute(DUE, ["dispatch", "cancel", "reconcile", "thumbnail", "deletion"])
    assert await pool.fetchval(query) == 2 * len(kinds)


PAGE: Final = Path(__file__).parents[3] / "docs" / "deployment.md"


@pytest.mark.parametrize("role", ["dispatch", "thumbnails"])
async def test_the_rights_that_the_page_grants_are_enough(role: str, pool: Pool) -> None:
    granted = re.findall(r"^GRANT .* TO scaling;$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("CREATE ROLE scaling")
        for statement in granted:
            await connection.execute(statement)
        await connection.execute("SET LOCAL ROLE scaling")
        await connection.fetchval(trigger(role, "postgresql")["query"])
        await connection.execute("RESET ROLE")
        await connection.execute("DROP OWNED BY scaling; DROP ROLE scaling")
