"""Apache Kafka in the user's cache: checked at every start, created once, also by concurrent processes."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.installation import Installation, cache_directory, install
from gengui_stream.dev.kafka.jars import Jar, locked_jars
from gengui_stream.dev.kafka.java import Java
from gengui_stream.dev.kafka.maven_central import MavenCentral
from gengui_stream.dev.kafka.properties import Node
from gengui_stream.dev.kafka.startup_cache import StartupCache
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from gengui_stream.process.exit_codes import ExitCode
from tests.unit.dev.jar_server import JarServer, jar_server, path_of

INSTALL = (sys.executable, "-m", "gengui_stream.dev.kafka.installation")
JVM_FILES_MAX = 30_000_000
"""Bytes: more than any file of a broker that is new, less than the AOT cache."""


@pytest.fixture
def server() -> Iterator[JarServer]:
    with jar_server() as started:
        yield started


@pytest.fixture
def jars(server: JarServer) -> Sequence[Jar]:
    """Of a broker that Java cannot start: how they are kept is all that matters here."""
    return [server.publish(name, name.encode() * 1000) for name in ("kafka_2.13", "second")]


async def installed(directory: Path, server: JarServer, jars: Sequence[Jar], said: list[str]) -> Installation:
    return await install(said.append, directory, MavenCentral(server.url), jars)


async def test_every_start_checks_the_jars(tmp_path: Path, server: JarServer, jars: Sequence[Jar]) -> None:
    for content in (None, b"", b"kafka_2.13" * 999 + b"x" * 10):
        kept = tmp_path / "jars" / jars[0].name
        if content is not None:
            kept.write_bytes(content)
        await installed(tmp_path, server, jars, [])
        assert kept.read_bytes() == b"kafka_2.13" * 1000
    assert [server.requested[path_of(jar)] for jar in jars] == [3, 1]


async def test_a_warm_cache_asks_nothing_of_the_network(tmp_path: Path, server: JarServer, jars: Sequence[Jar]) -> None:
    await installed(tmp_path, server, jars, [])
    server.files.clear()
    found = await installed(tmp_path, server, jars, [])
    assert found.version == "1.0"
    assert found.java.class_path == f"{tmp_path}/jars/kafka_2.13-1.0.jar:{tmp_path}/jars/second-1.0.jar"


async def test_without_a_startup_cache_the_broker_starts_later(
    tmp_path: Path, server: JarServer, jars: Sequence[Jar]
) -> None:
    said: list[str] = []
    found = await installed(tmp_path, server, jars, said)
    assert (found.template, found.java.aot_cache) == (None, None)
    assert said[-1].startswith("every start of Apache Kafka takes some seconds longer")


FETCH = """
import asyncio, sys
from functools import partial
from pathlib import Path
from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.kafka.jars import parse_lock
from gengui_stream.dev.kafka.maven_central import MavenCentral

directory, url, lock = sys.argv[1:]
asyncio.run(install(partial(print, flush=True), Path(directory), MavenCentral(url), parse_lock(lock)))
"""


async def test_processes_that_start_together_fetch_each_jar_once(tmp_path: Path, server: JarServer) -> None:
    jars = [server.publish("kafka_2.13", b"k"), *(server.publish(f"jar-{n}", os.urandom(100_000)) for n in range(20))]
    lock = "".join(f"{jar.sha256} {jar.size} {jar}\n" for jar in jars)
    command = (sys.executable, "-c", FETCH, str(tmp_path), server.url, lock)
    with FileLock(tmp_path / "lock"):
        started = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(3)]
        for process in started:
            assert process.stdout is not None
            assert b"another process prepares Apache Kafka" in await process.stdout.readline()
        assert not server.requested
    outputs = [(await process.communicate())[0] for process in started]
    assert [process.returncode for process in started] == [0] * 3, outputs
    assert set(server.requested.values()) == {1}
    assert len(server.requested) == len(jars)
    assert {path.name for path in (tmp_path / "jars").iterdir()} == {jar.name for jar in jars}


def run(**environ: str) -> subprocess.CompletedProcess[str]:
    """As a start on another machine does it."""
    inherited = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    return subprocess.run(INSTALL, env={**inherited, **environ}, capture_output=True, text=True, check=False)


def test_without_the_network_and_the_jars_it_ends_with_what_to_do(tmp_path: Path) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    ended = run(XDG_CACHE_HOME=str(tmp_path), HTTPS_PROXY=unreachable, https_proxy=unreachable)
    assert ended.returncode == ExitCode.UNAVAILABLE
    fetching, said = ended.stderr.splitlines()
    assert fetching == f"fetching Apache Kafka 4.4.0 from Maven Central, once: {len(locked_jars())} files, 44.6 MB ..."
    assert said.startswith("Maven Central cannot be reached")
    assert "KAFKA_BOOTSTRAP_SERVERS" in said


def test_a_cache_that_cannot_be_written_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert ended.returncode == ExitCode.CONFIGURATION
    assert f"XDG_CACHE_HOME: {tmp_path}/file/gengui-stream/kafka" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_users_cache_is_found_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with_home = cache_directory()
    monkeypatch.delenv("HOME")
    assert cache_directory() == with_home
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_directory() == Path("/elsewhere/gengui-stream/kafka")


HOMELESS = """
import os
from gengui_stream.dev.kafka.installation import cache_directory
os.setuid(60_001)  # a user whom the system does not know
cache_directory()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home_names_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_CACHE_HOME"}}
    ended = subprocess.run([sys.executable, "-c", HOMELESS], env=plain, capture_output=True, text=True, check=False)
    assert "XDG_CACHE_HOME: this user has no home directory" in ended.stderr.splitlines()[-1]


@pytest.mark.usefixtures("apache_kafka")
@pytest.mark.timeout(240)
def test_without_room_for_the_aot_cache_the_broker_starts_without_it(tmp_path: Path) -> None:
    """Files may not become as large as it is: Java fails as it does on a full disk."""
    directory = tmp_path / "gengui-stream" / "kafka"
    directory.mkdir(parents=True)
    shutil.copytree(cache_directory() / "jars", directory / "jars", copy_function=os.link)
    ended = subprocess.run(
        INSTALL,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (JVM_FILES_MAX, JVM_FILES_MAX)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Java made no cache of the broker's classes" in ended.stderr
    startup = StartupCache(directory)
    assert startup.is_good()
    assert startup.aot_cache is None
    assert startup.template.exists()


@pytest.mark.usefixtures("apache_kafka")
async def test_an_aot_cache_that_java_refuses_is_passed_over(tmp_path: Path) -> None:
    refused = tmp_path / "broker.aot"
    refused.write_bytes(b"not an AOT cache")
    installation = await install(print)
    child = Child("kafka", tmp_path / "log")
    java = Java(installation.java.class_path, refused)
    try:
        await Broker(child, DataDirectory(tmp_path / "kafka"), Node((free_port(),)), java).start(installation.template)
        assert child.alive
    finally:
        await child.stop()


@pytest.mark.usefixtures("apache_kafka")
async def test_a_startup_cache_is_good_as_it_was_made_alone(tmp_path: Path) -> None:
    await install(print)
    copied = StartupCache(tmp_path)
    shutil.copytree(StartupCache(cache_directory()).directory, copied.directory)
    assert copied.is_good()
    assert copied.aot_cache is not None
    with copied.aot_cache.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damaged")
    assert not copied.is_good()


@pytest.mark.usefixtures("apache_kafka")
async def test_a_file_more_in_the_startup_cache_is_seen(tmp_path: Path) -> None:
    await install(print)
    copied = StartupCache(tmp_path)
    shutil.copytree(StartupCache(cache_directory()).directory, copied.directory)
    (copied.template / "another").touch()
    assert not copied.is_good()
