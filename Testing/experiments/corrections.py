"""A mask that is there is corrected by clicks on the border: how many does it take?

    python Testing/experiments/corrections.py --data SETS

SETS holds the folders of SETS (docs/datasets.md). On every fourth image of the `val` splits each
structure's mask is shifted and grown or shrunk at random, as a tracked mask may be; a simulated
annotator, off by 2 % of the root of the area, clicks where it is worst. Prints the mean Dice
before, and after 1 to 6 clicks (docs/adr/0015-passes.md).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from common import model_and_data

from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.engine.spline import signed_distance
from SAMUSALib.evaluation.annotator import simulate_clicks
from SAMUSALib.evaluation.methods import model_methods
from SAMUSALib.evaluation.metrics import dice

SETS = ("fetal_head", "nerve_vessel", "carotid")
EVERY, CLICKS, INEXACT = 4, 6, 0.02
GROWN, SHIFTED = 0.06, 0.08  # standard deviations, of the root of the area


def main() -> None:
    model, data = model_and_data(__doc__)
    for name in SETS:
        found = np.array(list(corrected(model, data / name)))
        print(name, len(found), *(f"{value:.3f}" for value in found.mean(axis=0)))


def corrected(model, folder: Path):
    """Dice of each structure's wrong mask and after each click."""
    (method,) = model_methods(model, ["boundary"])
    for number, item in enumerate(read_manifest(folder, "val", "image")[::EVERY]):
        labelled = item.load()
        for index, (truth,) in enumerate(labelled.structures()):
            rng = np.random.default_rng([number, index])
            start = wrong(truth, rng)
            if not start.any():
                continue
            segment, frame = method.on_pixels(labelled.aspect), labelled.frames[0]
            clicks = simulate_clicks(segment, frame, truth, "boundary", rng, INEXACT, start)
            yield [dice(truth, start), *(dice(truth, c.mask) for c in islice(clicks, CLICKS))]


def wrong(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool, shifted and grown or shrunk."""
    root = np.sqrt(np.count_nonzero(truth))
    mask = signed_distance(truth) + rng.normal(0, GROWN) * root > 0
    return np.roll(mask, np.round(rng.normal(0, SHIFTED, 2) * root).astype(int), axis=(0, 1))


if __name__ == "__main__":
    main()
