"""Several statements in one."""

from gengui_stream.postgres.bulk import joined


def test_each_statement_has_parameters_of_its_own() -> None:
    first, second = "INSERT INTO a SELECT $1, $2 RETURNING 1", "INSERT INTO b SELECT $12, $1, $11"
    statement = joined((first, second, "SELECT count(*) FROM part_0"), (2, 12, 0))
    assert statement == (
        "WITH part_0 AS (INSERT INTO a SELECT $1, $2 RETURNING 1), part_1 AS (INSERT INTO b SELECT $14, $3, $13) "
        "SELECT count(*) FROM part_0"
    )
