"""Training material: labelled images, sweeps and phantoms as `LabelledClip`s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.manifest import Item, read_manifest
from ..datasets.manifest import sweeps as image_sweeps
from ..phantom import random_spec, simulate
from .samples import LabelledClip


def image_structures(folder: Path, split: str) -> list[LabelledClip]:
    """Every structure of at least 100 px of a manifest's images, a clip of one frame each;
    images are shared, not copied."""
    return [clip for item in read_manifest(folder, split, "image") for clip in _structures(item)]


def sweeps(folder: Path, split: str) -> list[LabelledClip]:
    """The structures of a manifest's clips, and of its groups of images as clips."""
    items = read_manifest(folder, split)
    clips = [item for item in items if item.kind == "clip"] + image_sweeps(items)
    return [clip for item in clips for clip in _structures(item)]


def _structures(item: Item) -> list[LabelledClip]:
    labelled = item.load()
    frames = labelled.frames
    if frames.ndim == 4:
        frames = frames.mean(axis=3).astype(np.uint8)
    return [LabelledClip(frames, mask) for mask in labelled.structures()]


def phantom_clips(count: int, frames: int, seed: int, size: int = 256) -> list[LabelledClip]:
    """Every structure of `count` simulated clips that is visible on at least one frame."""
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        phantom = simulate(random_spec(rng, frames=frames, size=(size, size)))
        for number in range(1, int(phantom.labels.max()) + 1):
            masks = phantom.labels == number
            if masks.sum(axis=(1, 2)).max() >= 100:
                clips.append(LabelledClip(phantom.frames, masks))
    return clips


def mixture(parts: Sequence[tuple[Sequence[LabelledClip], float]]) -> tuple[list, np.ndarray]:
    """Sets with their shares -> all clips and the probability of each."""
    clips, weights = [], []
    for part, share in parts:
        if part:
            clips += list(part)
            weights += [share / len(part)] * len(part)
    probabilities = np.asarray(weights, dtype=np.float64)
    return clips, probabilities / max(probabilities.sum(), 1e-12)
