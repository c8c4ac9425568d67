"""Variables whose secrets are read: from files, and from AWS Secrets Manager."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings.secrets.fields import SECRETS
from gengui_stream.settings.secrets.files import ReadFiles, by_secret, doubled, read_files
from gengui_stream.settings.sources import Variable, is_of_development, merged

NAMED_BY: Final = "AWS_SECRETS_MANAGER_SECRET_ID"


def read_secrets(layers: Sequence[Mapping[str, Variable]], settings: Collection[str]) -> ReadFiles:
    """The variables in effect, with their secrets. `layers`: the later takes precedence. `settings`: the names of all
    settings."""
    by_name = [by_secret(layer) for layer in layers]
    secret, faults = _secret(merged(by_name), settings)
    # Above what `make dev` wrote, and below what an operator did.
    number = sum(map(is_of_development, layers))
    found = read_files(merged([*by_name[:number], secret, *by_name[number:]]))
    unknown = found.unreadable | (SECRETS - found.variables.keys() if faults else frozenset())
    return replace(found, faults=(*doubled(layers), *faults, *found.faults), unreadable=unknown)


def _secret(
    variables: Mapping[str, Variable], settings: Collection[str]
) -> tuple[Mapping[str, Variable], Sequence[str]]:
    """The variables of the secret that a setting names, and why they could not be read."""
    named, region = variables.get(NAMED_BY), variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    if named is None:
        return {}, ()
    from gengui_stream.settings.secrets.secrets_manager import (  # noqa: PLC0415 - takes long, and few need it
        secret_variables,
    )

    try:
        return secret_variables(named.text, region.text if region else None, settings), ()
    except ConfigurationError as error:
        return {}, error.faults
