"""Palettes of five colours from dark to light, chosen by the words of the prompt, else by its hash."""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gengui_stream.worker.painter.noise import Floats

STEPS: Final = 1024

Stops: TypeAlias = tuple[str, str, str, str, str]

STOPS: Final[dict[str, Stops]] = {
    "sunset": ("#1b1035", "#6b2257", "#d1495b", "#f79256", "#ffe3a3"),
    "dawn": ("#2a2a52", "#6d5a8d", "#c98bab", "#f6b9a6", "#fff0d4"),
    "ocean": ("#04182e", "#0b4f6c", "#1f8fa8", "#7fd1c7", "#f1fbe8"),
    "forest": ("#0a1f16", "#1d4a35", "#4e8a4c", "#a7c77a", "#f5f2cf"),
    "night": ("#050818", "#101d45", "#2c3f83", "#6f7fc4", "#e8ecff"),
    "fire": ("#120406", "#5c0f12", "#c4321a", "#f98b1d", "#fff1b0"),
    "ice": ("#0d2238", "#33658a", "#86bbd8", "#cfe8f3", "#ffffff"),
    "desert": ("#2b1a1e", "#7a4030", "#c77b46", "#e8bd7f", "#fdf3da"),
    "blossom": ("#33163b", "#8a2f6e", "#e0709a", "#f8b8c6", "#fff4ee"),
    "autumn": ("#20120e", "#6e2a17", "#b85c22", "#e3a53a", "#faeec0"),
    "gold": ("#14100b", "#4a3418", "#9c7328", "#dbb757", "#fff6d5"),
    "neon": ("#0b0620", "#3d1a78", "#b5179e", "#4cc9f0", "#f3fbff"),
    "storm": ("#0e141b", "#2a3a47", "#5a7181", "#a3b5bd", "#eef2ef"),
}

WORDS: Final[dict[str, str]] = {
    "sunset": "sunset dusk evening sundown sun",
    "dawn": "dawn sunrise morning pastel",
    "ocean": "ocean sea water wave waves lake river beach underwater whale fish island coast blue",
    "forest": "forest tree trees wood woods jungle moss green garden leaf leaves dragon",
    "night": "night midnight moon moonlight star stars space galaxy dark cosmos nebula planet",
    "fire": "fire flame flames lava volcano ember phoenix inferno red burning",
    "ice": "ice snow winter frost glacier arctic frozen",
    "desert": "desert sand dune dunes canyon mars savanna",
    "blossom": "blossom flower flowers cherry spring rose pink love",
    "autumn": "autumn fall harvest pumpkin fox",
    "gold": "gold golden amber honey royal baroque",
    "neon": "neon cyberpunk synthwave city robot future electric",
    "storm": "storm rain fog mist thunder cloud clouds lighthouse",
}

_BY_WORD: Final = {word: name for name, words in WORDS.items() for word in words.split()}


def palette_name(prompt: str) -> str | None:
    """The palette that the first known word of the prompt names."""
    words = re.findall(r"[a-z]+", prompt.lower())
    return next((_BY_WORD[word] for word in words if word in _BY_WORD), None)


@dataclass(frozen=True, slots=True)
class Palette:
    """A smooth ramp through the stops."""

    ramp: Floats

    @classmethod
    def of(cls, stops: Stops, *, shift: float = 0.0) -> "Palette":
        """`shift`: rotates every hue, in turns, so that images of the same word differ."""
        colours = np.array([_rgb(stop) for stop in stops])
        turned = _turned(colours, shift)
        at = np.linspace(0, 1, STEPS)
        soft = [np.interp(at, np.linspace(0, 1, len(stops)), channel) for channel in turned.T]
        return cls(np.stack(soft, axis=1).astype(np.float32))

    def __call__(self, tone: Floats) -> Floats:
        """Colours (…, 3) for tones, 0 the darkest and 1 the lightest."""
        index = np.clip(tone * np.float32(STEPS - 1), 0, STEPS - 1).astype(np.int32)
        colours: Floats = self.ramp[index]
        return colours

    def at(self, tone: float) -> Floats:
        """One colour."""
        colour: Floats = self.ramp[round(min(max(tone, 0.0), 1.0) * (STEPS - 1))]
        return colour


def _rgb(stop: str) -> tuple[float, float, float]:
    red, green, blue = (int(stop[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _turned(colours: NDArray[np.float64], turns: float) -> NDArray[np.float64]:
    """Rotates about the grey axis, which nearly preserves the lightness."""
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns) / np.sqrt(3)
    grey = (1 - cos) / 3
    matrix = np.array(
        [
            [cos + grey, grey - sin, grey + sin],
            [grey + sin, cos + grey, grey - sin],
            [grey - sin, grey + sin, cos + grey],
        ]
    )
    turned: NDArray[np.float64] = np.clip(colours @ matrix.T, 0, 1)
    return turned
