"""`.env.example`: every setting with its meaning, its bounds and its default, written from `Settings` itself.

`python -m gengui_stream.settings_example` writes it; with `--check` it says whether the file is up to date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gengui_stream.settings import Settings

TARGET: Final = Path(__file__).parents[1] / ".env.example"

HEADER: Final = """\
# Every setting of every process. Copy to .env and take the mark off the lines you want to change.
# The environment wins over .env; .env wins over .gengui/dev.env, which `make dev` writes.
# Written by `make format` from gengui_stream/settings/model.py.
"""

GROUPS: Final = {
    "environment": "Process",
    "kafka_bootstrap_servers": "The log: Kafka",
    "database_url": "PostgreSQL",
    "redis_url": "Redis",
    "s3_endpoint": "Object store: S3 or compatible",
    "host": "HTTP",
    "default_provider": "Generations",
    "growthbook_api_host": "Feature flags: GrowthBook",
    "runpod_api_key": "Providers: RunPod",
    "job_lease_s": "Jobs, thumbnails and workers",
}
"""The field that a group begins with, in the order of `Settings`."""


def render() -> str:
    """The whole file. Every line is a comment, so a copy of it changes nothing."""
    lines = [HEADER.rstrip()]
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            lines += ["", f"## {GROUPS[name]}"]
        lines += ["", f"# {_meaning(field)}", f"#{name.upper()}={_default(field)}"]
    return "\n".join(lines) + "\n"


def _meaning(field: FieldInfo) -> str:
    remarks = [field.description or "", *_choices(field), *_bounds(field)]
    return "; ".join(remark for remark in remarks if remark)


def _choices(field: FieldInfo) -> Iterator[str]:
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            yield "one of " + ", ".join(map(str, get_args(kind)))
        elif kind is bool:
            yield "true or false"


def _bounds(field: FieldInfo) -> Iterator[str]:
    bounds = {name: getattr(rule, name) for rule in _rules(field) for name in ("ge", "gt", "le") if hasattr(rule, name)}
    if "ge" in bounds:
        yield f"from {bounds['ge']}" + (f" to {bounds['le']}" if "le" in bounds else "")
    elif "gt" in bounds:
        yield f"more than {bounds['gt']}" + (f", at most {bounds['le']}" if "le" in bounds else "")


def _rules(field: FieldInfo) -> Iterator[object]:
    """What the type asks of a value; of `X | None`, what X asks."""
    yield from field.metadata
    for kind in get_args(field.annotation):
        for inner in getattr(kind, "__metadata__", ()):
            yield from inner.metadata if isinstance(inner, FieldInfo) else (inner,)


def _default(field: FieldInfo) -> str:
    match field.default:
        case None:
            return ""
        case bool() as flag:
            return str(flag).lower()
        case SecretStr() as secret:
            return secret.get_secret_value()
        case value:
            return str(value)


def main(arguments: list[str]) -> int:
    """Exit code: 0, or 1 when `--check` finds a stale file."""
    expected = render()
    if "--check" not in arguments:
        TARGET.write_text(expected, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == expected:
        return 0
    sys.stderr.write(".env.example is not what gengui_stream/settings/model.py says: run `make format`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
