"""The client's address behind a number of trusted proxies, and what a client cannot make of it."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from api.http.client_address import PROXIES, client_address
from api.http.problems import Refusal

PEER = "192.0.2.99"


def address(proxies: int, *lines: str, peer: str = PEER) -> str:
    app = web.Application()
    app[PROXIES] = proxies
    headers = CIMultiDict([("X-Forwarded-For", line) for line in lines])
    return client_address(make_mocked_request("GET", "/", headers, app=app).clone(remote=peer))


@pytest.mark.parametrize(
    ("proxies", "lines", "found"),
    [
        (0, ["198.51.100.1"], PEER),
        (1, [], PEER),
        (1, ["198.51.100.1"], "198.51.100.1"),
        (1, ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
        (2, ["203.0.113.5, 198.51.100.1"], "203.0.113.5"),
        (2, ["203.0.113.5", "198.51.100.1"], "203.0.113.5"),
        (2, ["198.51.100.1"], PEER),
        (1, ["198.51.100.1:4711"], "198.51.100.1"),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["[2001:DB8::1]:4711"], "2001:db8::1"),
        (1, ["[2001:db8::1]"], "2001:db8::1"),
        (1, ["::ffff:198.51.100.1"], "198.51.100.1"),
        (1, ["unknown, <script>, 198.51.100.1"], "198.51.100.1"),
    ],
)
def test_the_entry_of_the_first_trusted_proxy_counts(proxies: int, lines: list[str], found: str) -> None:
    assert address(proxies, *lines) == found


@pytest.mark.parametrize(
    "entry", ["unknown", "", "198.51.100", "_hidden", "1.2.3.4.5", "198.51.100.1:99999999", "a" * 900]
)
def test_what_is_no_address_is_refused(entry: str) -> None:
    with pytest.raises(Refusal) as refused:
        address(1, f"198.51.100.1, {entry}")
    assert (refused.value.status, refused.value.code) == (400, "invalid_forwarded_for")


SENT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=30)


@given(st.lists(SENT, max_size=4), st.ip_addresses(v=4))
def test_nothing_that_a_client_sends_changes_its_address(sent: list[str], real: object) -> None:
    """The proxies append to what the client sent, in the same line or in a line of its own."""
    assert address(1, ", ".join([*sent, str(real)])) == str(real)
    assert address(1, *sent, str(real)) == str(real)


def test_the_address_of_the_connection_is_plain() -> None:
    assert address(0, peer="::ffff:192.0.2.1") == "192.0.2.1"
    assert address(0, peer="fe80::1%eth0") == "fe80::1"
