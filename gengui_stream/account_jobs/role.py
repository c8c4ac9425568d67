"""The role `account-jobs`: sends e-mails, deletes accounts after their grace time, forgets expired rows."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from gengui_stream.account_jobs.account_deleter import AccountDeleter
from gengui_stream.account_jobs.email_sender import EmailSender
from gengui_stream.account_jobs.retention import keep_measuring, keep_pruning, stores
from gengui_stream.identifiers import owner_name
from gengui_stream.log.ends import log_ends
from gengui_stream.log.event_log import EventLog
from gengui_stream.mail.console import ConsoleTransport
from gengui_stream.mail.smtp import SmtpTransport, tls_of
from gengui_stream.mail.transports import Transport
from gengui_stream.postgres.pool import open_pool
from gengui_stream.postgres.sessions import ACCOUNT_JOBS
from gengui_stream.process.background import single_error_group
from gengui_stream.process.lifecycle import ShutdownRequested, retry_transient
from gengui_stream.role_context import RoleContext
from gengui_stream.settings import Settings

CONNECTIONS: Final = 4

_log = structlog.get_logger(__name__)


async def run_account_jobs(role: RoleContext) -> None:
    """Runs until `stop` is set, then finishes the e-mail and the step of a deletion in progress. Retries while a server
    is unavailable."""
    async with AsyncExitStack() as stack:
        try:
            await _run(role, stack)
        except ShutdownRequested:
            _log.info("account_jobs_stopped_while_waiting")


async def _run(role: RoleContext, stack: AsyncExitStack) -> None:
    settings, stop, metrics = role.settings, role.stop, role.metrics
    transport = transport_of(settings)
    pool = await retry_transient(
        partial(open_pool, settings, size=CONNECTIONS, application=ACCOUNT_JOBS), stop, operation="database"
    )
    stack.push_async_callback(pool.close)
    log = EventLog(settings, metrics)
    stack.push_async_callback(log.stop)
    await retry_transient(log.start, stop, operation="broker")
    role.health.started()
    _log.info("account_jobs_started", smtp=settings.smtp_host, tls=tls_of(settings))
    async with single_error_group() as group:
        group.create_task(keep_pruning(pool, stores(settings), metrics, stop))
        group.create_task(keep_measuring(pool, metrics, stop))
        group.create_task(AccountDeleter(settings, pool, log, log_ends(settings), metrics).run(stop))
        if transport is not None:
            sender = EmailSender(settings, pool, transport, metrics, owner=owner_name("account-jobs"))
            group.create_task(sender.run(stop))


def transport_of(settings: Settings) -> Transport | None:
    """None in production without an SMTP server: links on the console would be in its log. The e-mails are kept until a
    process with SMTP_HOST sends them. Raises ConfigurationError for an SMTP_CA_FILE that cannot be read."""
    if settings.smtp_host is not None:
        return SmtpTransport(settings)
    if settings.environment == "development":
        return ConsoleTransport()
    _log.warning("emails_not_sent", remedy="set SMTP_HOST: without it e-mails are kept, and no address is confirmed")
    return None
