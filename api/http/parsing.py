"""Strict parsing of documents, queries and headers: each invalid value is refused by name."""

from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from api.http.problems import Refusal, fault, faults_of, invalid
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.log.positions import Position
from gengui_stream.stamps import new_stamp

WAIT_MAX_S: Final = 60

WAITED: Final = web.RequestKey("waited", bool)
"""Present when the response waited on purpose."""
CORRELATION_ID: Final = web.RequestKey("correlation_id", str)
TRACEPARENT: Final = web.RequestKey("traceparent", str)
"""Present when the client sent a valid one."""

Model = TypeVar("Model", bound=BaseModel)

_moment: Final = TypeAdapter(AwareDatetime)


def parse(model: type[Model], document: object) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(faults_of(error)) from None


def stamp_of(request: web.Request) -> EventStamp:
    """The stamp of an event that this request causes, with the request's correlation id and trace."""
    return new_stamp("api", correlation_id=request[CORRELATION_ID], traceparent=request.get(TRACEPARENT))


def generation_id_of(request: web.Request) -> UUID:
    """The id in the path. Raises a 404 refusal for any other text."""
    try:
        return UUID(request.match_info["id"])
    except ValueError:
        raise Refusal(404, "not_found", "there is no such generation among yours") from None


class Query:
    """The query parameters of one request; `check` raises all faults together."""

    def __init__(self, request: web.Request, *known: str) -> None:
        self._values = request.query
        self._faults = [
            fault(
                name[:80],
                f"unknown parameter; known are: {', '.join(known)}" if known else "takes no parameters",
            )
            for name in dict.fromkeys(self._values)
            if name not in known
        ]
        self._faults += [
            fault(name, "given more than once") for name in known if len(self._values.getall(name, [])) > 1
        ]

    def text(self, name: str, max_length: int) -> str | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not value or len(value) > max_length or "\x00" in value or not _encodable(value):
            self._faults.append(fault(name, f"must have 1 to {max_length} characters of plain text"))
            return None
        return value

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        value = self._values.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 10 and lowest <= int(value) <= highest):
            self._faults.append(fault(name, f"must be a whole number from {lowest} to {highest}"))
            return default
        return int(value)

    def moment(self, name: str) -> datetime | None:
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return self.placed(_moment.validate_python(value.replace(" ", "+")))
        except ValueError:
            self._faults.append(fault(name, "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"))
            return None

    @staticmethod
    def placed(moment: datetime) -> datetime:
        """In UTC. Raises ValueError for a time without a zone, or outside the calendar."""
        if moment.tzinfo is None:
            raise ValueError("no zone")
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(str(error)) from error

    def choices(self, name: str, allowed: tuple[str, ...]) -> tuple[str, ...] | None:
        value = self._values.get(name)
        if value is None:
            return None
        chosen = tuple(value.split(","))
        if not set(chosen) <= set(allowed):
            self._faults.append(fault(name, f"must be among: {', '.join(allowed)}"))
        return chosen

    def refuse(self, name: str, message: str) -> None:
        self._faults.append(fault(name, message))

    def check(self) -> None:
        if self._faults:
            raise invalid(self._faults)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def min_position(request: web.Request, partitions: int) -> Position | None:
    text = request.headers.get("Min-Position")
    if text is None:
        return None
    try:
        position = Position.parse(text)
    except ValueError as error:
        raise invalid([fault("Min-Position", str(error))]) from None
    if position.partition >= partitions:
        raise invalid([fault("Min-Position", f"the partitions are 0 to {partitions - 1}")])
    return position


def wait_seconds(request: web.Request) -> int:
    """`n` of `Prefer: wait=n`, limited to WAIT_MAX_S; other preferences are ignored, as RFC 7240 requires."""
    for header in request.headers.getall("Prefer", []):
        for preference in header.split(","):
            name, _, value = (part.strip() for part in preference.partition(";")[0].partition("="))
            if name.lower() == "wait" and value.isascii() and value.isdigit() and len(value) < 6:
                return min(int(value), WAIT_MAX_S)
    return 0
