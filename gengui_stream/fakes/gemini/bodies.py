"""Gemini's request and response bodies. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gengui_stream.errors import PermanentError
from gengui_stream.fakes.behaviours import Error
from gengui_stream.fakes.gemini.script import Images, ModelStatus, NoImages, NotAnImage
from gengui_stream.fakes.pictures import Picture
from gengui_stream.worker.painter.rendering import Sketch

SIDES: Final[Mapping[str, tuple[int, int]]] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
"""Pixels of an image of size 1K by aspect ratio: Google rounds the sides, so they are not exactly in the ratio."""

SCALES: Final[Mapping[str, int]] = {"1K": 1, "2K": 2, "4K": 4}

AspectRatio = Literal["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
ImageSize = Literal["1K", "2K", "4K"]


class _Sent(BaseModel):
    """The API rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class _InlineData(_Sent):
    mime_type: str
    data: str


class _Part(_Sent):
    text: str | None = None
    inline_data: _InlineData | None = None


class _Content(_Sent):
    role: Literal["user", "model"] = "user"
    parts: Annotated[tuple[_Part, ...], Field(min_length=1)]


class _ImageConfig(_Sent):
    aspect_ratio: AspectRatio = "1:1"
    image_size: ImageSize = "1K"


class _GenerationConfig(_Sent):
    response_modalities: tuple[Literal["TEXT", "IMAGE"], ...] = ("TEXT", "IMAGE")
    image_config: _ImageConfig = _ImageConfig()
    seed: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    candidate_count: Literal[1] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None


class _SafetySetting(_Sent):
    category: str
    threshold: str


class GenerateContent(_Sent):
    """The part of the body of `:generateContent` that images need."""

    contents: Annotated[tuple[_Content, ...], Field(min_length=1)]
    generation_config: _GenerationConfig = _GenerationConfig()
    safety_settings: tuple[_SafetySetting, ...] = ()

    @property
    def prompt(self) -> str:
        return "\n".join(part.text for content in self.contents for part in content.parts if part.text)

    def sketch(self, number: int) -> Sketch:
        """The seed of the image with that number; without a seed always the same."""
        config = self.generation_config
        width, height = SIDES[config.image_config.aspect_ratio]
        scale = SCALES[config.image_config.image_size]
        return Sketch(self.prompt, (config.seed or 0) + number * 1_000_003, width * scale, height * scale)


class InvalidArgument(PermanentError):
    """The API rejects the request; the message is for the response."""


def read_request(body: object) -> GenerateContent:
    """Raises InvalidArgument."""
    try:
        request = GenerateContent.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        found = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults)
        raise InvalidArgument(f"Invalid JSON payload received. {found}") from None
    if not request.prompt:
        raise InvalidArgument("contents: no text in any part")
    return request


def prompt_of(body: object) -> str:
    """The prompt; empty for an invalid body, which rules and records must handle."""
    try:
        return read_request(body).prompt
    except InvalidArgument:
        return ""


def images_body(how: Images, drafts: Sequence[Picture], pictures: Sequence[Picture], model: str) -> dict[str, object]:
    parts = [
        *([{"text": how.text, "thought": True}] if how.text else []),
        *({**_inline(draft, how.declared), "thought": True} for draft in drafts),
        *({**_inline(picture, how.declared), "thoughtSignature": "c2lnbmF0dXJl"} for picture in pictures),
    ]
    status = {"modelStatus": _model_status(how.model_status)} if how.model_status else {}
    return {**_answer([_candidate(parts, how.finish_reason)], model, images=len(pictures)), **status}


def no_images_body(how: NoImages, drafts: Sequence[Picture], model: str) -> dict[str, object]:
    if how.block_reason is not None:
        return {
            **_answer([], model, images=0),
            "promptFeedback": {"blockReason": how.block_reason, "safetyRatings": []},
        }
    draft_parts: list[object] = [{**_inline(draft, None), "thought": True} for draft in drafts]
    if how.finish_reason is None:
        draft_parts.append({"text": "I would be happy to describe the scene instead."})
    candidate = _candidate(draft_parts, how.finish_reason or "STOP")
    if how.finish_message is not None:
        candidate["finishMessage"] = how.finish_message
    return _answer([candidate], model, images=0)


def not_an_image_body(how: NotAnImage, picture: Picture, model: str) -> dict[str, object]:
    mime_type = "application/pdf" if how.what == "document" else "image/png"
    part = {"inlineData": {"mimeType": mime_type, "data": _invalid_image(how, picture)}}
    return _answer([_candidate([part], "STOP")], model, images=1)


def error_body(error: Error) -> object:
    """Google's error, in a list of one if `as_list`."""
    details: list[object] = []
    if error.reason is not None:
        google = {"reason": error.reason, "domain": "googleapis.com", "metadata": {}}
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", **google})
    if error.retry_delay is not None:
        delay = f"{error.retry_delay:g}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    more = {"details": details} if details else {}
    body = {"error": {"code": error.status, "message": error.message, "status": error.word or "UNKNOWN", **more}}
    return [body] if error.as_list else body


def _answer(candidates: list[dict[str, object]], model: str, *, images: int) -> dict[str, object]:
    tokens = 1_290 * images
    usage = {
        "promptTokenCount": 9,
        "candidatesTokenCount": tokens,
        "totalTokenCount": 9 + tokens,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": tokens}],
    }
    return {"candidates": candidates, "usageMetadata": usage, "modelVersion": model, "responseId": "fake"}


def _candidate(parts: Sequence[object], finish_reason: str) -> dict[str, object]:
    """A candidate without parts has no content."""
    content = {"content": {"role": "model", "parts": parts}} if parts else {}
    return {"index": 0, **content, "finishReason": finish_reason, "safetyRatings": []}


def _inline(picture: Picture, declared: str | None) -> dict[str, object]:
    data = base64.b64encode(picture.body).decode()
    return {"inlineData": {"mimeType": declared or picture.mime_type, "data": data}}


def _invalid_image(how: NotAnImage, picture: Picture) -> str:
    match how.what:
        case "text":
            return "this is no base64!"
        case "empty":
            return ""
        case "noise":
            return base64.b64encode(bytes(range(256)) * 8).decode()
        case "truncated":
            return base64.b64encode(picture.body[: len(picture.body) // 2]).decode()
        case "document":
            return base64.b64encode(b"%PDF-1.7\n%%EOF\n").decode()


def _model_status(status: ModelStatus) -> dict[str, object]:
    retirement = status.retirement_time.isoformat().replace("+00:00", "Z") if status.retirement_time else None
    named = {"modelStage": status.stage, "retirementTime": retirement, "message": status.message}
    return {name: value for name, value in named.items() if value is not None}
