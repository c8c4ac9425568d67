"""Two scenes: folded silk, and land under a sky. Each band of rows can be painted alone."""

from typing import Final, Protocol

import numpy as np

from gengui_stream.worker.painter.noise import Floats, Noise, smoothstep
from gengui_stream.worker.painter.palettes import Palette


class Scene(Protocol):
    """An image on a plane whose longer side has length 1; `pixel`: the side of one pixel."""

    def paint(self, x: Floats, y: Floats, pixel: float) -> Floats:
        """Colours (rows, columns, 3) within about 0..1. `x` and `y` are a grid of rows by columns."""
        ...


class Silk:
    """Noise distorted by noise twice, lit from the upper left like cloth."""

    def __init__(self, random: np.random.Generator, palette: Palette) -> None:
        self._palette = palette
        self._height = Noise(random, roughness=1.95)
        self._bend = Noise(random, roughness=2.2)
        self._at = random.uniform(0, 1, 8).astype(np.float32)
        self._scale = np.float32(random.uniform(0.32, 0.55))
        self._fold = np.float32(random.uniform(0.16, 0.3))
        self._veins = np.float32(random.uniform(2.2, 4.2))

    def paint(self, x: Floats, y: Floats, pixel: float) -> Floats:
        height, bend, far = self._folded(x * self._scale, y * self._scale)
        light = self._light(height, pixel)
        veins = np.abs(np.sin((height + far * np.float32(0.6)) * self._veins))
        tone = np.float32(0.46) + height * np.float32(0.42) + bend * np.float32(0.3) - veins * np.float32(0.1)
        colours = self._palette(tone)
        colours *= (np.float32(0.58) + np.float32(0.62) * light)[..., None]
        gleam = np.maximum(light - np.float32(0.72), 0) ** 2 * np.float32(3.2)
        colours += gleam[..., None] * self._palette.at(0.96)
        return colours

    def _folded(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
        at, fold = self._at, self._fold
        qx, qy = self._bend(x + at[0], y + at[1]), self._bend(x + at[2], y + at[3])
        rx = self._bend(x + fold * qx + at[4], y + fold * qy + at[5])
        height = self._height(x + fold * rx + at[6], y + fold * (qy - rx) + at[7])
        return height, qx, rx

    @staticmethod
    def _light(height: Floats, pixel: float) -> Floats:
        """0 in the shadow of the folds, 1 where they face the light."""
        slope_y, slope_x = np.gradient(height, pixel)
        steep = np.float32(0.16)
        x, y = slope_x * steep, slope_y * steep
        facing = (np.float32(0.62) + np.float32(0.55) * (x + y)) / np.sqrt(1 + x * x + y * y)
        lit: Floats = np.clip(facing, 0, 1).astype(np.float32)
        return lit


RIDGES: Final = 5


class Land:
    """Ridges in haze before a sky with a sun or a moon; with `water`, which reflects the sky."""

    def __init__(self, random: np.random.Generator, palette: Palette, *, water: bool, night: bool) -> None:
        self._palette, self._water, self._night = palette, water, night
        self._clouds = Noise(random, roughness=1.7)
        self._outline = Noise(random, roughness=1.45)
        self._at = random.uniform(0, 1, 8).astype(np.float32)
        self._horizon = np.float32(random.uniform(0.5, 0.58) if water else random.uniform(0.4, 0.5))
        self._sun = (random.uniform(0.24, 0.76), float(self._horizon) - random.uniform(0.1, 0.28))
        self._radius = np.float32(random.uniform(0.03, 0.055))
        self._stars = random.uniform(0, 1, (220, 3)).astype(np.float32)

    def paint(self, x: Floats, y: Floats, pixel: float) -> Floats:
        colours = self._sky(x, self._mirrored(x, y) if self._water else y, pixel)
        if self._water:
            return self._sea(colours, y, pixel, x)
        for ridge in range(RIDGES):
            colours = self._with_ridge(colours, x, y, pixel, ridge)
        return colours

    def _sky(self, x: Floats, y: Floats, pixel: float) -> Floats:
        down = np.clip(y / self._horizon, 0, 1.2)
        tone = (np.float32(0.08) if self._night else np.float32(0.24)) + down * np.float32(0.5)
        away = np.hypot(x - np.float32(self._sun[0]), y - np.float32(self._sun[1]))
        glow = np.exp(-away * np.float32(5.5))
        clouds = self._cloud(x, y) * (np.float32(0.35) + np.float32(0.65) * down)
        tone += glow * np.float32(0.2 if self._night else 0.34) + clouds * (np.float32(0.1) + glow * np.float32(0.3))
        colours = self._palette(tone)
        disc = smoothstep(0, 1, (self._radius - away) / np.float32(2 * pixel) + np.float32(0.5))
        halo = np.exp(-np.maximum(away - self._radius, 0) * np.float32(26)) * np.float32(0.45)
        colours += (np.maximum(disc, halo) * (1 - clouds * np.float32(0.55)))[..., None] * (
            self._palette.at(1.0) - colours
        )
        return colours + self._starlight(x, y, pixel, clouds)[..., None] if self._night else colours

    def _cloud(self, x: Floats, y: Floats) -> Floats:
        at = self._at
        drift = self._clouds(x * np.float32(0.4) + at[0], y * np.float32(0.9) + at[1])
        veil = self._clouds(
            x * np.float32(0.55) + drift * np.float32(0.14) + at[2],
            y * np.float32(1.9) + drift * np.float32(0.2) + at[3],
        )
        return smoothstep(-0.05, 0.75, veil)

    def _starlight(self, x: Floats, y: Floats, pixel: float, clouds: Floats) -> Floats:
        """A few hundred points, each painted only into the pixels around it."""
        light = np.zeros_like(x)
        columns, rows = x[0], y[:, 0]
        for star_x, star_y, bright in self._stars:
            reach = np.float32(max(1.4 * pixel, 0.0011) * (0.6 + float(bright) ** 4 * 1.6))
            line = np.flatnonzero(np.abs(rows - star_y * self._horizon) < 3 * reach)
            column = slice(*np.searchsorted(columns, (star_x - 3 * reach, star_x + 3 * reach)))
            if line.size and column.start < column.stop:
                spot = np.ix_(line, np.arange(column.start, column.stop))
                away = (x[spot] - star_x) ** 2 + (y[spot] - star_y * self._horizon) ** 2
                light[spot] += np.exp(-away / (reach * reach)) * (np.float32(0.25) + np.float32(0.75) * bright)
        return light * (1 - clouds)

    def _mirrored(self, x: Floats, y: Floats) -> Floats:
        """Rows under the horizon reflect the sky above it, distorted by ripples that grow towards the viewer."""
        depth = np.maximum(y - self._horizon, 0)
        across = depth + np.float32(0.05)
        ripple = self._outline(x / (across * 14) + self._at[4], np.log(across) * np.float32(0.9) + self._at[5])
        seen = self._horizon - depth * np.float32(0.95) + ripple * (np.float32(0.02) + depth * np.float32(0.32))
        return np.where(depth > 0, np.clip(seen, 0, self._horizon), y).astype(np.float32)

    def _sea(self, colours: Floats, y: Floats, pixel: float, x: Floats) -> Floats:
        depth = y - self._horizon
        under = np.clip(depth / np.float32(2 * pixel) + np.float32(0.5), 0, 1)
        deep = (np.float32(0.16) + smoothstep(0, 0.55, depth) * np.float32(0.5)) * under
        colours += deep[..., None] * (self._palette.at(0.1) - colours)
        far = self._ridge_line(x, np.float32(0.9), self._at[6])
        hills = self._horizon - np.maximum(far * np.float32(0.16) - np.float32(0.012), np.float32(-0.02))
        land = np.clip((y - hills) / np.float32(2 * pixel) + np.float32(0.5), 0, 1) * (1 - under)
        colours += land[..., None] * (self._palette.at(0.3) - colours) * np.float32(0.9)
        return colours

    def _with_ridge(self, colours: Floats, x: Floats, y: Floats, pixel: float, ridge: int) -> Floats:
        near = (ridge + 1) / RIDGES
        line = self._ridge_line(x, np.float32(0.35 + 0.5 * near), self._at[6] + np.float32(0.37 * ridge))
        top = self._horizon + np.float32(0.5 * near**1.25 - 0.07) - line * np.float32(0.1 + 0.13 * near)
        inside = np.clip((y - top) / np.float32(1.6 * pixel) + np.float32(0.5), 0, 1)
        mist = np.exp(-np.maximum(y - top, 0) * np.float32(9 - 3 * near)) * np.float32(0.16 * near)
        tone = np.float32(0.6 * (1 - near) ** 1.15 + (0.02 if self._night else 0.07)) - mist
        tone += smoothstep(0.0, 0.3, y - top) * np.float32(0.16 * (1 - near) + 0.03)
        return colours + inside[..., None] * (self._palette(tone) - colours)

    def _ridge_line(self, x: Floats, stretch: np.float32, at: np.float32) -> Floats:
        """The outline of a ridge, one value per column."""
        column = x[:1] * stretch + at
        return self._outline(column, np.full_like(column, at * np.float32(1.7)))
