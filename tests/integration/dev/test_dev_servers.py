"""The embedded servers after kills at critical moments, and the files that dev writes for other programs."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gengui_stream.dev import dev_files
from gengui_stream.dev.dev_files import given_environ, given_settings, not_started, superseded, with_servers, write_env
from gengui_stream.dev.disk import check_room
from gengui_stream.dev.ports import GRPC_DISTANCE, default_metrics_ports, free_port, is_free
from gengui_stream.dev.seaweed_server import SeaweedServer
from gengui_stream.dev.stack import EmbeddedStack
from gengui_stream.errors import TransientError
from gengui_stream.media.object_store import open_object_store
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.settings import inspect_settings, load_settings
from tests.integration.running import eventually


def test_connections_that_linger_do_not_occupy_a_port() -> None:
    """A server that was killed finds its old address free, however many clients it had."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        assert not is_free(port)
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = server.accept()
    served.close()  # the side that closes first lingers, and that was the server's
    client.close()
    assert is_free(port)


DRAW = "import sys; from gengui_stream.dev.ports import free_port; print(free_port([int(sys.argv[1])]))"


def test_a_free_port_is_given_once() -> None:
    """A stack draws seven before its servers listen at any, and others may start beside it."""
    port = free_port()
    with pytest.raises(OSError, match="no free port"):
        free_port([port])
    another = subprocess.run([sys.executable, "-c", DRAW, str(port)], capture_output=True, text=True, check=False)
    assert another.returncode == 1, another.stdout
    assert "no free port" in another.stderr


def test_two_that_start_at_once_have_metrics_ports_of_their_own() -> None:
    """Their roles listen there some seconds later."""
    assert not set(default_metrics_ports().values()) & set(default_metrics_ports().values())


def test_a_server_can_listen_at_a_free_port_and_at_its_companion() -> None:
    port = free_port()
    for number in (port, port + GRPC_DISTANCE):
        with socket.create_server(("127.0.0.1", number)):
            assert not is_free(number)


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="gengui-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


async def test_a_stopped_store_leaves_no_sockets(directory: Path) -> None:
    """It makes some in /tmp whatever TMPDIR says, and those that it can be told about in its own directory."""
    server = SeaweedServer(directory, directory / "log")
    await server.start()
    await eventually(partial(_has_all_sockets, server, directory))  # it can be used before it has made all of them
    await server.stop()
    assert _sockets(server) == []


@pytest.fixture
def blocked(directory: Path) -> Iterator[SeaweedServer]:
    """A store that cannot make its sockets in /tmp, as where that is read-only or full."""
    server = SeaweedServer(directory / "seaweed", directory / "log")
    for path in server.sockets:
        (path / "in the way").mkdir(parents=True)
    yield server
    for path in server.sockets:
        shutil.rmtree(path)


async def test_a_store_needs_nothing_in_the_directory_for_temporary_files(blocked: SeaweedServer) -> None:
    async with open_object_store(load_settings(_environ(blocked), env_files=())) as store, asyncio.timeout(20):
        try:
            await blocked.start()
            await store.ensure_bucket()
            await store.put("a", b"image", "image/png")
            assert await store.get("a", 100) == b"image"
        finally:
            await blocked.stop()
    assert blocked.child.log.read_text().count("Failed to listen on gRPC Unix socket") == len(blocked.sockets)


def _environ(server: SeaweedServer) -> dict[str, str]:
    return {
        "S3_ENDPOINT": server.url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }


async def _has_all_sockets(server: SeaweedServer, directory: Path) -> bool:
    own = _names(directory, "*.sock")
    return sorted(_sockets(server)) == sorted(server.sockets) and own == {"filer.sock", "s3.sock"}


def _names(directory: Path, pattern: str) -> set[str]:
    return {path.name for path in directory.glob(pattern)}


def _sockets(server: SeaweedServer) -> list[Path]:
    numbers = {number for port in (server.port, *server._ports.values()) for number in (port, port + GRPC_DISTANCE)}
    return [path for number in numbers for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock")]


async def test_a_killed_store_keeps_its_objects_and_takes_new_ones_as_soon_as_it_runs_again(directory: Path) -> None:
    server = SeaweedServer(directory / "seaweed", directory / "log")
    async with open_object_store(load_settings(_environ(server), env_files=())) as store:
        await server.start()
        await store.ensure_bucket()
        await store.put("kept", b"x" * 100_000, "image/png")
        for number in range(3):
            assert server.child.pid is not None
            os.kill(server.child.pid, signal.SIGKILL)
            await server.child.ended()
            await server.start()
            assert await store.get("kept", 100_000) == b"x" * 100_000
            async with asyncio.timeout(8):  # one that resumes takes none for 15 s
                await store.put(f"new {number}", b"y", "image/png")
    await server.stop()


async def test_a_kept_port_whose_companion_is_taken_is_given_up(directory: Path) -> None:
    wanted = free_port()
    assert SeaweedServer(directory, directory / "log", wanted).port == wanted
    with socket.create_server(("127.0.0.1", wanted + GRPC_DISTANCE)):
        assert SeaweedServer(directory, directory / "log", wanted).port != wanted


OTHERS = {"REDIS_URL": "redis://r", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}
"""Given, so that they are not started."""


async def test_a_store_that_dies_before_it_can_be_used_is_reported_at_once(directory: Path) -> None:
    stack = EmbeddedStack(directory, given={**OTHERS, "DATABASE_URL": "postgresql://db/x"})
    starting = asyncio.ensure_future(stack.start())
    try:
        await eventually(partial(_started, stack))
        [seaweed] = [server.child for server in stack.servers]
        assert seaweed.pid is not None
        os.kill(seaweed.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            with pytest.raises(TransientError, match="seaweed ended with code -9"):
                await starting
    finally:
        await stack.stop()


async def _started(stack: EmbeddedStack) -> bool:
    return bool(stack.servers) and all(server.child.pid for server in stack.servers)


@given(
    st.dictionaries(
        st.sampled_from(["REDIS_URL", "S3_BUCKET", "DB_PASSWORD"]),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1),
        min_size=1,
    )
)
def test_every_value_comes_back_from_the_file(started: dict[str, str]) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        path = Path(name) / "dev.env"
        patch.setattr(dev_files, "DEV_ENV", path)
        write_env(inspect_settings({}, env_files=()), started, 3000)
        assert dotenv_values(path, interpolate=False) == {**started, "PORT": "3000"}


@pytest.mark.parametrize(
    "given_settings",
    [{"DATABASE_URL": "postgresql://db/x"}, {"DB_HOST": "db"}, {"DB_USER": "me", "DB_PASSWORD": "x"}],
)
async def test_a_database_that_is_given_in_any_way_is_not_started(
    tmp_path: Path, given_settings: Mapping[str, str]
) -> None:
    stack = EmbeddedStack(tmp_path, given={**OTHERS, "S3_ENDPOINT": "http://s", **given_settings})
    await stack.start()
    assert (stack.servers, stack.environ) == ([], {})


def test_named_servers_are_reported_with_the_source_of_their_name(tmp_path: Path) -> None:
    """Else a start with an old `.env` waits for them, and the reader does not know why."""
    (tmp_path / ".env").write_text("MINIO_ENDPOINT=minio\nDB_NAME=x\nDB_PASSWORD=hidden\nDB_POOL_MAX=3\n")
    given = inspect_settings({"REDIS_URL": "redis://:hidden@r"}, env_files=(tmp_path / ".env",))
    assert not_started(given) == [
        f"DB_NAME ({tmp_path}/.env) is set: PostgreSQL is used where it says, and not started here",
        "REDIS_URL (environment) is set: Redis is used where it says, and not started here",
        f"MINIO_ENDPOINT ({tmp_path}/.env) is set: the object store is used where it says, and not started here",
    ]
    assert not_started(inspect_settings({}, env_files=())) == []


def test_older_names_of_servers_count_for_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would start a store of its own beside the one that is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dev_files, "DEV_ENV", tmp_path / "dev.env")
    (tmp_path / ".env").write_text("MINIO_ENDPOINT=minio\nMINIO_ACCESS_KEY=me\nDB_HOST=one\nFOREIGN=kept\n")
    for name, value in {"NODE_ENV": "test", "DB_HOST": "another", "https_proxy": "http://p"}.items():
        monkeypatch.setenv(name, value)
    given = given_settings()
    environ = given_environ(given)
    expected = {
        "S3_ENDPOINT": "http://minio:9000",
        "AWS_ACCESS_KEY_ID": "me",
        "DB_HOST": "another",
        "ENVIRONMENT": "development",
        "FOREIGN": "kept",
        "https_proxy": "http://p",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert not {"MINIO_ENDPOINT", "NODE_ENV"} & set(environ)
    write_env(given, {"REDIS_URL": "redis://r"}, 3000)
    written = dotenv_values(tmp_path / "dev.env")
    assert (written["ENVIRONMENT"], written["DB_HOST"], written["PORT"]) == ("development", "another", "3000")
    assert "S3_ENDPOINT" not in written


def test_keys_of_another_store_are_not_used_at_the_one_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `cp .env.docker.example .env`, or with AWS's own in the shell: in `dev`, in roles and in another
    terminal."""
    (tmp_path / ".gengui").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AWS_ACCESS_KEY_ID=of-aws\nAWS_REGION=eu-west-1\nAWS_SESSION_TOKEN=of-aws\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-aws")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    started = {
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "ours",
        "AWS_SECRET_ACCESS_KEY": "ours",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:2",
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    }
    given = given_settings()
    assert superseded(given_environ(given), started) == {
        "KAFKA_BOOTSTRAP_SERVERS": ["KAFKA_SECURITY_PROTOCOL"],
        "S3_ENDPOINT": ["AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
    }
    write_env(given, started, 3000)
    role, terminal = load_settings(with_servers(given_environ(given), started)), load_settings()
    for settings in (role, terminal):
        assert settings.aws_session_token is None
        for name, value in (started | {"S3_PUBLIC_ENDPOINT": started["S3_ENDPOINT"]}).items():
            found = getattr(settings, name.lower())
            assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == value, name


def test_without_room_a_start_says_how_much_is_needed(directory: Path) -> None:
    check_room(directory, 1)
    with pytest.raises(
        TransientError, match=rf"no room in {directory}: .* need 1000000000000 MB .* are free; make room"
    ):
        check_room(directory, 10**18)


def test_dev_says_where_it_cannot_write(directory: Path) -> None:
    (directory / ".gengui").touch()
    command = [sys.executable, "-m", "gengui_stream.cli", "dev"]
    ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.CONFIGURATION
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"{directory}/.gengui, where `dev` keeps its data, cannot be written: ")
