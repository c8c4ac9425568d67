"""The state of one generation, limited to what the fold needs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Status(StrEnum):
    """The status of a generation. The last five are terminal and never change."""

    QUEUED = "queued"
    DISPATCHED = "dispatched"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    MODERATED = "moderated"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TIMED_OUT, Status.MODERATED})


OBJECT_MISSING = "object_missing"
"""The reason of a `thumbnail.failed`."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A stored thumbnail: object key, detected content type, size in pixels and bytes. `revision`: the request it
    fulfils."""

    object_key: str
    mime_type: str
    width: int
    height: int
    bytes: int
    revision: int = 1


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One output and its thumbnail. `thumbnail_revision` is the last one requested. `thumbnail` has that revision, or
    an earlier one until the new one is stored. `thumbnail_error`: why the last one could not be made."""

    id: str
    object_key: str
    mime_type: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None
    thumbnail: Thumbnail | None = None
    thumbnail_error: str | None = None
    thumbnail_revision: int = 1

    @property
    def has_current_thumbnail(self) -> bool:
        return self.thumbnail is not None and self.thumbnail.revision == self.thumbnail_revision

    @property
    def described(self) -> bool:
        """Whether its worker, or a thumbnail, has said all of it."""
        return None not in (self.mime_type, self.width, self.height, self.bytes, self.sha256)

    @property
    def missing(self) -> bool:
        """The worker reported an object that the thumbnail could not be made of, because it is not there."""
        return self.thumbnail_error == OBJECT_MISSING

    @property
    def open(self) -> bool:
        return not self.has_current_thumbnail and self.thumbnail_error is None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a generation or an attempt failed. `retry_after_s`: the pause that the provider asks for."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = None


class ProviderPreference(NamedTuple):
    """The provider and model that were asked for. `pinned`: the client named the provider itself, so there is no
    fallback."""

    provider: str
    model: str
    pinned: bool


class ProviderRun(NamedTuple):
    """One run of an attempt at its provider. `endpoint_id`: the endpoint that has it."""

    provider: str
    job_id: str
    endpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class DuplicateFilter:
    """Recognises events that are appended again where the other fields of the state do not.

    `early`: the ids of events that were ignored because they came too early, and would apply later.
    `latest_unnumbered`: the latest time of an event without an attempt number. `unnumbered_until`: the same for the
    events before the current attempt was dispatched: an event without a number that is no later belongs to an earlier
    attempt.
    """

    early: tuple[UUID, ...] = ()
    latest_unnumbered: datetime | None = None
    unnumbered_until: datetime | None = None


class Generation(NamedTuple):
    """The folded state. `version` grows by one with every applied event. `attempt` is the current attempt; `provider`,
    `model`, `provider_job_id` and `endpoint_id` say where it runs, or where the last one ran.

    A named tuple because the fold copies it for every event: `_replace` takes a quarter of the time of a dataclass's
    `replace`.
    """

    generation_id: UUID
    owner_id: UUID
    model: str
    provider: str
    max_attempts: int
    deadline: datetime | None
    requested_at: datetime
    preference: ProviderPreference
    status: Status = Status.QUEUED
    version: int = 1
    attempt: int = 1
    percent: float | None = None
    stage: str | None = None
    cancel_requested: bool = False
    provider_job_id: str | None = None
    endpoint_id: str | None = None
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None
    deleted_at: datetime | None = None
    outputs: tuple[StoredOutput, ...] = ()
    error: Failure | None = None
    duplicates: DuplicateFilter | None = None

    @property
    def run(self) -> ProviderRun | None:
        """Of the current or last attempt; None while the provider's id is unknown."""
        return ProviderRun(self.provider, self.provider_job_id, self.endpoint_id) if self.provider_job_id else None

    @property
    def last_heard_at(self) -> datetime:
        """The last sign of life of the current attempt."""
        signs = (self.requested_at, self.dispatched_at, self.started_at, self.heartbeat_at)
        return max(sign for sign in signs if sign is not None)

    @property
    def sends_heartbeats(self) -> bool:
        """Whether the silence of the current attempt's worker says that it is lost. The workers of the original service
        report without an attempt number, and nothing between their start and their end."""
        if self.started_at is not None and self.heartbeat_at is not None and self.heartbeat_at > self.started_at:
            return True
        known = self.duplicates
        if known is None or known.latest_unnumbered is None:
            return True
        return known.unnumbered_until is not None and known.latest_unnumbered <= known.unnumbered_until

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def settled(self) -> bool:
        """Ended, with no thumbnail outstanding, and no object if it is deleted: no job is left to do, and only a
        deletion, a request for thumbnails or a late event may follow."""
        if self.deleted_at is not None:
            return self.terminal and not self.outputs
        return self.terminal and not any(output.open for output in self.outputs)
