"""Reports of a worker on a job that it has leased, as events. Outputs are looked up in the object store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, assert_never
from uuid import UUID

import orjson

from api.http.problems import Refusal, fault, invalid
from gengui_stream.domain.generation.stamp import EventStamp
from gengui_stream.media.object_store import Bucket, ObjectFacts, looked_up
from gengui_stream.stamps import repeatable_stamp
from schemas.events import (
    Failure,
    GenerationCanceled,
    GenerationCompleted,
    GenerationFailed,
    GenerationModerated,
    GenerationProgressed,
    GenerationStarted,
    Output,
)
from schemas.fields import NAME_MAX
from schemas.worker_jobs import (
    JobCanceled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobModerated,
    JobOutput,
    JobProgressed,
    JobStarted,
)

JobFact: TypeAlias = (
    GenerationStarted
    | GenerationProgressed
    | GenerationCompleted
    | GenerationFailed
    | GenerationModerated
    | GenerationCanceled
)

_NAMESPACE: Final = UUID("2a9a5f0b-6a55-5b0e-8f0b-3f6a5a6f7c02")


async def outputs_of(event: JobEvent, store: Bucket, prefix: str) -> tuple[Output, ...]:
    """The outputs that the event reports, with the type and size that the store has. Raises a 422 refusal for a key
    that is not under `prefix`, or has no object."""
    if not isinstance(event, JobCompleted):
        return ()
    keys = [output.object_key for output in event.outputs]
    foreign = [index for index, key in enumerate(keys) if not key.startswith(prefix)]
    if foreign:
        message = "not a key that `upload` gave for this lease"
        raise invalid([fault(f"event.outputs.{index}.object_key", message) for index in foreign])
    facts = await looked_up(store, keys)
    missing = [key for key, found in facts.items() if found is None]
    if missing:
        raise Refusal(422, "object_missing", f"not in the object store: {', '.join(missing)}; upload, then report")
    return tuple(_output(output, found) for output in event.outputs if (found := facts[output.object_key]))


def _output(output: JobOutput, found: ObjectFacts) -> Output:
    return Output(
        id=output.id,
        object_key=output.object_key,
        mime_type=output.mime_type or found.content_type,
        width=output.width,
        height=output.height,
        bytes=found.bytes,
        sha256=output.sha256,
    )


def stamp_of(event: JobEvent, lease: str, worker: str) -> EventStamp:
    """The same report under the same lease has the same event id."""
    content = orjson.dumps(event.model_dump(mode="json", exclude={"id", "occurred_at"}), option=orjson.OPT_SORT_KEYS)
    producer = f"worker/{worker}"[:NAME_MAX] if worker else "worker"
    made = repeatable_stamp(_NAMESPACE, f"{lease}/{content.decode()}", producer, occurred_at=event.occurred_at)
    return made if event.id is None else replace(made, event_id=event.id)


def event_of(event: JobEvent, outputs: Sequence[Output], common: Mapping[str, object]) -> JobFact:
    """`common`: the fields of the envelope."""
    match event:
        case JobStarted():
            return GenerationStarted.model_validate({**common, "worker": common["producer"]})
        case JobProgressed():
            return GenerationProgressed.model_validate({**common, "percent": event.percent, "stage": event.stage})
        case JobCompleted():
            return GenerationCompleted.model_validate({**common, "outputs": tuple(outputs)})
        case JobFailed():
            return GenerationFailed.model_validate({**common, "error": Failure(**event.error.model_dump())})
        case JobModerated():
            return GenerationModerated.model_validate({**common, "reason": event.reason})
        case JobCanceled():
            return GenerationCanceled.model_validate(common)
        case _:
            assert_never(event)


def fields_of_job(fact: JobFact) -> Mapping[str, str] | None:
    """The fields for the hash of the job, after an event that ends the lease; None for one that does not."""
    match fact:
        case GenerationStarted() | GenerationProgressed():
            return None
        case GenerationCompleted():
            return {"status": "completed", "s3Key": fact.outputs[0].object_key}
        case GenerationFailed():
            return {"status": "failed", "error": f"{fact.error.code}: {fact.error.message}"[:500]}
        case GenerationModerated():
            return {"status": "failed", "error": f"moderated: {fact.reason}"[:500]}
        case GenerationCanceled():
            return {"status": "canceled"}
        case _:
            assert_never(fact)
