"""Tracing is on in a test that asks for its spans."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gengui_stream.settings import Settings
from gengui_stream.tracing.export import recorded

Finished: TypeAlias = Callable[[], list[ReadableSpan]]


@pytest.fixture
def finished(request: pytest.FixtureRequest) -> Iterator[Finished]:
    """Turns tracing on, with the settings of the test's parameter; returns the spans that have ended."""
    exporter = InMemorySpanExporter()
    with recorded(Settings.model_validate(getattr(request, "param", {})), "api", exporter) as provider:

        def found() -> list[ReadableSpan]:
            provider.force_flush()
            return list(exporter.get_finished_spans())

        yield found
