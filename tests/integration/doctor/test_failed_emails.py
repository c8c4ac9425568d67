"""The doctor counts the e-mails that the server refused for good."""

from pathlib import Path

import pytest

from gengui_stream.accounts import emails
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.visitors import an_account
from tests.integration.doctor.doctoring import examined

pytestmark = pytest.mark.stack


async def test_an_email_that_failed_for_good_is_a_warning(settings: Settings, pool: Pool, tmp_path: Path) -> None:
    user_id = await an_account(pool, "ada")
    await emails.enqueue(pool, "password_changed", user_id, "ada@example.com")
    assert (await examined(settings, tmp_path, "emails"))["emails.failed"].status == "ok"
    await pool.execute("UPDATE accounts.emails SET failed_at = now()")
    found = await examined(settings, tmp_path, "emails", "cookies")
    assert found["emails.failed"].status == "warn"
    assert found["cookies.secure"].status == "ok"
