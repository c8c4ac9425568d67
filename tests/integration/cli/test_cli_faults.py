"""Commands with invalid input: one clear line on stderr, the documented exit code, no traceback, no secret."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from gengui_stream.cli.app import command_line
from gengui_stream.postgres.migrations import migrate
from gengui_stream.settings import Settings
from tests.databases import new_database
from tests.integration.commands import Ran, command

FOUND, USAGE, AWAY, CONFIGURATION = 1, 2, 69, 78

PLAIN: Final = {"PATH": os.environ["PATH"]}
NOWHERE: Final = {
    **PLAIN,
    "DATABASE_URL": "postgresql://gengui:hunter2@127.0.0.1:1/gengui",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "hunter2-secret",
}
ID: Final = "0198c0de-0000-7000-8000-000000000000"


async def each(environ: Settings | dict[str, str], *commands: str) -> list[Ran]:
    """Three at a time: starting them is what takes the time."""
    gate = asyncio.Semaphore(3)

    async def run(line: str) -> Ran:
        async with gate:
            return await command(environ, *line.split())

    return list(await asyncio.gather(*map(run, commands)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("events show not-a-uuid", "Invalid value for 'GENERATION-ID': must be a UUID"),
        ("events show", "GENERATION-ID"),
        ("events tail --from 3", "--from"),
        ("events tail --type generation.imagined", "generation.completed"),
        ("events tail --generation 7", "--generation"),
        ("tables tail unknown", "in_flight"),
        ("dead-letters show 3", "such as 2:1041"),
        ("dead-letters retry 0:-1", "such as 2:1041"),
        ("dead-letters retry", "--all"),
        ("dead-letters retry 0:1 --all", "either a position"),
        ("dead-letters retry 0:1 --reason not_json", "--reason needs --all"),
        ("dead-letters discard --all", "--all needs a filter, such as --reason"),
        ("dead-letters list --limit 0", "--limit"),
        ("lag --max -1", "Invalid value for '--max': must be at least 0"),
        ("migrate --wait soon", "Invalid value for '--wait': must be a number"),
        ("migrate --phase x", "Invalid value for '--phase': 'x' is not one of 'pre', 'backfill', 'post', 'all'."),
        ("seed --role king", "worker"),
        ("agents --app both", "live-tables"),
        ("demo --count 0", "Invalid value for '--count': must be at least 1"),
        ("fake gemini --port x", "Invalid value for '--port': must be a whole number"),
        ("dev --without painter", "'painter' is not a role: api, agents"),
        ("dead-statuses retry", "--all"),
        ("dead-statuses show 7", "such as 1767225600000-0"),
        ("dance", "No such command"),
        ("verify --jason", "--json"),
    ],
)
def test_bad_usage_names_the_argument(line: str, words: str) -> None:
    ran = CliRunner().invoke(command_line(line.split()), line.split(), env={"COLUMNS": "300"})
    assert (ran.exit_code, ran.stdout) == (USAGE, "")
    said = " ".join(ran.stderr.replace("│", " ").split())
    assert words in said
    assert "Input should" not in said
    assert "Value error" not in said


async def test_bad_usage_of_the_process_itself() -> None:
    ran = await command(PLAIN, "events", "show", "not-a-uuid", new_process=True)
    assert (ran.code, ran.out) == (USAGE, "")


async def test_wrong_settings_are_all_named_at_once() -> None:
    wrong = {
        "DATABASE_URL": "mysql://gengui:hunter2@db/x",
        "LOG_LEVEL": "loud",
        "REDIS_URL": "redis://:hunter2@cache:port",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_PASSWORD": "hunter2",
        "KAFKA_CA_FILE": "/nowhere",
    }
    for ran in await each({**PLAIN, **wrong}, "jobs", "agents"):
        assert ran.code == CONFIGURATION
        named = [line.removeprefix("gengui-stream: ").split(":")[0] for line in ran.err.splitlines()]
        assert sorted(named) == [
            "DATABASE_URL",
            "KAFKA_CA_FILE",
            "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD",
            "LOG_LEVEL",
            "REDIS_URL",
        ]
        assert "hunter2" not in ran.err


async def test_an_unavailable_server_is_69_and_one_line() -> None:
    commands = (*("migrate", "seed", "lag", "events tail", "tables list", "dead-statuses list"),)
    postgresql, kafka = "PostgreSQL at 127.0.0.1:1/gengui: Connection refused", "no broker at 127.0.0.1:1"
    servers = (postgresql, postgresql, postgresql, kafka, kafka, "Redis at 127.0.0.1:1: Connection refused")
    for line, server, ran in zip(commands, servers, await each(NOWHERE, *commands), strict=True):
        assert (ran.code, ran.out) == (AWAY, ""), (line, ran)
        assert ran.err == f"gengui-stream: {server}; `gengui-stream doctor` shows the remedy\n", line


def test_without_a_server_of_ones_own_the_question_is_whether_dev_runs(tmp_path: Path) -> None:
    """With what `make dev` left behind."""
    (tmp_path / ".gengui").mkdir()
    (tmp_path / ".gengui" / "dev.env").write_text("DATABASE_URL=postgresql://gengui@127.0.0.1:1/gengui\n")
    ran = subprocess.run(
        [sys.executable, "-m", "gengui_stream.cli", "jobs"],
        cwd=tmp_path,
        env=PLAIN,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (AWAY, "")
    said = "PostgreSQL at 127.0.0.1:1/gengui: Connection refused; is `make dev` running?"
    assert ran.stderr == f"gengui-stream: {said} `gengui-stream doctor` shows the remedy\n"


@pytest.mark.stack
async def test_a_database_without_tables_has_a_remedy(settings: Settings) -> None:
    async with new_database({"DATABASE_URL": settings.database_dsn.rsplit("/", 1)[0] + "/gengui"}, "template1") as url:
        bare = settings.model_copy(update={"database_url": url})
        for line in ("jobs", "verify"):
            ran = await command(bare, line)
            assert (ran.code, ran.out) == (CONFIGURATION, "")
            assert "gengui-stream migrate" in ran.err
        assert await migrate(url)
        assert (await command(bare, "jobs")).code == 0


@pytest.mark.stack
async def test_a_database_that_there_is_not(settings: Settings) -> None:
    ran = await command(settings.model_copy(update={"database_url": settings.database_dsn + "-not"}), "jobs")
    assert ran.code == CONFIGURATION
    assert ran.err.startswith("gengui-stream: DATABASE_URL or DB_*:")


@pytest.mark.stack
async def test_what_there_is_not_is_a_finding(settings: Settings) -> None:
    commands = {
        f"events show {ID}": ID,
        "dead-letters retry 0:7": "0:7",
        "tables tail in_flight": "gengui-stream agents --app live-tables",
    }
    for (line, words), ran in zip(commands.items(), await each(settings, *commands), strict=True):
        assert (ran.code, ran.out) == (FOUND, ""), line
        assert words in ran.err, line


@pytest.mark.stack
async def test_a_place_that_the_log_does_not_have_is_a_fault_of_usage(settings: Settings) -> None:
    """With --follow too: the broker would send such a partition from its beginning."""
    commands = {
        "events tail --from 99:1": "no partition 99, only 0 to 3",
        "events tail --from 1:0,2:1 --no-follow": "partition 2 ends at 2:0, before 1",
    }
    for (line, words), ran in zip(commands.items(), await each(settings, *commands), strict=True):
        assert (ran.code, ran.out) == (USAGE, ""), (line, ran)
        assert words in " ".join(ran.err.replace("│", " ").split()), line


@pytest.mark.stack
async def test_another_number_of_partitions_is_refused(settings: Settings) -> None:
    """And a topic that there is not is not waited for."""
    more = settings.model_copy(update={"events_partitions": 9})
    for line in ("migrate", "lag"):
        ran = await command(more, *line.split())
        assert ran.code == CONFIGURATION, (line, ran)
        assert "EVENTS_PARTITIONS" in ran.err, line
    other = settings.model_copy(update={"events_topic": f"{settings.events_topic}-not"})
    for line in ("events tail --no-follow",):
        ran = await command(other, *line.split())
        assert ran.code == CONFIGURATION, (line, ran)
        assert "gengui-stream migrate" in ran.err, line
