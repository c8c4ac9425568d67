"""Who makes the images of a demo: the reference worker, or a fake of a provider that is paid for."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import listens


class DemoProvider(StrEnum):
    """By the names that requests use."""

    LOCAL = "local"
    RUNPOD = "runpod"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class Staging:
    """What runs besides the roles, the settings that lead to it, and the port where it is to be found."""

    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None

    async def stands(self) -> bool:
        return self.port is None or await listens(self.port)


def staging(provider: DemoProvider, api_url: str) -> Staging:
    """A fake takes one key, which is made here. RunPod's says by webhook when a job is done."""
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
