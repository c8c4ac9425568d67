"""The pods of the overlay `small` as processes, in the order of docs/deployment.md: the first phase of the migrations,
the roles until their probes pass, the other phases. What other overlays start is the same but for settings."""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import pytest

from gengui_stream.roles import ROLES
from tests.databases import new_database
from tests.deploy import image
from tests.deploy.containers import Container, Network, Service
from tests.deploy.kubernetes.pods import MOUNTED, Pod, pods
from tests.deploy.one_generation import made
from tests.integration.running import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

PODS: Final = pods("small")
NOWHERE: Final = Network("127.0.0.1:9", 9, "127.0.0.1:9", "127.0.0.1:9")


NAMES: Final = ("S3_BUCKET", "EVENTS_TOPIC", "CONSUMER_GROUP", "LIVE_TABLES_GROUP")
"""Settings with a default that each test has its own value of."""


def container(pod: Pod, directory: Path, own: Mapping[str, str] | None = None) -> Container:
    """`own`: NAMES, and other values of settings that the pod has."""
    mounted = {name: value.replace(MOUNTED, str(directory / "secrets")) for name, value in pod.environ.items()}
    changed = {name: value for name, value in (own or {}).items() if name in {*mounted, *NAMES}}
    grace_s = float(pod.spec["terminationGracePeriodSeconds"])
    service = Service(pod.container["args"], {**mounted, **changed}, grace_s)
    return Container(pod.name, service, image.read(), directory)


def secrets(directory: Path, **values: str) -> None:
    """Files of the Secrets, with the newline that an editor adds."""
    (directory / "secrets").mkdir()
    for name, value in values.items():
        (directory / "secrets" / name).write_text(f"{value}\n")


async def probe(role: Container, name: str) -> bool:
    """Whether the probe passes. Fails when the process has ended."""
    role.child.check_alive()
    pod = PODS[role.name]
    asked = pod.container[f"{name}Probe"]["httpGet"]
    ports = {"http": role.port, "health": role.api_metrics_port if role.name == "api" else role.port}
    url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
    timeout = aiohttp.ClientTimeout(total=pod.container[f"{name}Probe"]["timeoutSeconds"])
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def until_ready(role: Container) -> None:
    for name in ("startup", "liveness", "readiness"):
        await eventually(partial(probe, role, name))


async def migrated(phase: str, directory: Path, own: Mapping[str, str], network: Network) -> None:
    job = container(PODS[f"migrate-{phase}"], directory, own)
    async with job.running(network):
        async with asyncio.timeout(120):
            await job.child.ended()
        assert job.child.exit_code == 0, job.child.log_tail()


async def test_the_pods_become_ready_work_together_and_end(stack: Mapping[str, str], tmp_path: Path) -> None:
    name, network = f"t{uuid.uuid4().hex[:16]}", Network.of(stack)
    async with new_database(stack, template="template1") as url, AsyncExitStack() as running:
        address = urlsplit(url)
        secrets(
            tmp_path,
            DB_PASSWORD=address.password or "unused",
            AWS_SECRET_ACCESS_KEY=stack["AWS_SECRET_ACCESS_KEY"],
        )
        own = {
            "DB_NAME": address.path.removeprefix("/"),
            "DB_USER": address.username or "",
            "REDIS_URL": f"redis://{network.redis}/4095",
            "AWS_ACCESS_KEY_ID": stack["AWS_ACCESS_KEY_ID"],
            **{setting: f"{name}-{number}" for number, setting in enumerate(NAMES)},
        }
        await migrated("pre", tmp_path, own, network)
        roles = {
            role: await running.enter_async_context(container(PODS[role], tmp_path, own).running(network))
            for role in ROLES
        }
        await asyncio.gather(*map(until_ready, roles.values()))
        await asyncio.gather(*(migrated(phase, tmp_path, own, network) for phase in ("backfill", "post")))
        api = roles["api"]
        seeded = await api.run(network, "gengui-stream", "seed", "--email", "you@example.com")
        assert seeded.returncode == 0, seeded.stderr
        assert (await made(api.url, seeded.stdout.strip()))["status"] == "completed"
        await asyncio.gather(*(role.end() for role in roles.values()))


async def test_an_unavailable_server_restarts_no_pod(tmp_path: Path) -> None:
    """The liveness probe passes, and the readiness probe does not. Other roles have the same server of health, and are
    in `tests/deploy/test_containers.py`."""
    secrets(tmp_path, DB_PASSWORD="p", AWS_SECRET_ACCESS_KEY="s")
    async with container(PODS["api"], tmp_path).running(NOWHERE) as started:
        await eventually(partial(probe, started, "startup"))
        await eventually(lambda: waits(started))
        assert await probe(started, "liveness")
        assert not await probe(started, "readiness")


async def waits(role: Container) -> bool:
    return '"event":"waiting"' in role.child.log.read_text().replace(" ", "")


async def test_a_missing_secret_ends_a_pod_with_a_line_that_names_it(tmp_path: Path) -> None:
    """Each Secret is optional, as an overlay may do without it."""
    (tmp_path / "secrets").mkdir()
    async with container(PODS["thumbnails"], tmp_path).running(NOWHERE) as role:
        async with asyncio.timeout(60):
            await role.child.ended()
    said = role.child.log.read_text()
    assert role.child.exit_code == 78, said
    assert {line.split(": ")[1] for line in said.splitlines()} == {"DB_PASSWORD_FILE", "AWS_SECRET_ACCESS_KEY_FILE"}
    assert "Traceback" not in said
