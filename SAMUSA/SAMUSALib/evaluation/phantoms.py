"""Simulated clips as items of a set, so that everyone can run the clip protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.manifest import Labelled
from ..phantom import random_spec, simulate


@dataclass(frozen=True)
class PhantomItem:
    """The simulated clip of a seed; a group of its own."""

    seed: int
    frames: int = 24
    size: int = 256

    kind = "clip"
    split = "val"

    @property
    def name(self) -> str:
        return f"phantom-{self.seed}"

    @property
    def group(self) -> str:
        return self.name

    def load(self) -> Labelled:
        """Always the same frames and labels."""
        rng = np.random.default_rng(self.seed)
        phantom = simulate(random_spec(rng, self.frames, (self.size, self.size)))
        names = {n: s.kind for n, s in enumerate(phantom.spec.structures, start=1)}
        return Labelled(phantom.frames, phantom.labels[None], names)


def phantom_items(count: int, seed: int = 0, frames: int = 24) -> list[PhantomItem]:
    """`count` clips of the seeds from `seed` on."""
    return [PhantomItem(number, frames) for number in range(seed, seed + count)]
