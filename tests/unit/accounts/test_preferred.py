"""Preferences fill what a request leaves out, and never make it invalid."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.accounts.preferences import faults_of
from api.accounts.preferred import with_choice, with_size
from api.handlers.new_generations import impossible
from gengui_stream.accounts.preferences import NO_PREFERENCES, Preferences, changed
from gengui_stream.providers.interface import Capabilities
from schemas.http import CreateGeneration

CAN: Final = {
    "any": Capabilities(size_min=256, size_max=2048, size_step=64),
    "studio": Capabilities(size_min=512, size_max=1024, size_step=128, models=("small", "large")),
}

MODELS: Final = st.sampled_from([None, "small", "large", "other"])
PROVIDERS: Final = st.sampled_from([None, "any", "studio", "gone"])
SIDES: Final = st.sampled_from([None, 256, 512, 576, 1024, 2048])
PREFERENCES: Final = st.builds(Preferences, width=SIDES, height=SIDES, model=MODELS, provider=PROVIDERS)


def asked(**fields: object) -> CreateGeneration:
    return CreateGeneration.model_validate({"prompt": "a fox", **fields})


def completed(request: CreateGeneration, preferred: Preferences, flagged: str = "any") -> tuple[str, CreateGeneration]:
    """`flagged`: the provider that is chosen where neither the request nor a preference does."""
    found = with_choice(request, preferred, CAN)
    name = found.provider or flagged
    return name, with_size(found, preferred, CAN[name])


def test_what_a_request_names_stays() -> None:
    preferred = Preferences(width=512, height=512, model="large", provider="studio")
    request = asked(width=1024, height=1024, model="small", provider="studio")
    assert completed(request, preferred)[1] == request
    explicit = completed(asked(model=None, provider=None), preferred)
    assert (explicit[0], explicit[1].model, explicit[1].width) == ("any", None, 512)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ("studio", "large", 512)),
        ({"model": "small"}, ("studio", "small", 512)),
        ({"model": "other"}, ("any", "other", 512)),
        ({"provider": "any"}, ("any", None, 512)),
        ({"provider": "studio"}, ("studio", "large", 512)),
        ({"width": 768}, ("studio", "large", 768)),
    ],
)
def test_what_it_leaves_out_is_preferred(request_: dict[str, object], expected: tuple[str, str | None, int]) -> None:
    preferred = Preferences(width=512, model="large", provider="studio")
    name, found = completed(asked(**request_), preferred)
    assert (name, found.model, found.width) == expected


@given(PREFERENCES, MODELS, st.sampled_from([None, "any", "studio"]), SIDES, st.sampled_from(sorted(CAN)))
def test_no_preference_makes_a_request_invalid(
    preferred: Preferences, model: str | None, provider: str | None, width: int | None, flagged: str
) -> None:
    named = {"model": model, "provider": provider, "width": width}
    request = asked(**{field: value for field, value in named.items() if value is not None})
    chosen = provider or flagged
    without = impossible(chosen, CAN[chosen], request)
    name, found = completed(request, preferred, flagged)
    assert name in CAN
    faults = {fault.field for fault in impossible(name, CAN[name], found)}
    assert name != chosen or faults <= {fault.field for fault in without}
    assert faults <= request.model_fields_set


@pytest.mark.parametrize(
    ("preferred", "field"),
    [
        (Preferences(provider="gone"), "provider"),
        (Preferences(provider="studio", width=256), "width"),
        (Preferences(provider="studio", model="other"), "model"),
        (Preferences(model="small"), None),
        (Preferences(model="other"), "model"),
        (Preferences(width=2048), None),
        (Preferences(provider="any", model="other", height=320), None),
    ],
)
def test_what_no_request_could_ask_for_is_refused(preferred: Preferences, field: str | None) -> None:
    assert [fault.field for fault in faults_of(preferred, CAN)] == ([] if field is None else [field])


def test_a_change_leaves_the_other_fields() -> None:
    first = changed(NO_PREFERENCES, {"width": 512, "model": "small"})
    assert changed(first, {"model": None, "height": 768}) == Preferences(width=512, height=768)
