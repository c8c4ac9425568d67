"""Requests to providers, for tests."""

from typing import Any

from gengui_stream.identifiers import new_id
from gengui_stream.providers.interface import DispatchRequest


def a_dispatch(**changes: Any) -> DispatchRequest:
    plain: dict[str, Any] = {
        "generation_id": new_id(),
        "owner_id": new_id(),
        "attempt": 1,
        "prompt": "a red fox",
        "seed": 7,
        "width": 256,
        "height": 320,
        "model": "zit-basic",
        "deadline": None,
        "correlation_id": None,
        "traceparent": None,
    }
    return DispatchRequest(**{**plain, **changes})
