"""Limits of systems on a developer's machine: `make dev` leaves room to play, the demo and the tests have none."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PLAYFUL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RATE_LIMIT_USER_DAILY": "1000",
        "RATE_LIMIT_ADMIN_DAILY": "1000",
        "RATE_LIMIT_LOG_IN": "100",
        "RATE_LIMIT_SIGN_UP": "100",
        "RATE_LIMIT_PASSWORD_RESET": "100",
        "RATE_LIMIT_VERIFICATION": "100",
    }
)
"""Of `make dev`, where no other value is set. GenGui Core has 100 in development as well."""

UNLIMITED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(PLAYFUL, "0"),
        "RATE_LIMIT_UNAUTHENTICATED": "0",
        "REQUESTS_PER_MINUTE": "0",
        "IN_PROGRESS_LIMIT": "0",
    }
)
"""Of the demo, of benchmarks and of tests that are about something else."""
