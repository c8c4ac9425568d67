"""Variables by name, each with its source. Precedence: environment, `.env`, AWS Secrets Manager, `.gengui/dev.env`."""

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
            "KAFKA_CERT_FILE",
            "KAFKA_KEY_FILE",
            "KAFKA_KEY_PASSWORD",
        }
    ),
    "DATABASE_URL": frozenset({"DB_CA_FILE"}),
    "REDIS_URL": frozenset({"REDIS_CA_FILE"}),
    "S3_ENDPOINT": frozenset(
        {
            "S3_PUBLIC_ENDPOINT",
            "S3_CA_FILE",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        }
    ),
}
"""Settings that apply only to one server, by the setting with that server's address."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`name`: as set, in capitals, which may be an older name, or that of a file. `source`: `environment`, the path of
    an env file, or a secret in AWS Secrets Manager."""

    name: str
    text: str
    source: str


def read_layers(environ: Mapping[str, str], env_files: Sequence[Path]) -> list[dict[str, Variable]]:
    """Every variable by its name in capitals, whether or not it is a setting; an empty one counts as unset. One layer
    for each file, then the environment. Raises ConfigurationError for a file with a fault."""
    files = [_variables(read_env_file(path), str(path)) for path in env_files]
    return [*files, _variables(environ, ENVIRONMENT)]


def merged(layers: Sequence[Mapping[str, Variable]]) -> dict[str, Variable]:
    """Pure. The last layer that has a variable applies, but when the address of a server comes from DEV_ENV, so do the
    settings of that server."""
    found = dict(ChainMap(*map(dict, reversed(layers))))
    for address, names in OF_A_SERVER.items():
        if address in found and _is_development(found[address]):
            for name in names & found.keys():
                del found[name]
            theirs = next(layer for layer in layers if layer.get(address) == found[address])
            found |= {name: theirs[name] for name in names & theirs.keys()}
    return _without_foreign_token(found, layers)


def is_of_development(layer: Mapping[str, Variable]) -> bool:
    """Whether `make dev` wrote these variables."""
    return any(map(_is_development, layer.values()))


def _is_development(variable: Variable) -> bool:
    return Path(variable.source).match(str(DEV_ENV))


def _without_foreign_token(found: dict[str, Variable], layers: Sequence[Mapping[str, Variable]]) -> dict[str, Variable]:
    """A session token is valid only with its access key: the token of a key that another layer replaces is left out."""
    ranks = {variable.source: rank for rank, layer in enumerate(layers) for variable in layer.values()}
    key, token = found.get("AWS_ACCESS_KEY_ID"), found.get("AWS_SESSION_TOKEN")
    if key is not None and token is not None and ranks[token.source] < ranks[key.source]:
        del found["AWS_SESSION_TOKEN"]
    return found


def _variables(values: Mapping[str, str | None], source: str) -> dict[str, Variable]:
    return {name.upper(): Variable(name.upper(), text, source) for name, text in values.items() if text}
