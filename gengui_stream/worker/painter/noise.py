"""Smooth fractal noise, computed once as a texture and sampled at any point."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

TEXELS: Final = 512


class Noise:
    """Noise over the plane that repeats every unit; mean 0, nearly all values within -1..1.

    Spectral synthesis: random phases whose strength falls with frequency by `roughness` (larger is smoother).
    Frequencies near a texel's are taken out, so that sampling between texels shows no grid, lit or not.
    """

    def __init__(self, random: np.random.Generator, *, roughness: float = 1.8) -> None:
        white = np.fft.rfft2(random.standard_normal((TEXELS, TEXELS)))
        frequency = np.hypot(np.fft.fftfreq(TEXELS)[:, None], np.fft.rfftfreq(TEXELS)[None, :]) * TEXELS
        frequency[0, 0] = np.inf
        strength = frequency**-roughness * np.exp(-((frequency / (TEXELS / 5)) ** 2))
        texture = np.fft.irfft2(white * strength, s=(TEXELS, TEXELS))
        texture /= texture.std() * 2.5
        wrapped = np.pad(texture, (0, 1), mode="wrap").astype(np.float32)
        self._row = TEXELS + 1
        self._texture = wrapped.ravel()

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """The noise at those points: bilinear between texels."""
        column, across = _split(x)
        line, down = _split(y)
        texel = line * self._row + column
        texture, row = self._texture, self._row
        upper: Floats = texture[texel]
        upper += (texture[texel + 1] - upper) * across
        texel += row
        lower: Floats = texture[texel]
        lower += (texture[texel + 1] - lower) * across
        lower -= upper
        lower *= down
        lower += upper
        return lower


def _split(position: Floats) -> tuple[NDArray[np.int32], Floats]:
    """The texel before each point, and the distance of the point from it."""
    scaled = position * np.float32(TEXELS)
    whole = np.floor(scaled)
    return whole.astype(np.int32) & (TEXELS - 1), scaled - whole


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between them."""
    t: Floats = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    soft: Floats = t * t * (np.float32(3) - 2 * t)
    return soft
