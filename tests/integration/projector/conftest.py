"""A database that refuses some requests."""

from collections.abc import AsyncIterator

import pytest_asyncio

from gengui_stream.postgres.pool import Pool


@pytest_asyncio.fixture(name="refusing")
async def refuses_a_prompt(emptied: Pool) -> AsyncIterator[Pool]:
    """Refuses the prompt "refused": a constraint, in place of any error of a value."""
    await emptied.execute(
        "ALTER TABLE projections.generation_requests ADD CONSTRAINT picky CHECK (prompt <> 'refused')"
    )
    yield emptied
    await emptied.execute("ALTER TABLE projections.generation_requests DROP CONSTRAINT picky")
