"""What Gemini makes in place of the pixels that were asked for: an aspect ratio and a size. Pure.

From Google's reference of `imageConfig`, July 2026. Both are open lists: data here, not types.
"""

from dataclasses import dataclass
from math import log
from typing import Final

ASPECT_RATIOS: Final = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
SIZES: Final = {"1K": 1024, "2K": 2048, "4K": 4096}
"""By name: the side of a square of about as many pixels."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """As `generationConfig.imageConfig` takes it."""

    aspect_ratio: str
    image_size: str


def nearest(width: int, height: int) -> ImageConfig:
    """By factors: twice as much is as far off as half. Of two that are equally near, the earlier in its list."""
    ratio = min(ASPECT_RATIOS, key=lambda name: abs(log(width / height) - log(_ratio(name))))
    side = (width * height) ** 0.5
    return ImageConfig(ratio, min(SIZES, key=lambda name: abs(log(side) - log(SIZES[name]))))


def _ratio(name: str) -> float:
    width, _, height = name.partition(":")
    return int(width) / int(height)
