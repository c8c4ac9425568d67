"""Findings about e-mails and cookies."""

import pytest

from gengui_stream.accounts.emails import Unsent
from gengui_stream.doctor import accounts
from gengui_stream.settings import load_settings


def test_emails_that_failed_for_good_are_a_warning() -> None:
    assert accounts.evaluate_emails(Unsent(open=7, failed=0, oldest_s=60.0)).status == "ok"
    found = accounts.evaluate_emails(Unsent(open=0, failed=2, oldest_s=0.0))
    assert (found.status, found.detail[:2]) == ("warn", "2 ")
    assert "emails list --failed" in (found.remedy or "")


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, "ok"),
        ({"HOST": "::1"}, "ok"),
        ({"HOST": "localhost"}, "ok"),
        ({"HOST": "0.0.0.0"}, "warn"),
        ({"HOST": "::"}, "warn"),
        ({"HOST": "api.example.com"}, "warn"),
        ({"HOST": "0.0.0.0", "PUBLIC_URL": "http://api.example.com"}, "warn"),
        ({"HOST": "0.0.0.0", "PUBLIC_URL": "https://api.example.com"}, "ok"),
        ({"HOST": "0.0.0.0", "ENVIRONMENT": "production"}, "ok"),
    ],
)
def test_cookies_without_secure_beyond_this_machine_are_a_warning(environ: dict[str, str], status: str) -> None:
    found = accounts.evaluate_cookies(load_settings(environ, env_files=()))
    assert found.status == status
    assert ("PUBLIC_URL" in (found.remedy or "")) == (status == "warn")
