"""Strict parsing of documents, queries and headers: each invalid value is refused by name."""

import re
from datetime import UTC, date, datetime
from typing import Final, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from api.http.problems import Refusal, fault, faults_of, invalid
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.log.positions import Position
from gengui_stream.stamps import new_stamp
from schemas.fields import is_rfc_3339, written_uuid

WAIT_MAX_S: Final = 60

WAITED: Final = web.RequestKey("waited", bool)
"""Present when the response waited on purpose."""
CORRELATION_ID: Final = web.RequestKey("correlation_id", str)

Model = TypeVar("Model", bound=BaseModel)

_moment: Final = TypeAdapter(AwareDatetime)

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_PREFERENCE: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""A comma within quotes separates nothing."""
_NAMED_WAIT: Final = re.compile(r"\s*wait\s*(?:[=;]|$)", re.IGNORECASE)
_WAIT: Final = re.compile(r'[^=;]*=\s*("?)([0-9]{1,5})\1\s*(?:;.*)?')


def parse(model: type[Model], document: object) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(faults_of(error)) from None


def stamp_of(request: web.Request) -> EventStamp:
    """The stamp of an event that this request causes, with the request's correlation id and trace."""
    return new_stamp("api", correlation_id=request[CORRELATION_ID])


def generation_id_of(request: web.Request) -> UUID:
    """The id in the path. Raises a 404 refusal for any other text."""
    try:
        return written_uuid(request.match_info["id"])
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
        text = value.replace(" ", "+")  # a plus sign in a query stands for a space
        try:
            return self.placed(_moment.validate_python(text if is_rfc_3339(text) else ""))
        except ValueError:
            self._faults.append(fault(name, "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"))
            return None

    def day(self, name: str) -> date | None:
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return date.fromisoformat(value if _DAY.fullmatch(value) else "")
        except ValueError:
            self._faults.append(fault(name, "must be a day such as 2026-01-31"))
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

    def flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value not in {None, "true", "false"}:
            self._faults.append(fault(name, "must be true or false"))
        return None if value is None else value == "true"

    def id(self, name: str) -> UUID | None:
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return written_uuid(value)
        except ValueError as error:
            self._faults.append(fault(name, str(error)))
            return None

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


def header_of(request: web.Request, name: str) -> str | None:
    """Raises a 400 refusal for a second header of this name: the client may mean either."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Refusal(400, "repeated_header", f"{name}: given more than once; send it once")
    return values[0] if values else None


def min_position(request: web.Request, partitions: int) -> Position | None:
    text = header_of(request, "Min-Position")
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
    """`n` of the first `wait=n` or `wait="n"` in `Prefer`, limited to WAIT_MAX_S. Other preferences, and a value that
    is no number, are ignored, as RFC 7240 requires."""
    preferences = _PREFERENCE.findall(", ".join(request.headers.getall("Prefer", [])))
    first = next((one for one in preferences if _NAMED_WAIT.match(one)), "")
    found = _WAIT.fullmatch(first)
    return min(int(found[2]), WAIT_MAX_S) if found else 0
