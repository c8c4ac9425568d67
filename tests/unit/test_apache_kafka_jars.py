"""When the tests on Apache Kafka are skipped, and when they must fail instead."""

import hashlib
from pathlib import Path

import pytest

from tests.apache_kafka import jars
from tests.apache_kafka.jars import UnavailableError, WrongJarsError

UNREACHABLE = "[ERROR] Could not transfer artifact org.apache.kafka:kafka_2.13:pom from/to central: Unknown host"
DAMAGED = "[ERROR] Could not transfer artifact x from/to central: Checksum validation failed, expected 1 but is 2"
JAVA_17 = """echo 'openjdk version "17.0.15" 2025-04-15' >&2"""


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where programs are found; what is fetched is kept under it, and one jar is expected."""
    lock = tmp_path / "jars.sha256"
    lock.write_text(f"{hashlib.sha256(b'jar').hexdigest()}  a.jar\n")
    monkeypatch.setattr(jars, "LOCK", lock)
    monkeypatch.setattr(jars, "KEPT", tmp_path / "cache" / "kept")
    monkeypatch.setenv("PATH", str(tmp_path))
    executable(tmp_path / "java", JAVA_17)
    return tmp_path


def fetches(folder: Path, *files: tuple[str, str]) -> None:
    """A Maven that writes these files to the folder it is told; the count of its runs is the size of `runs`."""
    writes = "\n".join(f"printf '{content}' > \"$out/{name}\"" for name, content in files)
    find_out = 'for a; do case $a in -DoutputDirectory=*) out="${a#*=}" ;; esac; done'
    executable(folder / "mvn", f'{find_out}\n/bin/mkdir -p "$out"\nprintf x >> "{folder}/runs"\n{writes}')


def test_what_was_fetched_and_checked_is_fetched_once(folder: Path) -> None:
    fetches(folder, ("a.jar", "jar"))
    assert jars.main() == 0
    assert jars.main() == 0
    assert (folder / "runs").read_text() == "x"
    assert [path.name for path in jars.kept_jars().iterdir()] == ["a.jar"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a.jar", "other")], "different: a.jar"),
        ([("a.jar", "jar"), ("b.jar", "jar")], "not in the lock: b.jar"),
        ([], "missing: a.jar"),
    ],
    ids=["different", "extra", "missing"],
)
def test_jars_that_are_not_the_locked_ones_fail_and_are_not_kept(
    folder: Path, files: list[tuple[str, str]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fetches(folder, *files)
    assert jars.main() == 1
    assert said in capsys.readouterr().err
    with pytest.raises(WrongJarsError, match="make test-kafka"):
        jars.kept_jars()


def test_what_is_kept_is_checked_at_every_use(folder: Path) -> None:
    fetches(folder, ("a.jar", "jar"))
    assert jars.main() == 0
    (jars.kept_jars() / "a.jar").write_text("changed since")
    with pytest.raises(WrongJarsError, match=r"different: a\.jar"):
        jars.kept_jars()


def test_out_of_reach_is_told_from_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    executable(folder / "mvn", f"echo '{UNREACHABLE}'; exit 1")
    assert jars.main() == jars.EXIT_UNAVAILABLE
    assert capsys.readouterr().out == "The tests on Apache Kafka are skipped: Maven Central cannot be reached.\n"
    for broken in (DAMAGED, "[FATAL] Non-parseable POM"):
        executable(folder / "mvn", f"echo '{broken}'; exit 1")
        assert jars.main() == 1
        assert broken in capsys.readouterr().err


def test_without_maven_or_java_they_are_unavailable(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="Maven is missing"):
        jars.fetch_jars()
    executable(folder / "java", """echo 'openjdk version "11.0.2"' >&2""")
    with pytest.raises(UnavailableError, match=r"Java 17 is needed, and this is .*11\.0\.2"):
        jars.fetch_jars()
    (folder / "java").unlink()
    with pytest.raises(UnavailableError, match="Java 17 is missing"):
        jars.fetch_jars()
