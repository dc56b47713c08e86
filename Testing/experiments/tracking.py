"""Tracking from five clicks on one frame, without a correction.

    python Testing/experiments/tracking.py --data SETS

SETS holds the folders `carotid` and `prostate_3d`. Judged on simulated clips, on the held-out
carotid sweeps from their first frame, and on prostate volumes from their middle slice to the last.
Prints the mean Dice of each structure over the frames that show it, and the means of the sets
(docs/adr/0017-appearance.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from common import model_and_data

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.manifest import read_manifest, sweeps
from SAMUSALib.engine.models import Model
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.segmentation import FrameSegmenter
from SAMUSALib.evaluation.annotator import simulate_clicks
from SAMUSALib.evaluation.metrics import dice
from SAMUSALib.evaluation.phantoms import phantom_items
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window

CLICKS = 5
SMALLEST = 100  # pixels of a structure on a frame that shows it

Structures = Iterator[tuple[str, np.ndarray, np.ndarray]]  # name, frames, truth


def main() -> None:
    model, data = model_and_data(__doc__)
    held_out = sweeps(read_manifest(data / "carotid", "val", "image"))
    sets = {
        "simulated": of_items([*phantom_items(6, 321), *phantom_items(6, 400)]),
        "carotid": of_items(held_out),
        "prostate": prostates(data / "prostate_3d"),
    }
    for name, structures in sets.items():
        found = []
        for structure, frames, truth in structures:
            mean = tracked(model, frames, truth)
            if mean is not None:
                found.append(mean)
                print(f"  {structure} {mean:.3f}", flush=True)
        print(f"{name} ({len(found)}): {np.mean(found):.3f}", flush=True)


def of_items(items) -> Structures:
    for item in items:
        labelled = item.load()
        for number, truth in enumerate(labelled.structures()):
            yield f"{item.name} {number}", np.asarray(labelled.frames), np.asarray(truth)


def prostates(folder: Path) -> Structures:
    for path in sorted((folder / "images").glob("*.nii.gz")):
        frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / path.name)))
        truth = (labels[0] if labels.ndim == 4 else labels) > 0
        shown = np.flatnonzero(truth.sum(axis=(1, 2)) > SMALLEST)
        part = slice(shown[len(shown) // 2], shown[-1] + 1)
        yield path.name, np.clip(frames[part], 0, 255).astype(np.uint8), truth[part]


def tracked(model: Model, frames: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean Dice over the frames; None for a structure on fewer than four."""
    shown = np.flatnonzero(truth.sum(axis=(1, 2)) >= SMALLEST)
    if len(shown) < 4:
        return None
    first, last = int(shown[0]), int(shown[-1])
    clicks = simulate_clicks(
        FrameSegmenter(model).segment,
        frames[first],
        truth[first],
        "boundary",
        np.random.default_rng(0),
    )
    (made,) = islice(clicks, CLICKS - 1, CLICKS)
    prompts = FramePrompts(boundary=made.prompts.boundary)
    segment = SegmentPrompts("structure", {first: prompts}, (Window(first, last),))
    clip = Clip(frames, Geometry.for_cine(*frames.shape[:3]))
    found = [
        dice(truth[result.frame], result.mask)
        for result in propagate(model, clip, [segment])
        if truth[result.frame].any()
    ]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
