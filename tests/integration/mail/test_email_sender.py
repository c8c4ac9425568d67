"""E-mails from their row to the recipient: none is lost, and a link that was sent works."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from typing import Any, get_args

import pytest

from gengui_stream.account_jobs.email_sender import EmailSender
from gengui_stream.account_jobs.role import transport_of
from gengui_stream.accounts import emails, one_time_tokens
from gengui_stream.accounts.emails import REFUSALS_MAX, EmailKind, EmailQueue, enqueue
from gengui_stream.errors import TransientError
from gengui_stream.mail.links import ACTIONS
from gengui_stream.mail.smtp import SmtpTransport
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.commands import command
from tests.integration.mail.smtp_server import Mailbox, smtp_server, text_of, with_smtp
from tests.integration.mail.users import a_user
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

TOKEN = re.compile(r"gg_once_[A-Za-z0-9_-]{43}")


def a_sender(settings: Settings, pool: Pool, metrics: Metrics | None = None) -> EmailSender:
    return EmailSender(settings, pool, SmtpTransport(settings), metrics or new_metrics(), owner="test")


async def send_due(settings: Settings, pool: Pool, metrics: Metrics | None = None) -> None:
    await a_sender(settings, pool, metrics).send_due(asyncio.Event())


def token_in(message: EmailMessage) -> str:
    found = TOKEN.search(text_of(message))
    assert found is not None
    return found[0]


async def rows(pool: Pool) -> list[dict[str, Any]]:
    return [dict(row) for row in await pool.fetch("SELECT * FROM accounts.emails ORDER BY email_id")]


async def make_due(pool: Pool) -> None:
    """As if the pauses and leases had passed."""
    await pool.execute("UPDATE accounts.emails SET available_at = now(), leased_until = NULL WHERE failed_at IS NULL")


async def use(pool: Pool, token: str, purpose: one_time_tokens.Purpose) -> one_time_tokens.UsedToken | None:
    async with pool.acquire() as connection:
        return await one_time_tokens.use(connection, token, purpose)


def counted(metrics: Metrics) -> Mapping[tuple[str, str], float]:
    samples = [sample for family in metrics.emails.collect() for sample in family.samples]
    return {(sample.labels["kind"], sample.labels["outcome"]): sample.value for sample in samples}


async def test_an_e_mail_of_each_kind_arrives_and_its_link_works_once(database: Settings, emptied: Pool) -> None:
    user_id, mailbox = await a_user(emptied), Mailbox()
    await emptied.execute("UPDATE accounts.users SET delete_after = now() + interval '1 day'")
    recipients: dict[EmailKind, str] = {"email_change": "new@example.com", "email_changed": "old@example.com"}
    for kind in get_args(EmailKind):
        await enqueue(emptied, kind, user_id, recipients.get(kind, "ada@example.com"))
    async with smtp_server(mailbox) as port:
        await send_due(with_smtp(database, port), emptied)
    assert await rows(emptied) == []
    assert [message["To"] for message in mailbox.messages] == [
        recipients.get(kind, "ada@example.com") for kind in get_args(EmailKind)
    ]
    for kind, message in zip(get_args(EmailKind), mailbox.messages, strict=True):
        if kind in ACTIONS:
            used = await use(emptied, token_in(message), ACTIONS[kind].purpose)
            assert used == one_time_tokens.UsedToken(user_id, recipients.get(kind, "ada@example.com"))
            assert await use(emptied, token_in(message), ACTIONS[kind].purpose) is None


async def test_a_dead_server_delays_and_costs_no_try(database: Settings, emptied: Pool) -> None:
    user_id, mailbox, stop = await a_user(emptied), Mailbox(), asyncio.Event()
    async with smtp_server(mailbox) as port:
        pass  # the port of a server that has ended
    settings = with_smtp(database, port)
    earlier = await _issued(emptied, user_id)
    for number in range(5):
        await enqueue(emptied, "verification" if number == 0 else "password_changed", user_id, "ada@example.com")
    with pytest.raises(TransientError, match="SMTP at"):
        await send_due(settings, emptied)
    assert {(row["tries"], row["leased_until"]) for row in await rows(emptied)} == {(0, None)}
    assert await emptied.fetchval("SELECT count(*) FROM accounts.one_time_tokens") == 1, "the earlier link still works"
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(a_sender(settings, emptied).run(stop))
        async with smtp_server(mailbox, port=port):
            await eventually(lambda: _is_empty(emptied))
        stop.set()
        await sending
    assert len(mailbox.messages) == 5
    assert await use(emptied, earlier, "verify_email") is not None, "also beside the link that was sent"
    assert await use(emptied, token_in(mailbox.messages[0]), "verify_email") is None, "the use of one ends both"


async def _issued(pool: Pool, user_id: Any) -> str:
    async with pool.acquire() as connection:
        return await one_time_tokens.issue(connection, user_id, "verify_email", "ada@example.com")


async def _is_empty(pool: Pool) -> bool:
    return not await rows(pool)


async def test_a_recipient_that_is_refused_for_good_is_kept_apart(database: Settings, emptied: Pool) -> None:
    user_id, metrics = await a_user(emptied), new_metrics()
    mailbox = Mailbox(recipients={"ada@example.com": "550 5.1.1 no such user"})
    await enqueue(emptied, "verification", user_id, "ada@example.com")
    async with smtp_server(mailbox) as port:
        settings = with_smtp(database, port)
        for _ in range(REFUSALS_MAX + 1):
            await make_due(emptied)
            await send_due(settings, emptied, metrics)
        [row] = await rows(emptied)
        assert (row["tries"], row["refusals"], row["failed_at"] is None) == (REFUSALS_MAX, REFUSALS_MAX, False)
        assert "550 5.1.1 no such user" in row["last_error"]
        found = await emails.count(emptied)
        assert (found.open, found.failed) == (0, 1)
        listed = await command(settings, "emails", "list", "--failed", "--json")
        assert [one["email_id"] for one in listed.document] == [str(row["email_id"])]
        mailbox.recipients.clear()
        retried = await command(settings, "emails", "retry", "--failed", "--json")
        assert retried.document == {"retried": [str(row["email_id"])]}
        await send_due(settings, emptied, metrics)
    assert await rows(emptied) == []
    assert len(mailbox.messages) == 1
    assert counted(metrics) == {("verification", "refused"): REFUSALS_MAX, ("verification", "sent"): 1}


async def test_a_temporary_error_is_tried_again_without_an_end(database: Settings, emptied: Pool) -> None:
    user_id, mailbox = await a_user(emptied), Mailbox(recipients={"ada@example.com": "450 greylisted"})
    await enqueue(emptied, "password_changed", user_id, "ada@example.com")
    await enqueue(emptied, "email_changed", user_id, "old@example.com")
    async with smtp_server(mailbox) as port:
        for tries in range(1, 12):
            await make_due(emptied)
            await send_due(with_smtp(database, port), emptied)
            [row] = await rows(emptied)
            pause = await emptied.fetchval("SELECT extract(epoch FROM available_at - now()) FROM accounts.emails")
            assert (row["tries"], row["failed_at"], row["leased_until"]) == (tries, None, None)
            assert 3 <= pause <= 3_600
        mailbox.recipients.clear()
        await make_due(emptied)
        await send_due(with_smtp(database, port), emptied)
    assert [message["To"] for message in mailbox.messages] == ["old@example.com", "ada@example.com"]


async def test_what_is_no_address_is_kept_apart_and_can_be_discarded(database: Settings, emptied: Pool) -> None:
    user_id, mailbox = await a_user(emptied), Mailbox()
    await enqueue(emptied, "password_changed", user_id, "ada@example.com\r\nBcc: b@example.com")
    async with smtp_server(mailbox) as port:
        settings = with_smtp(database, port)
        for _ in range(REFUSALS_MAX):
            await make_due(emptied)
            await send_due(settings, emptied)
        [row] = await rows(emptied)
        assert row["failed_at"] is not None
        discarded = await command(settings, "emails", "discard", str(row["email_id"]))
        assert (discarded.code, discarded.out) == (0, "discarded 1\n")
        missing = await command(settings, "emails", "discard", str(row["email_id"]))
        assert (missing.code, "there is no unsent e-mail" in missing.err) == (1, True)
    assert mailbox.messages == []


async def test_a_sender_that_is_killed_sends_twice_and_both_links_work(database: Settings, emptied: Pool) -> None:
    user_id, mailbox = await a_user(emptied), Mailbox()
    await enqueue(emptied, "verification", user_id, "ada@example.com")
    async with smtp_server(mailbox) as port:
        settings = with_smtp(database, port)
        mailbox.answers.clear()
        killed = asyncio.ensure_future(send_due(settings, emptied))
        await eventually(lambda: _arrived(mailbox, 1))
        killed.cancel()
        with suppress(asyncio.CancelledError):
            await killed
        mailbox.answers.set()
        await send_due(settings, emptied)
        assert len(mailbox.messages) == 1, "leased by the one that was killed"
        await make_due(emptied)
        await send_due(settings, emptied)
    first, second = mailbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert token_in(first) != token_in(second)
    assert await use(emptied, token_in(first), "verify_email") == one_time_tokens.UsedToken(user_id, "ada@example.com")
    assert await use(emptied, token_in(second), "verify_email") is None, "the use of one ends both"


async def _arrived(mailbox: Mailbox, number: int) -> bool:
    return len(mailbox.messages) == number


async def test_a_link_that_is_withdrawn_meanwhile_is_not_made(database: Settings, emptied: Pool) -> None:
    """A password changes while its reset is about to be sent: whichever comes first, no link is valid afterwards."""
    user_id, queue = await a_user(emptied), EmailQueue(emptied, owner="test", lease_s=60)
    await enqueue(emptied, "password_reset", user_id, "ada@example.com")
    claimed = await queue.claim()
    assert claimed is not None
    async with emptied.acquire() as sending, emptied.acquire() as changing:
        sent, changed = sending.transaction(), changing.transaction()
        await sent.start()
        await changed.start()
        assert await queue.hold(sending, claimed.email_id)
        withdrawing = asyncio.ensure_future(emails.withdraw_links(changing, user_id))
        await one_time_tokens.issue(sending, user_id, "reset_password", "ada@example.com", claimed.email_id)
        assert not withdrawing.done()
        await sent.commit()
        await withdrawing
        await one_time_tokens.revoke_all(changing, user_id)
        await changed.commit()
        assert not await queue.hold(sending, claimed.email_id)
    assert await emptied.fetchval("SELECT count(*) FROM accounts.one_time_tokens") == 0


async def test_two_senders_send_each_e_mail_once(database: Settings, emptied: Pool) -> None:
    user_id, mailbox = await a_user(emptied), Mailbox()
    for number in range(40):
        await enqueue(emptied, "email_changed", user_id, f"old{number}@example.com")
    async with smtp_server(mailbox) as port:
        settings = with_smtp(database, port)
        senders = [
            EmailSender(settings, emptied, SmtpTransport(settings), new_metrics(), owner=name) for name in "abcd"
        ]
        await asyncio.gather(*(sender.send_due(asyncio.Event()) for sender in senders))
    assert sorted(message["To"] for message in mailbox.messages) == sorted(f"old{n}@example.com" for n in range(40))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("verification", "email_verified_at = now()"),
        ("verification", "email = 'another@example.com'"),
        ("password_reset", "email = 'another@example.com'"),
        ("password_reset", "deleted_at = now()"),
        ("deletion", "delete_after = NULL"),
    ],
)
async def test_what_is_not_needed_any_more_is_removed_unsent(
    database: Settings, emptied: Pool, kind: EmailKind, change: str
) -> None:
    user_id, mailbox, metrics = await a_user(emptied), Mailbox(), new_metrics()
    await enqueue(emptied, kind, user_id, "ada@example.com")
    await emptied.execute(f"UPDATE accounts.users SET {change}")
    async with smtp_server(mailbox) as port:
        await send_due(with_smtp(database, port), emptied, metrics)
    assert (await rows(emptied), mailbox.messages) == ([], [])
    assert counted(metrics) == {(kind, "not_needed"): 1}


async def test_without_a_server_e_mails_are_printed_in_development_alone(
    database: Settings, emptied: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    await enqueue(emptied, "verification", await a_user(emptied), "ada@example.com")
    assert transport_of(database.model_copy(update={"environment": "production"})) is None
    console = transport_of(database)
    assert console is not None
    await EmailSender(database, emptied, console, new_metrics(), owner="test").send_due(asyncio.Event())
    [token] = set(TOKEN.findall(capsys.readouterr().out))
    assert await use(emptied, token, "verify_email") is not None
