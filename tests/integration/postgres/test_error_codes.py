"""Each error code of PostgreSQL, raised by the server: passing, or not."""

import asyncpg
import pytest

from gengui_stream.errors import TransientError
from gengui_stream.postgres.pool import Pool, transient_errors

pytestmark = pytest.mark.stack

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'as asked for' USING ERRCODE = '{}'; END $$"

PASSING = [
    *("08000", "08001", "08003", "08004", "08006", "08007", "08P01"),
    *("25006", "25P03", "25P04", "40000", "40001", "40002", "40003", "40P01"),
    *("53000", "53100", "53200", "53300", "53400", "55P03"),
    *("57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05"),
    *("58000", "58030", "72000"),
]

LASTING = [
    *("0A000", "21000", "22003", "22012", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514"),
    *("25001", "25P01", "25P02", "28000", "28P01", "3D000", "42501", "42601", "42703", "42804", "42883", "42P01"),
    *("54000", "55000", "55006", "XX000", "XX001", "XX002"),
]


@pytest.mark.parametrize("code", PASSING)
async def test_these_pass(code: str, pool: Pool) -> None:
    with pytest.raises(TransientError, match="as asked for"), transient_errors():
        await pool.execute(RAISE.format(code))


@pytest.mark.parametrize("code", LASTING)
async def test_these_do_not(code: str, pool: Pool) -> None:
    with pytest.raises(asyncpg.PostgresError, match="as asked for"), transient_errors():
        await pool.execute(RAISE.format(code))


async def test_a_primary_that_became_a_replica_may_pass(pool: Pool) -> None:
    with pytest.raises(TransientError, match="read-only"), transient_errors():
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute("DELETE FROM jobs.jobs")
