"""Feature flags against a GrowthBook server of the test, over real sockets."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from uuid import UUID, uuid5

import pytest
from structlog.testing import capture_logs

from gengui_stream.providers.flags.provider_flags import FlagChoice, UserAttributes, open_flags
from gengui_stream.providers.flags.rules import Exposure
from gengui_stream.settings import Settings, load_settings
from tests.integration.providers.flags.conftest import DEFAULT, PROVIDERS, USER, by_flag, forced
from tests.integration.providers.growthbook_server import GrowthBookServer

KEY, OTHER_KEY = (b64encode(bytes([number]) * 16).decode() for number in (1, 2))


async def test_without_a_host_nothing_is_started_and_the_default_is_chosen() -> None:
    before = asyncio.all_tasks()
    chosen = {"DEFAULT_PROVIDER": "runpod", "RUNPOD_API_KEY": "k", "RUNPOD_ENDPOINT_ID": "e"}
    async with open_flags(load_settings(chosen, env_files=()), PROVIDERS) as flags:
        assert await flags.choose(USER, "flux") == FlagChoice("runpod", "flux", "default")
        assert asyncio.all_tasks() == before


async def test_a_flag_wins_over_the_default(server: GrowthBookServer, settings_of: Callable[..., Settings]) -> None:
    server.features = forced("gemini")
    async with open_flags(settings_of(), PROVIDERS) as flags:
        assert await flags.choose(USER) == by_flag("gemini")
        assert flags.origin == "server"


async def test_the_flag_of_a_model_wins_and_a_flag_may_name_a_model(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.features = forced({"provider": "gemini", "model": "flash"}) | {
        "image_provider:zit-basic": {"defaultValue": "runpod"},
        "image_provider:says-nothing": {"defaultValue": None},
    }
    async with open_flags(settings_of(), PROVIDERS) as flags:
        assert await flags.choose(USER) == FlagChoice("gemini", "flash", "flag", "image_provider")
        assert await flags.choose(USER, "zit-basic") == FlagChoice(
            "runpod", "zit-basic", "flag", "image_provider:zit-basic"
        )
        for model in ("another", "says-nothing"):
            assert await flags.choose(USER, model) == FlagChoice("gemini", model, "flag", "image_provider")


async def test_rules_target_users_by_their_attributes_and_by_the_model(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    rules = [
        {"condition": {"plan": "studio"}, "force": "gemini"},
        {"condition": {"id": str(UUID(int=9))}, "force": "runpod"},
        {"condition": {"model": {"$regex": "^zit-"}}, "force": "runpod"},
    ]
    server.features = {"image_provider": {"defaultValue": "local", "rules": rules}}
    async with open_flags(settings_of(), PROVIDERS) as flags:
        assert (await flags.choose(UserAttributes(UUID(int=1), {"plan": "studio"}))).provider == "gemini"
        assert (await flags.choose(UserAttributes(UUID(int=1), {"plan": "free"}))).provider == "local"
        assert (await flags.choose(UserAttributes(UUID(int=9)))).provider == "runpod"
        assert (await flags.choose(UserAttributes(UUID(int=1)), "zit-basic")).provider == "runpod"


async def test_an_experiment_gives_its_variation_to_report_and_each_user_always_the_same(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    experiment = {
        "key": "gemini-or-runpod",
        "variations": ["gemini", "runpod"],
        "weights": [0.5, 0.5],
        "coverage": 0.5,
        "hashAttribute": "id",
        "meta": [{"key": "control"}, {"key": "treatment"}],
    }
    server.features = {"image_provider": {"defaultValue": "local", "rules": [experiment]}}
    users = [UserAttributes(uuid5(UUID(int=0), str(number))) for number in range(2_000)]
    async with open_flags(settings_of(), PROVIDERS) as flags:
        choices = [await flags.choose(user) for user in users]
        assert [await flags.choose(user) for user in users[:100]] == choices[:100]
    assert {(choice.provider, choice.exposure) for choice in choices} == {
        ("local", None),
        ("gemini", Exposure("gemini-or-runpod", "control")),
        ("runpod", Exposure("gemini-or-runpod", "treatment")),
    }
    shares = [sum(choice.provider == name for choice in choices) / len(choices) for name in PROVIDERS]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.05)


@pytest.mark.parametrize("value", ["dall-e", "", 7, True, ["gemini"], {"model": "flash"}, {"provider": 3}])
async def test_a_value_that_names_no_provider_is_the_default_and_one_warning(
    server: GrowthBookServer, settings_of: Callable[..., Settings], value: object
) -> None:
    server.features = forced(value)
    with capture_logs() as logs:
        async with open_flags(settings_of(), PROVIDERS) as flags:
            assert [await flags.choose(USER) for _ in range(5)] == [DEFAULT] * 5
    assert [log["flag"] for log in logs if log["event"] == "flag_not_usable"] == ["image_provider"]


@pytest.mark.parametrize(
    "rule",
    [
        {"variations": 3},
        {"force": "gemini", "coverage": "x"},
        {"variations": ["gemini", "runpod"], "ranges": [[0]]},
        {"force": "gemini", "filters": [3]},
        {"variations": ["gemini", "runpod"], "namespace": ["x"]},
    ],
)
async def test_rules_that_make_no_sense_are_the_default_and_one_warning(
    server: GrowthBookServer, settings_of: Callable[..., Settings], rule: object
) -> None:
    server.body = json.dumps({"features": {"image_provider": {"rules": [rule], "defaultValue": "runpod"}}}).encode()
    with capture_logs() as logs:
        async with open_flags(settings_of(), PROVIDERS) as flags:
            assert [await flags.choose(USER) for _ in range(3)] == [DEFAULT] * 3
    assert [log["event"] for log in logs].count("flag_not_usable") == 1
