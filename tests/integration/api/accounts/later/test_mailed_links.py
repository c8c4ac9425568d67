"""From a sign-up to a verified address, a reset password and another address, by the links that a real SMTP server
receives."""

import re
from email.message import EmailMessage

import pytest

from gengui_stream.account_jobs.role import run_account_jobs
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import log_in, visiting
from tests.integration.api.client import Client
from tests.integration.mail.smtp_server import Mailbox, smtp_server, text_of, with_smtp
from tests.integration.running import eventually, running

pytestmark = pytest.mark.stack

CALL = re.compile(r"-d '\{\"token\":\"(gg_once_[A-Za-z0-9_-]{43})\".*\}' http://[^/]+(/v1/\S+)")


def action_in(message: EmailMessage) -> tuple[str, str]:
    """The path of the call that the text names, and the token."""
    found = CALL.search(text_of(message))
    assert found is not None, text_of(message)
    return found[2], found[1]


async def test_a_user_without_a_front_end_gets_on_by_the_text_alone(
    visitor: Client, settings: Settings, pool: Pool
) -> None:
    mailbox, ada = Mailbox(), {"email": "ada@example.com", "user_name": "ada", "password": PASSWORD}
    async with smtp_server(mailbox) as port, running(run_account_jobs, with_smtp(settings, port)):

        async def follow(address: str, number: int = 1, **fields: str) -> None:
            async def arrived() -> list[EmailMessage]:
                return mailbox.sent_to(address)[number - 1 :]

            [message] = await eventually(arrived)
            path, token = action_in(message)
            for expected in (204, 422):
                status, _, problem = await visitor.call("POST", path, json={"token": token, **fields})
                assert status == expected, problem

        assert (await visitor.call("POST", "/v1/auth/signup", json=ada))[0] == 202
        await follow("ada@example.com")
        account = await log_in(visitor, "ada")
        assert account["email_verified"] is True
        assert (await visitor.call("POST", "/v1/auth/password-reset", json={"email": "ada@example.com"}))[0] == 202
        await follow("ada@example.com", 2, password="another password!")
        await log_in(visitor, "ada", "another password!")
        change = {"email": "new@example.com", "password": "another password!"}
        assert (await visitor.call("POST", "/v1/account/email", json=change))[0] == 202
        await follow("new@example.com")

        async def all_sent() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM accounts.emails WHERE user_id IS NOT NULL")

        await eventually(all_sent)
    async with visiting(visitor.base) as later:
        assert (await log_in(later, "new@example.com", "another password!"))["email"] == "new@example.com"
    subjects = [message["Subject"] for message in mailbox.messages]
    assert "Your password was changed" in subjects
    assert "The e-mail address of your account was changed" in subjects
