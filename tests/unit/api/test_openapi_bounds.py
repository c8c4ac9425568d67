"""The OpenAPI document is as strict as the API: its patterns and bounds are those of the parsers."""

import re
from datetime import datetime, timedelta, timezone
from typing import Final, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import assume, example, given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from pydantic import ValidationError
from yarl import URL

from api.handlers import generations, streams
from api.http.parsing import Query
from api.http.problems import Refusal
from gengui_stream.log.positions import Position, parse_vector
from schemas.http import CreateGeneration
from schemas.operations.parameters import PARAMETERS
from schemas.operations.table import OPERATIONS

Schema = dict[str, str | int]


def schema(name: str) -> Schema:
    return cast("Schema", PARAMETERS[name]["schema"])


POSITION: Final = str(schema("Min-Position")["pattern"])

ZONES: Final = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.from_regex(POSITION.replace("$", r"\Z")) | st.text(alphabet="0123456789:٣- ", max_size=24) | st.text())
def test_a_position_is_taken_exactly_if_the_document_has_it_as_valid(text: str) -> None:
    valid = re.fullmatch(POSITION.strip("^$"), text) is not None
    try:
        taken = Position.parse(text).partition < 100_000
    except ValueError:
        taken = False
    assert taken == valid


@given(
    st.from_regex(str(schema("Last-Event-ID")["pattern"]).replace("$", r"\Z"))
    | st.text(alphabet="0123456789:,٣- ", max_size=24)
    | st.sampled_from(["beginning", "beginning,0:1", "Beginning"])
    | st.text()
)
def test_the_id_of_an_event_is_taken_exactly_if_the_document_has_it_as_valid(text: str) -> None:
    """Except one that names a partition twice, which no pattern can tell."""
    valid = re.fullmatch(str(schema("Last-Event-ID")["pattern"]).strip("^$"), text) is not None
    try:
        taken = text == streams.BEGINNING or all(partition < 100_000 for partition in parse_vector(text))
    except ValueError as error:
        taken = valid and "names each partition once" in str(error)
    assert taken == valid
    assert PARAMETERS["last_event_id"]["schema"] == schema("Last-Event-ID")


@given(
    st.from_regex(POSITION.replace("$", r"\Z"))
    | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES).map(datetime.isoformat)
    | st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-5][0-9][Zz+-][0-9:]{0,5}\Z")
    | st.text(alphabet="0123456789-TtZz:.+", max_size=45)
    | st.text()
)
@example("8921-++7")
@example("2026-01-31T12:00:00.12345678901234567890Z")
@example("2026-01-31T12:00:00.123456789012345678901Z")
def test_a_moment_is_taken_exactly_if_the_document_has_it_as_valid(text: str) -> None:
    """Except with a space, which is taken for a plus sign: many clients leave that in a query as it is."""
    assume(" " not in text)
    valid = OAS31Validator(PARAMETERS["at"]["schema"], format_checker=oas31_format_checker).is_valid(text)
    query = Query(make_mocked_request("GET", str(URL.build(path="/", query={"at": text}))), "at")
    moment = generations.moment_of(query)
    try:
        query.check()
        taken = not isinstance(moment, Position) or moment.partition < 100_000
    except Refusal:
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
    free = {"Prefer", "If-None-Match", "webhook_provider", "webhook_token"}
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
