"""Fixtures on the real servers: one embedded stack a run, and a database, topic, bucket and Redis of its own a test."""

import asyncio
import gc
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

import boto3
import hypothesis
import pytest
import pytest_asyncio
import structlog
from _pytest.terminal import TerminalReporter

from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.kafka.jar_cache import RepositoryUnavailableError
from gengui_stream.dev.limits import UNLIMITED
from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.log.event_log import EventLog
from gengui_stream.postgres.migrations import migrate
from gengui_stream.postgres.pool import Pool, opened_pool
from gengui_stream.settings import Settings, load_settings
from tests.databases import LentDatabases, connected, empty, execute, new_database
from tests.order import LONG, begun_early
from tests.topics import LentTopics

STACK_FIXTURES = {"stack", "settings", "pool", "event_log", "database", "emptied"}
REDIS_DATABASES = 4_096
WITHOUT_KAFKA = "Apache Kafka is missing"
"""How the reason of such a skip begins."""

UNAVAILABLE = pytest.StashKey[str | None]()
"""Why there is no broker; None where there is one."""


def pytest_configure() -> None:
    """A shell that runs the tests in the background makes them and their children ignore Ctrl-C. And no property has a
    deadline: the duration of an example depends on the load of the machine."""
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays until the end of the run: to search it for garbage again and again took a fifth of the
    processor time of the unit tests."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks before tests are selected by their markers, and orders those that are."""
    for item in items:
        if STACK_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("stack")
    yield
    long = [item for item in items if item.get_closest_marker(LONG)]
    others = [item for item in items if not item.get_closest_marker(LONG)]
    items[:] = begun_early(long, others, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter) -> Iterator[None]:
    """Prints at the end how many tests were skipped without a broker, and why."""
    yield
    reasons = [
        reason
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and WITHOUT_KAFKA in (reason := report.longrepr[2])
    ]
    if reasons:
        terminalreporter.write_line(f"{len(reasons)} tests were not run. {reasons[0].removeprefix('Skipped: ')}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetches Apache Kafka before the tests, whose time is limited."""
    needed = any("apache_kafka" in getattr(item, "fixturenames", ()) for item in session.items)
    if needed and not session.config.option.collectonly:
        session.stash[UNAVAILABLE] = _reason_without_kafka()


def _reason_without_kafka() -> str | None:
    try:
        asyncio.run(install(print))
    except RepositoryUnavailableError as error:
        return str(error)
    return None


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Logging that a test configures in its process ends with it: another has its own level, and standard error."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    yield
    structlog.contextvars.clear_contextvars()
    if structlog.is_configured():
        root.handlers = handlers
        root.setLevel(level)
        sys.excepthook = hook
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def apache_kafka(request: pytest.FixtureRequest) -> None:
    """For tests that start a broker: skipped if Apache Kafka cannot be fetched, and failed then in CI."""
    if reason := request.session.stash[UNAVAILABLE]:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI no test is skipped: {reason}", pytrace=False)
        pytest.skip(f"{WITHOUT_KAFKA}: {reason}")


@pytest.fixture(scope="session")
def stack(apache_kafka: None) -> Iterator[Mapping[str, str]]:
    """The environment of a running embedded stack, without limits, which have tests of their own."""
    with temporary_directory("gengui-test-") as directory:
        embedded = EmbeddedStack(directory)
        asyncio.run(_started(embedded))
        asyncio.run(_without_fsync(embedded.environ["DATABASE_URL"]))
        asyncio.run(migrate(embedded.environ["DATABASE_URL"]))
        yield {**embedded.environ, **UNLIMITED}
        asyncio.run(embedded.stop())


async def _without_fsync(database_url: str) -> None:
    """Without fsync: no power failure is tested."""
    await execute(database_url, "ALTER SYSTEM SET fsync = off")
    await execute(database_url, "SELECT pg_reload_conf()")


async def _started(server: EmbeddedStack) -> None:
    try:
        await server.start()
    except BaseException:
        await server.stop()
        raise


@pytest.fixture(scope="session")
def make_bucket(stack: Mapping[str, str]) -> Iterator[Callable[[str], object]]:
    """With one client, as a new client takes longer than the bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=stack["S3_ENDPOINT"],
        region_name=stack["AWS_REGION"],
        aws_access_key_id=stack["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack["AWS_SECRET_ACCESS_KEY"],
    )
    yield lambda name: client.create_bucket(Bucket=name)
    client.close()


@pytest.fixture(scope="session")
def databases(stack: Mapping[str, str]) -> LentDatabases:
    return LentDatabases(stack)


@pytest.fixture(scope="session")
def topics(stack: Mapping[str, str]) -> LentTopics:
    return LentTopics(stack)


@pytest_asyncio.fixture
async def settings(
    stack: Mapping[str, str],
    databases: LentDatabases,
    topics: LentTopics,
    make_bucket: Callable[[str], object],
) -> AsyncIterator[Settings]:
    """Settings with a database and a topic that no other test uses at the time, migrated and without rows or records,
    and with a bucket, a Redis database and a consumer group that no other test has used."""
    async with databases.lent() as url, topics.lent() as topic:
        made = _own(stack, url, topic)
        await asyncio.to_thread(make_bucket, made.s3_bucket)
        yield made


def _own(stack: Mapping[str, str], database_url: str, topic: str) -> Settings:
    name = f"t{uuid.uuid4().hex[:16]}"
    redis_base = stack["REDIS_URL"].rsplit("/", 1)[0]
    own = {
        **stack,
        "DATABASE_URL": database_url,
        "REDIS_URL": f"{redis_base}/{next(_redis_numbers)}",
        "EVENTS_TOPIC": topic,
        "CONSUMER_GROUP": name,
        "LIVE_TABLES_GROUP": f"{name}-live",
        "S3_BUCKET": name,
        "PORT": "0",
    }
    return load_settings(own, env_files=())


_redis_numbers = iter(range(1, REDIS_DATABASES))


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with opened_pool(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def database(stack: Mapping[str, str]) -> Iterator[Settings]:
    """A migrated database for the tests of one module, which need no topic and no bucket."""
    with asyncio.Runner() as runner:
        made = new_database(stack)
        yield load_settings({**stack, "DATABASE_URL": runner.run(made.__aenter__())}, env_files=())
        runner.run(made.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def emptied(database: Settings) -> AsyncIterator[Pool]:
    """The module's database without a row."""
    async with connected(database.database_dsn) as connection:
        await empty(connection)
    async with opened_pool(database) as opened:
        yield opened


@pytest_asyncio.fixture
async def event_log(settings: Settings) -> AsyncIterator[EventLog]:
    async with EventLog(settings) as started:
        yield started
