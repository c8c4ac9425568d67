"""The provider of a demo: the reference worker, or a fake of a paid provider."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import listens


class DemoProvider(StrEnum):
    """The names of providers in requests."""

    LOCAL = "local"
    RUNPOD = "runpod"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class Staging:
    """What runs besides the roles, its settings, and its port."""

    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None

    async def stands(self) -> bool:
        return self.port is None or await listens(self.port)


def staging(provider: DemoProvider, api_url: str) -> Staging:
    """A fake accepts one generated key. The fake RunPod sends a webhook when a job has ended."""
    port, key = free_port(), secrets.token_urlsafe(16)
    url, chosen = f"http://127.0.0.1:{port}", {"DEFAULT_PROVIDER": provider.value}
    commands = {f"fake-{provider}": ("fake", provider.value, "--port", str(port), "--key", key)}
    match provider:
        case DemoProvider.LOCAL:
            return Staging(environ=chosen)
        case DemoProvider.RUNPOD:
            known = {"RUNPOD_API_KEY": key, "RUNPOD_ENDPOINT_ID": "demo", "RUNPOD_BASE_URL": url}
            hooks = {"PUBLIC_URL": api_url, "WEBHOOK_SECRET": secrets.token_urlsafe(32)}
            return Staging(commands, {**chosen, **known, **hooks}, port)
        case DemoProvider.GEMINI:
            return Staging(commands, {**chosen, "GEMINI_API_KEY": key, "GEMINI_BASE_URL": url}, port)
        case _:
            assert_never(provider)
