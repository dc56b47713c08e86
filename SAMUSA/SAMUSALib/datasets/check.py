"""Look through a whole set for what would spoil training or make an evaluation wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import SamusaError
from .manifest import Item, Labelled, listing_problems, missing_files, parse_manifest
from .structures import MIN_AREA, connected_structures


@dataclass(frozen=True)
class Finding:
    """item: its name in the set, "" for the set itself. wrong: False for a mere note."""

    item: str
    text: str
    wrong: bool = True


@dataclass
class LabelCount:
    """What a split holds of one label. areas: pixels of each structure; of a structure in a clip
    the median over the frames that show it."""

    split: str
    label: int
    name: str
    images: int = 0
    clips: int = 0
    areas: list[float] = field(default_factory=list)


@dataclass
class SetCheck:
    """The findings of a set in the order of its items, and what it holds."""

    name: str
    licence: str
    source: str
    items: int
    findings: list[Finding] = field(default_factory=list)
    counts: dict[tuple[str, int], LabelCount] = field(default_factory=dict)

    @property
    def wrong(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.wrong]

    @property
    def table(self) -> list[LabelCount]:
        """By split, then by label."""
        return [self.counts[key] for key in sorted(self.counts)]


def check_set(
    folder: Path | str,
    look: Callable[[Item, Labelled | None, list[Finding]], None] = lambda *_: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SetCheck:
    """Check everything that a set lists; goes on after each problem.

    Wrong are: files that are missing or cannot be read, frames and labels that do not fit, empty
    masks, items without a structure of MIN_AREA pixels, labels without a name, items listed twice,
    groups in two splits, and frames with the same pixels in two splits. Notes are: small parts
    beside larger structures, the same pixels twice in one split, no licence. look(item, what it
    loaded or None, its findings) is called for each item in order. Raises UnreadableFile if there
    is no manifest that can be read.
    """
    manifest = parse_manifest(folder)
    check = SetCheck(manifest.name, manifest.licence, manifest.source, len(manifest.items))
    check.findings += [Finding("", text) for text in listing_problems(manifest.items)]
    if not manifest.items:
        check.findings.append(Finding("", "lists nothing"))
    if not manifest.licence:
        check.findings.append(Finding("", "states no licence", wrong=False))
    seen: dict[bytes, tuple[Item, int]] = {}
    unnamed: set[int] = set()
    for done, item in enumerate(manifest.items, start=1):
        found: list[Finding] = []
        labelled = _load(item, found)
        if labelled is not None:
            found += _copies(item, labelled, seen)
            found += _count(check, item, labelled)
            unnamed |= set(np.unique(labelled.layers).tolist()) - {0, *labelled.names}
        check.findings += found
        look(item, labelled, found)
        progress(done, len(manifest.items))
    for value in sorted(unnamed):
        check.findings.append(Finding("", f'label {value} has no name in "labels"'))
    return check


def _load(item: Item, found: list[Finding]) -> Labelled | None:
    missing = missing_files(item)
    if missing:
        found += [Finding(item.name, f"{file} does not exist") for file in missing]
        return None
    try:
        return item.load()
    except SamusaError as error:
        found.append(Finding(item.name, str(error)))
        return None


def _copies(item: Item, labelled: Labelled, seen: dict[bytes, tuple[Item, int]]) -> list[Finding]:
    """Frames whose pixels another item has too; frames of one value tell nothing."""
    found: dict[tuple[str, bool], tuple[int, int]] = {}
    for t, frame in enumerate(labelled.frames):
        if frame.min() == frame.max():
            continue
        key = hashlib.blake2b(frame.tobytes(), person=str(frame.shape).encode()[:16]).digest()
        other, at = seen.setdefault(key, (item, t))
        if other is not item:
            found.setdefault((other.name, other.split != item.split), (t, at))
    findings = []
    for (name, leak), (t, at) in found.items():
        where = f"frame {t}" if len(labelled.frames) > 1 else "the image"
        there = f"{name}, frame {at}" if at else name
        why = ", which lies in another split: what is tested was trained on" if leak else ""
        findings.append(Finding(item.name, f"{where} has the same pixels as {there}{why}", leak))
    return findings


def _count(check: SetCheck, item: Item, labelled: Labelled) -> list[Finding]:
    """Adds an item's structures to the table."""
    if not labelled.layers.any():
        return [Finding(item.name, "its mask is empty")]
    small: list[str] = []
    structures = 0
    for value in sorted(set(np.unique(labelled.layers).tolist()) - {0}):
        areas = [area for layer in labelled.layers for area in _areas(layer == value) if area > 0]
        large = [area for area in areas if area >= MIN_AREA]
        structures += len(large)
        small += [f"{area:.0f} px of label {value}" for area in areas if area < MIN_AREA]
        name = labelled.names.get(value, "")
        count = check.counts.setdefault((item.split, value), LabelCount(item.split, value, name))
        count.images += item.kind == "image"
        count.clips += item.kind == "clip"
        count.areas += large
    if not structures:
        return [Finding(item.name, f"no structure has {MIN_AREA} px: {_some(small)}")]
    if small:
        parts = "part" if len(small) == 1 else "parts"
        text = f"{len(small)} {parts} under {MIN_AREA} px not used: {_some(small)}"
        return [Finding(item.name, text, wrong=False)]
    return []


def _areas(mask: np.ndarray) -> list[float]:
    """Pixels of the structures of one label, (T, H, W): of each part of an image; of a clip one,
    the median over the frames that show it if it reaches MIN_AREA on any, else its largest."""
    if len(mask) == 1:
        return [float(np.count_nonzero(m)) for m in connected_structures(mask[0].astype(int), 1)]
    areas = np.count_nonzero(mask, axis=(1, 2))
    areas = areas[areas > 0]
    if len(areas) == 0:
        return []
    if areas.max() < MIN_AREA:
        return [float(areas.max())]
    return [float(np.median(areas[areas >= MIN_AREA]))]


def _some(texts: list[str], most: int = 4) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
