"""The API of the integration tests, with a real browser before it."""

import os
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import async_playwright

from tests.browser.pages import CHROMIUM, Watched
from tests.integration.api.conftest import base, session, user

__all__ = ["base", "session", "user"]


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=as_root)
        yield Watched(await browser.new_page())
        await browser.close()
