"""What a process tells others than its own log: spans, and errors."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from structlog.typing import Processor

from gengui_stream.logging import configure_logging
from gengui_stream.settings import Settings
from gengui_stream.tracing.errors import reported
from gengui_stream.tracing.export import endpoint_of, exported
from gengui_stream.tracing.log_fields import add_trace_ids


@contextmanager
def observed(settings: Settings, role: str) -> Iterator[None]:
    """Exports the spans of the block and reports its errors, where the settings turn that on. Raises ConfigurationError
    where a package for it is missing."""
    with ExitStack() as stack:
        processors: list[Processor] = []
        if endpoint_of(settings) is not None:
            stack.enter_context(exported(settings, role))
            processors.append(add_trace_ids)
        if settings.sentry_dsn is not None:
            processors.append(stack.enter_context(reported(settings)))
        if processors:
            configure_logging(settings, role, more=processors)
        yield
