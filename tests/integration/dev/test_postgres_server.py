"""PostgreSQL of the embedded stack: killed while its data directory is created, and run by root in a directory closed
to other users."""

import asyncio
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import asyncpg
import psutil
import pytest

from gengui_stream.dev.postgres import binaries, template
from gengui_stream.dev.postgres.binaries import executable_binaries
from gengui_stream.dev.postgres.data_directory import KEPT_S, OWNER, DataDirectory, temporary_directory
from gengui_stream.dev.postgres.root_directory import NAME, check_safe, root_directory
from gengui_stream.dev.postgres.server import PostgresServer, check_known
from gengui_stream.dev.postgres.template import DataTemplate
from gengui_stream.errors import ConfigurationError, TransientError
from tests.integration.running import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")


@pytest.fixture
def directory() -> Iterator[Path]:
    with temporary_directory("gengui-test-") as made:
        yield made


async def test_a_database_whose_making_was_killed_is_recreated(
    directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_templates_in(place, monkeypatch)
    first = PostgresServer(directory / "postgres", directory / "postgres.log")
    starting = asyncio.ensure_future(first.start())
    await eventually(partial(asyncio.to_thread, _half_made))
    for process in _initdbs():
        process.kill()
    with pytest.raises(TransientError):
        await starting
    await first.stop()
    second = PostgresServer(directory / "postgres", directory / "postgres.log")
    await second.start()
    await second.stop()


async def test_data_of_another_version_are_refused_with_what_to_do(directory: Path) -> None:
    server = PostgresServer(directory / "postgres", directory / "postgres.log")
    await server.start()
    await server.kill()
    (_opened(directory / "postgres") / "PG_VERSION").write_text("99\n")
    with pytest.raises(ConfigurationError, match=r"was written by PostgreSQL 99, .* remove \.gengui") as raised:
        await PostgresServer(directory / "postgres", directory / "postgres.log").start()
    assert len(raised.value.faults) == 1


def test_a_user_without_a_name_gets_the_remedy() -> None:
    check_known(os.geteuid())
    known = {entry.pw_uid for entry in pwd.getpwall()}
    unknown = next(number for number in count(12_345) if number not in known)
    with pytest.raises(ConfigurationError, match=f"no data for user {unknown}, which has no entry in /etc/passwd"):
        check_known(unknown)


def keep_templates_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cache of the test's own, root's and every other user's."""
    monkeypatch.setattr(template, "CACHE", place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))


async def test_a_second_data_directory_is_a_copy_of_the_first(
    directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_templates_in(place, monkeypatch)
    assert await _identifier(directory / "first") == await _identifier(directory / "second")


@pytest.mark.parametrize("damage", [Path.unlink, partial(os.truncate, length=1)])
@pytest.mark.parametrize("file", ["data/base/1259", "sizes.json"])
def test_a_template_that_lost_a_file_is_not_copied_and_replaced(
    damage: Callable[[Path], None], file: str, directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_templates_in(place, monkeypatch)
    (directory / "data" / "base").mkdir(parents=True)
    (directory / "data" / "base" / "1259").write_text("a catalog")
    DataTemplate().keep(directory / "data")
    [kept] = place.rglob(f"data-*/{file}")
    damage(kept)
    assert not DataTemplate().copy(directory / "first")
    DataTemplate().keep(directory / "data")
    assert DataTemplate().copy(directory / "second")
    assert (directory / "second" / "base" / "1259").read_text() == "a catalog"


def test_a_cache_that_cannot_be_written_is_done_without(
    directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_templates_in(place, monkeypatch)
    without_cache = DataTemplate()
    shutil.rmtree(place)
    (directory / "data").mkdir()
    without_cache.keep(directory / "data")
    assert not without_cache.copy(directory / "data")


async def _identifier(directory: Path) -> int:
    """Of the system that a new server in the directory is: initdb chooses another one each time."""
    server = PostgresServer(directory / "postgres", directory / "postgres.log")
    await server.start()
    try:
        connection = await asyncpg.connect(server.url)
        found: int = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
        await connection.close()
    finally:
        await server.kill()
    return found


def _half_made() -> bool:
    return any(Path(process.cwd(), "PG_VERSION").exists() for process in _initdbs())


def _initdbs() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if process.name() == "initdb"]


@as_root
async def test_root_runs_it_as_another_user_and_opens_nothing_to_others(directory: Path) -> None:
    server = PostgresServer(directory / "postgres", directory / "postgres.log")
    await server.start()
    try:
        process, data = psutil.Process(server.child.pid), (directory / "postgres").resolve() / "postgres"
        assert process.username() == "nobody"
        assert (data.owner(), stat.S_IMODE(data.stat().st_mode)) == ("nobody", 0o700)
        assert _closed_to_others(directory)
        check_safe(Path(process.exe()).parent)
    finally:
        await server.stop()


def _closed_to_others(directory: Path) -> bool:
    return stat.S_IMODE(directory.stat().st_mode) == 0o700


def _opened(path: Path) -> Path:
    """The directory of the data, as a server that has ended leaves it."""
    opened = DataDirectory(path)
    data = opened.open()
    data.mkdir(exist_ok=True)
    opened.close()
    return data


@as_root
def test_data_go_with_the_directory_of_their_stack(directory: Path) -> None:
    data = _opened(directory / "stack" / "postgres")
    assert _opened(directory / "stack" / "postgres") == data
    shutil.rmtree(directory / "stack")
    again = _opened(directory / "stack" / "postgres")
    assert again != data
    assert not data.parent.exists()
    assert again.exists()


@as_root
def test_data_go_with_the_temporary_directory_of_their_stack() -> None:
    with temporary_directory("gengui-test-") as directory:
        data = _opened(directory / "1" / "stack" / "postgres")
        assert data.exists()
    assert not data.parent.exists()


@as_root
def test_data_that_a_server_uses_stay(directory: Path) -> None:
    used = DataDirectory(directory / "stack" / "postgres")
    data = used.open()
    shutil.rmtree(directory / "stack")
    _opened(directory / "other" / "postgres")
    assert data.parent.exists()
    used.close()
    _opened(directory / "other" / "postgres")
    assert not data.parent.exists()


@as_root
def test_data_stay_with_a_checkout_that_was_moved(directory: Path) -> None:
    data = _opened(directory / "checkout" / ".gengui" / "postgres")
    (directory / "checkout").rename(directory / "moved")
    _opened(directory / "other" / "postgres")
    assert _opened(directory / "moved" / ".gengui" / "postgres") == data


@as_root
def test_data_of_a_checkout_that_is_gone_are_removed_after_a_week(directory: Path) -> None:
    data = _opened(directory / "checkout" / ".gengui" / "postgres")
    shutil.rmtree(directory / "checkout")
    _opened(directory / "other" / "postgres")
    assert data.parent.exists()
    started = (data.parent / OWNER).stat().st_mtime - KEPT_S
    os.utime(data.parent / OWNER, (started, started))
    _opened(directory / "other" / "postgres")
    assert not data.parent.exists()


@as_root
def test_the_copy_of_a_checkout_has_data_of_its_own(directory: Path) -> None:
    data = _opened(directory / "stack" / "postgres")
    shutil.copytree(directory / "stack", directory / "copy", symlinks=True)
    assert _opened(directory / "copy" / "postgres") != data
    assert _opened(directory / "stack" / "postgres") == data


@as_root
def test_a_link_to_anything_else_is_not_followed(directory: Path) -> None:
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (directory / "postgres").symlink_to(elsewhere)
    assert elsewhere not in _opened(directory / "postgres").parents
    assert list(elsewhere.iterdir()) == []


@as_root
def test_data_of_an_ordinary_user_are_left_to_that_user(directory: Path) -> None:
    (directory / "postgres").mkdir()
    with pytest.raises(ConfigurationError, match="made by another user"):
        DataDirectory(directory / "postgres").open()


@pytest.fixture
def place() -> Iterator[Path]:
    """As /var/cache."""
    with tempfile.TemporaryDirectory(prefix="gengui-test-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
def test_two_checkouts_copy_the_binaries_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "CACHE", place)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: executable_binaries(), range(2))
    assert first == second
    assert len(list((place / NAME).iterdir())) == 1


@as_root
def test_a_copy_that_lost_a_file_is_recreated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "CACHE", place)
    lost = executable_binaries() / "initdb"
    lost.unlink()
    assert executable_binaries() == lost.parent
    assert os.access(lost, os.X_OK)


@as_root
def test_a_directory_that_another_user_made_is_passed_over(place: Path) -> None:
    (place / NAME).mkdir()
    shutil.chown(place / NAME, "nobody")
    found = root_directory(place)
    found.rmdir()
    assert found == Path("/var/tmp").resolve() / f"{NAME}-{place.name}"


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_a_directory_is_not_safe_below_one_that_is_not(place: Path, mode: int) -> None:
    """Closed to the user of PostgreSQL; or open to others, who could exchange what is in it."""
    (place / "inner").mkdir(mode=0o755)
    check_safe(place / "inner")
    place.chmod(mode)
    with pytest.raises(PermissionError):
        check_safe(place / "inner")


@as_root
def test_a_link_is_not_safe(place: Path) -> None:
    (place / "link").symlink_to("/usr")
    with pytest.raises(PermissionError):
        check_safe(place / "link")
