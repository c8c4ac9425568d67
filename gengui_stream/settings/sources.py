"""Variables by name, each with where it was set. Precedence: environment, `.env`, `.gengui/dev.env`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings, DotEnvSettingsSource

from gengui_stream.errors import ConfigurationError

ENVIRONMENT: Final = "environment"


@dataclass(frozen=True, slots=True)
class Variable:
    """`name`: as it was set, in capitals, which is an older name where that was used. `source`: `environment`, or the
    path of an env file."""

    name: str
    text: str
    source: str


def read_variables(environ: Mapping[str, str], env_files: Sequence[Path]) -> dict[str, Variable]:
    """Every variable by its name in capitals, ours or not; an empty one counts as unset. A later file wins. Raises
    ConfigurationError for a file that cannot be read."""
    found: dict[str, Variable] = {}
    for path in env_files:
        found |= _variables(_file(path), str(path))
    return found | _variables(environ, ENVIRONMENT)


def _file(path: Path) -> Mapping[str, str | None]:
    try:
        return DotEnvSettingsSource(BaseSettings, env_file=path, env_file_encoding="utf-8").env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read: {error}"]) from error


def _variables(values: Mapping[str, str | None], source: str) -> dict[str, Variable]:
    return {name.upper(): Variable(name.upper(), text, source) for name, text in values.items() if text}
