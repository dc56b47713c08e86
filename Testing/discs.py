"""A small annotated set for tests: bright discs on dark, noisy ground."""

import json

import numpy as np
from PIL import Image

from SAMUSALib.training.samples import LabelledClip

SIZE = (90, 120)


def disc_clip(frames=1, radius=18.0) -> LabelledClip:
    """A disc that wanders."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = np.stack(
        [(x - 50 - 2 * t) ** 2 + (y - 45 - t) ** 2 <= radius**2 for t in range(frames)]
    )
    noise = rng.integers(0, 40, (frames, *SIZE))
    return LabelledClip((noise + 180 * masks).astype(np.uint8), masks)


def make_set(folder, count=6):
    """A set of `count` images, the last in split val, the others one group in train."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    items = []
    for index in range(count):
        clip = disc_clip(radius=12.0 + index)
        Image.fromarray(clip.frames[0]).save(folder / f"images/{index}.png")
        Image.fromarray(clip.masks[0].astype(np.uint8)).save(folder / f"masks/{index}.png")
        split, group = ("train", "a") if index < count - 1 else ("val", "b")
        names = {"image": f"images/{index}.png", "mask": f"masks/{index}.png"}
        items.append({**names, "split": split, "group": group})
    (folder / "manifest.json").write_text(json.dumps({"name": "discs", "items": items}))
    return folder
