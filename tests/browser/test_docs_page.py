"""The documentation page in a real browser: it shows every operation, and "Try it out" works."""

import os
import shutil
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from schemas.operations import OPERATIONS
from tests.integration.api.client import Client
from tests.integration.running import DEADLINE_S, eventually

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine: `make chromium` says why"),
]


class Watched:
    """A page, the addresses of its requests, and its errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.hosts: set[str | None] = set()
        self.complaints: list[str] = []
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=as_root)
        yield Watched(await browser.new_page())
        await browser.close()


async def test_an_image_is_asked_for_from_the_page(user: Client, watched: Watched) -> None:
    page = watched.page
    await page.goto(f"{user.base}/docs")
    await expect(page.locator(".opblock")).to_have_count(len(OPERATIONS), timeout=DEADLINE_S * 1000)
    assert await page.title() == "GenGui Stream API"

    await page.locator("button.authorize").first.click()
    await page.get_by_label("auth-bearer-value").fill(user.key)
    await page.locator(".auth-btn-wrapper button.authorize").click()
    await page.locator(".auth-btn-wrapper .btn-done").click()

    create = page.locator("#operations-generations-create")
    await create.locator(".opblock-summary").click()
    await create.get_by_role("button", name="Try it out").click()
    await create.get_by_role("button", name="Execute").click()
    status = create.locator(".live-responses-table .response-col_status").nth(1)
    await expect(status).to_contain_text("202", timeout=DEADLINE_S * 1000)

    async def listed() -> bool:
        return bool((await user.get("/v1/generations"))["data"])

    await eventually(listed)  # accepted is on the log, not yet in what the list is read from
    [made] = (await user.get("/v1/generations"))["data"]
    await expect(create.locator(".live-responses-table")).to_contain_text(made["id"])
    assert watched.hosts == {"127.0.0.1"}
    assert watched.complaints == []
