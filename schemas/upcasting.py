"""Raises events of earlier schema versions to the current ones: the log is never rewritten, and only these functions
know what it looked like. One step a version; each takes and returns the JSON document of an event."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from schemas.events import EVENT_CLASSES

Document: TypeAlias = Mapping[str, object]
Upcaster: TypeAlias = Callable[[Document], Document]

CURRENT_VERSIONS: Final[Mapping[str, int]] = MappingProxyType(
    {event.model_fields["type"].default: event.model_fields["schema_version"].default for event in EVENT_CLASSES}
)


def _timed_out_with_reason(document: Document) -> Document:
    """Version 1 left the reason out when the deadline had passed."""
    return {**document, "reason": document.get("reason") or "the deadline passed before the generation ended"}


UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = MappingProxyType(
    {("generation.timed_out", 1): _timed_out_with_reason}
)
"""By type and the version that the function takes; it returns the next one."""


def upcast(document: Document) -> Document | None:
    """The document at its current version; None when it is of no earlier version that this process knows."""
    kind, version = document.get("type"), document.get("schema_version", 1)
    if not isinstance(kind, str) or not isinstance(version, int) or (kind, version) not in UPCASTERS:
        return None
    while (step := UPCASTERS.get((kind, version))) is not None:
        version += 1
        document = {**step(document), "schema_version": version}
    return document
