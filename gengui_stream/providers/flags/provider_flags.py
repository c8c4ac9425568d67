"""Who makes a user's images: the feature flags `image_provider:<model>` and `image_provider`, else DEFAULT_PROVIDER.

A flag's value is the name of a provider, or an object `{"provider": ..., "model": ...}`; a model that the client names
stays. Flags never keep anybody from starting or from an image: without GrowthBook the last flags stay good, those on
disk at a start, and the default is what remains.
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
from gengui_stream.providers.flags.payload_cache import FlagCache
from gengui_stream.providers.flags.payload_feed import FlagFeed
from gengui_stream.providers.flags.rules import Evaluation, Exposure, Rules, read_rules
from gengui_stream.settings import Settings

PROVIDER_FLAG: Final = "image_provider"
START_S: Final = 3.0
"""The longest that a start waits for GrowthBook."""

WARNINGS_MAX: Final = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UserAttributes:
    """What rules may target: `id`, `model`, and whatever else there is."""

    id: UUID
    more: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """`model` None: nobody has named one. `exposure`: the user takes part in an experiment by this."""

    provider: str
    model: str | None
    source: Literal["flag", "default"]
    flag: str | None = None
    exposure: Exposure | None = None


class Flags:
    """The flags as they are now. `origin`: where they came from last."""

    def __init__(self, default_provider: str, providers: Collection[str]) -> None:
        self._default = default_provider
        self._providers = frozenset(providers)
        self._rules: Rules | None = None
        self._warned: set[str] = set()
        self.origin: Literal["none", "disk", "server"] = "none"

    def replace(self, rules: Rules, origin: Literal["disk", "server"]) -> None:
        self._rules, self.origin = rules, origin
        self._warned.clear()

    async def choose(self, user: UserAttributes, model: str | None = None) -> Choice:
        """Never raises and never waits; `model` is the one the client names."""
        rules = self._rules
        if rules is None:
            return Choice(self._default, model, "default")
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
        return Choice(self._default, model, "default")

    def _chosen(self, key: str, found: Evaluation, model: str | None) -> Choice:
        provider, flagged_model = _read(found.value)
        if provider not in self._providers:
            self._warn(
                key, f"{str(found.value)[:80]!r} names no provider; there are: {', '.join(sorted(self._providers))}"
            )
            return Choice(self._default, model, "default")
        return Choice(provider, model or flagged_model, "flag", key, found.exposure)

    def _warn(self, key: str, fault: str) -> None:
        """Once for each fault of these flags."""
        if f"{key} {fault}" not in self._warned and len(self._warned) < WARNINGS_MAX:
            self._warned.add(f"{key} {fault}")
            _log.warning("flag_not_usable", flag=key, reason=fault)


def _read(value: object) -> tuple[str | None, str | None]:
    """The provider and the model that a flag's value names."""
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
    """Flags that follow the server meanwhile. Waits at most START_S for it; without GROWTHBOOK_API_HOST starts nothing.

    `providers`: the names a flag may have as its value.
    """
    flags = Flags(settings.default_provider, providers)
    if settings.growthbook_api_host is None or settings.growthbook_client_key is None:
        yield flags
        return
    source = _Source(settings, flags)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        feed = FlagFeed(http, settings.growthbook_api_host, settings.growthbook_client_key, source.adopt)
        fresh = await feed.refresh(START_S)
        if flags.origin == "none":
            await source.adopt_cached()
        _log.info("flags_opened", host=settings.growthbook_api_host, origin=flags.origin)
        every_s = settings.growthbook_refresh_s
        tasks = [
            asyncio.create_task(feed.poll(every_s, failures=0 if fresh else 1)),
            asyncio.create_task(feed.stream(every_s)),
        ]
        for task in tasks:
            task.add_done_callback(_tell)
        try:
            yield flags
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def _tell(task: asyncio.Task[None]) -> None:
    """A bug in the refreshing leaves the flags as they are, which is no reason to end a process that serves."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("flags_refreshing_ended", exc_info=error)


class _Source:
    """Payloads to flags: from the server, and from the disk when the server is away."""

    def __init__(self, settings: Settings, flags: Flags) -> None:
        key, path = settings.growthbook_decryption_key, settings.growthbook_cache_file
        owner = f"{settings.growthbook_api_host} {settings.growthbook_client_key}"
        self._flags = flags
        self._decryption_key = key.get_secret_value() if key else None
        self._cache = FlagCache(path, owner) if path else None

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
