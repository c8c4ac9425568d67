"""The format and the content of the lock file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.dev.kafka.jars import Jar, broker_version, locked_jars, parse_lock
from gengui_stream.errors import BugError

words = st.text("abz09._-", max_size=8).map("v{}".format)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
jars = st.builds(Jar, digests, st.integers(1, 2**40), words, words, words)


@given(st.lists(jars, unique_by=lambda jar: jar.name))
def test_every_lock_is_read_as_it_was_written(written: list[Jar]) -> None:
    lines = [f"{jar.sha256} {jar.size} {jar}\n" for jar in written]
    assert parse_lock("# a comment\n\n" + "".join(lines)) == tuple(written)


@pytest.mark.parametrize(
    "line",
    [
        "a.jar",
        f"{'0' * 63} 1 g:a:1",
        f"{'G' * 64} 1 g:a:1",
        f"{'0' * 64} 0 g:a:1",
        f"{'0' * 64} 1 g:a",
        f"{'0' * 64} 1 g:a:../1",
        f"{'0' * 64} 1 g:a/b:1",
        f"{'0' * 64} 1 g:a:1 ",
    ],
)
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(BugError, match="is not `sha256 bytes group:artifact:version`"):
        parse_lock(line)


def test_two_jars_of_one_file_name_are_refused() -> None:
    with pytest.raises(BugError, match=r"two files a-1\.jar"):
        parse_lock(f"{'0' * 64} 1 g:a:1\n{'1' * 64} 1 h:a:1\n")


def test_the_lock_has_a_whole_broker() -> None:
    artifacts = {jar.artifact for jar in locked_jars()}
    assert {"kafka_2.13", "kafka-server", "kafka-clients", "scala-library", "zstd-jni", "slf4j-simple"} <= artifacts
    kafka = {jar.version for jar in locked_jars() if jar.group == "org.apache.kafka"}
    assert kafka == {broker_version(locked_jars())}
