"""`DELETE /v1/account` and its restoration, as a user sees them."""

from datetime import datetime, timedelta

import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.stamps import utc_now
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import audited, log_in, mailed, visiting
from tests.integration.api.client import Client

pytestmark = pytest.mark.stack


async def test_a_deletion_has_a_time_and_can_be_taken_back(ada: Client, pool: Pool) -> None:
    status, _, account = await ada.call("DELETE", "/v1/account", json={"password": PASSWORD})
    assert status == 202
    until = datetime.fromisoformat(account["delete_after"]) - utc_now()
    assert timedelta(days=13, hours=23) < until < timedelta(days=14, minutes=1)
    status, _, again = await ada.call("DELETE", "/v1/account", json={"password": PASSWORD})
    assert (status, again["delete_after"]) == (202, account["delete_after"])
    assert [(kind, recipient) for kind, _, recipient in await mailed(pool)] == [("deletion", "ada@example.com")]
    async with visiting(ada.base) as later:
        found = await log_in(later, "ada")
        assert found["delete_after"] == account["delete_after"]
        status, _, kept = await later.call("POST", "/v1/account/restore")
        assert (status, kept["delete_after"]) == (200, None)
        status, _, problem = await later.call("POST", "/v1/account/restore")
        assert (status, problem["code"]) == (409, "not_being_deleted")
    assert [type_ for type_ in await audited(pool) if type_.startswith("account.")] == [
        "account.deletion_requested",
        "account.restored",
    ]


async def test_another_password_deletes_nothing(ada: Client, pool: Pool) -> None:
    status, _, problem = await ada.call("DELETE", "/v1/account", json={"password": "another one!"})
    assert (status, problem["code"]) == (403, "wrong_password")
    status, _, problem = await ada.call("DELETE", "/v1/account")
    assert status in {415, 422}, problem
    assert await pool.fetchval("SELECT delete_after FROM accounts.users") is None


async def test_once_its_time_has_come_every_request_is_refused(ada: Client, pool: Pool) -> None:
    await ada.call("DELETE", "/v1/account", json={"password": PASSWORD})
    await pool.execute("UPDATE accounts.users SET delete_after = now()")
    for method, path in (("GET", "/v1/account"), ("POST", "/v1/account/restore"), ("GET", "/v1/generations")):
        status, _, problem = await ada.call(method, path)
        assert (status, problem["code"]) == (401, "unauthorized"), path
    async with visiting(ada.base) as later:
        credentials = {"login": "ada", "password": PASSWORD}
        status, _, problem = await later.call("POST", "/v1/auth/login", json=credentials)
    assert (status, problem["code"]) == (401, "invalid_credentials")
