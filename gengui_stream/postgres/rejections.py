"""Errors by which PostgreSQL or asyncpg rejects a value, now and at every retry."""

import asyncpg


def rejects_value(error: Exception) -> bool:
    """False for a fault of ours: a missing table or column, a wrong statement, or an exception in our own code."""
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)  # asyncpg's own DataError: an argument that it cannot encode
    return isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError)
