"""Training material: labelled images, sweeps and phantoms as `LabelledClip`s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..evaluation.datasets import ImageItem, read_manifest
from ..phantom import random_spec, simulate
from .clicks import connected_structures
from .samples import LabelledClip


def image_structures(folder: Path, split: str) -> list[LabelledClip]:
    """Every connected structure of at least 100 px of a manifest's images, a clip of one frame
    each; images are shared, not copied."""
    return [clip for item in read_manifest(folder, split) for clip in _structures(item)]


def _structures(item: ImageItem) -> list[LabelledClip]:
    frame, labels = item.load()
    if frame.ndim == 3:
        frame = frame.mean(axis=2).astype(np.uint8)
    return [LabelledClip(frame[None], mask[None]) for mask in connected_structures(labels)]


def sweeps(folder: Path, split: str) -> list[LabelledClip]:
    """The images of each group of a manifest, in name order, as one clip; only groups of at least
    4 images of one size, and the largest structure of each image."""
    groups: dict[str, list[ImageItem]] = defaultdict(list)
    for item in read_manifest(folder, split):
        groups[item.group].append(item)
    clips = []
    for items in groups.values():
        loaded = [item.load() for item in sorted(items, key=lambda i: i.image_path.name)]
        if len(loaded) < 4 or len({frame.shape for frame, _ in loaded}) > 1:
            continue
        frames = np.stack(
            [f if f.ndim == 2 else f.mean(axis=2).astype(np.uint8) for f, _ in loaded]
        )
        masks = np.stack([_largest(labels) for _, labels in loaded])
        clips.append(LabelledClip(frames, masks))
    return clips


def _largest(labels: np.ndarray) -> np.ndarray:
    structures = connected_structures(labels)
    if not structures:
        return np.zeros(labels.shape, dtype=bool)
    return max(structures, key=np.count_nonzero)


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
