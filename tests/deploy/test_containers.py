"""Every role of the compose file as a process: it becomes healthy, they work together, and each ends on SIGTERM."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.roles import ROLES
from tests.deploy import compose_file, image
from tests.deploy.containers import Container, Network
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

ENVIRON: Final = compose_file.example_environ()
DOCUMENT: Final = compose_file.read(ENVIRON)


def container(name: str, directory: Path) -> Container:
    return Container(name, DOCUMENT, image.read(), ENVIRON, directory)


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


@asynccontextmanager
async def started(name: str, there: Network, directory: Path) -> AsyncIterator[Container]:
    role = container(name, directory)
    role.start(there)
    try:
        yield role
    finally:
        await role.child.stop(grace_s=0)


async def made(base: str, key: str) -> Mapping[str, Any]:
    """A generation that was requested over HTTP, once it has its thumbnail."""
    async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {key}"}) as http:
        wanted = {"prompt": "a lighthouse in a storm", "width": 256, "height": 256}
        async with http.post("/v1/generations", json=wanted) as answer:
            assert answer.status == 202, await answer.text()
            path, position = answer.headers["Location"], answer.headers["Gengui-Position"]

        async def settled() -> Mapping[str, Any] | None:
            async with http.get(path, headers={"Min-Position": position}) as answer:
                found: Mapping[str, Any] = await answer.json()
            assert answer.status in {200, 504}, found  # 504: the projection is behind
            outputs = found.get("outputs")
            return found if outputs and outputs[0]["thumbnail_url"] else None

        found = await eventually(settled)
        assert found is not None
        return found


async def fetched(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def end(role: Container) -> None:
    """Ends it as a container engine does: by SIGTERM, within its time, with exit code 0."""
    assert role.child.pid is not None
    assert role.written_outside() == []
    os.kill(role.child.pid, signal.SIGTERM)
    async with asyncio.timeout(role.grace_s):
        await role.child.ended()
    assert role.child.exit_code == 0, role.child.log_tail()
    assert "settings_unknown" not in role.child.log.read_text(), "a variable of the file is read by nothing"


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
                await end(role)


@pytest.mark.timeout(180)
async def test_a_role_whose_servers_are_unavailable_is_healthy_and_says_what_it_waits_for(tmp_path: Path) -> None:
    """Otherwise an orchestrator would restart it endlessly."""
    nowhere = Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9")
    async with AsyncExitStack() as stack:
        roles = [await stack.enter_async_context(started(name, nowhere, tmp_path)) for name in ("api", "dispatch")]
        for role in roles:
            await eventually(partial(role.healthy, nowhere))
            await eventually(partial(waits, role))
            await end(role)


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
    role = Container(name, with_settings(name, changes), image.read(), ENVIRON, tmp_path)
    role.start(Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9"))
    async with asyncio.timeout(60):
        await role.child.ended()
    said = role.child.log.read_text()
    assert (role.child.exit_code, complaint in said, "Traceback" in said) == (78, True, False), said
    assert len(said.splitlines()) == 1
    assert not any(secret in said for secret in ENVIRON.values() if "development" in secret)


def with_settings(name: str, changes: Mapping[str, str]) -> compose_file.Document:
    services = DOCUMENT["services"]
    service = services[name] | {"environment": services[name]["environment"] | dict(changes)}
    return DOCUMENT | {"services": services | {name: service}}


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
