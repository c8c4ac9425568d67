"""Builds the faust apps. Nothing happens at import; an app must be built in the event loop that runs it."""

from pathlib import Path
from typing import Final

import faust
from faust.contrib.asgi import bind_to_running_loop
from faust.types import TopicT
from mode.supervisors import CrashingSupervisor
from yarl import URL

from agents.batches import BatchSchema
from agents.transport import BatchSplitter, BatchTransport, PartitionProcessor
from gengui_stream.log.connection import Connection, connection
from gengui_stream.settings import Settings

QUEUED_BATCHES: Final = 8
WAIT_MAX_S: Final = 24 * 3600
"""Above every time that a claim takes: faust continues without the claim once this time-out has passed."""

TABLES_WAIT_MAX_S: Final = 90.0
PRODUCER_TIMEOUT_S: Final = 30.0
"""Seconds; Kafka's default request time-out. faust's default is 20 minutes."""


def new_app(
    settings: Settings, app_id: str, datadir: Path, cut: BatchSplitter, processor: PartitionProcessor | None = None
) -> faust.App:
    """An app that consumes the log. A crash of any part crashes the whole app and ends the process.

    With `processor` it starts at the processor's offsets, and has no tables.
    """
    brokers = [URL(f"kafka://{address.strip()}") for address in settings.kafka_bootstrap_servers.split(",")]
    app = faust.App(
        app_id,
        broker=brokers,
        broker_credentials=credentials(connection(settings)),
        datadir=datadir,
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        agent_supervisor=CrashingSupervisor,
        table_standby_replicas=0,
        topic_partitions=settings.events_partitions,
        topic_replication_factor=settings.events_replication_factor,
        topic_allow_declare=processor is None,
        topic_disable_leader=True,
        stream_buffer_maxsize=QUEUED_BATCHES,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        stream_processing_timeout=60.0,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.kafka_session_timeout_s,
        broker_request_timeout=WAIT_MAX_S if processor else TABLES_WAIT_MAX_S,
        consumer_auto_offset_reset="earliest",
        producer_request_timeout=PRODUCER_TIMEOUT_S,
        producer_linger=0.005,
    )
    bind_to_running_loop(app)
    app.transport = BatchTransport(brokers, app, settings, cut, processor)
    return app


def credentials(given: Connection) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """The credentials of faust's producer, equal to those of every other Kafka client of this process."""
    if given["security_protocol"].startswith("SASL"):
        return faust.SASLCredentials(
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            mechanism=given["sasl_mechanism"],
            ssl_context=given["ssl_context"],
        )
    return None if given["ssl_context"] is None else faust.SSLCredentials(given["ssl_context"])


def log_topic(app: faust.App, settings: Settings) -> TopicT:
    """The log as the agents read it: batches of raw records."""
    return app.topic(settings.events_topic, schema=BatchSchema())
