"""Settings of the log, the servers, HTTP, providers and workers."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FilePath, SecretStr
from pydantic_settings import BaseSettings

from gengui_stream.settings.addresses.url_types import Brokers, DatabaseUrl, HttpAddress, Origins, RedisUrl
from gengui_stream.settings.field_types import (
    AesKey,
    CaFile,
    Count,
    FernetKey,
    HeaderKey,
    ModelName,
    ModelNames,
    ModelNamesOrAny,
    NetworkTimeout,
    Port,
    Prices,
    Seconds,
    TimeoutsByModel,
)


class ServiceSettings(BaseSettings):
    """The name of a variable is the name of its field in capitals."""

    environment: Literal["development", "production"] = Field(
        "development", description="production: JSON logs even in a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console in a terminal, else JSON")
    shutdown_grace_s: Seconds = Field(10, description="seconds that a process may take to end after SIGTERM")

    aws_secrets_manager_secret_id: str | None = Field(
        None,
        description="name or ARN of a secret in AWS Secrets Manager, a JSON object of settings; the environment and "
        ".env take precedence over it",
    )

    kafka_bootstrap_servers: Brokers = Field("127.0.0.1:9092", description="host:port of the brokers, comma-separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka security protocol"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="required with a SASL protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="required with a SASL protocol")
    kafka_sasl_password: SecretStr | None = Field(None, description="required with a SASL protocol")
    kafka_ca_file: CaFile | None = Field(
        None, description="PEM file of the CA of the brokers' certificates; unset: the system's CAs"
    )
    kafka_cert_file: FilePath | None = Field(
        None, description="PEM file of this client's certificate, for brokers that ask for one"
    )
    kafka_key_file: FilePath | None = Field(
        None, description="PEM file of the key of KAFKA_CERT_FILE; unset: it is in KAFKA_CERT_FILE"
    )
    kafka_key_password: SecretStr | None = Field(None, description="password of an encrypted key of KAFKA_CERT_FILE")
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
        "generation.events", description="topic of the log"
    )
    events_partitions: Annotated[int, Field(ge=1, le=1_024)] = Field(
        4, description="number of partitions; fixed once the topic exists"
    )
    events_replication_factor: Annotated[int, Field(ge=1, le=9)] = Field(
        1, description="replicas of each record; 3 in production"
    )
    consumer_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "gengui-projector", description="consumer group of the projector agents"
    )
    live_tables_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "gengui-live-tables", description="consumer group of the live tables, and prefix of their changelog topics"
    )
    projector_batch_max: Annotated[int, Field(ge=1, le=20_000)] = Field(
        5_000, description="maximum of events in one transaction"
    )
    determinism_check_every_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        5, description="seconds between two generations that the agents fold again and compare; 0: none"
    )
    projector_retry_max_s: Annotated[float, Field(gt=0)] = Field(
        600, description="seconds that a transaction may fail while PostgreSQL answers; then the agents end"
    )
    dead_letters_max_consecutive: Annotated[int, Field(ge=1)] = Field(
        1_000, description="consecutive dead letters of a partition that end the agents"
    )
    dead_letters_max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.05,
        description="share of dead letters, of a partition's latest 1,000 to 10,000 records, that ends the agents",
    )
    in_flight_window_s: Seconds = Field(60, description="window of the live tables' event counts")

    database_url: DatabaseUrl | None = Field(None, description="postgresql://user:password@host:port/name; else DB_*")
    db_host: str = Field("127.0.0.1", description="used without DATABASE_URL")
    db_port: Port = Field(5432, description="used without DATABASE_URL")
    db_name: str = Field("gengui", description="used without DATABASE_URL")
    db_user: str = Field("gengui", description="used without DATABASE_URL")
    accounts_dump_key: FernetKey | None = Field(None, description="encrypts `gengui-stream accounts dump`")
    db_password: SecretStr | None = Field(None, description="used without DATABASE_URL")
    db_ssl: bool = Field(
        False, description="TLS with a verified certificate, as sslmode=verify-full; used without DATABASE_URL"
    )
    db_ca_file: CaFile | None = Field(
        None,
        description="PEM file of the CA of PostgreSQL's certificate, also for a DATABASE_URL without sslmode, which is "
        "then verify-full; unset: with DB_SSL the system's CAs",
    )
    db_pooling: Literal["none", "transaction"] = Field(
        "none", description="transaction: a pooler in transaction mode, such as PgBouncer, is in front of PostgreSQL"
    )
    database_direct_url: DatabaseUrl | None = Field(
        None, description="URL without the pooler, for `migrate` and `verify`; needed with DB_POOLING=transaction"
    )
    db_pool_max: Annotated[int, Field(ge=1, le=200)] = Field(
        5, description="maximum of connections per process; unset: 5 in development, 10 in production"
    )
    db_idle_timeout: Seconds = Field(20, description="seconds until an idle connection is closed; one stays")
    db_connect_timeout: Seconds = Field(
        10, description="seconds to wait for a connection; unset: 10 in development, 5 in production"
    )

    redis_url: RedisUrl = Field(SecretStr("redis://127.0.0.1:6379/0"), description="redis:// or rediss://")
    redis_ca_file: CaFile | None = Field(
        None, description="PEM file of the CA of Redis' certificate, for a rediss:// URL without ssl_ca_certs"
    )

    s3_endpoint: HttpAddress | None = Field(None, description="URL of an S3-compatible object store; unset: AWS")
    s3_public_endpoint: HttpAddress | None = Field(
        None, description="URL of the object store for clients, if it differs"
    )
    s3_ca_file: CaFile | None = Field(
        None,
        description="PEM file of the CA of the object store's certificate; unset: AWS_CA_BUNDLE, or botocore's CAs",
    )
    s3_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        "gengui-media", description="bucket of images and thumbnails"
    )
    aws_region: str = Field("us-east-1", description="region of the bucket")
    aws_access_key_id: str | None = Field(None, description="unset: the AWS SDK's default credential chain")
    aws_secret_access_key: SecretStr | None = Field(None, description="unset: the AWS SDK's default credential chain")
    aws_session_token: SecretStr | None = Field(None, description="for temporary credentials")
    presigned_url_ttl_s: Annotated[int, Field(ge=1, le=604_800)] = Field(
        900, description="seconds that a signed URL is valid, at least half of which are left in each response"
    )

    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: Port = Field(3000, description="port that the API listens on; 0: any free port")
    http_receive_timeout_s: NetworkTimeout = Field(30, description="seconds to receive headers, and then the body")
    http_send_timeout_s: NetworkTimeout = Field(
        30, description="seconds in which a client must take more of a response"
    )
    http_keep_alive_s: NetworkTimeout = Field(75, description="seconds until an idle connection is closed")
    cors_allowed_origins: Origins = Field("", description="origins whose pages may call the API, with commas; *: all")
    public_url: HttpAddress | None = Field(None, description="URL of the API for clients; unset: that of the request")
    metrics_port: Port | None = Field(
        None, description="port for /livez and /metrics of a role other than the API; unset: the role's default"
    )
    api_metrics_port: Port | None = Field(None, description="port for /metrics of the API alone; unset: PORT")
    api_metrics: Literal["public", "key"] = Field(
        "public",
        description="/metrics on PORT; key: for the scope ops alone; unset: public in development, key in production",
    )
    api_docs: Literal["public", "key", "off"] = Field(
        "public", description="/docs and /openapi.json; key: with any API key or session; off: not served"
    )
    metrics_host: str | None = Field(None, description="address that both of these ports listen on; unset: HOST")

    default_provider: str = Field("local", description="provider of a request that names none")
    default_model: str = Field("local-sketch", description="model of a request that names none")
    local_models: ModelNamesOrAny = Field(
        "", description="models of the workers of local, comma-separated; *: any; unset: DEFAULT_MODEL alone"
    )
    max_attempts: Annotated[int, Field(ge=1, le=10)] = Field(3, description="maximum of attempts per generation")
    generation_deadline_s: Seconds = Field(600, description="seconds from the request to its deadline")
    provider_fallbacks: Annotated[str, Field(pattern=r"^([a-z0-9_-]{1,100}(,[a-z0-9_-]{1,100}){0,15})?$")] = Field(
        "", description="fallback providers in order, comma-separated; unset: none"
    )
    prices: Prices = Field(
        "",
        description="what providers charge: provider/model=amount/second or /image, comma-separated; model *: any; "
        "provider/model@2027-01-01=... from that day on",
    )

    gemini_api_key: HeaderKey | None = Field(None, description="key of Google's Gemini API; unset: no provider gemini")
    gemini_base_url: HttpAddress = Field("https://generativelanguage.googleapis.com", description="URL of Gemini's API")
    gemini_model: ModelNames = Field(
        "gemini-3.1-flash-image",
        description="Gemini models that may be requested, comma-separated; the first is the default",
    )
    gemini_timeout_s: Annotated[float, Field(ge=1, le=600)] = Field(
        120, description="time-out of a Gemini call in seconds, also sent to Google"
    )
    gemini_calls_at_once: Annotated[int, Field(ge=1, le=1_000)] = Field(
        32, description="maximum of concurrent Gemini calls per dispatch process"
    )

    growthbook_api_host: HttpAddress | None = Field(None, description="URL of GrowthBook or its proxy; unset: no flags")
    growthbook_client_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")] | None = Field(
        None, description="client key of GrowthBook's SDK connection: sdk-..."
    )
    growthbook_decryption_key: AesKey | None = Field(
        None, description="key of an SDK connection whose payloads are encrypted"
    )
    growthbook_cache_file: Path | None = Field(
        None, description="file with the last flags, for a start without GrowthBook; unset: none"
    )
    growthbook_refresh_s: Annotated[float, Field(ge=0.01, le=86_400)] = Field(
        60, description="seconds between polls of the flags; streamed changes apply at once"
    )

    runpod_api_key: HeaderKey | None = Field(None, description="RunPod API key; unset: no provider runpod")
    runpod_endpoint_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = Field(
        None, description="queue-based endpoint whose workers implement schemas/runpod_worker.py"
    )
    runpod_base_url: HttpAddress = Field("https://api.runpod.ai", description="URL of RunPod's API, without /v2")
    runpod_model: ModelName = Field("zit-basic", description="model of a request without one of the endpoint's models")
    runpod_execution_timeouts: TimeoutsByModel = Field(
        "zit-basic=20", description="execution time-outs by model: name=seconds, comma-separated"
    )
    runpod_execution_timeout_s: Annotated[float, Field(ge=5, le=604_800)] = Field(
        120, description="execution time-out of other models in seconds"
    )
    runpod_ttl_s: Annotated[float, Field(ge=15, le=604_800)] = Field(
        300, description="seconds from its submission until RunPod deletes a job, time in the queue included"
    )
    runpod_call_timeout_s: Seconds = Field(10, description="time-out of a RunPod call in seconds")
    runpod_silence_s: Seconds = Field(
        22, description="seconds without an event until the status of an attempt is queried at RunPod"
    )
    runpod_look_every_s: Seconds = Field(5, description="seconds between two such queries")
    webhook_secret: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="signs the URLs of provider webhooks, which also need PUBLIC_URL; unset: no webhooks"
    )

    job_lease_s: Annotated[float, Field(ge=1, le=3_600)] = Field(
        30, description="seconds until another process claims the jobs of a lost one"
    )
    attempt_silence_s: Seconds = Field(120, description="heartbeat time-out of a running attempt in seconds")
    cancel_grace_s: Seconds = Field(30, description="seconds that a worker has to stop a canceled generation")
    status_stream_retention_s: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        86_400, description="seconds that delivered entries stay in the status stream on Redis"
    )
    idempotency_key_retention_s: Annotated[float, Field(gt=0, le=315_360_000)] = Field(
        604_800, description="seconds for which an Idempotency-Key is remembered"
    )
    timeline_retention_s: Annotated[float, Field(ge=60, le=3_153_600_000)] | None = Field(
        None, description="seconds from its end for which the timeline of a generation is kept; unset: forever"
    )
    deletion_grace_s: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        86_400, description="seconds from the deletion of a generation to the removal of its images"
    )
    thumbnail_size: Annotated[int, Field(ge=16, le=1_024)] = Field(
        128, description="longer side of a thumbnail in pixels"
    )
    thumbnail_threads: Annotated[int, Field(ge=1, le=64)] = Field(2, description="thumbnails made concurrently")
    thumbnail_max_pixels: Count = Field(64_000_000, description="maximum of pixels; larger images get no thumbnail")
    thumbnail_max_bytes: Count = Field(50 * 1024 * 1024, description="maximum of bytes; larger files get no thumbnail")
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="images that a worker draws concurrently"
    )
    worker_claim_idle_s: Seconds = Field(
        30, description="seconds without a heartbeat until a job is claimed by another"
    )
    worker_transport: Literal["kafka", "redis", "http"] = Field(
        "kafka", description="transport by which workers report; with http they also claim jobs and upload over it"
    )
    worker_api_url: HttpAddress | None = Field(None, description="base URL of the API, for WORKER_TRANSPORT=http")
    worker_api_key: SecretStr | None = Field(None, description="API key of a worker, for WORKER_TRANSPORT=http")
