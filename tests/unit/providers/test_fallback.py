"""Fallback: the first provider in order that supports the request and is available, and why the preferred one was not
chosen."""

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.providers.interface import Capabilities
from gengui_stream.providers.routing.circuit_breaker import Circuits, Outcome, Permit, Rejected
from gengui_stream.providers.routing.decision import Route, RoutingDecision, Unavailable
from gengui_stream.providers.routing.fallback import Candidate, Requirements, Selection, select, unmet

ANY_SIZE = Capabilities(size_min=64, size_max=4096, size_step=1, reference_images=True)
GRID = Capabilities(size_min=256, size_max=1024, size_step=64)
RATIOS = Capabilities(size_min=64, size_max=4096, size_step=1, aspect_ratios=("1:1", "16:9"))
REQUIREMENTS = Requirements(width=512, height=512)

CANDIDATES = {
    "gemini": Candidate("flash", RATIOS),
    "runpod": Candidate("zit-basic", GRID),
    "local": Candidate("local-sketch", ANY_SIZE),
}


def broken(*names: str) -> Circuits:
    circuits = Circuits()
    for name in names:
        permit = circuits.acquire(name, CANDIDATES[name].model, 0)
        assert isinstance(permit, Permit)
        circuits.record(permit, Outcome.MISCONFIGURED, 0, reason="HTTP 401")
    return circuits


def overloaded(circuits: Circuits, name: str) -> None:
    for _ in range(10):
        permit = circuits.acquire(name, CANDIDATES[name].model, 0)
        assert isinstance(permit, Permit)
        circuits.record(permit, Outcome.FAILED, 0, reason="HTTP 503")


def selected(circuits: Circuits, selection: Selection) -> RoutingDecision:
    return select(selection, CANDIDATES, lambda provider, model: circuits.acquire(provider, model, 1))


def test_the_chosen_one_needs_no_reason() -> None:
    found = selected(Circuits(), Selection(("runpod", "local"), REQUIREMENTS))
    assert isinstance(found, Route)
    assert (found.provider, found.model, found.reason) == ("runpod", "zit-basic", None)


def test_each_one_passed_over_has_its_reason() -> None:
    selection = Selection(
        ("unknown", "gemini", "runpod", "local"), Requirements(width=2048, height=2048, aspect_ratio="1:1")
    )
    found = selected(broken("gemini"), selection)
    assert isinstance(found, Route)
    assert found.provider == "local"
    assert found.reason == (
        "unknown: there is no such provider; gemini: circuit open: misconfigured: HTTP 401; "
        "runpod: makes 256 to 1024 pixels in steps of 64"
    )


def test_a_provider_that_had_it_before_does_not_get_it_again() -> None:
    found = selected(Circuits(), Selection(("gemini", "local"), REQUIREMENTS, tried={"gemini": "timed out"}))
    assert isinstance(found, Route)
    assert (found.provider, found.reason) == ("local", "gemini: tried before: timed out")


def test_without_an_available_provider_the_retry_time_is_given_where_waiting_helps() -> None:
    assert selected(broken("gemini", "local"), Selection(("gemini", "local"), REQUIREMENTS)) == Unavailable(
        "gemini: circuit open: misconfigured: HTTP 401; local: circuit open: misconfigured: HTTP 401", retry_at=None
    )
    circuits = broken("gemini")
    overloaded(circuits, "local")
    found = selected(circuits, Selection(("gemini", "local"), REQUIREMENTS))
    assert isinstance(found, Unavailable)
    assert found.retry_at == 15, "one of them may get well by itself"
    too_large = Selection(("runpod",), Requirements(width=2048, height=2048))
    assert selected(Circuits(), too_large) == Unavailable(
        "runpod: makes 256 to 1024 pixels in steps of 64", retry_at=None
    )
    assert selected(Circuits(), Selection((), REQUIREMENTS)) == Unavailable("no provider is named", retry_at=None)


def test_unmet_requirements() -> None:
    assert unmet(ANY_SIZE, Requirements(width=100, height=4096, reference_images=True)) is None
    assert unmet(GRID, Requirements(width=512, height=500)) == "makes 256 to 1024 pixels in steps of 64"
    assert unmet(RATIOS, Requirements(width=512, height=512, aspect_ratio="16:9")) is None
    assert unmet(RATIOS, Requirements(width=512, height=512, aspect_ratio="2:3")) == "makes aspect ratios 1:1, 16:9"
    assert unmet(GRID, Requirements(width=512, height=512, reference_images=True)) == "takes no reference images"


names = st.lists(st.sampled_from([*CANDIDATES, "unknown"]), max_size=6)
sides = st.sampled_from([64, 256, 512, 1000, 2048])


some = st.sets(st.sampled_from(list(CANDIDATES)))
requirements = st.builds(Requirements, width=sides, height=sides, reference_images=st.booleans())


@given(order=names, rejecting=some, tried=some, required=requirements)
def test_it_is_the_first_available_that_meets_the_requirements_and_only_its_permit_was_acquired(
    order: list[str], rejecting: set[str], tried: set[str], required: Requirements
) -> None:
    circuits, permits = broken(*rejecting), list[str]()

    def acquire(provider: str, model: str) -> Permit | Rejected:
        answer = circuits.acquire(provider, model, 1)
        permits.extend([provider] if isinstance(answer, Permit) else [])
        return answer

    able = [
        name
        for name in order
        if name in CANDIDATES
        and name not in rejecting | tried
        and unmet(CANDIDATES[name].capabilities, required) is None
    ]
    found = select(Selection(tuple(order), required, dict.fromkeys(tried, "failed")), CANDIDATES, acquire)
    assert permits == able[:1]
    if isinstance(found, Route):
        assert found.provider == able[0]
        assert (found.reason is None) is (order[0] == found.provider)
    else:
        assert able == []
