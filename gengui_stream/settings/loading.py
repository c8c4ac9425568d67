"""Loads `Settings` from variables, with all faults at once and the source of each value."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gengui_stream.errors import ConfigurationError
from gengui_stream.fault_sentences import sentence
from gengui_stream.settings.field_types import FORMS
from gengui_stream.settings.model import Settings
from gengui_stream.settings.older_names import Renaming, translate
from gengui_stream.settings.rules import faults_together
from gengui_stream.settings.secrets.layers import read_secrets
from gengui_stream.settings.sources import DEV_ENV, Variable, read_layers
from gengui_stream.settings.unread import Unread, unread

ENV_FILES: Final = (DEV_ENV, Path(".env"))
"""Relative to the working directory; a later file overrides an earlier one, and the environment overrides both."""

NAMES: Final = frozenset(name.upper() for name in Settings.model_fields)


@dataclass(frozen=True, slots=True)
class Inspection:
    """`settings`: None when there are faults. `variables`: those of settings, by current name. `others`: all other
    variables that are set."""

    settings: Settings | None
    faults: tuple[str, ...]
    renamings: tuple[Renaming, ...]
    variables: Mapping[str, Variable]
    others: Mapping[str, Variable]

    def unread(self) -> list[Unread]:
        """Variables that resemble settings but are not read."""
        return unread(self.others, NAMES)

    def valid(self) -> Settings:
        """Raises ConfigurationError with every fault, without the values of secrets."""
        if self.settings is None:
            raise ConfigurationError(list(self.faults))
        return self.settings


def load_settings(environ: Mapping[str, str] | None = None, env_files: Sequence[Path] = ENV_FILES) -> Settings:
    """The settings of this process. Raises ConfigurationError with every fault, without the values of secrets."""
    return inspect_settings(environ, env_files).valid()


def inspect_settings(environ: Mapping[str, str] | None = None, env_files: Sequence[Path] = ENV_FILES) -> Inspection:
    """The settings with their sources and faults. Of a file that cannot be read, the faults are its own alone."""
    try:
        layers = read_layers(os.environ if environ is None else environ, env_files)
    except ConfigurationError as error:
        return Inspection(settings=None, faults=tuple(error.faults), renamings=(), variables={}, others={})
    secrets = read_secrets(layers, NAMES)
    found = translate(secrets.variables)
    variables = {name: variable for name, variable in found.variables.items() if name in NAMES}
    settings, invalid = _validated(variables, secrets.unreadable)
    faults = (*secrets.faults, *found.faults, *invalid)
    return Inspection(
        settings=None if faults else settings,
        faults=faults,
        renamings=found.renamings,
        variables=variables,
        others={name: variable for name, variable in found.variables.items() if name not in NAMES},
    )


def _validated(variables: Mapping[str, Variable], unknown: Collection[str]) -> tuple[Settings | None, list[str]]:
    """`unknown`: variables that are set to what could not be read."""
    texts = {name.lower(): variable.text for name, variable in variables.items()}
    together = faults_together(texts, unknown={name.lower() for name in unknown})
    try:
        return Settings.model_validate(texts), together
    except ValidationError as error:
        return None, [*_faults(error, variables), *together]


def _faults(error: ValidationError, variables: Mapping[str, Variable]) -> list[str]:
    faults = error.errors(include_url=False, include_input=False)
    return [f"{_named(str(fault['loc'][0]).upper(), variables)}: {sentence(fault, FORMS)}" for fault in faults]


def _named(name: str, variables: Mapping[str, Variable]) -> str:
    """With the older name that it was set under."""
    variable = variables.get(name)
    return name if variable is None or variable.name == name else f"{variable.name} ({name})"
