"""Structures: exact contours, their course in time, and the texture inside them.

A contour is an ellipse (bent on request) whose radius varies with the angle by a few harmonics.
`Shape.measure` returns q, the distance from the centre as a share of the contour's radius in that
direction: the mask is exactly q <= 1, whatever the speckle looks like.
"""

from __future__ import annotations

import math

import numpy as np

from .spec import Structure
from .speckle import noise_tile, sample_periodic

_TABLE = 360
_INTERIOR = 64
_HARMONICS = np.arange(2, 8)


class Shape:
    """One structure through time. All positions are tissue coordinates in px."""

    def __init__(self, rng: np.random.Generator, structure: Structure) -> None:
        self.structure = structure
        self.base = 0.0  # level of the tissue around, dB
        self._phases = rng.uniform(0, 2 * math.pi, len(_HARMONICS))
        strength = rng.uniform(0.3, 1, len(_HARMONICS)) / (_HARMONICS - 1)
        self._strength = 0.45 * structure.irregularity * strength / strength.sum() * 1.6
        self._sway = rng.uniform(0, 2 * math.pi, len(_HARMONICS) + 3)
        self._angles = np.linspace(0, 2 * math.pi, _TABLE + 1)
        self.softness = _around(rng, structure.vagueness)
        self.wall = 1 - _around(rng, structure.dropout)
        self.interior = _interior(rng, structure.kind)
        turn = math.radians(structure.angle_deg)
        self._cos, self._sin = math.cos(turn), math.sin(turn)

    def scale(self, frame: int) -> float:
        """Size of the cross-section in the imaging plane: 0 not cut .. 1 full.

        A structure that passes through the plane is cut like an ellipsoid.
        """
        windows = self.structure.visible
        if not windows:
            return 1.0
        for start, end in windows:
            if start <= frame <= end:
                step = min(frame - start, end - frame) + 1
                share = min(1.0, step / (self.structure.growth + 1))
                return math.sqrt(1 - (1 - share) ** 2)
        return 0.0

    def pulse(self, frame: float) -> float:
        """Factor of the size by pulsation: a quick rise and a slow fall in each period."""
        phase = 2 * math.pi * frame / self.structure.pulse_period + self._sway[-1]
        return 1 + self.structure.pulse * 0.5 * (math.sin(phase) + 0.3 * math.sin(2 * phase))

    def sway(self, frame: float) -> tuple[float, float]:
        """Slow to and fro relative to the tissue, (x, y) px."""
        wobble, (one, two) = self.structure.wobble, self._sway[-3:-1]
        return (
            wobble * (math.sin(0.21 * frame + one) - math.sin(one)),
            wobble * (math.sin(0.16 * frame + two) - math.sin(two)),
        )

    def shift(self, frame: float) -> tuple[float, float]:
        """Own motion since frame 0, (x, y) px."""
        sway, velocity = self.sway(frame), self.structure.velocity
        return sway[0] + velocity[0] * frame, sway[1] + velocity[1] * frame

    def centre(self, frame: float) -> tuple[float, float]:
        shift = self.shift(frame)
        return self.structure.centre[0] + shift[0], self.structure.centre[1] + shift[1]

    def reach(self, frame: int) -> float:
        """Radius of a circle around the centre that holds the whole contour."""
        bent = 1 + abs(self.structure.bend)
        widest = max(self.structure.axes) * (1 + float(self._strength.sum())) * bent
        return widest * self.scale(frame) * self.pulse(frame)

    def surroundings(self) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of points just outside the full-size contour in frame 0."""
        around = 1.25 * self._radius(0) * np.exp(1j * self._angles)
        along, across = self.structure.axes
        u, v = around.real * along, around.imag * across
        x = self.structure.centre[0] + u * self._cos - v * self._sin
        y = self.structure.centre[1] + u * self._sin + v * self._cos
        return x, y

    def _radius(self, frame: int) -> np.ndarray:
        """Contour radius as a share of the ellipse's, at the table's angles."""
        strength = self._strength * (1 + 0.3 * np.sin(0.12 * frame + self._sway[:-3]))
        waves = np.cos(np.outer(self._angles, _HARMONICS) + self._phases)
        return np.maximum(1 + waves @ strength, 0.2)

    def measure(self, x: np.ndarray, y: np.ndarray, frame: int):
        """q, angle, u, v of points: q <= 1 is inside; (u, v) are positions in units of the axes.

        Requires scale(frame) > 0.
        """
        centre, size = self.centre(frame), self.scale(frame) * self.pulse(frame)
        dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
        along, across = self.structure.axes
        u = (dx * self._cos + dy * self._sin) / (along * size)
        v = (dy * self._cos - dx * self._sin) / (across * size)
        if self.structure.bend:
            # a crescent: the middle line is a parabola through the centre of mass
            v = v - self.structure.bend * (u * u - 0.25) * along / across * 0.8
        angle = np.arctan2(v, u) % np.float32(2 * math.pi)
        q = np.hypot(u, v) / np.interp(angle, self._angles, self._radius(frame))
        return q.astype(np.float32), angle, u, v

    def around(self, table: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """A quantity that varies along the border, at the given angles."""
        return np.interp(angle, self._angles, table).astype(np.float32)

    def texture(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Interior texture in dB."""
        share = np.float32(_INTERIOR / 2.4)
        return sample_periodic(self.interior, (v + 1.2) * share, (u + 1.2) * share)

    def slope(self, u: np.ndarray, v: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """|cosine| between the border's normal and the direction (dx, dy)."""
        along, across = self.structure.axes
        nu, nv = u / along, v / across
        du, dv = dx * self._cos + dy * self._sin, dy * self._cos - dx * self._sin
        return np.abs(nu * du + nv * dv) / (np.hypot(nu, nv) + 1e-6)


def _around(rng: np.random.Generator, share: float) -> np.ndarray:
    """A smooth 0..1 pattern around the border that is high on about `share` of it."""
    angles = np.linspace(0, 2 * math.pi, _TABLE + 1)
    wave = np.zeros_like(angles)
    for harmonic in range(1, 6):
        wave += rng.normal() / harmonic**0.7 * np.cos(harmonic * angles + rng.uniform(0, 6.3))
    threshold = np.quantile(wave, 1 - share)
    soft = 0.15 * (wave.max() - wave.min())
    return np.clip((wave - threshold) / soft + 0.5, 0, 1) if share > 0 else np.zeros_like(angles)


def _interior(rng: np.random.Generator, kind: str) -> np.ndarray:
    """(64, 64) float32 dB over u, v in [-1.2, 1.2]."""
    blobs = noise_tile(rng, (_INTERIOR, _INTERIOR), (4, 4)).real * np.float32(1.4)
    axis = np.linspace(-1.2, 1.2, _INTERIOR, endpoint=False, dtype=np.float32)
    u, v = axis[None, :], axis[:, None]
    if kind == "nerve":
        # fascicles: dark cells between bright septa
        cells = int(rng.integers(9, 22))
        spots = rng.uniform(-1, 1, (cells, 2)).astype(np.float32)
        away = np.sort(np.hypot(u[..., None] - spots[:, 0], v[..., None] - spots[:, 1]), axis=-1)
        edge = (away[..., 1] - away[..., 0]) * math.sqrt(cells)
        return (15 * np.exp(-((edge / 0.35) ** 2)) - 8 + blobs).astype(np.float32)
    if kind == "ring":
        fine = noise_tile(rng, (_INTERIOR, _INTERIOR), (1, 2)).real
        middle = np.exp(-((v / 0.05) ** 2)) * np.clip(1 + 1.5 * blobs, 0, 2) * (np.abs(u) < 0.8)
        return (4 * blobs + 6 * np.clip(fine - 1, 0, 3) + 7 * middle).astype(np.float32)
    return (blobs * rng.uniform(0.5, 2.2)).astype(np.float32)
