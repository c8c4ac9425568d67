"""Checks of feature flags: GrowthBook is available, and the value of `image_provider` names an existing provider."""

import uuid
from typing import Final

import aiohttp

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn
from gengui_stream.errors import PermanentError
from gengui_stream.providers.flags.provider_flags import PROVIDER_FLAG, Flags, UserAttributes
from gengui_stream.providers.flags.rules import Rules, read_rules
from gengui_stream.settings import Settings

NAME: Final = "flags.growthbook"
TIMEOUT: Final = aiohttp.ClientTimeout(total=4)


async def check_flags(context: Context) -> list[Finding]:
    settings = context.settings
    host, client_key = settings.growthbook_api_host, settings.growthbook_client_key
    if host is None or client_key is None:
        return [ok(NAME, f"not used: DEFAULT_PROVIDER={settings.default_provider} applies")]
    try:
        url = f"{host.rstrip('/')}/api/features/{client_key}"
        async with context.http.get(url, timeout=TIMEOUT) as response:
            status, payload = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:  # its text may contain the URL, and so the key
        remedy = (
            "start GrowthBook, or correct GROWTHBOOK_API_HOST; meanwhile the last flags, or DEFAULT_PROVIDER, apply"
        )
        return [warn(NAME, f"{host} is unavailable: {type(error).__name__}", remedy)]
    if status != 200:
        remedy = "correct GROWTHBOOK_CLIENT_KEY: the client key of an SDK connection, sdk-..."
        return [fail(NAME, f"{host} responded with {status}", remedy)]
    return await _of_payload(payload, settings)


async def _of_payload(payload: bytes, settings: Settings) -> list[Finding]:
    key = settings.growthbook_decryption_key
    try:
        rules = await read_rules(payload, key.get_secret_value() if key else None)
    except PermanentError as error:
        return [fail(NAME, str(error), "correct GROWTHBOOK_DECRYPTION_KEY, or GROWTHBOOK_API_HOST")]
    return [ok(NAME, f"{len(rules.keys)} features"), await _chosen(rules, settings)]


async def _chosen(rules: Rules, settings: Settings) -> Finding:
    """The choice for a user without attributes."""
    name, known = f"flags.{PROVIDER_FLAG}", provider_names(settings)
    if PROVIDER_FLAG not in rules.keys:
        remedy = f"create a feature {PROVIDER_FLAG} in GrowthBook; meanwhile DEFAULT_PROVIDER applies"
        return warn(name, "there is no such feature", remedy)
    flags = Flags(settings.default_provider, known)
    flags.replace(rules, "server")
    choice = await flags.choose(UserAttributes(uuid.UUID(int=0)))
    if choice.source != "flag":
        remedy = f"set its value to one of {', '.join(known)}; meanwhile DEFAULT_PROVIDER applies"
        return fail(name, "its value is not the name of a provider", remedy)
    return ok(name, choice.provider)


def provider_names(settings: Settings) -> list[str]:
    """The configured providers."""
    keys = {"gemini": settings.gemini_api_key, "runpod": settings.runpod_api_key}
    return ["local", *(name for name, key in keys.items() if key is not None)]
