"""What pydantic finds wrong, as sentences for people: the limit and the remedy, and nothing of the machinery.

The types are those of https://docs.pydantic.dev/latest/errors/validation_errors/.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.fields import NO_NUL, WORD

FORMS: Final = {
    NO_NUL: "must not contain the character NUL (U+0000)",
    WORD: "may have letters and digits of ASCII and underscores only",
}
"""By pattern: the fault of a text that does not match it."""

FIXED: Final = {
    "missing": "is required",
    "extra_forbidden": "unknown field: leave it out",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
    "datetime_type": "must be a date and time of RFC 3339",
    "datetime_parsing": "must be a date and time of RFC 3339",
    "datetime_from_date_parsing": "must be a date and time of RFC 3339",
    "timezone_aware": "must be a date and time of RFC 3339, with its offset from UTC",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dataclass_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "path_not_file": "there is no such file",
}

WITH_LIMIT: Final = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "its {discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "its {discriminator} is required",
}


def sentence(fault: ErrorDetails, forms: Mapping[str, str] = FORMS) -> str:
    """`forms`: the fault of a text that does not match a pattern, by pattern."""
    kind, limits = fault["type"], fault.get("ctx", {})
    if kind in FIXED:
        return FIXED[kind]
    if kind == "string_pattern_mismatch":
        return forms.get(limits["pattern"], f"must match {limits['pattern']}")
    if kind in {"too_short", "too_long"}:
        return _length(kind, limits)
    if kind == "string_too_short" and limits["min_length"] == 1:
        return "must not be empty"
    if kind in WITH_LIMIT:
        return WITH_LIMIT[kind].format_map({name: _shown(limit) for name, limit in limits.items()})
    return fault["msg"].removeprefix("Value error, ")


def placed(error: ValidationError) -> list[tuple[str, str]]:
    """The place of each fault, empty for the whole, and its sentence. Values are not repeated."""
    faults = error.errors(include_url=False, include_input=False)
    return [(".".join(map(str, fault["loc"])), sentence(fault)) for fault in faults]


def _shown(limit: object) -> object:
    return f"{limit:g}" if isinstance(limit, float) else limit


def _length(kind: str, limits: Mapping[str, object]) -> str:
    """A secret counts as a "Value" whose items are characters."""
    unit = "characters" if limits["field_type"] == "Value" else "items"
    if kind == "too_long":
        return f"must have at most {limits['max_length']} {unit}"
    return f"must have at least {limits['min_length']} {unit}"
