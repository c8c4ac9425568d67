"""Every setting of every process: name, type, bounds, default and meaning. `.env.example` is generated from here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gengui_stream.settings.field_types import (
    AesKey,
    Count,
    HeaderKey,
    ModelName,
    ModelNames,
    Port,
    Seconds,
    TimeoutsByModel,
    timeouts_by_model,
)
from gengui_stream.url_types import Brokers, DatabaseUrl, HttpAddress, RedisUrl

IN_PRODUCTION: Final[Mapping[str, object]] = {"db_pool_max": 10, "db_connect_timeout": 5}
"""Defaults where ENVIRONMENT is production: more connections for more load, and a quick failure that is retried."""


class Settings(BaseSettings):
    """The name of a variable is the name of its field in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    environment: Literal["development", "production"] = Field(
        "development", description="production: JSON logs even in a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console in a terminal, else JSON")
    shutdown_grace_s: Seconds = Field(10, description="seconds a process may take to end after SIGTERM")

    kafka_bootstrap_servers: Brokers = Field("127.0.0.1:9092", description="host:port of brokers, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how brokers are spoken to"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="needed with a SASL protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="needed with a SASL protocol")
    kafka_sasl_password: SecretStr | None = Field(None, description="needed with a SASL protocol")
    kafka_ca_file: FilePath | None = Field(
        None, description="PEM file of the authority that signed the brokers' certificate"
    )
    kafka_session_timeout_s: Annotated[float, Field(ge=6, le=1_800)] = Field(
        7, description="seconds without a heartbeat after which an agents process loses its partitions"
    )
    kafka_heartbeat_interval_s: Annotated[float, Field(ge=0.1, le=600)] = Field(
        1, description="seconds between heartbeats to the consumer group; at most a third of KAFKA_SESSION_TIMEOUT_S"
    )
    kafka_max_poll_interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        300, description="seconds without progress after which an agents process hands its partitions over"
    )
    events_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "generation.events", description="the topic that is the log"
    )
    events_partitions: Annotated[int, Field(ge=1, le=1_024)] = Field(
        4, description="number of partitions; fixed once the topic is made"
    )
    events_replication_factor: Annotated[int, Field(ge=1, le=9)] = Field(
        1, description="copies of each record; 3 in production"
    )
    consumer_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "gengui-projector", description="consumer group of the projecting agents"
    )
    live_tables_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "gengui-live-tables", description="consumer group of the live tables, and prefix of their changelog topics"
    )
    projector_batch_max: Annotated[int, Field(ge=1, le=20_000)] = Field(
        5_000, description="most events in one transaction"
    )
    in_flight_window_s: Seconds = Field(60, description="window of the live tables' event counts")

    database_url: DatabaseUrl | None = Field(None, description="postgresql://user:password@host:port/name; else DB_*")
    db_host: str = Field("127.0.0.1", description="used without DATABASE_URL")
    db_port: Port = Field(5432, description="used without DATABASE_URL")
    db_name: str = Field("gengui", description="used without DATABASE_URL")
    db_user: str = Field("gengui", description="used without DATABASE_URL")
    db_password: SecretStr | None = Field(None, description="used without DATABASE_URL")
    db_ssl: bool = Field(False, description="ask for TLS; used without DATABASE_URL")
    db_pool_max: Annotated[int, Field(ge=1, le=200)] = Field(
        5, description="most connections a process opens; unset: 5 in development, 10 in production"
    )
    db_idle_timeout: Seconds = Field(20, description="seconds until an idle connection is closed")
    db_connect_timeout: Seconds = Field(
        10, description="seconds to wait for a connection; unset: 10 in development, 5 in production"
    )

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6379/0"), description="redis:// or rediss://")

    s3_endpoint: HttpAddress | None = Field(None, description="URL of an S3-compatible store; unset: AWS")
    s3_public_endpoint: HttpAddress | None = Field(None, description="URL by which clients reach it, if another")
    s3_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        "gengui-media", description="bucket of images and thumbnails"
    )
    aws_region: str = Field("us-east-1", description="region of the bucket")
    aws_access_key_id: str | None = Field(None, description="unset: the AWS client's own search")
    aws_secret_access_key: SecretStr | None = Field(None, description="unset: the AWS client's own search")
    aws_session_token: SecretStr | None = Field(None, description="with temporary credentials")
    presigned_url_ttl_s: Annotated[int, Field(ge=1, le=604_800)] = Field(
        900, description="seconds a signed URL is good for"
    )

    host: str = Field("127.0.0.1", description="address the API listens on")
    port: Port = Field(3000, description="port the API listens on; 0: any free one")
    public_url: HttpAddress | None = Field(
        None, description="URL by which clients reach the API; unset: from the request"
    )
    metrics_port: Port | None = Field(
        None, description="port on HOST where a role but the API serves /livez and /metrics; unset: the role's own"
    )

    default_provider: str = Field("local", description="provider of a request that names none")
    default_model: str = Field("local-sketch", description="model of a request that names none")
    max_attempts: Annotated[int, Field(ge=1, le=10)] = Field(3, description="attempts a generation gets")
    generation_deadline_s: Seconds = Field(600, description="seconds from request to deadline")
    provider_fallbacks: Annotated[str, Field(pattern=r"^([a-z0-9_-]{1,100}(,[a-z0-9_-]{1,100}){0,15})?$")] = Field(
        "", description="providers to try in this order when the chosen one cannot, comma separated; unset: none"
    )

    gemini_api_key: HeaderKey | None = Field(None, description="key of Google's Gemini API; unset: no provider gemini")
    gemini_base_url: HttpAddress = Field(
        "https://generativelanguage.googleapis.com", description="where the Gemini API is"
    )
    gemini_model: ModelNames = Field(
        "gemini-3.1-flash-image",
        description="Gemini's models that may be asked for, comma separated; first: the usual",
    )
    gemini_timeout_s: Annotated[float, Field(ge=1, le=600)] = Field(
        120, description="seconds that Gemini is told it may take for an answer"
    )
    gemini_calls_at_once: Annotated[int, Field(ge=1, le=1_000)] = Field(
        32, description="calls of Gemini that one dispatch process has under way"
    )

    growthbook_api_host: HttpAddress | None = Field(
        None, description="URL of GrowthBook's API or proxy; unset: no flags"
    )
    growthbook_client_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")] | None = Field(
        None, description="client key of GrowthBook's SDK connection: sdk-..."
    )
    growthbook_decryption_key: AesKey | None = Field(
        None, description="key of an SDK connection whose payloads are encrypted"
    )
    growthbook_cache_file: Path | None = Field(
        None, description="file that keeps the last flags for a start without GrowthBook; unset: none"
    )
    growthbook_refresh_s: Annotated[float, Field(ge=0.01, le=86_400)] = Field(
        60, description="seconds between looks at the flags; changes that are streamed come at once"
    )

    runpod_api_key: HeaderKey | None = Field(None, description="key of RunPod; unset: no provider runpod")
    runpod_endpoint_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = Field(
        None, description="queue-based endpoint whose workers keep to schemas/runpod_worker.py"
    )
    runpod_base_url: HttpAddress = Field("https://api.runpod.ai", description="URL of RunPod's API, without /v2")
    runpod_model: ModelName = Field("zit-basic", description="model of a request that names none the endpoint has")
    runpod_execution_timeouts: TimeoutsByModel = Field(
        "zit-basic=20", description="seconds a run may take, by model: name=seconds, comma separated"
    )
    runpod_execution_timeout_s: Annotated[float, Field(ge=5, le=604_800)] = Field(
        120, description="seconds a run of another model may take"
    )
    runpod_ttl_s: Annotated[float, Field(ge=15, le=604_800)] = Field(
        300, description="seconds from its start until RunPod deletes an attempt, waiting included"
    )
    runpod_call_timeout_s: Seconds = Field(10, description="seconds to wait for one of RunPod's answers")
    runpod_silence_s: Seconds = Field(22, description="seconds without an event until RunPod is asked for an attempt")
    runpod_look_every_s: Seconds = Field(5, description="seconds between two such questions")
    webhook_secret: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="proves providers' webhooks; they are asked for where PUBLIC_URL is set too; unset: none"
    )

    job_lease_s: Annotated[float, Field(ge=1, le=3_600)] = Field(
        30, description="seconds until a lost process's jobs are claimed by another"
    )
    attempt_silence_s: Seconds = Field(
        120, description="seconds without a sign of life until a running attempt is given up"
    )
    cancel_grace_s: Seconds = Field(30, description="seconds a worker has to stop what was canceled")
    thumbnail_size: Annotated[int, Field(ge=16, le=1_024)] = Field(
        128, description="pixels of a thumbnail's longer side"
    )
    thumbnail_threads: Annotated[int, Field(ge=1, le=64)] = Field(2, description="thumbnails made at once")
    thumbnail_max_pixels: Count = Field(64_000_000, description="pixels; larger images get no thumbnail")
    thumbnail_max_bytes: Count = Field(50 * 1024 * 1024, description="bytes; larger files get no thumbnail")
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(1, description="images a worker draws at once")
    worker_claim_idle_s: Seconds = Field(30, description="seconds of silence after which a worker's job is taken over")
    worker_transport: Literal["kafka", "redis", "http"] = Field("kafka", description="how workers publish statuses")
    worker_api_url: HttpAddress | None = Field(None, description="base URL of the API, for WORKER_TRANSPORT=http")
    worker_api_key: SecretStr | None = Field(None, description="a worker's key, for WORKER_TRANSPORT=http")

    @model_validator(mode="before")
    @classmethod
    def _fill_by_environment(cls, given: dict[str, object]) -> dict[str, object]:
        """Defaults that are others in production."""
        return {**IN_PRODUCTION, **given} if given.get("environment") == "production" else given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @property
    def database_dsn(self) -> str:
        """The DSN, password included: for connecting only, never for a log."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        password = f":{quote(self.db_password.get_secret_value(), safe='')}" if self.db_password else ""
        address = (
            f"{quote(self.db_user, safe='')}{password}@{self.db_host}:{self.db_port}/{quote(self.db_name, safe='')}"
        )
        return f"postgresql://{address}{'?sslmode=require' if self.db_ssl else ''}"

    @property
    def redis_dsn(self) -> str:
        """The URL, password included: for connecting only, never for a log."""
        return self.redis_url.get_secret_value()

    @property
    def gemini_model_names(self) -> tuple[str, ...]:
        """GEMINI_MODEL, each once."""
        return tuple(dict.fromkeys(self.gemini_model.split(",")))

    @property
    def runpod_timeouts_by_model(self) -> dict[str, float]:
        """RUNPOD_EXECUTION_TIMEOUTS."""
        return timeouts_by_model(self.runpod_execution_timeouts)

    @property
    def fallback_order(self) -> tuple[str, ...]:
        """PROVIDER_FALLBACKS, each once."""
        return tuple(dict.fromkeys(name for name in self.provider_fallbacks.split(",") if name))
