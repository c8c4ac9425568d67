"""E-mails to be sent: rows that are written with what they are about, and sent by the role `account-jobs`."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

import asyncpg

from gengui_stream.identifiers import new_id
from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Connection, Executor, Pool, transient_errors

EmailKind: TypeAlias = Literal[
    "verification", "address_taken", "email_change", "email_changed", "password_reset", "password_changed", "deletion"
]
"""`address_taken`: to an address that has an account, after a sign-up with it or a change to it. `email_change`: to
the new address; `email_changed`: to the old one. `deletion`: the account is about to be deleted, and how to keep
it."""

REFUSALS_MAX: Final = 3
"""An e-mail that the server refused for good so often is kept apart: an operator retries or discards it."""

ERROR_MAX: Final = 500
PRUNED_MAX: Final = 1_000

ENQUEUE: Final = "INSERT INTO accounts.emails (email_id, kind, user_id, recipient) VALUES ($1, $2, $3, $4)"

WITHDRAW: Final = "DELETE FROM accounts.emails WHERE user_id = $1 AND kind IN ('email_change', 'password_reset')"

IS_DUE: Final = """
SELECT EXISTS (SELECT FROM accounts.emails WHERE failed_at IS NULL AND user_id IS NOT NULL AND available_at <= now()
    AND (leased_until IS NULL OR leased_until <= now()))
"""

CLAIM: Final = """
WITH due AS (
    SELECT email_id, user_id FROM accounts.emails
    WHERE failed_at IS NULL AND user_id IS NOT NULL AND available_at <= now()
        AND (leased_until IS NULL OR leased_until <= now())
    ORDER BY available_at, email_id LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE accounts.emails e SET lease_owner = $1, leased_until = now() + $2::interval, tries = tries + 1
FROM due LEFT JOIN accounts.users u ON u.user_id = due.user_id AND u.deleted_at IS NULL WHERE e.email_id = due.email_id
RETURNING e.email_id, e.kind, e.user_id, e.recipient, e.created_at, e.tries, e.refusals,
    u.email AS user_email, u.user_name, u.email_verified_at IS NOT NULL AS verified, u.delete_after
"""

# Whatever withdraws the e-mail, or removes its account, waits for the end of the transaction.
HOLD: Final = """
SELECT FROM accounts.emails e JOIN accounts.users u USING (user_id) WHERE e.email_id = $1 AND e.lease_owner = $2
FOR UPDATE OF e FOR KEY SHARE OF u
"""

FINISH: Final = "DELETE FROM accounts.emails WHERE email_id = $1 AND lease_owner = $2"

RESCHEDULE: Final = """
UPDATE accounts.emails SET available_at = now() + $3::interval, last_error = $4,
    lease_owner = NULL, leased_until = NULL, refusals = refusals + $5::int,
    failed_at = CASE WHEN refusals + $5::int >= $6 THEN now() END
WHERE email_id = $1 AND lease_owner = $2
"""

COUNT: Final = """
SELECT count(*) FILTER (WHERE failed_at IS NULL) AS open, count(*) FILTER (WHERE failed_at IS NOT NULL) AS failed,
    coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE failed_at IS NULL)), 0)::float8 AS oldest_s
FROM accounts.emails WHERE user_id IS NOT NULL
"""

LIST: Final = """
SELECT email_id, kind, user_id, recipient, created_at, available_at, tries, failed_at, last_error FROM accounts.emails
WHERE user_id IS NOT NULL AND (failed_at IS NOT NULL OR NOT $1) ORDER BY created_at, email_id LIMIT $2
"""

RETRY: Final = """
UPDATE accounts.emails SET available_at = now(), failed_at = NULL, refusals = 0
WHERE ($1::uuid IS NULL AND failed_at IS NOT NULL OR email_id = $1) AND user_id IS NOT NULL RETURNING email_id
"""

DISCARD: Final = """
DELETE FROM accounts.emails WHERE ($1::uuid IS NULL AND failed_at IS NOT NULL OR email_id = $1) AND user_id IS NOT NULL
RETURNING email_id
"""

# Two processes that prune at the same time remove different rows.
PRUNE: Final = """
DELETE FROM accounts.emails WHERE email_id IN (
    SELECT email_id FROM accounts.emails WHERE user_id IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class ClaimedEmail:
    """An e-mail leased to this process, and its user as of now. `tries` includes the current one. `user_email`: None
    when the user was deleted. `delete_after`: None unless the user asked for the deletion of the account."""

    email_id: UUID
    kind: EmailKind
    user_id: UUID
    recipient: str
    created_at: datetime
    tries: int
    refusals: int
    user_email: str | None
    user_name: str | None
    verified: bool
    delete_after: datetime | None

    @property
    def is_needed(self) -> bool:
        """Whether it still tells the recipient something that is true: a link for an address that the account no
        longer has would give the account to a stranger."""
        if self.user_email is None:
            return False
        current = self.recipient.casefold() == self.user_email.casefold()
        match self.kind:
            case "verification":
                return current and not self.verified
            case "password_reset" | "address_taken":
                return current
            case "email_change":
                return not current
            case "deletion":
                return self.delete_after is not None
            case _:
                return True


@dataclass(frozen=True, slots=True)
class UnsentEmail:
    """`failed_at`: refused too often; it is not tried again by itself."""

    email_id: UUID
    kind: str
    user_id: UUID
    recipient: str
    created_at: datetime
    available_at: datetime
    tries: int
    failed_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """The numbers of unsent e-mails, and the age of the oldest open one in seconds."""

    open: int
    failed: int
    oldest_s: float


async def enqueue(connection: Executor, kind: EmailKind, user_id: UUID | None, recipient: str) -> None:
    """In the caller's transaction, if there is one. Without a user nothing is sent: the row makes the work, and so the
    time, the same for an address without an account."""
    with transient_errors():
        await connection.execute(ENQUEUE, new_id(), kind, user_id, recipient)


async def withdraw_links(connection: Executor, user_id: UUID) -> None:
    """Those that are not sent yet and whose links change the account: their tokens would be made only then."""
    with transient_errors():
        await connection.execute(WITHDRAW, user_id)


class EmailQueue:
    """The table `accounts.emails`. `owner` identifies the lease holder and is unique for each process start."""

    def __init__(self, pool: Pool, *, owner: str, lease_s: float) -> None:
        self._pool = pool
        self._owner = owner
        self._lease = timedelta(seconds=lease_s)

    async def is_due(self) -> bool:
        with transient_errors():
            return bool(await self._pool.fetchval(IS_DUE))

    async def claim(self) -> ClaimedEmail | None:
        """Leases the e-mail that is due for the longest time; None when none is due."""
        with transient_errors():
            row = await self._pool.fetchrow(CLAIM, self._owner, self._lease)
        return _claimed(row) if row else None

    async def hold(self, connection: Connection, email_id: UUID) -> bool:
        """Keeps the e-mail from being withdrawn until the end of the caller's transaction. False: it was before."""
        with transient_errors():
            return await connection.fetchrow(HOLD, email_id, self._owner) is not None

    async def finish(self, email_id: UUID) -> None:
        """Removes the e-mail: it was sent, or is not needed."""
        with transient_errors():
            await self._pool.execute(FINISH, email_id, self._owner)

    async def reschedule(self, email_id: UUID, delay_s: float, error: str, *, refused: bool = False) -> None:
        """Releases the e-mail until the delay has passed. `refused`: for good; see REFUSALS_MAX."""
        delay = timedelta(seconds=delay_s)
        with transient_errors():
            await self._pool.execute(
                RESCHEDULE, email_id, self._owner, delay, error[:ERROR_MAX], int(refused), REFUSALS_MAX
            )


def _claimed(row: asyncpg.Record) -> ClaimedEmail:
    return ClaimedEmail(**dict(row))


async def count(pool: Pool) -> Unsent:
    with transient_errors():
        row = await pool.fetchrow(COUNT)
    return Unsent(**dict(row)) if row else Unsent(0, 0, 0.0)


async def unsent(pool: Pool, *, failed: bool, limit: int) -> list[UnsentEmail]:
    """The oldest first. `failed`: those alone that are not tried again by themselves."""
    with transient_errors():
        return [UnsentEmail(**dict(row)) for row in await pool.fetch(LIST, failed, limit)]


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX of those to addresses without an account; returns their number."""
    return await delete_rows(pool, PRUNE, PRUNED_MAX)


async def retry(pool: Pool, email_id: UUID | None) -> list[UUID]:
    """Makes the e-mail due at once; None: all that failed. Returns their ids."""
    with transient_errors():
        return [row["email_id"] for row in await pool.fetch(RETRY, email_id)]


async def discard(pool: Pool, email_id: UUID | None) -> list[UUID]:
    """Removes the e-mail unsent; None: all that failed. Returns their ids."""
    with transient_errors():
        return [row["email_id"] for row in await pool.fetch(DISCARD, email_id)]
