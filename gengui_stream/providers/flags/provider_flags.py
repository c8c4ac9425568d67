"""The provider for a user: the feature flags `image_provider:<model>` and `image_provider`, else DEFAULT_PROVIDER.

A flag's value is the name of a provider, or an object `{"provider": ..., "model": ...}`; a model that the client names
takes precedence. Flags prevent neither a start nor an image: without GrowthBook the last flags stay in use, at a start
those on disk, and without any the default.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import aiohttp
import structlog

from gengui_stream.errors import PermanentError
from gengui_stream.providers.flags.payload_cache import PayloadCache
from gengui_stream.providers.flags.payload_feed import PayloadFeed
from gengui_stream.providers.flags.rules import Evaluation, Exposure, Rules, read_rules
from gengui_stream.settings import Settings

PROVIDER_FLAG: Final = "image_provider"
START_S: Final = 3.0
"""The longest time that a start waits for GrowthBook."""

WARNINGS_MAX: Final = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UserAttributes:
    """What rules may target: `id`, `model`, and further attributes."""

    id: UUID
    more: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlagChoice:
    """`model` None: neither client nor flag names one. `exposure`: the experiment that the user takes part in."""

    provider: str
    model: str | None
    source: Literal["flag", "default"]
    flag: str | None = None
    exposure: Exposure | None = None


class Flags:
    """The current flags. `origin`: where they were read last."""

    def __init__(self, default_provider: str, providers: Collection[str]) -> None:
        self._default = default_provider
        self._providers = frozenset(providers)
        self._rules: Rules | None = None
        self._warned: set[str] = set()
        self.origin: Literal["none", "disk", "server"] = "none"

    def replace(self, rules: Rules, origin: Literal["disk", "server"]) -> None:
        self._rules, self.origin = rules, origin
        self._warned.clear()

    async def choose(self, user: UserAttributes, model: str | None = None) -> FlagChoice:
        """Never raises and never waits. `model`: the one that the client names."""
        rules = self._rules
        if rules is None:
            return FlagChoice(self._default, model, "default")
        attributes = {**user.more, "id": str(user.id), "model": model}
        for key in (f"{PROVIDER_FLAG}:{model}", PROVIDER_FLAG) if model else (PROVIDER_FLAG,):
            if key not in rules.keys:
                continue
            try:
                found = await rules.evaluate(key, attributes)
            except PermanentError as error:
                self._warn(key, str(error))
                break
            if found.value is not None:
                return self._chosen(key, found, model)
        return FlagChoice(self._default, model, "default")

    def _chosen(self, key: str, found: Evaluation, model: str | None) -> FlagChoice:
        provider, flagged_model = _provider_and_model(found.value)
        if provider not in self._providers:
            self._warn(
                key, f"{str(found.value)[:80]!r} names no provider; there are: {', '.join(sorted(self._providers))}"
            )
            return FlagChoice(self._default, model, "default")
        return FlagChoice(provider, model or flagged_model, "flag", key, found.exposure)

    def _warn(self, key: str, fault: str) -> None:
        """Logs each fault of these flags once."""
        if f"{key} {fault}" not in self._warned and len(self._warned) < WARNINGS_MAX:
            self._warned.add(f"{key} {fault}")
            _log.warning("flag_not_usable", flag=key, reason=fault)


def _provider_and_model(value: object) -> tuple[str | None, str | None]:
    """The provider and the model in a flag's value."""
    match value:
        case str():
            return value, None
        case {"provider": str(provider), "model": str(model)} if model:
            return provider, model
        case {"provider": str(provider)}:
            return provider, None
        case _:
            return None, None


@asynccontextmanager
async def open_flags(settings: Settings, providers: Collection[str]) -> AsyncIterator[Flags]:
    """Flags that follow the server until the context ends. Waits at most START_S for it. Without GROWTHBOOK_API_HOST,
    every choice is the default.

    `providers`: the names that a flag may have as its value.
    """
    flags = Flags(settings.default_provider, providers)
    if settings.growthbook_api_host is None or settings.growthbook_client_key is None:
        yield flags
        return
    reader = _PayloadReader(settings, flags)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True) as http:
        feed = PayloadFeed(http, settings.growthbook_api_host, settings.growthbook_client_key, reader.adopt)
        fresh = await feed.refresh(START_S)
        if flags.origin == "none":
            await reader.adopt_cached()
        _log.info("flags_opened", host=settings.growthbook_api_host, origin=flags.origin)
        every_s = settings.growthbook_refresh_s
        tasks = [
            asyncio.create_task(feed.poll(every_s, failures=0 if fresh else 1)),
            asyncio.create_task(feed.stream(every_s)),
        ]
        for task in tasks:
            task.add_done_callback(_log_error)
        try:
            yield flags
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def _log_error(task: asyncio.Task[None]) -> None:
    """After a bug in the refreshing, the flags stay as they are, which is no reason to end a process that serves."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("flags_refreshing_ended", exc_info=error)


class _PayloadReader:
    """Turns payloads into flags: of the server, or of the disk when the server is unavailable at a start."""

    def __init__(self, settings: Settings, flags: Flags) -> None:
        key, path = settings.growthbook_decryption_key, settings.growthbook_cache_file
        owner = f"{settings.growthbook_api_host} {settings.growthbook_client_key}"
        self._flags = flags
        self._decryption_key = key.get_secret_value() if key else None
        self._cache = PayloadCache(path, owner) if path else None

    async def adopt(self, payload: bytes) -> None:
        self._flags.replace(await read_rules(payload, self._decryption_key), "server")
        if self._cache is not None:
            await self._cache.save(payload)

    async def adopt_cached(self) -> None:
        payload = await self._cache.load() if self._cache is not None else None
        if payload is None:
            return
        try:
            self._flags.replace(await read_rules(payload, self._decryption_key), "disk")
        except PermanentError as error:
            _log.warning("flags_cache_ignored", reason=str(error))
