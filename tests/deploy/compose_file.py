"""`docker-compose.yml` as Docker Compose reads it: YAML, then variables, then the Compose specification.

`python -m tests.deploy.compose_file` checks it, and is part of `make check`. The library that knows the specification
reads neither merge keys nor variables, so both are resolved before it sees the file.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml
from compose_spec import PyCompose
from dotenv import dotenv_values

ROOT: Final = Path(__file__).parents[2]
COMPOSE_FILE: Final = ROOT / "docker-compose.yml"
ENV_EXAMPLE: Final = ROOT / ".env.docker.example"

Document: TypeAlias = dict[str, Any]

VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<how>:?[-?+])(?P<operand>(?:[^{}]|\{[^{}]*\})*))?\})"
)


class MissingVariable(ValueError):
    """A required variable has no value; the message is that of Compose."""


def read(environ: Mapping[str, str], text: str | None = None) -> Document:
    """The file with its variables resolved. Raises MissingVariable."""
    document: Document = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8") if text is None else text)
    resolved: Document = _resolved(document, environ)
    return resolved


def example_environ() -> dict[str, str]:
    """The content of `.env` after `cp .env.docker.example .env`."""
    return {name: value or "" for name, value in dotenv_values(ENV_EXAMPLE, interpolate=False).items()}


def check(document: Document) -> None:
    """Raises ValueError for violations of the specification and for undefined names."""
    specification = {name: value for name, value in document.items() if not name.startswith("x-")}
    PyCompose.from_json(json.dumps(specification)).validate()
    for name, service in document["services"].items():
        _check_names(f"service {name} depends on", service.get("depends_on", {}), document["services"])
        sources = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        there = [source for source in sources if source.startswith("./") and (ROOT / source).exists()]
        _check_names(f"service {name} mounts", sources, [*document.get("volumes", {}), *there])


def _check_names(what: str, named: Iterable[str], defined: Iterable[str]) -> None:
    """Checks that the library does not make."""
    if strange := sorted(set(named) - set(defined)):
        raise ValueError(f"{what} {strange[0]}, which is not defined")


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """By the specification: `${A}`, `${A:-default}`, `${A:?message}`, `${A:+replacement}`, `$$`; without the colon an
    empty value counts as set."""
    return VARIABLE.sub(lambda match: _value(match, environ), text)


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    name, how, operand = match["name"] or match["plain"], match["how"] or "", match["operand"] or ""
    value = environ.get(name)
    given = bool(value) if how.startswith(":") else value is not None
    match how[-1:]:
        case "-":
            return value or "" if given else interpolated(operand, environ)
        case "+":
            return interpolated(operand, environ) if given else ""
        case "?" if not given:
            raise MissingVariable(f"required variable {name} is missing a value: {operand}")
        case _:
            return value or ""


def _resolved(node: Any, environ: Mapping[str, str]) -> Any:
    match node:
        case dict():
            return {name: _resolved(value, environ) for name, value in node.items()}
        case list():
            return [_resolved(value, environ) for value in node]
        case str():
            return interpolated(node, environ)
        case _:
            return node


def main() -> int:
    """Exit code: 0, or 1 with the reason in a line."""
    try:
        check(read(example_environ()))
    except (ValueError, yaml.YAMLError) as error:
        sys.stderr.write(f"{COMPOSE_FILE.name}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
