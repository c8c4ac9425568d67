"""Columns of rows as arrays: values return unchanged from PostgreSQL, also in the faster way."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from asyncpg.protocol import protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gengui_stream.postgres.bulk import Write
from gengui_stream.postgres.plain_arrays import ASKED, arrays_are_lists
from gengui_stream.postgres.pool import Pool

ROWS: list[tuple[object, ...]] = [
    (UUID(int=1), None, 7, "one", datetime(2026, 6, 1, tzinfo=UTC), None),
    (UUID(int=2), None, None, "[1, 2]", None, "last"),
]
RETURNED = "SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[])"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETURNED_INSTANTS = "SELECT number, to_timestamp(moment) FROM unnest($1::int[], $2::float8[]) AS new (number, moment)"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the agents, until the test is over."""
    for name in ASKED:
        monkeypatch.setitem(vars(protocol), name, vars(protocol)[name])  # fails where asyncpg has no such name any more
    arrays_are_lists()


async def test_rows_come_back(pool: Pool) -> None:
    assert [tuple(row) for row in await pool.fetch(RETURNED, *Write(RETURNED, ROWS).arguments())] == ROWS


@given(
    moments=st.lists(
        st.integers(0, 4_102_444_800_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)) | st.none(),
        min_size=1,
        max_size=50,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_instants_come_back_to_the_microsecond(pool: Pool, moments: list[datetime | None]) -> None:
    rows = [(number, moment) for number, moment in enumerate(moments)]
    found = await pool.fetch(RETURNED_INSTANTS, *Write(RETURNED_INSTANTS, rows, instants=(1,)).arguments())
    assert [tuple(row) for row in found] == rows


async def test_a_column_of_nulls_is_not_sent() -> None:
    assert Write(RETURNED, ROWS).arguments()[1] == []


@pytest.mark.usefixtures("cheap")
async def test_rows_come_back_when_arrays_are_lists(pool: Pool) -> None:
    assert [tuple(row) for row in await pool.fetch(RETURNED, *Write(RETURNED, ROWS).arguments())] == ROWS


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("collection", [(1, 2), {1, 2}, range(2), "12"])
async def test_what_is_no_list_is_refused_then(pool: Pool, collection: object) -> None:
    with pytest.raises(asyncpg.DataError, match="sized iterable container expected"):
        await pool.fetchval("SELECT $1::int[]", collection)
    assert await pool.fetchval("SELECT $1::int[]", [1, 2]) == [1, 2]
