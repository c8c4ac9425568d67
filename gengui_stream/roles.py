"""The registry of roles. It imports nothing, so that every module may import it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

RoleName: TypeAlias = Literal[
    "api", "agents", "live-tables", "dispatch", "worker", "thumbnails", "bridge", "account-jobs"
]
ServerName: TypeAlias = Literal["Kafka", "PostgreSQL", "Redis", "object store"]

SERVER_SETTINGS: Final[Mapping[ServerName, tuple[str, ...]]] = MappingProxyType(
    {
        "Kafka": ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "EVENTS_TOPIC", "EVENTS_PARTITIONS"),
        "PostgreSQL": ("DATABASE_URL",),
        "Redis": ("REDIS_URL",),
        "object store": ("S3_ENDPOINT", "S3_BUCKET"),
    }
)
"""The settings with which a role reaches each server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One process of `gengui-stream`.

    `arguments`: of `gengui-stream`. `entry`: `module:function`, imported in the process of that role alone.
    `metrics_port`: the default port of `health_path` and `/metrics`, which METRICS_PORT overrides; None for the API,
    which uses PORT, and for `/metrics` API_METRICS_PORT if set. `servers`: those that it uses; `settings`: its own,
    besides those of its servers; `SMTP_*`: all with this prefix.
    """

    name: RoleName
    summary: str
    arguments: tuple[str, ...]
    entry: str
    metrics_port: int | None
    servers: tuple[ServerName, ...]
    settings: tuple[str, ...]
    health_path: str = "/livez"

    @property
    def command(self) -> str:
        return " ".join(("gengui-stream", *self.arguments))

    @property
    def module(self) -> str:
        return self.entry.partition(":")[0]


_ALL: Final = (
    Role(
        name="api",
        summary="Serve the HTTP API.",
        arguments=("api",),
        entry="api.server:run_api",
        metrics_port=None,
        servers=("PostgreSQL", "Kafka", "Redis", "object store"),
        settings=(
            *("HOST", "PORT", "API_METRICS_PORT", "PUBLIC_URL", "PROXIES_TRUSTED", "CORS_ALLOWED_ORIGINS"),
            *("HTTP_RECEIVE_TIMEOUT_S", "HTTP_SEND_TIMEOUT_S", "HTTP_KEEP_ALIVE_S", "API_METRICS", "API_DOCS"),
            *("DEFAULT_PROVIDER", "DEFAULT_MODEL", "LOCAL_MODELS", "PRESIGNED_URL_TTL_S"),
            *("PRICES", "SIGN_UP", "SESSION_TTL_S", "ACCOUNT_DELETION_GRACE_S", "PASSWORD_HASHES_AT_ONCE"),
            *("REQUESTS_PER_MINUTE", "IN_PROGRESS_LIMIT", "RATE_LIMIT_*"),
        ),
    ),
    Role(
        name="agents",
        summary="Fold the log into PostgreSQL.",
        arguments=("agents",),
        entry="agents.run:run_agents",
        metrics_port=9101,
        servers=("Kafka", "PostgreSQL", "Redis"),
        settings=("CONSUMER_GROUP", "PROJECTOR_BATCH_MAX", "KAFKA_SESSION_TIMEOUT_S", "KAFKA_MAX_POLL_INTERVAL_S"),
    ),
    Role(
        name="live-tables",
        summary="Keep the operators' live tables.",
        arguments=("agents", "--app", "live-tables"),
        entry="agents.run:run_live_tables",
        metrics_port=9102,
        servers=("Kafka",),
        settings=("LIVE_TABLES_GROUP", "IN_FLIGHT_WINDOW_S"),
    ),
    Role(
        name="dispatch",
        summary="Submit queued generations to their providers, cancel and reconcile them.",
        arguments=("dispatch",),
        entry="gengui_stream.dispatch.role:run_dispatch",
        metrics_port=9103,
        servers=("PostgreSQL", "Kafka", "Redis", "object store"),
        settings=("JOB_LEASE_S", "ATTEMPT_SILENCE_S", "CANCEL_GRACE_S", "PROVIDER_FALLBACKS", "PRICES"),
    ),
    Role(
        name="worker",
        summary="Run the reference worker of the local provider, which draws images.",
        arguments=("worker",),
        entry="gengui_stream.worker.run:run_worker",
        metrics_port=9104,
        servers=("Redis", "object store", "Kafka"),
        settings=("WORKER_TRANSPORT", "WORKER_CONCURRENCY", "WORKER_CLAIM_IDLE_S"),
    ),
    Role(
        name="thumbnails",
        summary="Make thumbnails of completed images.",
        arguments=("thumbnails",),
        entry="gengui_stream.thumbnails.role:run_thumbnails",
        metrics_port=9105,
        servers=("PostgreSQL", "Kafka", "object store", "Redis"),
        settings=("JOB_LEASE_S", "THUMBNAIL_SIZE", "THUMBNAIL_THREADS"),
    ),
    Role(
        name="bridge",
        summary="Turn the Redis messages of existing workers into events.",
        arguments=("bridge",),
        entry="gengui_stream.bridge.run:run_bridge",
        metrics_port=9106,
        servers=("Redis", "Kafka", "object store", "PostgreSQL"),
        settings=(),
    ),
    Role(
        name="account-jobs",
        summary="Send e-mails, delete accounts after their grace time, forget expired rows.",
        arguments=("account-jobs",),
        entry="gengui_stream.account_jobs.role:run_account_jobs",
        metrics_port=9107,
        servers=("PostgreSQL", "Kafka"),
        settings=(
            *("FRONTEND_URL", "SMTP_*", "UNVERIFIED_ACCOUNTS_KEPT_S", "AUDIT_RETENTION_S"),
            "IDEMPOTENCY_KEY_RETENTION_S",
        ),
    ),
)

ROLES: Final[Mapping[str, Role]] = MappingProxyType({role.name: role for role in _ALL})
"""By name, in the order in which they are started and shown."""
