"""Failed log-ins, counted three ways, and the pauses that follow. The counts are in PostgreSQL, by its clock, and an
attempt is counted before its password is checked: of parallel guesses as many are checked as of sequential ones.

- Of one login from one network: a pause of 2 s after five failures, of 5 s after six, of 15 minutes from seven on. A
  guess from elsewhere adds nothing to it, so that it locks out only its own network.
- Of all logins from one network, and of one login from all networks: a number in an hour. Beyond the second one, only
  networks from which the user has logged in before are admitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from gengui_stream.postgres.deletions import delete_rows
from gengui_stream.postgres.pool import Connection, Pool, PoolOrConnection, transient_errors

PAUSES_S: Final[Mapping[int, float]] = MappingProxyType({5: 2.0, 6: 5.0, 7: 900.0})
"""By the number of failures: those of the original service. The last one is for all higher numbers too."""
LOCKED_FROM: Final = max(PAUSES_S)
FORGOTTEN_AFTER_S: Final = 3_600.0
"""Without a failure of the same login from the same network."""

WINDOW_S: Final = 3_600.0
LOGIN_MAX: Final = 100
"""Failures of one login from all networks in WINDOW_S."""
NETWORK_MAX: Final = 100
"""Failures of all logins from one network in WINDOW_S: many people may share an address."""

NETWORKS_KEPT: Final = timedelta(days=180)
ROWS_KEPT: Final = timedelta(days=1)
PRUNED_MAX: Final = 1_000

# Locks the three rows in this order, always: no two attempts wait for each other.
LOCK: Final = """
INSERT INTO accounts.login_failures AS f (login_hash, network)
SELECT login_hash, network FROM (VALUES
    (1, sha256(convert_to(lower($1), 'UTF8')), $2), (2, sha256(convert_to(lower($1), 'UTF8')), ''), (3, ''::bytea, $2)
) AS counted (place, login_hash, network) ORDER BY place
ON CONFLICT (login_hash, network) DO UPDATE SET network = EXCLUDED.network
RETURNING login_hash, network, failures, extract(epoch FROM clock_timestamp() - first_at)::float8 AS first_s,
    extract(epoch FROM clock_timestamp() - last_at)::float8 AS last_s
"""
COUNT: Final = """
UPDATE accounts.login_failures f SET failures = counted.failures, last_at = clock_timestamp(),
    first_at = CASE WHEN counted.failures = 1 THEN clock_timestamp() ELSE first_at END
FROM unnest($1::bytea[], $2::text[], $3::int[]) AS counted (login_hash, network, failures)
WHERE f.login_hash = counted.login_hash AND f.network = counted.network
"""
IS_KNOWN: Final = "SELECT EXISTS (SELECT 1 FROM accounts.login_networks WHERE user_id = $1 AND network = $2)"
FORGET: Final = """
DELETE FROM accounts.login_failures WHERE login_hash = sha256(convert_to(lower($1), 'UTF8')) AND network = $2
"""
# Locks in the order of LOCK: the place of a row follows from which of its columns are empty.
UNCOUNT: Final = """
WITH counted AS (
    SELECT login_hash, network FROM accounts.login_failures
    WHERE (login_hash = sha256(convert_to(lower($1), 'UTF8')) AND network IN ($2, ''))
        OR (login_hash = '' AND network = $2)
    ORDER BY login_hash = '', network = '' FOR UPDATE)
UPDATE accounts.login_failures f SET failures = greatest(failures - 1, 0) FROM counted
WHERE f.login_hash = counted.login_hash AND f.network = counted.network
"""
SEEN: Final = """
INSERT INTO accounts.login_networks (user_id, network) VALUES ($1, $2)
ON CONFLICT (user_id, network) DO UPDATE SET last_at = now()
"""
PRUNE: Final = """
DELETE FROM accounts.login_failures WHERE (login_hash, network) IN (
    SELECT login_hash, network FROM accounts.login_failures WHERE last_at < now() - $1::interval
    LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
PRUNE_NETWORKS: Final = """
DELETE FROM accounts.login_networks WHERE (user_id, network) IN (
    SELECT user_id, network FROM accounts.login_networks WHERE last_at < now() - $1::interval
    LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


class Count(NamedTuple):
    """Failures, and the seconds since the first and the last of them."""

    failures: int
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a login from a network, of the login from all networks, of the network with all logins."""

    pair: Count
    login: Count
    network: Count


@dataclass(frozen=True, slots=True)
class Admission:
    """`wait_s`: 0 for an attempt that may go on; else it is not counted, and may be repeated after these seconds.
    `locks`: if it fails, the login is locked for this network."""

    wait_s: float
    locks: bool = False


def current(counts: Counts) -> Counts:
    """Without the failures that are forgotten by now."""
    pair, login, network = counts.pair, counts.login, counts.network
    none = Count(0, 0.0, 0.0)
    return Counts(
        none if pair.last_s >= FORGOTTEN_AFTER_S else pair,
        none if login.first_s >= WINDOW_S else login,
        none if network.first_s >= WINDOW_S else network,
    )


def wait_s(counts: Counts, *, known_network: bool) -> float:
    """Seconds until the next attempt is admitted; 0: now. `counts`: current ones. `known_network`: the user has logged
    in from there before."""
    pause = PAUSES_S.get(min(counts.pair.failures, LOCKED_FROM), 0.0)
    waits = [pause - max(counts.pair.last_s, 0.0)]
    if counts.login.failures >= LOGIN_MAX and not known_network:
        waits.append(WINDOW_S - max(counts.login.first_s, 0.0))
    if counts.network.failures >= NETWORK_MAX:
        waits.append(WINDOW_S - max(counts.network.first_s, 0.0))
    return max(0.0, *waits)


async def admit(pool: Pool, login: str, network: str, user_id: UUID | None) -> Admission:
    """Counts an attempt as a failure, until `succeeded` or `uncount` takes it back. `user_id`: of the account; with
    None the same statements run."""
    with transient_errors():
        async with pool.acquire() as connection, connection.transaction():
            known = await connection.fetchval(IS_KNOWN, user_id, network)
            rows = await connection.fetch(LOCK, login, network)
            counts = current(Counts(*(Count(row["failures"], row["first_s"], row["last_s"]) for row in rows)))
            waits = wait_s(counts, known_network=known)
            if waits > 0:
                return Admission(waits)
            failures = [each.failures + 1 for each in (counts.pair, counts.login, counts.network)]
            keys = [row["login_hash"] for row in rows], [row["network"] for row in rows]
            await connection.execute(COUNT, *keys, failures)
    return Admission(0.0, locks=failures[0] >= LOCKED_FROM)


async def uncount(connection: PoolOrConnection, login: str, network: str) -> None:
    """Takes an attempt back whose password was not checked, or was right."""
    with transient_errors():
        await connection.execute(UNCOUNT, login, network)


async def succeeded(connection: Connection, login: str, network: str, user_id: UUID) -> None:
    """Forgets the failures of this login from this network, and records the network as one of the user. Other failures
    from there stay: an account of one's own must not reset them."""
    await uncount(connection, login, network)
    await forget(connection, login, network)
    await record_network(connection, user_id, network)


async def forget(connection: Connection, login: str, network: str) -> None:
    with transient_errors():
        await connection.execute(FORGET, login, network)


async def record_network(connection: Connection, user_id: UUID, network: str) -> None:
    """A network from which the user has logged in, or has proven the e-mail address."""
    with transient_errors():
        await connection.execute(SEEN, user_id, network)


async def prune(pool: Pool) -> int:
    """Removes at most PRUNED_MAX old rows of each table; returns their number."""
    failures = await delete_rows(pool, PRUNE, ROWS_KEPT, PRUNED_MAX)
    return failures + await delete_rows(pool, PRUNE_NETWORKS, NETWORKS_KEPT, PRUNED_MAX)
