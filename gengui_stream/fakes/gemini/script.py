"""Behaviours of the fake Gemini, and its ready scripts."""

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import Field

from gengui_stream.fakes.behaviours import Behaviour, Error, HalfBody, Hang, Html, Part, Reset
from gengui_stream.fakes.pictures import ImageType
from gengui_stream.fakes.scripts import Rule, Script, When, by_name

GENERATE: Final[Set[str]] = frozenset({"generate"})


class ModelStatus(Part):
    """`modelStatus` of a response."""

    stage: str = "DEPRECATED"
    retirement_time: datetime | None = None
    message: str | None = None


class Images(Behaviour):
    """The normal response, in detail. `drafts` precede the images and are marked as thoughts. `declared`: the MIME type
    in the response, if it differs from that of the bytes."""

    fits: ClassVar[Set[str]] = GENERATE

    do: Literal["images"] = "images"
    count: Annotated[int, Field(ge=1, le=8)] = 1
    drafts: Annotated[int, Field(ge=0, le=8)] = 0
    mime_type: ImageType = "image/png"
    declared: str | None = None
    text: str | None = None
    finish_reason: str = "STOP"
    model_status: ModelStatus | None = None


class NoImages(Behaviour):
    """200 and no image: a candidate with that `finish_reason`, or none and a `promptFeedback` with the `block_reason`.
    With both None: a candidate with text alone. `drafts`: drafts without a final image."""

    fits: ClassVar[Set[str]] = GENERATE

    do: Literal["no_images"] = "no_images"
    finish_reason: str | None = None
    finish_message: str | None = None
    block_reason: str | None = None
    drafts: Annotated[int, Field(ge=0, le=8)] = 0


class NotAnImage(Behaviour):
    """200 and an image part without a valid image. `text`: not base64. `noise`: random bytes. `truncated`: the first
    half of a PNG. `empty`: no bytes. `document`: a PDF, declared as one."""

    fits: ClassVar[Set[str]] = GENERATE

    do: Literal["not_an_image"] = "not_an_image"
    what: Literal["text", "noise", "truncated", "empty", "document"] = "noise"


_Behaviour: TypeAlias = Images | NoImages | NotAnImage | Error | Hang | HalfBody | Reset | Html
GeminiBehaviour: TypeAlias = Annotated[_Behaviour, Field(discriminator="do"), by_name(lambda: BEHAVIOURS)]
"""A behaviour, or the name of a ready one."""


class GeminiScript(Script[GeminiBehaviour]):
    """`models`: the existing ones; any other gets 404, like a retired model."""

    operations: ClassVar[tuple[str, ...]] = ("generate", "model")

    models: tuple[str, ...] = ("gemini-3.1-flash-image", "gemini-3-pro-image")


def _moderated(finish_reason: str) -> NoImages:
    return NoImages(finish_reason=finish_reason, finish_message="The image violates a policy.")


BEHAVIOURS: Final[Mapping[str, _Behaviour]] = {
    "image": Images(),
    "jpeg": Images(mime_type="image/jpeg"),
    "mislabelled": Images(mime_type="image/jpeg", declared="image/png"),
    "several_images": Images(count=3),
    "drafts": Images(drafts=2, text="Composing the scene."),
    "retiring": Images(model_status=ModelStatus(retirement_time=datetime.fromisoformat("2026-10-02T00:00:00Z"))),
    "slow": Images(seconds=3),
    "moderated": _moderated("IMAGE_SAFETY"),
    "prohibited": _moderated("PROHIBITED_CONTENT"),
    "recitation": _moderated("IMAGE_RECITATION"),
    "blocked": NoImages(block_reason="PROHIBITED_CONTENT"),
    "no_image": NoImages(finish_reason="NO_IMAGE"),
    "image_other": NoImages(finish_reason="IMAGE_OTHER"),
    "max_tokens": NoImages(finish_reason="MAX_TOKENS"),
    "text_only": NoImages(),
    "drafts_only": NoImages(finish_reason="STOP", drafts=1),
    "not_base64": NotAnImage(what="text"),
    "not_an_image": NotAnImage(),
    "truncated_image": NotAnImage(what="truncated"),
    "empty_image": NotAnImage(what="empty"),
    "document": NotAnImage(what="document"),
    "invalid_argument": Error(status=400, word="INVALID_ARGUMENT", message="Request contains an invalid argument."),
    "api_key_invalid": Error(
        status=400, word="INVALID_ARGUMENT", reason="API_KEY_INVALID", message="API key not valid."
    ),
    "failed_precondition": Error(
        status=400, word="FAILED_PRECONDITION", message="User location is not supported for the API use."
    ),
    "unauthenticated": Error(status=401, word="UNAUTHENTICATED", message="Request had invalid credentials."),
    "no_credit": Error(status=402, word="RESOURCE_EXHAUSTED", message="Your prepayment credits are depleted."),
    "permission_denied": Error(status=403, word="PERMISSION_DENIED", message="Permission denied."),
    "not_found": Error(status=404, word="NOT_FOUND", message="The model was not found for API version v1beta."),
    "rate_limited": Error(
        status=429, word="RESOURCE_EXHAUSTED", message="Quota exceeded.", retry_after=1, retry_delay=1
    ),
    "rate_limited_silent": Error(status=429, word="RESOURCE_EXHAUSTED", message="Quota exceeded."),
    "internal": Error(status=500, word="INTERNAL", message="An internal error has occurred."),
    "bad_gateway": Html(status=502, title="502 Bad Gateway"),
    "unavailable": Error(status=503, word="UNAVAILABLE", message="The model is overloaded."),
    "deadline_exceeded": Error(status=504, word="DEADLINE_EXCEEDED", message="Deadline expired."),
    "error_in_a_list": Error(status=503, word="UNAVAILABLE", message="The model is overloaded.", as_list=True),
    "html": Html(),
    "hang": Hang(),
    "half_body": HalfBody(),
    "reset": Reset(),
    "reset_after_work": Reset(accepted=True),
}

ODDS: Final[Mapping[str, float]] = {
    "rate_limited_silent": 0.05,
    "unavailable": 0.05,
    "internal": 0.03,
    "moderated": 0.03,
    "no_image": 0.03,
    "image_other": 0.02,
    "drafts": 0.03,
    "several_images": 0.03,
    "mislabelled": 0.02,
    "not_base64": 0.01,
    "truncated_image": 0.01,
    "half_body": 0.02,
    "reset": 0.02,
    "reset_after_work": 0.01,
    "hang": 0.01,
    "html": 0.01,
    "bad_gateway": 0.02,
    "deadline_exceeded": 0.01,
    "blocked": 0.01,
    "invalid_argument": 0.01,
    "error_in_a_list": 0.01,
}
"""Probabilities of the script `chaos`. Each is drawn if none before it was."""


def _chaos() -> GeminiScript:
    rules = [Rule[GeminiBehaviour](when=When(probability=odds), then=BEHAVIOURS[name]) for name, odds in ODDS.items()]
    slow = Rule[GeminiBehaviour](when=When(probability=0.1), then=Images(seconds=0.3))
    return GeminiScript(rules=(*rules, slow), image_side_max=128)


READY: Final[Mapping[str, GeminiScript]] = {
    "calm": GeminiScript(),
    "chaos": _chaos(),
    **{name: GeminiScript(rules=(Rule[GeminiBehaviour](then=done),)) for name, done in BEHAVIOURS.items()},
}
"""By name: `calm`, `chaos`, and one for each behaviour, which applies to every request."""
