"""The imports of a process: a library that only one role needs costs the others neither time nor memory."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Set
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.roles import ROLES, RoleName

EVERY_ROLE: Final = frozenset(
    {
        "aiokafka",
        "cramjam",  # with aiokafka, in a millisecond
        "orjson",
        "prometheus-client",
        "pydantic",
        "pydantic-settings",
        "python-dotenv",
        "rich",  # of structlog and typer
        "structlog",
        "typer",
        "uvloop",
    }
)

WITH_REDIS: Final = frozenset({"redis", "cryptography"})
"""The second one is of the first, its name alone."""

OF_A_ROLE: Final[Mapping[RoleName, Set[str]]] = {
    "api": {
        *("aiohttp", "aiohttp-remotes", "argon2-cffi", "asyncpg", "boto3", "email-validator", "growthbook"),
        "throttled-py",
    },
    "agents": {"aiohttp", "asyncpg", "faust-streaming", "mode-streaming"},
    "live-tables": {"aiohttp", "asyncpg", "faust-streaming", "mode-streaming"},
    "dispatch": {"aiohttp", "asyncpg", "boto3"},
    "worker": {"aiohttp", "asyncpg", "boto3", "numpy", "pillow"},
    "thumbnails": {"asyncpg", "boto3", "numpy", "pillow"},
    "bridge": {"asyncpg", "boto3"},
    "account-jobs": {"aiosmtplib", "asyncpg", "jinja2"},
}

IMPORT_ROLE: Final = """
import sys
sys.modules.update(dict.fromkeys(["opentelemetry", "sentry_sdk"]))  # without the extra `observe`
from gengui_stream.cli.app import command_line
command_line(["worker"])
from gengui_stream.bootstrap import _entry
_entry(sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

IMPORT_COMMAND: Final = """
import sys
from gengui_stream.cli.app import command_line
command_line(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

IMPORT_START: Final = f"import gengui_stream.dev.demo.start\n{IMPORT_COMMAND}"


IMPORT_EVERYTHING: Final = """
import sys
import gengui_stream.bootstrap
print([name for name in sys.modules if name.split(".")[0] in {"opentelemetry", "sentry_sdk"}])
"""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_imports_its_own_libraries_and_no_others(role: RoleName) -> None:
    of_redis = frozenset() if role == "account-jobs" else WITH_REDIS
    assert _libraries(IMPORT_ROLE, role) == EVERY_ROLE | of_redis | OF_A_ROLE[role]


def test_a_command_that_asks_one_server_imports_the_libraries_of_no_role() -> None:
    libraries = _libraries(IMPORT_COMMAND, "dead-letters")
    assert "asyncpg" in libraries
    assert libraries & {"aiohttp", "boto3", "faust-streaming", "numpy", "pillow", "redis"} == set()


def test_the_servers_of_a_demo_start_before_anything_long_is_imported() -> None:
    libraries = _libraries(IMPORT_START, "demo")
    assert "typer" in libraries
    assert libraries & {"aiohttp", "aiokafka", "asyncpg", "boto3", "pydantic-settings", "structlog"} == set()


def test_without_tracing_neither_opentelemetry_nor_sentry_is_imported() -> None:
    """By us: redis-py imports OpenTelemetry's SDK wherever it is installed."""
    ran = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def _libraries(code: str, argument: str) -> Set[str]:
    """Of the direct dependencies, those that the code has imported."""
    ran = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return {name for module in ran.stdout.split() for name in _distributions().get(module, ())} & _dependencies()


@cache
def _distributions() -> Mapping[str, Set[str]]:
    return {module: set(map(_normal, names)) for module, names in packages_distributions().items()}


def _dependencies() -> Set[str]:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    return {_normal(re.split(r"[\[<>=~!; ]", line)[0]) for line in project["dependencies"]}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
