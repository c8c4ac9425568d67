"""A release with a bad fold. Python imports this module at its start when this folder is on PYTHONPATH.

`DRILL_FOLD=refuse` dead-letters every event; `DRILL_FOLD=crash` ends the process at a record whose value is POISON.
"""

import os
from collections.abc import MutableMapping

from gengui_stream.log.codec import Decoded
from gengui_stream.projecting import folding
from gengui_stream.projections.outcomes import DeadLettered, Outcome, Record

POISON = b'{"poison": true}'

_good_fold = folding._fold_one


def _refuse(record: Record, decoded: Decoded, known: folding.FoldState) -> Outcome:
    if decoded.generation_id is not None:
        known.parked.add(decoded.generation_id)
    return DeadLettered(record, decoded.generation_id, "wrong_schema", "the bad release refuses everything")


def _crash(record: Record, decoded: Decoded, known: folding.FoldState) -> Outcome:
    if record.value == POISON:
        raise RuntimeError("this record ends the process")
    return _good_fold(record, decoded, known)


def install(environ: MutableMapping[str, str]) -> None:
    match environ.get("DRILL_FOLD"):
        case "refuse":
            folding._fold_one = _refuse
        case "crash":
            folding._fold_one = _crash
        case _:
            pass


install(os.environ)
