"""Sends the e-mails that are due, one after another, over one session with the SMTP server.

While the server is unavailable no e-mail is claimed: an outage of any length delays them and costs them no try. An
e-mail is sent at least once. A process that is killed between the server's answer and the end of the row sends it a
second time, with the same Message-ID and a token of its own; the first token stays valid as well.
"""

import asyncio
from email.message import EmailMessage
from typing import Final

import structlog

from gengui_stream.accounts import one_time_tokens
from gengui_stream.accounts.emails import ClaimedEmail, EmailQueue
from gengui_stream.domain.backoff import backoff_seconds
from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.mail.links import ACTIONS
from gengui_stream.mail.messages import message_of
from gengui_stream.mail.templates import Subjects, Templates
from gengui_stream.mail.transports import Session, Transport
from gengui_stream.metrics import Metrics
from gengui_stream.postgres.pool import Pool, transient_errors
from gengui_stream.process.lifecycle import pause, retry_transient
from gengui_stream.settings import Settings
from gengui_stream.settings.addresses.email_address import sender_address
from gengui_stream.stamps import utc_now

POLL_S: Final = 1.0
LEASE_S: Final = 120.0
"""Twice what the server gets for one message: only a killed process leaves an e-mail leased."""

RETRY_BASE_S, RETRY_CEILING_S = 5.0, 3_600.0
REFUSED_BASE_S: Final = 60.0

_log = structlog.get_logger(__name__)


class EmailSender:
    def __init__(self, settings: Settings, pool: Pool, transport: Transport, metrics: Metrics, *, owner: str) -> None:
        self._pool = pool
        self._transport = transport
        self._metrics = metrics
        self._queue = EmailQueue(pool, owner=owner, lease_s=LEASE_S)
        self._templates = Templates(settings)
        self._sender = sender_address(settings.smtp_from)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then it finishes the e-mail that is being sent. Raises ShutdownRequested when that
        happens while it waits for a server."""
        while not stop.is_set():
            await retry_transient(lambda: self.send_due(stop), stop, operation="emails")
            await pause(stop, POLL_S)

    async def send_due(self, stop: asyncio.Event) -> None:
        """Sends what is due. Raises TransientError while PostgreSQL or the SMTP server is unavailable."""
        if not await self._queue.is_due():
            return
        async with self._transport.session() as session:
            while not stop.is_set() and (claimed := await self._queue.claim()) is not None:
                await self._send(session, claimed)

    async def _send(self, session: Session, email: ClaimedEmail) -> None:
        try:
            message = await self._message(email) if email.is_needed else None
            if message is not None:
                await session.send(message)
        except PermanentError as error:
            await self._reschedule(email, error, refused=True)
        except TransientError as error:
            await self._reschedule(email, error, refused=False)
            if not session.alive:
                raise
        else:
            await self._queue.finish(email.email_id)
            outcome = "not_needed" if message is None else "sent"
            self._metrics.emails.labels(email.kind, outcome).inc()
            _log.info("email_ended", kind=email.kind, email_id=str(email.email_id), outcome=outcome)

    async def _message(self, email: ClaimedEmail) -> EmailMessage | None:
        """None for an e-mail that was withdrawn since it was claimed."""
        token = await self._token(email) if email.kind in ACTIONS else None
        if token is None and email.kind in ACTIONS:
            return None
        about = Subjects(email.user_name, email.recipient, token, email.delete_after)
        rendered = self._templates.render(email.kind, about)
        return message_of(
            rendered, sender=self._sender, recipient=email.recipient, email_id=email.email_id, now=utc_now()
        )

    async def _token(self, email: ClaimedEmail) -> str | None:
        purpose = ACTIONS[email.kind].purpose
        with transient_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                if not await self._queue.hold(connection, email.email_id):
                    return None
                return await one_time_tokens.issue(connection, email.user_id, purpose, email.recipient, email.email_id)

    async def _reschedule(self, email: ClaimedEmail, error: Exception, *, refused: bool) -> None:
        base = REFUSED_BASE_S if refused else RETRY_BASE_S
        delay = backoff_seconds(email.tries, salt=email.email_id.int, base=base, ceiling=RETRY_CEILING_S)
        await self._queue.reschedule(email.email_id, delay, str(error), refused=refused)
        self._metrics.emails.labels(email.kind, "refused" if refused else "rescheduled").inc()
        named = {"kind": email.kind, "email_id": str(email.email_id), "tries": email.tries}
        _log.warning("email_not_sent", **named, refused=refused, error=_without(email.recipient, str(error)))


def _without(recipient: str, text: str) -> str:
    """Addresses stay out of the log; servers repeat them in their answers."""
    return text.replace(recipient, "<recipient>")
