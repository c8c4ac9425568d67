"""The cache of jars against a real HTTP server: fetched files, rejected files, and the files on disk afterwards."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Timer

import pytest

from gengui_stream.dev.kafka import jar_cache
from gengui_stream.dev.kafka.fetch_progress import fetch_progress
from gengui_stream.dev.kafka.jar_cache import JarCache, RepositoryUnavailableError, write_errors
from gengui_stream.dev.kafka.jars import Jar
from gengui_stream.dev.kafka.maven_central import MavenCentral
from gengui_stream.dev.ports import free_port
from gengui_stream.errors import ConfigurationError, TransientError
from tests.unit.dev.jar_server import Fault, JarServer, a_jar, jar_server, path_of

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jar_cache, "PAUSE_S", 0.01)


@pytest.fixture
def server() -> Iterator[JarServer]:
    with jar_server() as started:
        yield started


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "jars"


@pytest.fixture
def cache(directory: Path) -> JarCache:
    return JarCache(directory)


def fetch(cache: JarCache, jars: Sequence[Jar], server: JarServer) -> int:
    """The total of received bytes."""
    received: list[int] = []
    cache.fetch(jars, MavenCentral(server.url, read_s=0.2), Event(), received.append)
    return sum(received)


def test_what_is_fetched_is_there(cache: JarCache, server: JarServer) -> None:
    jars = [server.publish(f"artifact-{number}", CONTENT + bytes([number])) for number in range(20)]
    assert cache.missing(jars) == jars
    assert fetch(cache, jars, server) == sum(jar.size for jar in jars)
    assert cache.missing(jars) == []


def test_damaged_torn_and_absent_jars_alone_are_missing(cache: JarCache, server: JarServer) -> None:
    jars = [server.publish(name, CONTENT) for name in ("good", "damaged", "torn", "absent")]
    _, damaged, torn, absent = jars
    fetch(cache, jars, server)
    cache.path(damaged).write_bytes(CONTENT[:-1] + b"x")
    cache.path(torn).write_bytes(CONTENT[:1000])
    cache.path(absent).unlink()
    assert cache.missing(jars) == [damaged, torn, absent]
    fetch(cache, cache.missing(jars), server)
    assert cache.missing(jars) == []
    assert [server.requested[path_of(jar)] for jar in jars] == [1, 2, 2, 2]


def test_only_locked_jars_are_on_the_class_path(cache: JarCache, server: JarServer, directory: Path) -> None:
    jars = [server.publish(name, CONTENT) for name in ("first", "second")]
    fetch(cache, jars, server)
    (directory / "another.jar").write_bytes(CONTENT)
    assert cache.class_path(jars).split(os.pathsep) == [
        str(directory / "first-1.0.jar"),
        str(directory / "second-1.0.jar"),
    ]


@pytest.mark.parametrize("content", [b"<html>sign in</html>", CONTENT[:-1] + b"x", CONTENT * 100])
def test_another_file_than_the_locked_one_is_refused(
    cache: JarCache, server: JarServer, directory: Path, content: bytes
) -> None:
    jar = a_jar("wanted", CONTENT)
    server.files[path_of(jar)] = content
    with pytest.raises(
        TransientError, match=r"what the network gave as org\.example\.group:wanted:1\.0 is not"
    ) as raised:
        fetch(cache, [jar], server)
    assert not isinstance(raised.value, RepositoryUnavailableError)
    assert "\n" not in str(raised.value)
    assert list(directory.iterdir()) == []


def test_a_connection_that_breaks_is_tried_again(cache: JarCache, server: JarServer) -> None:
    jar = server.publish("broken", CONTENT, faults=["ends early"])
    assert fetch(cache, [jar], server) == jar.size
    assert cache.missing([jar]) == []


@pytest.mark.parametrize(("fault", "named"), [("stalls", "ConnectionError"), ("is missing", "HTTP 404")])
def test_a_repository_that_fails_for_good_is_given_up(
    cache: JarCache, server: JarServer, directory: Path, fault: Fault, named: str
) -> None:
    jar = server.publish("artifact", CONTENT)
    server.faults[path_of(jar)] = [fault] * 3
    with pytest.raises(RepositoryUnavailableError, match=named):
        fetch(cache, [jar], server)
    assert server.requested[path_of(jar)] == 3
    assert list(directory.iterdir()) == []


def test_without_the_network_a_line_says_what_to_do(cache: JarCache) -> None:
    with pytest.raises(RepositoryUnavailableError) as raised:
        cache.fetch([a_jar("a", CONTENT)], MavenCentral(f"http://127.0.0.1:{free_port()}"), Event(), lambda _: None)
    said = str(raised.value)
    assert said.startswith("Maven Central cannot be reached")
    assert "run `make dev` with KAFKA_BOOTSTRAP_SERVERS set to a Kafka of your own" in said
    assert "\n" not in said


def test_where_no_certificate_of_the_network_is_known_the_remedy_is_another(cache: JarCache, server: JarServer) -> None:
    """A proxy that intercepts TLS has an authority of its own; a server without TLS fails in the same way."""
    repository = MavenCentral(f"https://127.0.0.1:{server.server_port}")
    with pytest.raises(RepositoryUnavailableError, match=r"SSLError .*\(REQUESTS_CA_BUNDLE names a file"):
        cache.fetch([a_jar("a", CONTENT)], repository, Event(), lambda _: None)


@pytest.mark.parametrize(("files", "words"), [(1, "1 file, 6.3 MB"), (2, "2 files, 6.3 MB")])
def test_without_a_terminal_a_line_says_what_is_fetched(
    files: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with fetch_progress("4.4.0", files, 6_300_000) as received:
        received(1)
    assert capsys.readouterr().err == f"fetching Apache Kafka 4.4.0 from Maven Central, once: {words} ...\n"


def test_what_a_killed_process_left_is_removed(cache: JarCache, server: JarServer, directory: Path) -> None:
    directory.mkdir()
    (directory / ".artifact-0.9.jar.part").write_bytes(CONTENT)
    jar = server.publish("artifact", CONTENT)
    fetch(cache, [jar], server)
    assert [path.name for path in directory.iterdir()] == [jar.name]


def test_a_fetch_that_is_cancelled_ends_at_once(cache: JarCache, server: JarServer, directory: Path) -> None:
    jars = [server.publish(f"artifact-{number}", CONTENT, faults=["stalls"]) for number in range(20)]
    cancelled = Event()
    timer = Timer(0.3, cancelled.set)
    timer.start()
    with pytest.raises(TransientError):
        cache.fetch(jars, MavenCentral(server.url, read_s=0.5), cancelled, lambda _: None)
    timer.join()
    assert sum(server.requested.values()) <= 8
    assert list(directory.iterdir()) == []


LIMITED = """
import sys
from pathlib import Path
from threading import Event
from gengui_stream.dev.kafka.jar_cache import JarCache, write_errors
from gengui_stream.dev.kafka.jars import parse_lock
from gengui_stream.dev.kafka.maven_central import MavenCentral

directory, url, lock = sys.argv[1:]
jars = parse_lock(lock)
with write_errors(Path(directory), sum(jar.size for jar in jars)):
    JarCache(Path(directory)).fetch(jars, MavenCentral(url), Event(), lambda _: None)
"""


def test_a_full_disk_is_reported_with_the_bytes_that_are_needed(server: JarServer, directory: Path) -> None:
    """Limits the size of files to half of it, so that writing fails as on a full disk."""
    jar = server.publish("large", CONTENT)
    limit = len(CONTENT) // 2
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(directory), server.url, f"{jar.sha256} {jar.size} {jar}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"TransientError: no room in {directory}: Apache Kafka needs 256,000 bytes there" in ended.stderr
    assert list(directory.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named_with_the_setting(tmp_path: Path, server: JarServer) -> None:
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "jars"
    with pytest.raises(ConfigurationError) as raised, write_errors(directory, 1):
        fetch(JarCache(directory), [server.publish("a", CONTENT)], server)
    [fault] = raised.value.faults
    assert fault.startswith(f"XDG_CACHE_HOME: {directory}, where Apache Kafka is kept, cannot be written")
