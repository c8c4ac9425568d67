"""A dispatcher, so that workers have jobs to claim."""

from tests.integration.api.workers.conftest import dispatching

__all__ = ["dispatching"]
