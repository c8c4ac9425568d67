"""Variables by name, each with its source. Precedence: environment, `.env`, `.gengui/dev.env`."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gengui_stream.settings.env_file import read_env_file

ENVIRONMENT: Final = "environment"

DEV_ENV: Final = Path(".gengui/dev.env")
"""Written by `gengui-stream dev`, so that commands in another terminal use the development stack."""

OF_A_SERVER: Final[Mapping[str, frozenset[str]]] = {
    "KAFKA_BOOTSTRAP_SERVERS": frozenset(
        {
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_SASL_MECHANISM",
            "KAFKA_SASL_USERNAME",
            "KAFKA_SASL_PASSWORD",
            "KAFKA_CA_FILE",
        }
    ),
    "S3_ENDPOINT": frozenset(
        {"S3_PUBLIC_ENDPOINT", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    ),
}
"""Settings that apply only to one server, by the setting with that server's address."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`name`: as set, in capitals, which may be an older name. `source`: `environment`, or the path of an env file."""

    name: str
    text: str
    source: str


def read_variables(environ: Mapping[str, str], env_files: Sequence[Path]) -> dict[str, Variable]:
    """Every variable by its name in capitals, whether or not it is a setting; an empty one counts as unset. A later
    file overrides an earlier one, but when the address of a server comes from DEV_ENV, so do the settings of that
    server. Raises ConfigurationError for a file with a fault."""
    files = [_variables(read_env_file(path), str(path)) for path in env_files]
    return merged([*files, _variables(environ, ENVIRONMENT)])


def merged(layers: Sequence[Mapping[str, Variable]]) -> dict[str, Variable]:
    """Pure. The last layer that has a variable applies."""
    found = dict(ChainMap(*map(dict, reversed(layers))))
    for address, names in OF_A_SERVER.items():
        if address in found and Path(found[address].source).match(str(DEV_ENV)):
            for name in names & found.keys():
                del found[name]
            theirs = next(layer for layer in layers if layer.get(address) == found[address])
            found |= {name: theirs[name] for name in names & theirs.keys()}
    return _without_foreign_token(found, layers)


def _without_foreign_token(found: dict[str, Variable], layers: Sequence[Mapping[str, Variable]]) -> dict[str, Variable]:
    """A session token is valid only with its access key: the token of a key that another layer replaces is left out."""
    ranks = {variable.source: rank for rank, layer in enumerate(layers) for variable in layer.values()}
    key, token = found.get("AWS_ACCESS_KEY_ID"), found.get("AWS_SESSION_TOKEN")
    if key is not None and token is not None and ranks[token.source] < ranks[key.source]:
        del found["AWS_SESSION_TOKEN"]
    return found


def _variables(values: Mapping[str, str | None], source: str) -> dict[str, Variable]:
    return {name.upper(): Variable(name.upper(), text, source) for name, text in values.items() if text}
