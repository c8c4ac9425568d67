"""A request that a provider cannot fulfil is rejected, with the supported values."""

import pytest
from pydantic import ValidationError

from api.handlers.new_generations import impossible
from gengui_stream.providers.interface import Capabilities
from schemas.http import CreateGeneration

ABLE = Capabilities(size_min=512, size_max=1024, size_step=128, models=("small", "large"))


def test_each_field_that_is_not_possible_is_named_with_what_would_be() -> None:
    asked = CreateGeneration(prompt="a fox", width=2048, height=576, model="medium")
    faults = {fault.field: fault.message for fault in impossible("studio", ABLE, asked)}
    sizes = "studio makes 512 to 1024 pixels in steps of 128"
    assert faults == {
        "width": sizes,
        "height": sizes,
        "model": "studio has no such model; it has: small, large",
    }


def test_what_is_possible_has_no_faults() -> None:
    assert impossible("studio", ABLE, CreateGeneration(prompt="a fox", width=512, model="large")) == []


def test_who_names_no_model_gets_one_that_there_is() -> None:
    assert impossible("studio", ABLE, CreateGeneration(prompt="a fox", width=512)) == []


def test_a_whole_number_is_taken_in_any_notation_of_json() -> None:
    body = {"prompt": "x", "width": 512.0, "height": 1e3 + 24, "seed": 2.0**52}
    asked = CreateGeneration.model_validate(body)
    assert (asked.width, asked.height, asked.seed) == (512, 1024, 2**52)
    for wrong in (512.5, True, "512", float("inf"), float("nan")):
        with pytest.raises(ValidationError):
            CreateGeneration.model_validate(body | {"width": wrong})
