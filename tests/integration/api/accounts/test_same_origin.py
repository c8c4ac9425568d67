"""Requests of pages of other origins with the cookie of their visitor."""

from collections.abc import Mapping

import aiohttp

from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from tests.integration.api.accounts.passwords import PASSWORD
from tests.integration.api.accounts.visitors import an_account, log_in, visiting
from tests.integration.api.client import Client
from tests.integration.api.conftest import serving

APP, EVIL = "https://app.example", "https://evil.example"
PATHS = [("POST", "/v1/generations"), ("DELETE", "/v1/account/sessions"), ("POST", "/v1/auth/logout")]


async def refused(client: Client, headers: Mapping[str, str], paths: list[tuple[str, str]]) -> list[bool]:
    """For each path, whether it is refused as a request of another origin. None does anything:
    a parameter is unknown."""
    codes = []
    for method, path in paths:
        _, _, found = await client.call(method, f"{path}?unknown=1", headers=headers)
        codes.append(found["code"] == "cross_origin")
    return codes


def own(base: str) -> list[dict[str, str]]:
    return [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": base},
        {"Sec-Fetch-Site": "none"},
        {"Origin": base},
        {"Sec-Fetch-Site": "same-origin"},
    ]


FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "same-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "", "Origin": EVIL},
    {"Sec-Fetch-Site": "invalid"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
]


async def test_only_pages_of_the_own_origin_change_anything_with_a_cookie(ada: Client, user: Client) -> None:
    for headers in own(ada.base):
        assert await refused(ada, headers, PATHS) == [False] * 3, headers
    for headers in FOREIGN:
        assert await refused(ada, headers, PATHS) == [True] * 3, headers
        assert await refused(user, headers, PATHS[:2]) == [False] * 2, "a key is sent by no browser by itself"
        assert await refused(ada, headers, [("GET", "/v1/generations")]) == [False], "CORS hides the response"
        both = {"Authorization": f"Bearer {user.key}", **headers}
        assert await refused(ada, both, PATHS[:1]) == [False], "the key counts"


async def test_no_page_of_another_origin_logs_its_visitor_in(visitor: Client, user: Client, pool: Pool) -> None:
    await an_account(pool, "ada")
    for client in (visitor, user):
        for headers in FOREIGN:
            body = {"login": "ada", "password": PASSWORD}
            status, answered, found = await client.call("POST", "/v1/auth/login", json=body, headers=headers)
            assert (status, found["code"], "Set-Cookie" in answered) == (403, "cross_origin", False), headers
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0


async def test_origins_that_the_settings_name_may_and_a_star_names_none(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    await an_account(pool, "ada")
    headers = [{"Origin": APP}, {"Sec-Fetch-Site": "same-site", "Origin": APP}]
    for allowed, expected in ((APP, False), ("*", True), (f"*,{APP}", False)):
        changed = settings.model_copy(update={"cors_allowed_origins": allowed})
        async with serving(changed, session) as base, visiting(base) as ada:
            await log_in(ada, "ada")
            for each in headers:
                assert await refused(ada, each, PATHS[:2]) == [expected] * 2, (allowed, each)
            assert await refused(ada, {"Origin": EVIL}, PATHS[:2]) == [True] * 2
            status, answered, _ = await ada.call("GET", "/v1/account", headers={"Origin": APP})
            assert (status, answered.get("Access-Control-Allow-Credentials")) == (
                200,
                "true" if allowed == APP else None,
            )


async def test_behind_a_proxy_the_own_origin_is_that_of_public_url(
    settings: Settings, session: aiohttp.ClientSession, pool: Pool
) -> None:
    await an_account(pool, "ada")
    public = settings.model_copy(update={"public_url": "https://gengui.example/"})
    async with serving(public, session) as base, visiting(base) as visitor:
        status, headers, _ = await visitor.call("POST", "/v1/auth/login", json={"login": "ada", "password": PASSWORD})
        assert status == 200
        name, _, rest = headers["Set-Cookie"].partition("=")
        assert name == "__Host-gengui-session"
        assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(rest.split("; "))
        assert "Domain" not in rest
        cookie = {"Cookie": f"{name}={rest.partition(';')[0]}"}
        assert (await visitor.call("GET", "/v1/account", headers=cookie))[0] == 200
        assert await refused(visitor, {**cookie, "Origin": "https://gengui.example"}, PATHS) == [False] * 3
        for origin in (base, "http://gengui.example", EVIL):
            assert await refused(visitor, {**cookie, "Origin": origin}, PATHS) == [True] * 3
        plain = {"Cookie": f"gengui-session={rest.partition(';')[0]}"}
        assert (await visitor.call("GET", "/v1/account", headers=plain))[0] == 401, "no other name is read"
