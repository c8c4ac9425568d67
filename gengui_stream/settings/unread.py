"""Variables that resemble settings but are not read: misspelled, of another version, or not used yet.

The rules keep an ordinary environment free of warnings. In the process's environment a name counts when it begins like
a family of settings of this system alone, or nearly equals the name of a setting. An env file was written for this
system: there, families shared with other programs count as well.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gengui_stream.settings.sources import ENVIRONMENT, Variable

OWN_FAMILIES: Final = (
    "EVENTS_",
    "GEMINI_",
    "GENERATION_",
    "GROWTHBOOK_",
    "KAFKA_",
    "LIVE_TABLES_",
    "MINIO_",
    "PRESIGNED_URL_",
    "PROJECTOR_",
    "RUNPOD_",
    "S3_",
    "THUMBNAIL_",
    "WORKER_",
)
SHARED_FAMILIES: Final = (*OWN_FAMILIES, "AWS_", "DB_", "OTEL_", "REDIS_", "SENTRY_", "SMTP_", "WEBHOOK_")

NEARLY: Final = 0.85
"""difflib's ratio: `KAFKA_BOOTSTRAP_SERVER`, `REDIS_URI` and `AWS_ACCESS_KEY` exceed it; `DB_USERNAME` and
`REDIS_HOST`, which other programs use, do not."""

SIMILAR: Final = 0.6
"""The ratio from which the nearest name is shown."""

SAME: Final = 0.93
"""Two letters exchanged: `OTEL_EXPORTER_OTLP_ENDPIONT` exceeds it, `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` does not."""

LONG_WORD: Final = 8

NOT_USED_YET: Final = re.compile(
    r"AUGMENTATION_LIMIT_(USER|ADMIN)(_DAILY)?"
    r"|TEXT_INFERENCE_PROVIDER"
)
"""Settings of the predecessor for features that this system does not have."""

OTHERS: Final = re.compile(
    # Kubernetes, for each service by its name: KAFKA_SERVICE_HOST, KAFKA_PORT_9092_TCP_ADDR
    r".*_SERVICE_(HOST|PORT)(_.*)?|.*_PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?|(KAFKA|MINIO|REDIS|S3|WORKER|GROWTHBOOK)_PORT"
    # AWS's command line, SDKs and runtimes
    r"|AWS_(ACCOUNT_ID|APP_.*|BATCH_.*|CA_BUNDLE|CDK_.*|CLI_.*|CONFIG_FILE|CONTAINER_.*|DEFAULT_.*|DURATION_.*|EC2_.*"
    r"|ECS_.*|ENDPOINT_URL.*|EXECUTION_ENV|IAM_.*|IGNORE_.*|LAMBDA_.*|MAX_ATTEMPTS|METADATA_.*|MFA_.*|NODEJS_.*|OKTA_.*"
    r"|PAGER|PROFILE|REQUEST_.*|RETRY_MODE|ROLE_.*|S3_.*|SAM_.*|SDK_.*|SECURITY_TOKEN|SESSION_.*|SHARED_.*|SIGV4A_.*"
    r"|SSO_.*|STS_.*|USE_.*|VAULT.*|WEB_IDENTITY_.*|XRAY_.*)"
    # Apache Kafka's scripts and images
    r"|KAFKA_(ADVERTISED_.*|AUTO_.*|BROKER_.*|CFG_.*|CLUSTER_ID|CONF.*|CONTROLLER_.*|DATA_.*|DEBUG.*|DEFAULT_.*|DELETE_.*"
    r"|GC_.*|GROUP_.*|HEAP_OPTS|HOME|INTER_.*|JMX_.*|JVM_.*|KRAFT_.*|LISTENER.*|LOG4J_.*|LOG_.*|METADATA_.*|MIN_.*|NODE_ID"
    r"|NUM_.*|OFFSETS_.*|OPTS|PROCESS_ROLES|SHARE_.*|SOCKET_.*|SSL_.*|TRANSACTION_.*|VERSION|VOLUMES.*|ZOOKEEPER_.*)"
    # RunPod's pods and serverless workers, MinIO's and GrowthBook's own servers
    r"|RUNPOD_(AI_.*|CPU_.*|DC_.*|DEBUG.*|GPU_.*|HANDLER_.*|INIT_.*|LOG_.*|MEM_.*|NETWORK_.*|PING_.*|POD_.*|PROJECT_.*"
    r"|PUBLIC_.*|REALTIME_.*|TCP_.*|TEST_.*|UDP_.*|VOLUME_.*|WEBHOOK_.*)"
    r"|MINIO_(BROWSER.*|CONSOLE_.*|DOMAIN|OPTS|ROOT_.*|SERVER_.*|VOLUMES)|GROWTHBOOK_(ENCRYPTION_KEY|JWT_SECRET)"
)

OF_SDKS: Final = re.compile(r"OTEL_.*|SENTRY_.*")
"""The SDKs of OpenTelemetry and of Sentry read theirs from the environment, and not from an env file."""


@dataclass(frozen=True, slots=True)
class Unread:
    """`nearest`: the setting that was probably meant; None when none is similar, or when the variable is known and not
    used yet."""

    name: str
    source: str
    nearest: str | None = None
    not_used_yet: bool = False


def unread(given: Mapping[str, Variable], settings: Collection[str]) -> list[Unread]:
    """Pure. `settings`: the names of all settings, in capitals."""
    unknown = (variable for name, variable in sorted(given.items()) if name not in settings)
    return [found for variable in unknown if (found := _classify(variable, settings))]


def _classify(variable: Variable, settings: Collection[str]) -> Unread | None:
    name, source = variable.name, variable.source
    if NOT_USED_YET.fullmatch(name):
        return Unread(name, source, not_used_yet=True)
    if OTHERS.fullmatch(name):
        return None
    families = OWN_FAMILIES if source == ENVIRONMENT else SHARED_FAMILIES
    if source == ENVIRONMENT and OF_SDKS.fullmatch(name):
        nearest = _nearest(name, settings, SAME)
    else:
        nearest = _nearest(name, settings, SIMILAR if name.startswith(families) else NEARLY)
    if nearest is None and source != ENVIRONMENT:
        nearest = _letters_exchanged(name, settings)
    return Unread(name, source, nearest) if nearest or name.startswith(families) else None


def _nearest(name: str, settings: Iterable[str], ratio: float) -> str | None:
    """Compares only names that share a word, or single long words: other similarities are not misspellings."""
    words = set(name.split("_"))
    if len(words) > 1:
        related = [setting for setting in settings if words & set(setting.split("_"))]
    else:
        related = [setting for setting in settings if "_" not in setting and len(setting) >= LONG_WORD]
    return next(iter(difflib.get_close_matches(name, related, n=1, cutoff=ratio)), None)


def _letters_exchanged(name: str, settings: Iterable[str]) -> str | None:
    """PROT and HSOT are too short to be similar."""
    return next(
        (setting for setting in settings if len(setting) == len(name) and sorted(setting) == sorted(name)), None
    )
