"""Errors by which PostgreSQL or asyncpg rejects a value, now and at every retry."""

import asyncpg


def rejects_value(error: Exception) -> bool:
    """False for a fault of ours: a missing table or column, a wrong statement, or an exception in our own code."""
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)  # asyncpg's own DataError: an argument that it cannot encode
    return isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError)


def meet_in_a_row(error: Exception) -> bool:
    """Of a batch of several partitions: two of them have events of one generation, which only a foreign producer can
    cause, so that each must commit alone."""
    return isinstance(error, asyncpg.CardinalityViolationError)
