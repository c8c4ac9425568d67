"""Kafka and the object store of the compose file: the same programs as in the embedded stack, here with the settings of
the file, word for word, but for directories and ports."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import pytest

from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.kafka.java import environ as java_environ
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.postgres.data_directory import temporary_directory
from gengui_stream.dev.processes.child import Child
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.log.event_log import EventLog
from gengui_stream.log.topics import ensure_topic
from gengui_stream.media.object_store import open_object_store
from gengui_stream.settings import Settings, load_settings
from tests.deploy import compose_file
from tests.deploy.containers import BIN
from tests.integration.running import a_request, eventually, logged

pytestmark = pytest.mark.stack

SERVICES: Final[dict[str, Any]] = compose_file.read(compose_file.example_environ())["services"]


def properties(environ: Mapping[str, str], ports: Mapping[str, int], logs: Path) -> str:
    """As the image creates them: KAFKA_A_B is a.b. Both sides of the network are this machine."""
    named = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environ.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    lines = [f"{name}={value}" for name, value in (named | {"log.dirs": str(logs)}).items()]
    text = "\n".join(lines).replace("//kafka:", "//localhost:").replace("//:", "//127.0.0.1:") + "\n"
    for inside, here in ports.items():
        text = re.sub(rf":{inside}\b", f":{here}", text)
    return text


@asynccontextmanager
async def broker(directory: Path) -> AsyncIterator[str]:
    """The address for clients on the host."""
    environ: dict[str, str] = SERVICES["kafka"]["environment"]
    ports = {inside: free_port() for inside in ("9092", "9093", "9094")}
    (directory / "server.properties").write_text(properties(environ, ports, directory / "logs"))
    java, log = (await install(lambda _: None)).java, directory / "kafka.log"
    formatting = Child("format", log)
    arguments = ("format", "-t", environ["CLUSTER_ID"], "-c", directory / "server.properties")
    formatting.start(java.command("kafka.tools.StorageTool", *arguments), environ=java_environ())
    await formatting.ended()
    assert formatting.exit_code == 0, formatting.log_tail()
    server = Child("kafka", log)
    server.start(java.command("kafka.Kafka", directory / "server.properties"), environ=java_environ())
    try:
        yield f"localhost:{ports['9094']}"
    finally:
        await server.stop(grace_s=15)


async def test_the_broker_takes_events_from_the_host(apache_kafka: None) -> None:
    with temporary_directory("gengui-compose-kafka-") as directory:
        async with broker(directory) as address:
            settings = load_settings({"KAFKA_BOOTSTRAP_SERVERS": address}, env_files=())

            async def made() -> int:
                try:
                    return await ensure_topic(settings)
                except TransientError:
                    return 0

            assert await eventually(made) == settings.events_partitions
            async with EventLog(settings) as log:
                await log.append(request := a_request())
            assert [event.id for event in await logged(settings)] == [request.id]


@asynccontextmanager
async def objects(directory: Path) -> AsyncIterator[tuple[Child, int]]:
    """The process and the port of S3. The image's entry point adds the data directory."""
    program, *arguments = SERVICES["objects"]["command"]
    port = free_port()
    moved = [word.replace("=8333", f"={port}").replace("=0.0.0.0", "=127.0.0.1") for word in arguments]
    others = [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
    sockets = ("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock")
    command = [BIN / "weed", "-logtostderr=true", program, f"-dir={directory}", *moved, *others, *sockets]
    child = Child("objects", directory / "log")
    child.start(command, environ=SERVICES["objects"]["environment"] | {"HOME": str(directory)}, cwd=directory)
    try:
        yield child, port
    finally:
        await child.stop(grace_s=15)


def of_the_store(port: int, **changes: str) -> Settings:
    """The keys of the roles."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    keys = {name: SERVICES["api"]["environment"][name] for name in names}
    return load_settings({"S3_ENDPOINT": f"http://127.0.0.1:{port}", **keys, **changes}, env_files=())


async def test_the_object_store_takes_the_keys_of_the_roles_and_no_others() -> None:
    *_, url = SERVICES["objects"]["healthcheck"]["test"]
    with temporary_directory("gengui-compose-objects-") as directory:
        async with objects(directory) as (child, port), aiohttp.ClientSession() as http:
            here = urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()

            async def healthy() -> bool:
                child.check_alive()
                try:
                    async with http.get(here) as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(healthy)
            async with open_object_store(of_the_store(port)) as store:

                async def stored() -> bool:
                    try:
                        await store.ensure_bucket()
                        await store.put("a", b"image", "image/png")
                    except TransientError:
                        return False
                    return True

                await eventually(stored)
                assert await store.get("a", 100) == b"image"
            async with open_object_store(of_the_store(port, AWS_SECRET_ACCESS_KEY="another")) as stranger:
                with pytest.raises(PermanentError, match="SignatureDoesNotMatch"):
                    await stranger.get("a", 100)
