"""Which settings are secrets."""

from typing import Final, get_args

from pydantic import SecretStr

from gengui_stream.settings.model import Settings


def _is_secret(kind: object) -> bool:
    return kind is SecretStr or any(map(_is_secret, get_args(kind)))


SECRET_FIELDS: Final = frozenset(name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))
SECRETS: Final = frozenset(name.upper() for name in SECRET_FIELDS)
"""The names of their variables."""
