"""The API of the integration tests, with a real browser before it."""

from tests.integration.api.conftest import base, session, user

__all__ = ["base", "session", "user"]
