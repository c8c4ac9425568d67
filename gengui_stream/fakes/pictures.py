"""The images of the fake servers: real ones, drawn in a thread, with a small cache."""

import asyncio
import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from gengui_stream.worker.painter.rendering import Canvas, Sketch, encode_png, render

DRAWN_SIDE_MAX: Final = 512
"""Drawn at most this large, then scaled up: nothing depends on the detail of larger images."""

VARIED_SIDE_MAX: Final = 128
"""Up to this size an image is a variation of one of a few: setting up a painting costs a hundred times what its pixels
do, and runs with thousands of small images do not test images."""

PAINTINGS: Final = 8
SIDE_MIN: Final = 16

ImageType = Literal["image/png", "image/jpeg", "image/webp"]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it is sent or stored."""

    body: bytes
    mime_type: ImageType
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


async def drawn(sketch: Sketch, side_max: int, mime_type: ImageType = "image/png") -> Picture:
    """The image in its size, or scaled down to `side_max`."""
    return await asyncio.to_thread(_drawn, _within(sketch, side_max), mime_type)


def _within(sketch: Sketch, side_max: int) -> Sketch:
    scale = min(1.0, side_max / max(sketch.width, sketch.height))
    width, height = (max(SIDE_MIN, round(side * scale)) for side in (sketch.width, sketch.height))
    return Sketch(sketch.prompt, sketch.seed, width, height)


@lru_cache(maxsize=64)
def _drawn(sketch: Sketch, mime_type: ImageType) -> Picture:
    canvas = _canvas(_within(sketch, DRAWN_SIDE_MAX))
    size = (sketch.width, sketch.height)
    if mime_type == "image/png" and canvas.shape[1::-1] == size:
        return Picture(encode_png(canvas), mime_type, *size)
    image, target = Image.fromarray(canvas).resize(size, Image.Resampling.BILINEAR), io.BytesIO()
    image.save(
        target, mime_type.removeprefix("image/").upper(), **({"compress_level": 1} if "png" in mime_type else {})
    )
    return Picture(target.getvalue(), mime_type, *size)


def _canvas(sketch: Sketch) -> Canvas:
    if max(sketch.width, sketch.height) > VARIED_SIDE_MAX:
        return render(sketch)
    chosen = hashlib.sha256(f"{sketch.seed}\n{sketch.prompt}".encode()).digest()
    painting = _painting(chosen[0] % PAINTINGS, sketch.width, sketch.height)
    moved = np.roll(painting, (chosen[1], chosen[2]), axis=(0, 1))
    tint = np.frombuffer(chosen[3:6], np.uint8) // 4
    return np.maximum(moved, tint)


@lru_cache(maxsize=64)
def _painting(number: int, width: int, height: int) -> Canvas:
    return render(Sketch(f"painting {number}", number, width, height))
