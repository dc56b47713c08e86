"""The page of `samusa data check`: what a set holds, what is wrong, and pictures with outlines."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..annotation import COLORS
from ..datasets.check import Finding, SetCheck
from ..datasets.manifest import Item, Labelled
from .pages import write_page
from .pictures import contour_path, picture, rgb, visible

PICTURES = 48  # most pictures of each split, beside those with findings


@dataclass(frozen=True)
class _Picture:
    """One frame of an item with its labels, (H, W) each; None where nothing could be read."""

    item: Item
    findings: list[Finding]
    frame: np.ndarray | None = None
    layers: tuple[np.ndarray, ...] = ()
    aspect: float = 1.0
    t: int = 0
    frames: int = 1

    def drawn(self) -> dict:
        """What the template shows."""
        facts = {"item": self.item, "findings": self.findings, "t": self.t, "frames": self.frames}
        if self.frame is None:
            return facts
        height, width = self.frame.shape[:2]
        ratio = width / (height * self.aspect)
        outlines = [
            (label_color(int(value)), contour_path(layer == value))
            for layer in self.layers
            for value in np.unique(layer)
            if value > 0
        ]
        image = picture(self.frame, ratio)
        return facts | {
            "image": image, "width": width, "height": height, "ratio": ratio, "outlines": outlines,
        }  # fmt: skip


@dataclass
class Gallery:
    """Collects pictures while a set is checked; `add` fits check_set's `look`."""

    pictures: list[_Picture] = field(default_factory=list)

    def add(self, item: Item, labelled: Labelled | None, findings: list[Finding]) -> None:
        if labelled is None:
            self.pictures.append(_Picture(item, findings))
            return
        t = int(np.argmax((labelled.layers > 0).sum(axis=(0, 2, 3))))  # where most is marked
        self.pictures.append(
            _Picture(
                item,
                findings,
                labelled.frames[t].copy(),  # a view would keep the whole clip
                tuple(layer[t].copy() for layer in labelled.layers),
                labelled.aspect,
                t,
                len(labelled.frames),
            )
        )
        self._thin(item.split)

    def _thin(self, split: str) -> None:
        """Keeps memory and page small: every other picture goes where there are too many."""
        plain = [p for p in self.pictures if p.item.split == split and not p.findings]
        if len(plain) >= 2 * PICTURES:
            gone = {id(p) for p in plain[1::2]}
            self.pictures = [p for p in self.pictures if id(p) not in gone]

    def write(self, path: Path, check: SetCheck) -> Path:
        """Write the page; returns its path. Raises CannotWrite."""
        rows = [
            {
                "split": count.split,
                "label": count.label,
                "name": count.name,
                "color": label_color(count.label),
                "images": count.images,
                "clips": count.clips,
                "structures": len(count.areas),
                "median": round(statistics.median(count.areas)) if count.areas else None,
                "smallest": round(min(count.areas)) if count.areas else None,
                "largest": round(max(count.areas)) if count.areas else None,
            }
            for count in check.table
        ]
        odd = [p.drawn() for p in self.pictures if p.findings]
        splits = {}
        for split in sorted({p.item.split for p in self.pictures}):
            plain = [p for p in self.pictures if p.item.split == split and not p.findings]
            splits[split] = [p.drawn() for p in plain[:: -(-len(plain) // PICTURES) or 1]]
        return write_page(
            path,
            "set.html.j2",
            title=check.name,
            check=check,
            rows=rows,
            odd=odd,
            splits={split: pictures for split, pictures in splits.items() if pictures},
        )


def label_color(value: int) -> str:
    """As `#rrggbb`; the same for a label on every picture."""
    return rgb(visible(COLORS[(value - 1) % len(COLORS)]))
