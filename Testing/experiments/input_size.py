"""What the side of the network's input costs and brings: the same weights at several sizes.

    python Testing/experiments/input_size.py --data DIR --out table.md

Dice of exact boundary clicks on every EVERY-th image of the `val` splits of the sets in DIR, and
the time of a click on a frame of 1024 x 768 pixels: the first on a frame, and further ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

SIZES = (128, 192, 256, 320)
COUNTS = ("2", "3", "5", "10")
SETS = ("fetal_head", "nerve_vessel", "carotid")
EVERY = 8
TIMED = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", default="samusa-small", help="name or checkpoint file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    args = parser.parse_args()

    import torch

    from SAMUSALib.engine.models import load_model
    from SAMUSALib.engine.registry import find_model

    torch.set_num_threads(args.threads)
    file = find_model(args.model).path
    lines = [
        "| input | " + " | ".join(f"{c} clicks" for c in COUNTS) + " | first click | next click |",
        "|" + "---|" * (len(COUNTS) + 3),
    ]
    for size in SIZES:
        model = load_model(file, "cpu", image_size=size)
        found = dice(model, args.data)
        first, following = click_times(model)
        cells = [*(f"{value:.3f}" for value in found), f"{first:.0f} ms", f"{following:.0f} ms"]
        lines.append(f"| {size} x {size} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def dice(model, data: Path) -> np.ndarray:
    """Mean Dice at COUNTS, each set counting the same."""
    from SAMUSALib.datasets.manifest import read_manifest
    from SAMUSALib.evaluation.images import ImageProtocol, evaluate_images
    from SAMUSALib.evaluation.methods import model_methods
    from SAMUSALib.evaluation.statistics import summarise

    means = []
    for name in SETS:
        items = read_manifest(data / name, "val")[::EVERY]
        rows = evaluate_images(items, model_methods(model, ["boundary"]), ImageProtocol(10))
        found = summarise(rows)["dice"]["boundary"]
        means.append([found[count] for count in COUNTS])
    return np.mean(means, axis=0)


def click_times(model) -> tuple[float, float]:
    """Medians, milliseconds: five clicks on a new frame, and on one that is encoded."""
    from SAMUSALib.engine.segmentation import FrameSegmenter
    from SAMUSALib.prompts import FramePrompts

    frame = np.random.default_rng(0).integers(0, 255, (768, 1024)).astype(np.uint8)
    angles = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    clicks = np.column_stack([500 + 150 * np.cos(angles), 400 + 110 * np.sin(angles)])
    segmenter, times = FrameSegmenter(model), {"first": [], "next": []}
    for number in range(TIMED):
        for kind in times:
            started = time.perf_counter()
            segmenter.segment(frame, FramePrompts(boundary=clicks), key=number)
            times[kind].append(1000 * (time.perf_counter() - started))
    return median(times["first"]), median(times["next"])


if __name__ == "__main__":
    sys.exit(main())
