"""Pages in headless Chromium."""

import shutil
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page

from tests.integration.running import DEADLINE_S

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

IN_BROWSER = [
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
