"""Which processes have sessions, by the name that each gives to its own."""

from typing import Final

from gengui_stream.postgres.connecting import APPLICATION
from gengui_stream.postgres.pool import Pool, transient_errors

ACCOUNT_JOBS: Final = f"{APPLICATION} account-jobs"
"""The only role whose processes leave no other trace on a server while they have nothing to do."""

FOUND: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database())
"""


async def has_session(pool: Pool, application: str) -> bool:
    """Whether a process of this database user has one: the names of others are hidden. Raises TransientError."""
    with transient_errors():
        return bool(await pool.fetchval(FOUND, application))
