"""Checks of accounts: e-mails that no attempt will send any more, and cookies that pass over plain HTTP."""

from ipaddress import ip_address

from gengui_stream.accounts import emails
from gengui_stream.accounts.emails import Unsent
from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, ok, warn
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.settings import Settings


async def check_emails(context: Context) -> list[Finding]:
    async with opened_pool(context.settings, size=1) as pool:
        return [evaluate_emails(await emails.count(pool))]


def evaluate_emails(unsent: Unsent) -> Finding:
    """Pure."""
    if not unsent.failed:
        return ok("emails.failed", "none")
    remedy = "`gengui-stream emails list --failed` has the server's words; then retry or discard each"
    return warn("emails.failed", f"{unsent.failed} were refused for good", remedy)


async def check_cookies(context: Context) -> list[Finding]:
    return [evaluate_cookies(context.settings)]


def evaluate_cookies(settings: Settings) -> Finding:
    """Pure. The cookie of a session is without `Secure` in development, unless PUBLIC_URL is https."""
    secure = settings.environment == "production" or (settings.public_url or "").startswith("https:")
    if secure or _is_loopback(settings.host):
        return ok("cookies.secure", "with Secure" if secure else "without Secure, on this machine alone")
    detail = f"sessions have cookies without Secure, and HOST is {settings.host}: others on the network may read them"
    return warn("cookies.secure", detail, "set PUBLIC_URL to the https URL of the API, or ENVIRONMENT=production")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
