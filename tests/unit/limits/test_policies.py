"""Networks, standings and header fields."""

import re
from ipaddress import IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.limits.headers import policy_field, rate_limit_headers, state_field
from gengui_stream.limits.policies import DAY_S, Policy, Standing, network_of

ITEM = re.compile(r'"[a-z_]+"(;[a-z]=\d+){2}')
"""A string with two parameters that are integers (RFC 9651)."""

policies = st.builds(
    Policy, st.sampled_from(["requests", "log_in", "daily"]), st.integers(1, 10**9), st.integers(1, DAY_S)
)
standings = st.builds(
    Standing, policies, st.booleans(), st.integers(0, 10**9), st.floats(0, DAY_S), st.floats(0, DAY_S)
)


@given(st.lists(standings, min_size=1, max_size=4))
def test_the_fields_are_lists_with_one_item_a_policy(found: list[Standing]) -> None:
    for field in (policy_field(found), state_field(found)):
        items = field.split(", ")
        assert [item.split('"')[1] for item in items] == [one.policy.name for one in found]
        assert all(ITEM.fullmatch(item) for item in items), field


def test_a_response_without_counts_has_no_fields() -> None:
    assert rate_limit_headers([]) == {}
    one = Standing(Policy("requests", 600, 60), limited=False, remaining=599, reset_s=0.1)
    assert rate_limit_headers([one]) == {
        "RateLimit-Policy": '"requests";q=600;w=60', "RateLimit": '"requests";r=599;t=1'
    }  # fmt: skip


@given(standings)
def test_a_request_after_the_named_time_is_not_early(found: Standing) -> None:
    assert found.retry_after_s >= max(1, found.retry_s)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_addresses_of_one_network_are_counted_as_one(network: int, one: int, other: int) -> None:
    first, second = IPv6Address(network << 64 | one), IPv6Address(network << 64 | other)
    if first.ipv4_mapped is None and second.ipv4_mapped is None:
        assert network_of(str(first)) == network_of(str(second))
        beside = IPv6Address((network ^ 1) << 64 | one)
        assert beside.ipv4_mapped is not None or network_of(str(beside)) != network_of(str(first))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_counted_alone(address: object) -> None:
    assert network_of(str(address)) == str(address) == network_of(f"::ffff:{address}")
    assert ip_address(network_of(str(address))).version == 4


def test_what_is_no_address_is_counted_as_it_is() -> None:
    assert network_of("unknown") == "unknown"
