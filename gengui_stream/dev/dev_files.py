"""The settings that `gengui-stream dev` reads, and the files that it writes for other terminals and programs."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from gengui_stream.dev.limits import PLAYFUL
from gengui_stream.dev.private_files import write_private
from gengui_stream.dev.stack import ADDRESSES, Part
from gengui_stream.settings import DEV_ENV, Inspection, Settings, inspect_settings
from gengui_stream.settings.sources import ENVIRONMENT, OF_A_SERVER

DIRECTORY: Final = DEV_ENV.parent

SERVERS: Final[Mapping[Part, str]] = {
    "kafka": "Kafka",
    "postgres": "PostgreSQL",
    "valkey": "Redis",
    "seaweed": "the object store",
}


def given_settings() -> Inspection:
    """The user's settings: `.env`, overridden by the environment."""
    return inspect_settings(env_files=(Path(".env"),))


def given_environ(given: Inspection) -> dict[str, str]:
    """The same for a process, with the current names of settings."""
    variables = {**given.others, **given.variables}
    kept = {name: value for name, value in os.environ.items() if value and name.upper() in given.others}
    return {**{name: variable.text for name, variable in variables.items()}, **kept}


def not_started(given: Inspection) -> list[str]:
    """A line for each server that the settings name, with the first such setting."""
    found = {
        part: next((given.variables[one] for one in names if one in given.variables), None)
        for part, names in ADDRESSES.items()
    }
    return [
        f"{variable.name} ({variable.source}) is set: {SERVERS[part]} is used where it says, and not started here"
        for part, variable in found.items()
        if variable is not None
    ]


def with_servers(given: Mapping[str, str], started: Mapping[str, str]) -> dict[str, str]:
    """`given`, and the settings of the servers that were started here in place of those for others of their kind."""
    others = {name for names in superseded(given, started).values() for name in names}
    public = {"S3_PUBLIC_ENDPOINT": started["S3_ENDPOINT"]} if "S3_ENDPOINT" in started else {}
    return {name: value for name, value in given.items() if name not in others} | public | dict(started)


def environ_of_roles(given: Mapping[str, str], started: Mapping[str, str]) -> dict[str, str]:
    """`with_servers`, and the limits of a developer's machine where no other ones are set."""
    return {**PLAYFUL, **with_servers(given, started)}


def superseded(given: Collection[str], started: Collection[str]) -> dict[str, list[str]]:
    """By the address of a server that was started here: settings that can only be meant for another, such as the keys
    of AWS's own S3."""
    found = {address: sorted(names & set(given)) for address, names in OF_A_SERVER.items() if address in started}
    return {address: names for address, names in found.items() if names}


def write_env(given: Inspection, started: Mapping[str, str], port: int) -> None:
    """Every setting that another terminal needs and that is not in `.env` or a default: the addresses of the started
    servers, and the environment of this process."""
    set_here = {name: found.text for name, found in given.variables.items() if found.source == ENVIRONMENT}
    settings = {**with_servers(set_here, started), "PORT": str(port)}
    write_private(DEV_ENV, "".join(f"{name}={_quoted(value)}\n" for name, value in settings.items()))


def _quoted(value: str) -> str:
    """In the format of python-dotenv, without interpolation."""
    if value.isascii() and all(character.isalnum() or character in "-._:/@,+" for character in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def url_of(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def write_stack(
    settings: Settings, known: Mapping[str, str], metrics_ports: Mapping[str, int], pids: Mapping[str, list[int]]
) -> None:
    """`health`: the URL of `/livez` by role."""
    host = settings.metrics_host or settings.host
    document = {
        "api": url_of(settings),
        "kafka": settings.kafka_bootstrap_servers,
        "postgres": settings.database_dsn,
        "redis": settings.redis_dsn,
        "s3": settings.s3_endpoint,
        "health": {"api": url_of(settings), **{n: f"http://{host}:{p}" for n, p in metrics_ports.items()}},
        "keys": dict(known),
        "pids": dict(pids),
    }
    write_private(Path(DIRECTORY, "stack.json"), json.dumps(document, indent=2) + "\n")
