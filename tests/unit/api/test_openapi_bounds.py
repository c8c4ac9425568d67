"""The OpenAPI document is as strict as the API: its patterns and bounds are those of the parsers."""

import re
from typing import Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from pydantic import ValidationError

from api.handlers import generations
from gengui_stream.log.positions import Position
from schemas.http import CreateGeneration
from schemas.operations import OPERATIONS, PARAMETERS

Schema = dict[str, str | int]


def schema(name: str) -> Schema:
    return cast("Schema", PARAMETERS[name]["schema"])


POSITION: Final = str(schema("Min-Position")["pattern"])


@given(st.from_regex(POSITION.replace("$", r"\Z")) | st.text(alphabet="0123456789:٣- ", max_size=24) | st.text())
def test_a_position_is_taken_exactly_if_the_document_has_it_as_valid(text: str) -> None:
    valid = re.fullmatch(POSITION.strip("^$"), text) is not None
    try:
        taken = Position.parse(text).partition < 100_000
    except ValueError:
        taken = False
    assert taken == valid


@pytest.mark.parametrize(
    ("name", "default", "highest"),
    [
        ("limit", generations.PAGE_DEFAULT, generations.PAGE_MAX),
        ("events_limit", generations.TIMELINE_DEFAULT, generations.TIMELINE_MAX),
    ],
)
def test_limits_of_pages_are_those_of_the_handlers(name: str, default: int, highest: int) -> None:
    found = schema(name)
    assert (found["minimum"], found["default"], found["maximum"]) == (1, default, highest)


def test_each_parameter_of_a_text_has_a_bound() -> None:
    """Except headers that the API ignores or compares, whatever they are."""
    free = {"Prefer", "If-None-Match", "Last-Event-ID", "webhook_provider", "webhook_token"}
    used = {name for operation in OPERATIONS for name in operation.parameters} - free
    texts = {name for name in used if schema(name)["type"] == "string"}
    assert len(texts) > 5
    assert {name for name in texts if not {"format", "maxLength", "pattern", "enum"} & set(schema(name))} == set()


@given(st.text(alphabet=" \t\n\x00\x1c\x85\xa0\u3000a") | st.text())
def test_a_prompt_is_taken_exactly_if_the_document_has_it_as_valid(text: str) -> None:
    valid = OAS31Validator(CreateGeneration.model_json_schema()).is_valid({"prompt": text})
    try:
        CreateGeneration(prompt=text)
        taken = True
    except ValidationError:
        taken = False
    assert taken == valid
