"""The one place where providers are named."""

from collections.abc import Mapping

from redis.asyncio import Redis

from gengui_stream.providers.interface import Provider
from gengui_stream.providers.local import LocalProvider


def providers(redis: Redis) -> Mapping[str, Provider]:
    """Every provider there is, by name."""
    known: list[Provider] = [LocalProvider(redis)]
    return {provider.name: provider for provider in known}
