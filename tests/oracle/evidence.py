"""Everything that the oracle evaluates, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Row: TypeAlias = Mapping[str, object]
"""A row of a table, or a JSON object."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A broken promise. `kind`: a stable word; `subject`: the generation, job or position that it concerns."""

    kind: str
    subject: str
    detail: str


class LogRecord(NamedTuple):
    """A record as the broker returns it. `timestamp`: Unix milliseconds."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int

    @property
    def position(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(slots=True)
class Tables:
    """The rows of PostgreSQL, read after the log's end had been projected."""

    requests: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    timeline: list[Row] = field(default_factory=list)
    checkpoints: list[Row] = field(default_factory=list)
    daily_counts: list[Row] = field(default_factory=list)
    provider_usage: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    jobs: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was answered with 202: the id, the position and the parameters."""

    generation_id: str
    position: str
    parameters: Row


@dataclass(slots=True)
class Observations:
    """What clients saw while the run lasted. `accepted`: by idempotency key. `polls`: the resources of each generation,
    in the order in which one client got them. `cancels`: the responses to cancellations, by generation. `deleted`: the
    generations whose deletion was answered with 204, with the last resource before it. `streamed`: the events of the
    stream of `owner_id` in the order of arrival, over all its connections. `refused`: responses that no client may
    get."""

    owner_id: str = ""
    accepted: dict[str, Accepted] = field(default_factory=dict)
    polls: dict[str, list[Row]] = field(default_factory=dict)
    cancels: dict[str, list[Row]] = field(default_factory=dict)
    deleted: dict[str, Row] = field(default_factory=dict)
    streamed: list[Row] = field(default_factory=list)
    stream_start: Mapping[int, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class ProviderCall(NamedTuple):
    """A call that made a fake provider run an attempt."""

    provider: str
    generation_id: str
    attempt: int | None


class Picture(NamedTuple):
    """An object as fetched: its size in pixels and bytes. `fault`: why it cannot be opened."""

    width: int
    height: int
    bytes: int
    sha256: str
    fault: str | None = None


@dataclass(slots=True)
class Evidence:
    """`answers`: the response of GET for each requested generation, None for a 404. `histories`: the positions of its
    timeline as the API pages them. `pictures` and `thumbnails`: by generation and output id. `gone`: whether the
    image of a deleted generation is gone. `overlaps`: generations with concurrent runs
    at the providers, and how many."""

    log: Sequence[LogRecord] = ()
    tables: Tables = field(default_factory=Tables)
    seen: Observations = field(default_factory=Observations)
    answers: dict[str, Row | None] = field(default_factory=dict)
    histories: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[tuple[str, str], Picture] = field(default_factory=dict)
    thumbnails: dict[tuple[str, str], Picture] = field(default_factory=dict)
    gone: dict[str, bool] = field(default_factory=dict)
    calls: Sequence[ProviderCall] = ()
    overlaps: Mapping[str, int] = field(default_factory=dict)
