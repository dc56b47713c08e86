"""Annotated image sets: a folder with images, label images and a manifest.json.

manifest.json: {"name": …, "labels": {"1": "nerve", …}, "items": [{"image": "images/a.png",
"mask": "masks/a.png", "split": "val", "group": "patient 7"}, …]}, paths relative to the folder.
A group (patient, sweep) lies in one split only, so that nothing is tested on what it was
trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InvalidValue, UnreadableFile

GREY_MODES = ("1", "L")
COLOUR_MODES = ("RGB", "RGBA", "P", "LA", "YCbCr")
LABEL_MODES = ("1", "L", "P", "I", "I;16")


@dataclass(frozen=True)
class ImageItem:
    """One annotated image of a set. name: its path within the set, unique there."""

    name: str
    image_path: Path
    mask_path: Path
    split: str
    group: str

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) or (H, W, 3) uint8 frame and (H, W) int32 labels, 0 for background.

        Raises UnreadableFile if a file is missing, damaged or of a kind that is not an 8-bit image
        or a label image, InvalidValue if the two differ in size.
        """
        picture = _open(self.image_path)
        if picture.mode in GREY_MODES:
            frame = np.array(picture.convert("L"))
        elif picture.mode in COLOUR_MODES:
            frame = np.array(picture.convert("RGB"))
        else:
            raise UnreadableFile(
                f"{self.image_path} has pixels of kind {picture.mode}; an 8-bit image is needed"
            )
        marked = _open(self.mask_path)
        if marked.mode not in LABEL_MODES:
            raise UnreadableFile(
                f"{self.mask_path} has pixels of kind {marked.mode}; "
                "a label image with one number a pixel is needed"
            )
        labels = np.array(marked).astype(np.int32)
        if labels.shape != frame.shape[:2]:
            raise InvalidValue(
                f"{self.mask_path} is {labels.shape[1]} x {labels.shape[0]} pixels, "
                f"its image {frame.shape[1]} x {frame.shape[0]}; they must be equal"
            )
        return frame, labels


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableFile(f"{path} cannot be read as an image: {error}") from None


def read_manifest(folder: Path | str, split: str | None = None) -> list[ImageItem]:
    """The items of one split (None: of all) of the set in a folder, in the manifest's order.

    Raises UnreadableFile if the folder, its manifest.json or a listed file is missing or the
    manifest is not of the stated form, InvalidValue if the split has no item, an image is listed
    twice or a group lies in two splits.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise UnreadableFile(f"{folder} is not a folder")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        entries = manifest["items"]
        items = [_item(folder, entry) for entry in entries]
    except FileNotFoundError:
        raise UnreadableFile(f"{folder} holds no manifest.json") from None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise UnreadableFile(
            f'{path} is not a manifest: "items" with "image", "mask", "split" and "group" is needed'
        ) from None

    splits: dict[str, str] = {}
    names: set[str] = set()
    for item in items:
        if item.name in names:
            raise InvalidValue(f"{path} lists {item.name} twice")
        names.add(item.name)
        if splits.setdefault(item.group, item.split) != item.split:
            raise InvalidValue(
                f"{path} has group {item.group} in the splits {splits[item.group]} and "
                f"{item.split}; a group belongs into one"
            )
    chosen = [item for item in items if split is None or item.split == split]
    if not chosen:
        known = ", ".join(sorted({item.split for item in items})) or "none"
        raise InvalidValue(f"{path} has no item of split {split!r}; its splits: {known}")
    for item in chosen:
        for file in (item.image_path, item.mask_path):
            if not file.is_file():
                raise UnreadableFile(f"{file} does not exist, but {path} lists it")
    return chosen


def _item(folder: Path, entry: dict) -> ImageItem:
    return ImageItem(
        name=entry["image"],
        image_path=folder / entry["image"],
        mask_path=folder / entry["mask"],
        split=str(entry["split"]),
        group=str(entry["group"]),
    )
