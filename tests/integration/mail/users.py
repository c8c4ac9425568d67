"""Users as a sign-up makes them."""

from uuid import UUID

from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool


async def a_user(
    pool: Pool, email: str = "ada@example.com", name: str | None = "ada", *, verified: bool = False
) -> UUID:
    user_id = new_id()
    await pool.execute(
        "INSERT INTO accounts.users (user_id, email, role, user_name, password_hash, email_verified_at)"
        " VALUES ($1, $2, 'user', $3, 'hash', CASE WHEN $4 THEN now() END)",
        *(user_id, email, name, verified),
    )
    return user_id
