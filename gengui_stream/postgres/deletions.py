"""Statements that delete rows and whose effect is their number."""

from gengui_stream.postgres.pool import Executor, transient_errors


async def delete_rows(connection: Executor, statement: str, *arguments: object) -> int:
    """The number of rows that the DELETE statement removed. Raises TransientError when the server is unavailable."""
    with transient_errors():
        status = await connection.execute(statement, *arguments)
    return int(status.removeprefix("DELETE "))
