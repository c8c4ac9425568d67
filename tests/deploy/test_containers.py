"""Every role of the compose file as a process: it becomes healthy, they work together, and each ends on SIGTERM."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.roles import ROLES
from tests.deploy import compose_file, image
from tests.deploy.containers import Container, Network, Service
from tests.deploy.one_generation import fetched, made
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

ENVIRON: Final = compose_file.example_environ()
DOCUMENT: Final = compose_file.read(ENVIRON)


def container(name: str, directory: Path) -> Container:
    return Container(name, Service.of_compose(name, DOCUMENT, ENVIRON), image.read(), directory)


def keys_of_the_store(directory: Path) -> None:
    """The embedded store accepts the keys in the compose file."""
    keys = {"accessKey": ENVIRON["AWS_ACCESS_KEY_ID"], "secretKey": ENVIRON["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "gengui", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (directory / "seaweed").mkdir()
    write_private(directory / "seaweed" / "s3.json", json.dumps({"identities": [identity]}))


@asynccontextmanager
async def network(directory: Path) -> AsyncIterator[Network]:
    """New, empty servers, so that `migrate` creates everything."""
    keys_of_the_store(directory)
    stack = EmbeddedStack(directory)
    try:
        await stack.start()
        yield Network.of(stack.environ)
    finally:
        await stack.stop()


def started(name: str, there: Network, directory: Path) -> AbstractAsyncContextManager[Container]:
    return container(name, directory).running(there)


@pytest.mark.timeout(300)
async def test_the_roles_of_the_compose_file_work_together(apache_kafka: None) -> None:
    with temporary_directory("gengui-compose-") as directory:
        async with network(directory) as there, AsyncExitStack() as stack:
            migrate = container("migrate", directory)
            migrate.start(there)
            async with asyncio.timeout(120):
                await migrate.child.ended()
            assert migrate.child.exit_code == 0, migrate.child.log_tail()

            roles = {name: await stack.enter_async_context(started(name, there, directory)) for name in ROLES}
            for role in roles.values():
                await eventually(partial(role.healthy, there))

            api = roles["api"]
            seeded = await api.run(there, "gengui-stream", "seed", "--email", "you@example.com")
            assert seeded.returncode == 0, seeded.stderr
            generation = await made(api.url, seeded.stdout.strip())
            assert generation["status"] == "completed"
            [output] = generation["outputs"]
            assert output["url"].startswith(f"http://{there.objects.replace('127.0.0.1', 'localhost')}/")
            assert len(await fetched(output["url"])) == output["bytes"]
            assert (await fetched(output["thumbnail_url"]))[:4] == b"RIFF"

            for role in roles.values():
                await role.end()


@pytest.mark.timeout(180)
async def test_a_role_whose_servers_are_unavailable_is_healthy_and_says_what_it_waits_for(tmp_path: Path) -> None:
    """Otherwise an orchestrator would restart it endlessly."""
    nowhere = Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9")
    async with AsyncExitStack() as stack:
        roles = [await stack.enter_async_context(started(name, nowhere, tmp_path)) for name in ("api", "dispatch")]
        for role in roles:
            await eventually(partial(role.healthy, nowhere))
            await eventually(partial(waits, role))
            await role.end()


async def waits(role: Container) -> bool:
    return '"event":"waiting"' in role.child.log.read_text().replace(" ", "")


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("api", {"KAFKA_BOOTSTRAP_SERVERS": "http://kafka:9092"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ("worker", {"WORKER_TRANSPORT": "http"}, "WORKER_API_URL, WORKER_API_KEY: needed with WORKER_TRANSPORT=http"),
        ("dispatch", {"RUNPOD_API_KEY": "k"}, "RUNPOD_ENDPOINT_ID: needed with RUNPOD_API_KEY"),
        ("api", {"GROWTHBOOK_API_HOST": "http://localhost:3100"}, "GROWTHBOOK_CLIENT_KEY: needed"),
        ("thumbnails", {"REDIS_URL": "postgres://redis"}, "REDIS_URL"),
    ],
)
async def test_wrong_settings_end_a_role_with_a_line_for_each(
    name: str, changes: Mapping[str, str], complaint: str, tmp_path: Path
) -> None:
    given = Service.of_compose(name, DOCUMENT, ENVIRON)
    role = Container(name, replace(given, environ={**given.environ, **changes}), image.read(), tmp_path)
    role.start(Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9"))
    async with asyncio.timeout(60):
        await role.child.ended()
    said = role.child.log.read_text()
    assert (role.child.exit_code, complaint in said, "Traceback" in said) == (78, True, False), said
    assert len(said.splitlines()) == 1
    assert not any(secret in said for secret in ENVIRON.values() if "development" in secret)


async def test_two_roles_on_one_port_are_refused_by_name(tmp_path: Path) -> None:
    """As when both run in one network namespace."""
    nowhere = Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9")
    async with started("dispatch", nowhere, tmp_path) as first:
        await eventually(partial(first.healthy, nowhere))
        second = container("worker", tmp_path)
        second.port = first.port
        second.start(nowhere)
        async with asyncio.timeout(60):
            await second.child.ended()
    said = second.child.log.read_text()
    assert second.child.exit_code == 78
    assert "METRICS_PORT: cannot listen on 0.0.0.0" in said
    assert "Traceback" not in said
