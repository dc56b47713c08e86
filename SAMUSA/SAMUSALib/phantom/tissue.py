"""Surroundings: layers of tissue, bright fascia between them, fibres inside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .geometry import Beams
from .spec import PhantomSpec
from .speckle import noise_tile, sample_periodic

_TILE = 256


@dataclass(frozen=True)
class Tissue:
    """(H', W') float32 dB map in tissue coordinates; its first pixel lies at `origin` (x, y)."""

    level: np.ndarray
    origin: tuple[int, int]

    def sample(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Level at tissue positions; beyond the map its border continues."""
        places = np.stack([y - np.float32(self.origin[1]), x - np.float32(self.origin[0])])
        return ndimage.map_coordinates(self.level, places, order=1, mode="nearest")


def make_tissue(
    rng: np.random.Generator, spec: PhantomSpec, beams: Beams, low: np.ndarray, high: np.ndarray
) -> Tissue:
    """The map that covers all positions between `low` and `high`, each (x, y)."""
    first, last = np.floor(low).astype(int), np.ceil(high).astype(int)
    yy, xx = np.mgrid[first[1] : last[1] + 1, first[0] : last[0] + 1].astype(np.float32)
    depth, lateral = _layered(spec, beams, xx, yy)

    thick = beams.outer - beams.inner
    edges = np.sort(rng.uniform(0.05, 0.95, spec.layers - 1)) * thick
    levels = rng.uniform(-14, 3, spec.layers)
    if spec.geometry == "radial" and spec.layers > 1 and rng.random() < 0.6:
        levels[0] = -24  # blood around a catheter
    fibres = rng.uniform(0, 1, spec.layers) ** 2 * spec.fibres
    levels -= 9 * fibres  # muscle is dark between its fibres
    waves = [_wave(rng, lateral, 0.04 * thick) for _ in range(2)]
    mix = rng.uniform(0, 1, spec.layers)

    level = np.full(depth.shape, levels[0], np.float32)
    amount = np.full(depth.shape, fibres[0], np.float32)
    fascia = np.zeros_like(depth)
    gaps = noise_tile(rng, (_TILE, _TILE), (3, 14)).real
    for number, edge in enumerate(edges, start=1):
        above = depth - edge - waves[0] * mix[number] - waves[1] * (1 - mix[number])
        beyond = np.clip(above / 3 + 0.5, 0, 1)
        level += (levels[number] - level) * beyond
        amount += (fibres[number] - amount) * beyond
        strength = spec.fibres * rng.uniform(10, 42)
        here = np.clip(0.7 + 0.7 * gaps[number * 11 % _TILE, _index(lateral)], 0, 1.3)
        fascia = np.maximum(fascia, strength * here * np.exp(-((above / rng.uniform(1, 2.6)) ** 2)))

    along = noise_tile(rng, (_TILE, _TILE), (1.0, rng.uniform(6, 14))).real
    tilt = rng.normal(0, 0.3)
    texture = sample_periodic(along, depth + tilt * lateral + waves[0] * 2, lateral)
    patches = sample_periodic(
        noise_tile(rng, (_TILE, _TILE), (7, 16)).real, depth + waves[1], lateral
    )
    level += 4 * patches + fascia + amount * 28 * np.clip(texture - 0.7, 0, 1.4)
    return Tissue(level.astype(np.float32), (int(first[0]), int(first[1])))


def _layered(spec: PhantomSpec, beams: Beams, x: np.ndarray, y: np.ndarray):
    """Depth below the probe and position along it, so that layers follow the probe's face."""
    dx, dy = x - np.float32(beams.apex[0]), y - np.float32(beams.apex[1])
    if spec.geometry == "linear":
        return dy, dx
    depth = np.hypot(dx, dy) - np.float32(beams.inner)
    if spec.geometry == "sector":
        # compressed near the probe, flat further down
        flat = dy - np.float32(beams.inner)
        share = np.clip(depth / np.float32(0.5 * (beams.outer - beams.inner)), 0, 1)
        return depth + share * (flat - depth), dx
    return depth, np.arctan2(dx, dy) * np.float32(_TILE / (2 * math.pi))


def _index(lateral: np.ndarray) -> np.ndarray:
    return np.floor(lateral).astype(np.int32) % _TILE


def _wave(rng: np.random.Generator, lateral: np.ndarray, height: float) -> np.ndarray:
    """A gentle undulation along the layers, periodic over the tile."""
    turn = np.float32(2 * math.pi / _TILE) * np.arange(_TILE)
    wave = sum(
        rng.normal() / harmonic * np.cos(harmonic * turn + rng.uniform(0, 6.3))
        for harmonic in range(1, 5)
    )
    return (height * wave).astype(np.float32)[_index(lateral)]
