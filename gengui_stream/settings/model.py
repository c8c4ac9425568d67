"""Every setting of every process. `.env.example` is generated from here."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gengui_stream.domain.prices import PriceList, parse_prices
from gengui_stream.settings.addresses.database_url import (
    DatabaseAddress,
    address_of_parts,
    parse_database_url,
    with_ca,
)
from gengui_stream.settings.addresses.redis_url import parse_redis_url, with_redis_ca
from gengui_stream.settings.fields.tracing import TracingSettings

IN_PRODUCTION: Final[Mapping[str, object]] = {"db_pool_max": 10, "db_connect_timeout": 5, "api_metrics": "key"}
"""Defaults where ENVIRONMENT is production: more connections for more load, a quick failure that is retried, and
metrics that clients do not see."""


class Settings(TracingSettings):
    """The name of a variable is the name of its field in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _fill_by_environment(cls, given: dict[str, object]) -> dict[str, object]:
        """Applies the defaults of production."""
        return {**IN_PRODUCTION, **given} if given.get("environment") == "production" else given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @property
    def database_dsn(self) -> str:
        """The URL with its password, as asyncpg reads it: for connecting only, never for a log."""
        return self.database_address.url

    @property
    def database_address(self) -> DatabaseAddress:
        """Where the roles connect to, perhaps through a pooler."""
        if self.database_url is not None:
            address = with_ca(parse_database_url(self.database_url.get_secret_value()), self.db_ca_file)
        else:
            password = self.db_password.get_secret_value() if self.db_password else None
            place = (self.db_host, self.db_port, self.db_name, self.db_user, password)
            address = DatabaseAddress(address_of_parts(*place, ssl=self.db_ssl, ca_file=self.db_ca_file))
        return replace(address, pooled=address.pooled or self.db_pooling == "transaction")

    @property
    def database_direct_address(self) -> DatabaseAddress | None:
        """Where a session is needed. None: a pooler is in between, and DATABASE_DIRECT_URL is unset."""
        if self.database_direct_url is not None:
            return with_ca(parse_database_url(self.database_direct_url.get_secret_value()), self.db_ca_file)
        return None if self.database_address.pooled else self.database_address

    @property
    def redis_dsn(self) -> str:
        """The URL with its password, as redis-py reads it: for connecting only, never for a log."""
        return with_redis_ca(parse_redis_url(self.redis_url.get_secret_value()), self.redis_ca_file)

    @property
    def gemini_model_names(self) -> tuple[str, ...]:
        """The models in GEMINI_MODEL, without duplicates."""
        return tuple(dict.fromkeys(self.gemini_model.split(",")))

    @property
    def price_list(self) -> PriceList:
        return parse_prices(self.prices)

    @property
    def fallback_order(self) -> tuple[str, ...]:
        """The providers in PROVIDER_FALLBACKS, without duplicates."""
        return tuple(dict.fromkeys(name for name in self.provider_fallbacks.split(",") if name))
