"""Falling back: the first in order that can do it and is well, and why it is not the one that was chosen."""

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.providers.interface import Capabilities
from gengui_stream.providers.routing.circuit_breaker import Circuits, Outcome, Pass, Shut
from gengui_stream.providers.routing.fallback import Candidate, Choosing, Need, NobodyAble, Selected, lacks, select

ANY_SIZE = Capabilities(size_min=64, size_max=4096, size_step=1, reference_images=True)
GRID = Capabilities(size_min=256, size_max=1024, size_step=64)
RATIOS = Capabilities(size_min=64, size_max=4096, size_step=1, aspect_ratios=("1:1", "16:9"))
NEED = Need(width=512, height=512)

CANDIDATES = {
    "gemini": Candidate("flash", RATIOS),
    "runpod": Candidate("zit-basic", GRID),
    "local": Candidate("local-sketch", ANY_SIZE),
}


def broken(*names: str) -> Circuits:
    circuits = Circuits()
    for name in names:
        leave = circuits.ask(name, CANDIDATES[name].model, 0)
        assert isinstance(leave, Pass)
        circuits.record(leave, Outcome.MISCONFIGURED, 0, why="HTTP 401")
    return circuits


def overloaded(circuits: Circuits, name: str) -> None:
    for _ in range(10):
        leave = circuits.ask(name, CANDIDATES[name].model, 0)
        assert isinstance(leave, Pass)
        circuits.record(leave, Outcome.FAILED, 0, why="HTTP 503")


def selected(circuits: Circuits, choosing: Choosing) -> Selected | NobodyAble:
    return select(choosing, CANDIDATES, lambda provider, model: circuits.ask(provider, model, 1))


def test_the_chosen_one_needs_no_reason() -> None:
    found = selected(Circuits(), Choosing(("runpod", "local"), NEED))
    assert isinstance(found, Selected)
    assert (found.provider, found.model, found.reason) == ("runpod", "zit-basic", None)


def test_each_one_passed_over_has_its_reason() -> None:
    choosing = Choosing(("nobody", "gemini", "runpod", "local"), Need(width=2048, height=2048, aspect_ratio="1:1"))
    found = selected(broken("gemini"), choosing)
    assert isinstance(found, Selected)
    assert found.provider == "local"
    assert found.reason == (
        "nobody: there is no such provider; gemini: circuit open: misconfigured: HTTP 401; "
        "runpod: makes 256 to 1024 pixels in steps of 64"
    )


def test_who_had_it_before_does_not_get_it_again() -> None:
    found = selected(Circuits(), Choosing(("gemini", "local"), NEED, tried={"gemini": "timed out"}))
    assert isinstance(found, Selected)
    assert (found.provider, found.reason) == ("local", "gemini: tried before: timed out")


def test_when_nobody_can_it_says_when_to_ask_again_if_that_helps() -> None:
    assert selected(broken("gemini", "local"), Choosing(("gemini", "local"), NEED)) == NobodyAble(
        "gemini: circuit open: misconfigured: HTTP 401; local: circuit open: misconfigured: HTTP 401", retry_at=None
    )
    circuits = broken("gemini")
    overloaded(circuits, "local")
    found = selected(circuits, Choosing(("gemini", "local"), NEED))
    assert isinstance(found, NobodyAble)
    assert found.retry_at == 15, "one of them may get well by itself"
    too_large = Choosing(("runpod",), Need(width=2048, height=2048))
    assert selected(Circuits(), too_large) == NobodyAble(
        "runpod: makes 256 to 1024 pixels in steps of 64", retry_at=None
    )
    assert selected(Circuits(), Choosing((), NEED)) == NobodyAble("no provider is named", retry_at=None)


def test_what_a_provider_lacks() -> None:
    assert lacks(ANY_SIZE, Need(width=100, height=4096, reference_images=True)) is None
    assert lacks(GRID, Need(width=512, height=500)) == "makes 256 to 1024 pixels in steps of 64"
    assert lacks(RATIOS, Need(width=512, height=512, aspect_ratio="16:9")) is None
    assert lacks(RATIOS, Need(width=512, height=512, aspect_ratio="2:3")) == "makes aspect ratios 1:1, 16:9"
    assert lacks(GRID, Need(width=512, height=512, reference_images=True)) == "takes no reference images"


names = st.lists(st.sampled_from([*CANDIDATES, "nobody"]), max_size=6)
sides = st.sampled_from([64, 256, 512, 1000, 2048])


some = st.sets(st.sampled_from(list(CANDIDATES)))
needs = st.builds(Need, width=sides, height=sides, reference_images=st.booleans())


@given(order=names, shut=some, tried=some, need=needs)
def test_it_is_the_first_that_can_and_is_well_and_only_it_was_asked_for_leave(
    order: list[str], shut: set[str], tried: set[str], need: Need
) -> None:
    circuits, given_leave = broken(*shut), list[str]()

    def ask(provider: str, model: str) -> Pass | Shut:
        answer = circuits.ask(provider, model, 1)
        given_leave.extend([provider] if isinstance(answer, Pass) else [])
        return answer

    able = [
        name
        for name in order
        if name in CANDIDATES and name not in shut | tried and lacks(CANDIDATES[name].capabilities, need) is None
    ]
    found = select(Choosing(tuple(order), need, dict.fromkeys(tried, "failed")), CANDIDATES, ask)
    assert given_leave == able[:1]
    if isinstance(found, Selected):
        assert found.provider == able[0]
        assert (found.reason is None) is (order[0] == found.provider)
    else:
        assert able == []
