"""Annotated sets: a folder with images or clips, their labels and a manifest.json.

manifest.json: {"name": …, "labels": {"1": "nerve", …}, "licence": …, "source": …, "items": [
{"image": "images/a.png", "mask": "masks/a.png", "split": "val", "group": "patient 7"},
{"clip": "clips/b.seq.nrrd", "mask": "clips/b.seg.nrrd", "split": "val", "group": "patient 8"}]},
paths relative to the folder. A group (patient, sweep) lies in one split only, so that nothing is
tested on what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..clip import AXIS_NAMES, Clip, Geometry
from ..errors import InvalidValue, UnreadableFile
from ..io.image_folder import natural_key
from ..io.json_file import read_json
from ..io.read_clip import read_clip
from .labels import clip_labels
from .structures import MIN_AREA, connected_structures

KINDS = ("image", "clip")
GREY_MODES = ("1", "L")
COLOUR_MODES = ("RGB", "RGBA", "P", "LA", "YCbCr")
LABEL_MODES = ("1", "L", "P", "I", "I;16")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Frames with their labels; one frame for an image.

    frames: (T, H, W) or (T, H, W, 3) uint8. layers: (L, T, H, W) integers, 0 for background; L > 1
    where structures overlap. names: label value -> name, may be empty. aspect: height of a pixel
    over its width.
    """

    frames: np.ndarray
    layers: np.ndarray
    names: dict[int, str]
    aspect: float = 1.0

    def structures(self, min_area: int = MIN_AREA) -> list[np.ndarray]:
        """(T, H, W) bool each.

        T = 1: the `connected_structures` of every layer, in this order. T > 1: every label value
        of every layer that has at least min_area pixels on some frame.
        """
        if len(self.frames) == 1:
            return [
                mask[None]
                for layer in self.layers
                for mask in connected_structures(layer[0], min_area)
            ]
        masks = [layer == value for layer in self.layers for value in np.unique(layer) if value > 0]
        return [mask for mask in masks if np.count_nonzero(mask, axis=(1, 2)).max() >= min_area]


@dataclass(frozen=True)
class Item:
    """One annotated image or clip of a set.

    name: the path of its image or clip within the set, unique there. kind: "image" or "clip".
    frames: files of the frames; one for an image, a video, a volume or a folder. masks: files of
    the labels: of an image one a layer, of a clip one a frame, or a single file or folder.
    labels: label value -> name, as the set states it. axis: the voxel axis that a volume is cut
    along, None for the last. parts: the images that a sweep consists of.
    """

    name: str
    kind: str
    split: str
    group: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    labels: dict[int, str] = field(default_factory=dict, compare=False)
    axis: int | None = None
    parts: tuple[Item, ...] = ()

    def load(self) -> Labelled:
        """Frames and labels.

        Raises UnreadableFile if a file is missing, damaged or of a kind that is not an 8-bit image
        or a label image, InvalidValue if frames and labels differ in size, number or place.
        """
        if self.parts:
            return _join([part.load() for part in self.parts], self.name)
        if self.kind == "image":
            frame = _frame(self.frames[0])
            layers = [_labels(mask, frame.shape[:2]) for mask in self.masks]
            return Labelled(frame[None], np.stack(layers)[:, None], dict(self.labels))
        clip = self._clip()
        masks = self.masks[0] if _alone(self.masks) else self.masks
        layers, names = clip_labels(masks, clip, self.labels)
        return Labelled(clip.frames, layers, names, clip.geometry.pixel_aspect)

    def _clip(self) -> Clip:
        if _alone(self.frames):
            return read_clip(self.frames[0], self.axis)
        frames = _stack([_frame(file) for file in self.frames], self.name)
        return Clip(frames, Geometry.for_cine(*frames.shape[:3]), self.name)


def _alone(files: tuple[Path, ...]) -> bool:
    """True if a clip's frames (or labels) are one folder or one file that holds them all."""
    return len(files) == 1


def _frame(path: Path) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8."""
    picture = _open(path)
    if picture.mode in GREY_MODES:
        return np.array(picture.convert("L"))
    if picture.mode in COLOUR_MODES:
        return np.array(picture.convert("RGB"))
    raise UnreadableFile(f"{path} has pixels of kind {picture.mode}; an 8-bit image is needed")


def _labels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) int32 of a label image, which must be of that size."""
    picture = _open(path)
    if picture.mode not in LABEL_MODES:
        raise UnreadableFile(
            f"{path} has pixels of kind {picture.mode}; "
            "a label image with one number a pixel is needed"
        )
    labels = np.array(picture).astype(np.int32)
    if labels.shape != size:
        raise InvalidValue(
            f"{path} is {labels.shape[1]} x {labels.shape[0]} pixels, "
            f"its image {size[1]} x {size[0]}; they must be equal"
        )
    return labels


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableFile(f"{path} cannot be read as an image: {error}") from None


def _stack(frames: list[np.ndarray], name: str) -> np.ndarray:
    """Frames of one size -> (T, H, W), or (T, H, W, 3) if one of them has colours."""
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        (h, w), (h2, w2) = sorted(sizes)[:2]
        raise InvalidValue(
            f"{name} has frames of {w} x {h} and of {w2} x {h2} pixels; one size is needed"
        )
    if any(frame.ndim == 3 for frame in frames):
        frames = [f if f.ndim == 3 else np.repeat(f[..., None], 3, axis=2) for f in frames]
    return np.stack(frames)


def _join(parts: Sequence[Labelled], name: str) -> Labelled:
    """Images as the frames of one clip."""
    frames = _stack([part.frames[0] for part in parts], name)
    layers = np.zeros((max(len(part.layers) for part in parts), *frames.shape[:3]), np.int32)
    for t, part in enumerate(parts):
        layers[: len(part.layers), t] = part.layers[:, 0]
    return Labelled(frames, layers, parts[0].names, parts[0].aspect)


@dataclass(frozen=True)
class Manifest:
    """What a manifest.json says, of whatever split. labels: label value -> name."""

    name: str
    labels: dict[int, str]
    licence: str
    source: str
    items: list[Item]


def parse_manifest(folder: Path | str) -> Manifest:
    """The manifest of the set in a folder, before any check of what it lists.

    Raises UnreadableFile if the folder or its manifest.json is missing or is not of the stated
    form.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise UnreadableFile(f"{folder} is not a folder")
    if not path.exists():
        raise UnreadableFile(f"{folder} holds no manifest.json; `samusa data import` makes sets")
    try:
        manifest = read_json(path)
        labels = _label_names(manifest.get("labels", {}))
        items = [_item(folder, entry, labels) for entry in manifest["items"]]
    except (KeyError, TypeError, AttributeError, IndexError):
        raise UnreadableFile(
            f'{path} is not a manifest: "items" with "image" or "clip", "mask", "split" and '
            '"group" is needed'
        ) from None
    except ValueError as error:
        raise UnreadableFile(f"{path} is not a manifest: {error}") from None
    texts = (str(manifest.get(key, "")) for key in ("licence", "source"))
    return Manifest(str(manifest.get("name", folder.name)), labels, *texts, items)


def read_manifest(
    folder: Path | str, split: str | None = None, kind: str | None = None
) -> list[Item]:
    """The items of one split and kind (None: of all) of the set in a folder, in the manifest's
    order.

    Raises UnreadableFile if the folder, its manifest.json or a listed file is missing or the
    manifest is not of the stated form, InvalidValue if there is no such item, one is listed twice
    or a group lies in two splits.
    """
    path = Path(folder) / "manifest.json"
    items = parse_manifest(folder).items
    if kind is not None and kind not in KINDS:
        raise InvalidValue(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    for problem in listing_problems(items):
        raise InvalidValue(f"{path} {problem}")
    chosen = [item for item in items if split is None or item.split == split]
    if not chosen:
        known = ", ".join(sorted({item.split for item in items})) or "none"
        raise InvalidValue(f"{path} has no item of split {split!r}; its splits: {known}")
    chosen = [item for item in chosen if kind is None or item.kind == kind]
    if not chosen:
        raise InvalidValue(f"{path} has no {kind} of split {split!r}")
    for item in chosen:
        for file in missing_files(item):
            raise UnreadableFile(f"{file} does not exist, but {path} lists it")
    return chosen


def listing_problems(items: Sequence[Item]) -> list[str]:
    """What is wrong with the list itself: names listed twice, groups in two splits."""
    problems: list[str] = []
    splits: dict[str, str] = {}
    names: set[str] = set()
    for item in items:
        if item.name in names:
            problems.append(f"lists {item.name} twice")
        names.add(item.name)
        if splits.setdefault(item.group, item.split) != item.split:
            problems.append(
                f"has group {item.group} in the splits {splits[item.group]} and "
                f"{item.split}; a group belongs into one"
            )
    return list(dict.fromkeys(problems))


def missing_files(item: Item) -> list[Path]:
    """Files and folders that an item lists and that are not there."""
    folders_too = item.kind == "clip"
    return [
        file
        for file in (*item.frames, *item.masks)
        if not (file.exists() if folders_too else file.is_file())
    ]


def _item(folder: Path, entry: dict[str, Any], labels: dict[int, str]) -> Item:
    kind = "clip" if "clip" in entry else "image"
    frames, masks = (_paths(folder, entry[key]) for key in (kind, "mask"))
    axis = entry.get("axis")
    if axis not in (None, *AXIS_NAMES):
        raise ValueError(f"axis of {entry[kind]} is {axis!r}; it must be i, j or k")
    return Item(
        name=entry[kind] if isinstance(entry[kind], str) else entry[kind][0],
        kind=kind,
        split=str(entry["split"]),
        group=str(entry["group"]),
        frames=frames,
        masks=masks,
        labels=labels,
        axis=None if axis is None else AXIS_NAMES.index(axis),
    )


def _label_names(listed: dict[str, str]) -> dict[int, str]:
    wrong = [value for value in listed if not value.isdecimal() or int(value) < 1]
    if wrong:
        raise ValueError(f'"labels" has {wrong[0]!r}; a number of at least 1 is needed')
    return {int(value): str(name) for value, name in listed.items()}


def _paths(folder: Path, listed: str | list[str]) -> tuple[Path, ...]:
    """One or several paths; at least one."""
    listed = [listed] if isinstance(listed, str) else list(listed)
    return (folder / listed[0], *(folder / path for path in listed[1:]))


def sweeps(items: Sequence[Item], least: int = 4) -> list[Item]:
    """The image items of each group, in natural order of their names, as a clip named like its
    group; groups below `least` images or of several sizes are left out.

    Raises UnreadableFile for an image whose header cannot be read.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        if item.kind == "image":
            groups.setdefault((item.split, item.group), []).append(item)
    found = []
    for (split, group), parts in groups.items():
        if len(parts) < least or len({_size(part.frames[0]) for part in parts}) > 1:
            continue
        parts.sort(key=lambda part: natural_key(part.name))
        found.append(
            Item(
                group,
                "clip",
                split,
                group,
                tuple(part.frames[0] for part in parts),
                tuple(mask for part in parts for mask in part.masks),
                parts[0].labels,
                parts=tuple(parts),
            )
        )
    return found


def _size(path: Path) -> tuple[int, int]:
    """Of an image, without decoding its pixels."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableFile(f"{path} cannot be read as an image: {error}") from None
