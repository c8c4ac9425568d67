"""Faults of combinations of settings: providers."""

import pytest

from gengui_stream.errors import ConfigurationError
from gengui_stream.providers.gemini.provider import GeminiProvider
from gengui_stream.providers.local.provider import LocalProvider
from gengui_stream.providers.runpod.provider import RunpodProvider
from gengui_stream.settings import load_settings
from gengui_stream.settings.rules import PROVIDER_NEEDS


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DEFAULT_PROVIDER": "gemini"}, "DEFAULT_PROVIDER: the provider gemini needs GEMINI_API_KEY"),
        (
            {"DEFAULT_PROVIDER": "sora"},
            "DEFAULT_PROVIDER: there is no provider 'sora'; there are: local, gemini, runpod",
        ),
        (
            {"PROVIDER_FALLBACKS": "local,runpod"},
            "PROVIDER_FALLBACKS: the provider runpod needs RUNPOD_API_KEY, RUNPOD_ENDPOINT_ID",
        ),
        (
            {"PROVIDER_FALLBACKS": "locl"},
            "PROVIDER_FALLBACKS: there is no provider 'locl'; there are: local, gemini, runpod",
        ),
        (
            {"PRICES": "runpod/m=1/second,runpd/m=1/second"},
            "PRICES: there is no provider 'runpd'; there are: local, gemini, runpod",
        ),
    ],
)
def test_a_provider_that_cannot_be_used_is_a_fault_at_the_start(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ, env_files=())
    assert refused.value.faults == [said]


def test_the_providers_of_the_rules_are_those_that_can_be_opened() -> None:
    assert set(PROVIDER_NEEDS) == {LocalProvider.name, GeminiProvider.name, RunpodProvider.name}
