"""A worker over HTTP with jobs to take."""

from tests.integration.api.workers.conftest import box, dispatching

__all__ = ["box", "dispatching"]
