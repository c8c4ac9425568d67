"""The aspect ratio and size that Gemini takes in place of pixels. Pure.

From Google's reference of `imageConfig`, July 2026. Google extends both lists, so they are data here, not types.
"""

from dataclasses import dataclass
from math import log
from typing import Final

ASPECT_RATIOS: Final = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
SIZES: Final = {"1K": 1024, "2K": 2048, "4K": 4096}
"""By name: the side in pixels of a square with about as many pixels."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """`generationConfig.imageConfig` of a request."""

    aspect_ratio: str
    image_size: str


def nearest(width: int, height: int) -> ImageConfig:
    """The nearest on a logarithmic scale: twice is as far as half. Of two equally near, the first in its list."""
    ratio = min(ASPECT_RATIOS, key=lambda name: abs(log(width / height) - log(_ratio(name))))
    side = (width * height) ** 0.5
    return ImageConfig(ratio, min(SIZES, key=lambda name: abs(log(side) - log(SIZES[name]))))


def _ratio(name: str) -> float:
    width, _, height = name.partition(":")
    return int(width) / int(height)
