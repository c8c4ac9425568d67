"""Synchronous providers: Gemini on its fake, and in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import pytest

from gengui_stream.errors import TransientError
from gengui_stream.fakes.behaviours import Error, Reset
from gengui_stream.fakes.gemini.script import BEHAVIOURS, GeminiBehaviour
from gengui_stream.providers.interface import CallPolicy, FaultDomain, Finished, Moderated, Provider, Refused
from gengui_stream.settings import Settings
from gengui_stream.testing.provider import InMemoryProvider, NextAnswer
from schemas.events import Output
from tests.contracts.synchronous_provider import PAUSE_S, Answer, SynchronousContract, SynchronousSubject
from tests.integration.providers.gemini.conftest import MODEL, Scene, a_scene, small

IN_MEMORY: Final[dict[Answer, NextAnswer]] = {
    "image": Finished((Output(object_key="a.png"),)),
    "prompt_refused": Moderated("the prompt violates a policy"),
    "busy": Refused("busy", "too many requests", True, FaultDomain.CAPACITY, retry_after_s=PAUSE_S),
    "key_refused": Refused("provider_misconfigured", "no such key", True, FaultDomain.CONFIGURATION),
    "lost": TransientError("the call was lost"),
}

GEMINI: Final[dict[Answer, GeminiBehaviour]] = {
    "image": BEHAVIOURS["image"],
    "prompt_refused": BEHAVIOURS["blocked"],
    "busy": Error(status=429, word="RESOURCE_EXHAUSTED", message="Too many requests.", retry_after=PAUSE_S),
    "key_refused": BEHAVIOURS["api_key_invalid"],
    "lost": Reset(),
}


@dataclass(frozen=True)
class InMemorySubject:
    provider: InMemoryProvider

    def next_call(self, answer: Answer) -> None:
        self.provider.next_answers.append(IN_MEMORY[answer])


class TestInMemory(SynchronousContract):
    model = "any"

    @pytest.fixture
    def subject(self) -> SynchronousSubject:
        policy = CallPolicy(synchronous=True, in_doubt_s=60.0)
        return InMemorySubject(InMemoryProvider(cancel=False, policy=policy))

    @pytest.fixture
    def unavailable(self) -> Provider:
        provider = InMemoryProvider()
        provider.available = False
        return provider


@dataclass(frozen=True)
class GeminiSubject:
    scene: Scene

    @property
    def provider(self) -> Provider:
        return self.scene.gemini

    def next_call(self, answer: Answer) -> None:
        self.scene.server.play(small(GEMINI[answer]))


@pytest.mark.stack
class TestGeminiOnItsFake(SynchronousContract):
    model = MODEL

    @pytest.fixture
    async def subject(self, settings: Settings) -> AsyncIterator[SynchronousSubject]:
        async with a_scene(settings) as scene:
            yield GeminiSubject(scene)

    @pytest.fixture
    async def unavailable(self, settings: Settings) -> AsyncIterator[Provider]:
        async with a_scene(settings, gemini_base_url="http://127.0.0.1:9") as scene:
            yield scene.gemini
