"""Faults of input and settings as sentences."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError

from gengui_stream.fault_sentences import sentence
from gengui_stream.settings import Settings
from gengui_stream.settings.field_types import FORMS
from schemas.fields import NO_NUL

PATTERN = r'"pattern": "((?:[^"\\]|\\.)*)"'


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = 0


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: Annotated[str, Field(min_length=1, max_length=3, pattern=NO_NUL)] = "a"
    long: Annotated[str, Field(min_length=2)] = "aa"
    secret: Annotated[SecretStr, Field(min_length=4)] = SecretStr("aaaa")
    side: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] = 64
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    flag: bool = True
    kind: Literal["a", "b"] = "a"
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    inner: Inner = Inner()
    id: UUID = UUID(int=1)
    at: AwareDatetime = datetime.fromisoformat("2026-01-01T00:00:00Z")
    file: FilePath = Path("/")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"word": ""}, "must not be empty"),
        ({"word": "aaaa"}, "must have at most 3 characters"),
        ({"word": "a\0"}, "must not contain the character NUL (U+0000)"),
        ({"word": 7}, "must be a text"),
        ({"word": "\ud800"}, "must be valid Unicode"),
        ({"long": "a"}, "must have at least 2 characters"),
        ({"secret": "abc"}, "must have at least 4 characters"),
        ({"side": 56}, "must be at least 64"),
        ({"side": 5000}, "must be at most 4096"),
        ({"side": 65}, "must be a multiple of 8"),
        ({"side": "wide"}, "must be a whole number"),
        ({"side": 64.5}, "must be a whole number"),
        ({"side": None}, "must be a whole number"),
        ({"share": 0}, "must be more than 0"),
        ({"share": 1}, "must be less than 1"),
        ({"share": float("nan")}, "must be a finite number"),
        ({"share": "half"}, "must be a number"),
        ({"flag": "maybe"}, "must be true or false"),
        ({"kind": "c"}, "must be 'a' or 'b'"),
        ({"items": []}, "must have at least 1 items"),
        ({"items": [1, 2, 3]}, "must have at most 2 items"),
        ({"items": 1}, "must be a list"),
        ({"inner": 1}, "must be an object"),
        ({"inner": {"m": 1}}, "unknown field: leave it out"),
        ({"id": "x"}, "must be a UUID"),
        ({"at": "noon"}, "must be a date and time of RFC 3339"),
        ({"at": "2026-01-01T00:00:00"}, "must be a date and time of RFC 3339, with its offset from UTC"),
        ({"file": "/nowhere"}, "there is no such file"),
    ],
)
def test_a_fault_names_the_limit_and_no_machinery(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Everything.model_validate(given)
    assert [sentence(fault) for fault in refused.value.errors()] == [said]


def test_every_pattern_of_a_setting_has_words() -> None:
    patterns = {match.encode().decode("unicode_escape") for match in re.findall(PATTERN, _schema())}
    assert len(patterns) > 3
    assert patterns <= set(FORMS)


def _schema() -> str:
    return json.dumps(Settings.model_json_schema())
