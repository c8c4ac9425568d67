"""Thumbnails a second on one core, beside decoding alone: the cost of everything but the decoder.

python -m tests.bench.jobs.thumbnails [--quick]
"""

import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from PIL import Image

from gengui_stream.media.thumbnails import Limits, MadeThumbnail, make_thumbnail
from gengui_stream.worker.painter.rendering import Sketch, render

SIDE: Final = 1024
SHARE_GOAL: Final = 0.9


@dataclass(frozen=True, slots=True)
class Case:
    """One input: images a second of processor time, and `share` of the rate of decoding alone. Medians of rounds."""

    input_kib: float
    thumbnails_per_s: float
    decoded_per_s: float
    share: float


def run(quick: bool) -> str:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return section(measure(rounds=5 if quick else 15, slice_s=0.4 if quick else 1.0))


def measure(*, rounds: int, slice_s: float) -> Mapping[str, Case]:
    """By input; making and decoding in turn."""
    return {name: _measured(body, rounds, slice_s) for name, body in inputs().items()}


def inputs() -> dict[str, bytes]:
    """An image of the painter, and the same with the fine noise of a photograph, which costs decoders more."""
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
    return Case(
        input_kib=len(body) / 1024,
        thumbnails_per_s=median(made),
        decoded_per_s=median(decoded),
        share=median(a / b for a, b in zip(made, decoded, strict=True)),
    )


def _decode(body: bytes) -> None:
    with Image.open(io.BytesIO(body)) as image:
        image.load()


def _make(body: bytes) -> None:
    if not isinstance(make_thumbnail(body, Limits()), MadeThumbnail):
        raise TypeError("no thumbnail was made")


def _per_second(work: Callable[[], None], seconds: float) -> float:
    """Measured by the processor time of this thread, so that other programs matter less."""
    done, began = 0, time.thread_time()
    while (spent := time.thread_time() - began) < seconds:
        work()
        done += 1
    return done / spent


METHOD: Final = f"""\
The shipped code on one core, per second of its processor time: a picture of {SIDE}² pixels to a WebP of at most 128
pixels a side, metadata and limits checked, beside the same picture decoded in full by Pillow and thrown away.
`photographic` has fine noise over the drawing, which costs decoders more. A JPEG is decoded at a fraction of its size,
hence faster than in full."""


def section(cases: Mapping[str, Case]) -> str:
    lines = [
        METHOD,
        "",
        "| input | KiB | thumbnails/s | decoded alone/s | thumbnails / decoded |",
        "|---|---:|---:|---:|---:|",
        *(_row(name, case) for name, case in cases.items()),
        "",
        *(_goal(name, case) for name, case in cases.items() if name.startswith("PNG")),
    ]
    return "\n".join(lines)


def _row(name: str, case: Case) -> str:
    rates = f"{case.thumbnails_per_s:.1f} | {case.decoded_per_s:.1f} | {case.share:.2f}"
    return f"| {name} | {case.input_kib:,.0f} | {rates} |"


def _goal(name: str, case: Case) -> str:
    met = "met" if case.share >= SHARE_GOAL else "**missed**"
    return f"- Goal for {name}: within 10 % of decoding alone. It is {case.share * 100:.1f} % of that, {met}."


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
