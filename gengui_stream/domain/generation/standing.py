"""Where an attempt stands, for the worker that has it. Pure."""

from enum import StrEnum

from gengui_stream.domain.generation.state import Generation, Status


class Standing(StrEnum):
    """CANCELED, DELETED: the owner wants no result. SUPERSEDED: a later attempt has begun. ENDED: in any other way."""

    RUNNING = "running"
    CANCELED = "canceled"
    DELETED = "deleted"
    SUPERSEDED = "superseded"
    ENDED = "ended"


def standing(state: Generation, attempt: int) -> Standing:
    if state.deleted_at is not None:
        return Standing.DELETED
    if state.attempt > attempt:
        return Standing.SUPERSEDED
    if state.status is Status.CANCELED or (state.cancel_requested and not state.terminal):
        return Standing.CANCELED
    return Standing.ENDED if state.terminal else Standing.RUNNING
