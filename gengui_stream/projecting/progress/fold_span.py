"""The span of one transaction of the fold. One for a batch, however many generations it is about: the batch continues
the trace of the first that is sampled, and links to those of the others."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import TypeAlias

from gengui_stream.log.codec import Decoded
from gengui_stream.projecting.projected_batch import ProjectedBatch
from gengui_stream.projections.outcomes import Record
from gengui_stream.tracing.spans import NO_SPAN, Span, is_on, span

DecodedRecords: TypeAlias = Sequence[tuple[Record, Decoded]]


def fold_span(decoded: Sequence[DecodedRecords], began_ns: int) -> AbstractContextManager[Span]:
    """`decoded`: the records of each partition. `began_ns`: when their decoding began, in Unix nanoseconds."""
    if not is_on():
        return NO_SPAN
    known = {"gengui.partitions": len(decoded), "messaging.batch.message_count": sum(map(len, decoded))}
    return span("fold", "consumer", parents=_traceparents(decoded), attributes=known, began_ns=began_ns)


def described(span: Span, batches: Sequence[ProjectedBatch]) -> Sequence[ProjectedBatch]:
    """The same batches, once the span has what came of them."""
    if not is_on():
        return batches
    tallies = [batch.tally for batch in batches]
    span.set(
        {
            "gengui.applied": sum(tally.applied for tally in tallies),
            "gengui.ignored": sum(tally.ignored for tally in tallies),
            "gengui.dead_lettered": sum(tally.dead_lettered for tally in tallies),
            "gengui.jobs_made": sum(len(batch.jobs.made) for batch in batches),
        }
    )
    return batches


def _traceparents(decoded: Sequence[DecodedRecords]) -> Iterator[str | None]:
    """None for a record without an event: four times as fast as to tell those apart by their types."""
    for _, item in chain.from_iterable(decoded):
        yield getattr(item, "traceparent", None)
