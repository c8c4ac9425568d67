"""How large the JSON of a model can be, by the bounds of its fields. A limit for bodies that is lower would refuse
valid requests."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Final

from pydantic import BaseModel

ESCAPED_CHARACTER: Final = 12
"""Bytes of `\\ud83d\\ude00`: a character outside the basic plane, as ASCII."""
NUMBER: Final = 32
WHITESPACE: Final = 4_096
"""Allowance for the whole document."""
BY_FORMAT: Final = {"uuid": 64, "date-time": 64}

Schema = Mapping[str, object]


@cache
def largest_json(model: type[BaseModel]) -> int:
    """In bytes, with each character escaped. Raises ValueError for a field without a bound."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    return WHITESPACE + _largest(schema, definitions if isinstance(definitions, dict) else {})


def _largest(schema: Schema, definitions: Mapping[str, Schema]) -> int:
    match schema:
        case {"$ref": str(name)}:
            return _largest(definitions[name.rpartition("/")[2]], definitions)
        case {"anyOf": list(choices)} | {"oneOf": list(choices)}:
            return max(_largest(choice, definitions) for choice in choices)
        case {"const": value}:
            return len(json.dumps(value))
        case {"enum": list(values)}:
            return max(len(json.dumps(value)) for value in values)
        case {"type": "string"}:
            return _string(schema)
        case {"type": "array", "items": dict(item), "maxItems": int(count)}:
            return 2 + count * (2 + _largest(item, definitions))
        case {"type": "object", "properties": dict(properties)}:
            return 2 + sum(len(name) + 6 + _largest(field, definitions) for name, field in properties.items())
        case {"type": "integer" | "number" | "boolean" | "null"}:
            return NUMBER
        case _:
            raise ValueError(f"there is no bound in {schema}")


def _string(schema: Schema) -> int:
    match schema:
        case {"maxLength": int(characters)}:
            return 2 + characters * ESCAPED_CHARACTER
        case {"format": str(name)} if name in BY_FORMAT:
            return BY_FORMAT[name]
        case _:
            raise ValueError(f"there is no bound in {schema}")
