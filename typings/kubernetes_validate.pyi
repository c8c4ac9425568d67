from collections.abc import Mapping, Sequence

class ValidationError(Exception):
    message: str
    path: Sequence[object]

class SchemaNotFoundError(Exception):
    message: str

def validate(data: Mapping[str, object], desired_version: str, strict: bool = False) -> str: ...
