"""Renders images with numpy alone. The same prompt, seed and size give the same image."""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gengui_stream.worker.painter.noise import Floats
from gengui_stream.worker.painter.palettes import STOPS, Palette, palette_name
from gengui_stream.worker.painter.scenes import Land, Scene, Silk

MIME_TYPE: Final = "image/png"
BANDS: Final = 16
SKETCH_LEVEL: Final = 2
"""zlib level: nearly the size of the default in a third of its time."""

WATER_PALETTES: Final = frozenset({"ocean", "storm"})
LAND_PALETTES: Final = frozenset({"sunset", "dawn", "forest", "night", "ice", "desert", "autumn"})
CLOTH: Final = re.compile(r"\b(silk|satin|velvet|cloth|fabric|ribbons?|abstract)\b", re.IGNORECASE)
"""Words for a scene of silk instead of land."""

Canvas: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sketch:
    """The input of an image."""

    prompt: str
    seed: int
    width: int
    height: int


def blank(sketch: Sketch) -> Canvas:
    """An unpainted canvas of the sketch's size."""
    return np.zeros((sketch.height, sketch.width, 3), np.uint8)


def paint(sketch: Sketch, canvas: Canvas) -> Iterator[float]:
    """Paints the canvas in bands, and yields the completed share after each, the last time 1.0. To stop the painting,
    stop iterating."""
    scene = _scene(sketch)
    edges = np.linspace(0, sketch.height, min(BANDS, sketch.height) + 1).astype(int)
    for top, bottom in pairwise(edges.tolist()):
        canvas[top:bottom] = _band(scene, sketch, top, bottom)
        yield bottom / sketch.height


def render(sketch: Sketch) -> Canvas:
    """Paints the whole image."""
    canvas = blank(sketch)
    for _ in paint(sketch, canvas):
        pass
    return canvas


def encode_png(canvas: Canvas) -> bytes:
    target = io.BytesIO()
    Image.fromarray(canvas).save(target, "PNG", compress_level=SKETCH_LEVEL)
    return target.getvalue()


def _scene(sketch: Sketch) -> Scene:
    digest = hashlib.sha256(f"{sketch.seed}\n{sketch.prompt}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
    named = palette_name(sketch.prompt)
    name = named or list(STOPS)[digest[16] % len(STOPS)]
    palette = Palette.of(STOPS[name], shift=float(random.uniform(-0.03, 0.03)))
    if CLOTH.search(sketch.prompt):
        return Silk(random, palette)
    if name in WATER_PALETTES and named:
        return Land(random, palette, water=True, night=False)
    if name in LAND_PALETTES and (named or digest[17] % 2):
        return Land(random, palette, water=digest[18] % 4 == 0, night=name == "night")
    return Silk(random, palette)


def _band(scene: Scene, sketch: Sketch, top: int, bottom: int) -> Canvas:
    """Paints one pixel more on each side, so that slopes at the edges are the same as inside."""
    pixel = 1 / max(sketch.width, sketch.height)
    rows = (np.arange(top - 1, bottom + 1, dtype=np.float32) + np.float32(0.5)) * np.float32(pixel)
    columns = (np.arange(-1, sketch.width + 1, dtype=np.float32) + np.float32(0.5)) * np.float32(pixel)
    y, x = np.broadcast_arrays(rows[:, None], columns[None, :])
    inside = (slice(1, -1), slice(1, -1))
    return _developed(scene.paint(x, y, pixel)[inside], x[inside], y[inside], sketch)


def _developed(colours: Floats, x: Floats, y: Floats, sketch: Sketch) -> Canvas:
    """Darkens the corners, compresses highlights, converts to eight bits."""
    side = max(sketch.width, sketch.height)
    across, down = x * side / sketch.width - np.float32(0.5), y * side / sketch.height - np.float32(0.5)
    shade = np.float32(1.04) - np.float32(0.34) * (across * across + down * down)
    lit = colours * shade[..., None]
    soft = np.where(lit > 0.8, 1 - np.float32(0.2) * np.exp((np.float32(0.8) - lit) * 5), lit)
    bits: Canvas = (np.clip(soft, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return bits
