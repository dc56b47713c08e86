"""Import two folders: images, and masks whose names tell to which image they belong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InvalidValue
from ..io.frames import is_grey
from ..io.image_folder import SUFFIXES, image_labels, image_pages
from ..io.read_clip import read_clip
from .labels import MOST_LABELS
from .pairs import match_files
from .splits import SplitRule
from .write_set import About, new_set


def import_folders(
    images: Path,
    masks: Path,
    out: Path,
    about: About,
    rule: SplitRule,
    suffix: str = "",
    threshold: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the set `out` from images and masks in two folders (or one) and the folders in them.

    A mask has its image's name (without ending) plus `suffix`, such as "_mask", at the same place
    in its folder. Masks are label images; one with no other values than 0 and 255 is one label, 1.
    threshold: masks are drawings, label 1 wherever they are brighter. rule sees the image's path
    in its folder. Returns notes on what was left out. Raises UnreadableFile, InvalidValue and
    CannotWrite; then nothing is written.
    """
    pairs, notes = match_files(images, masks, suffix, SUFFIXES)
    with new_set(out, about) as writer:
        places = rule.assign([name for name, _, _ in pairs])
        for done, ((name, image, mask), (split, group)) in enumerate(
            zip(pairs, places, strict=True), start=1
        ):
            frame = read_clip(image).frames[0]
            labels = read_mask(mask, threshold)
            if labels.shape != frame.shape[:2]:
                raise InvalidValue(
                    f"{mask} is {labels.shape[1]} x {labels.shape[0]} pixels, "
                    f"its image {frame.shape[1]} x {frame.shape[0]}; they must be equal"
                )
            writer.add_image(str(Path(name).with_suffix("")), frame, [labels], split, group)
            progress(done, len(pairs))
    return notes


def read_mask(path: Path, threshold: int | None = None) -> np.ndarray:
    """(H, W) labels of a mask, see `import_folders`. Raises UnreadableFile, InvalidValue."""
    labels = image_labels(path)
    if threshold is not None:
        return (labels > threshold).astype(np.uint8)
    values = np.unique(labels)
    if set(values.tolist()) <= {0, 255}:
        return (labels > 0).astype(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer) or len(values) > MOST_LABELS or values[0] < 0:
        raise InvalidValue(
            f"{path} holds {len(values)} shades, so it is no label image; "
            "give a threshold if it is a drawing"
        )
    if _is_coloured(path):
        raise InvalidValue(
            f"{path} tells its labels by colour; save it as a label image, one number a pixel, "
            "or give a threshold"
        )
    return labels


def _is_coloured(path: Path) -> bool:
    """True for an image with colours of its own; the numbers of a palette are labels."""
    with Image.open(path) as picture:
        if picture.mode == "P":
            return False
    pixels = next(iter(image_pages(path)))
    return pixels.ndim == 3 and not is_grey(pixels)
