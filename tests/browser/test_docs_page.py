"""The documentation page in a real browser: it shows every operation, and "Try it out" works."""

from playwright.async_api import expect

from schemas.operations.table import OPERATIONS
from tests.browser.pages import IN_BROWSER, Watched
from tests.integration.api.client import Client
from tests.integration.running import DEADLINE_S, eventually

pytestmark = IN_BROWSER


async def test_an_image_is_asked_for_from_the_page(user: Client, watched: Watched) -> None:
    page = watched.page
    await page.goto(f"{user.base}/docs")
    await expect(page.locator(".opblock")).to_have_count(len(OPERATIONS), timeout=DEADLINE_S * 1000)
    assert await page.title() == "GenGui Stream API"

    await page.locator("button.authorize").first.click()
    await page.get_by_label("auth-bearer-value").fill(user.key)
    await page.locator("form").filter(has_text="key (http, Bearer)").locator("button.authorize").click()
    await page.locator(".auth-btn-wrapper .btn-done").first.click()

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
