"""Thumbnails a second on one core, against decoding alone: how much everything but the decoder costs.

python -m tests.bench.thumbnails
"""

import io
import json
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Final, TypeAlias

import numpy as np
from PIL import Image

from gengui_stream.media.rendering import Sketch, render
from gengui_stream.media.thumbnails import Limits, MadeThumbnail, make_thumbnail

SIDE: Final = 1024
ROUNDS: Final = 7
SLICE_S: Final = 0.4

Case: TypeAlias = dict[str, float]


def run(*, rounds: int = ROUNDS, slice_s: float = SLICE_S) -> dict[str, Case]:
    """By input: images a second made into thumbnails, decoded alone, and the ratio. Medians of interleaved rounds."""
    return {name: _measured(body, rounds, slice_s) for name, body in inputs().items()}


def inputs() -> dict[str, bytes]:
    """A picture of ours and the same with the fine noise of a photograph, which costs decoders more."""
    drawn = render(Sketch("a storm over the ocean", 11, SIDE, SIDE))
    grain = np.random.default_rng(1).normal(0, 6, drawn.shape)
    grainy = np.clip(drawn + grain, 0, 255).astype(np.uint8)
    return {
        "PNG, drawn": _encoded(drawn, "PNG"),
        "PNG, photographic": _encoded(grainy, "PNG"),
        "JPEG q90, drawn": _encoded(drawn, "JPEG", quality=90),
        "JPEG q90, photographic": _encoded(grainy, "JPEG", quality=90),
    }


def _encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], form: str, **options: int) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, form, **options)
    return target.getvalue()


def _measured(body: bytes, rounds: int, slice_s: float) -> Case:
    made, decoded = [], []
    for _ in range(rounds):
        decoded.append(_per_second(lambda: _decode(body), slice_s))
        made.append(_per_second(lambda: _make(body), slice_s))
    return {
        "input_kib": len(body) / 1024,
        "thumbnails_per_s": median(made),
        "decoded_per_s": median(decoded),
        "ratio": median(a / b for a, b in zip(made, decoded, strict=True)),
    }


def _decode(body: bytes) -> None:
    with Image.open(io.BytesIO(body)) as image:
        image.load()


def _make(body: bytes) -> None:
    if not isinstance(make_thumbnail(body, Limits()), MadeThumbnail):
        raise TypeError("no thumbnail was made")


def _per_second(work: Callable[[], None], seconds: float) -> float:
    """By processor time of this thread, so that other programs on the machine count less."""
    done, began = 0, time.thread_time()
    while (spent := time.thread_time() - began) < seconds:
        work()
        done += 1
    return done / spent


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(run(), indent=2))


if __name__ == "__main__":
    main()
