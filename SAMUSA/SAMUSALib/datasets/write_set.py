"""Write a set: images and clips with their labels, and the manifest, all at once or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..annotation import COLORS, Annotation, FrameState
from ..atomic import atomic_folder
from ..clip import AXIS_NAMES, Clip
from ..errors import InvalidValue
from ..io.write_clip import write_clip
from ..io.write_segmentation import write_seg_nrrd


@dataclass(frozen=True)
class About:
    """What a set says of itself. labels: label value -> name."""

    name: str
    licence: str = ""
    source: str = ""
    labels: dict[int, str] = field(default_factory=dict)


@dataclass
class SetWriter:
    """Adds items to a set in a folder. labels may be added to until the set is finished."""

    folder: Path
    labels: dict[int, str]
    items: list[dict] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def add_image(
        self, name: str, frame: np.ndarray, layers: Sequence[np.ndarray], split: str, group: str
    ) -> None:
        """frame: (H, W) or (H, W, 3) uint8; layers: (H, W) labels each, 0..65535."""
        name = self._unused(name)
        image, masks = f"images/{name}.png", []
        self._save(frame, image)
        for number, layer in enumerate(layers):
            masks.append(f"masks/{name}{f'_{number + 1}' if number else ''}.png")
            self._save(
                layer.astype(np.uint8 if layer.max(initial=0) < 256 else np.uint16), masks[-1]
            )
        self._add({"image": image, "mask": masks[0] if len(masks) == 1 else masks}, split, group)

    def add_clip(
        self,
        name: str,
        clip: Clip,
        layers: np.ndarray,
        names: dict[int, str],
        split: str,
        group: str,
    ) -> None:
        """layers: (L, T, H, W) labels of the clip; names: label value -> name, added to the
        set's. Labels without a name get one."""
        name = self._unused(name)
        cine = clip.geometry.kind == "cine"
        image, mask = f"clips/{name}{'.seq' if cine else ''}.nrrd", f"clips/{name}.seg.nrrd"
        annotation = Annotation(len(clip), clip.frame_size)
        for value in sorted({int(v) for layer in layers for v in np.unique(layer)} - {0}):
            known = self.labels.setdefault(value, names.get(value, f"label {value}"))
            segment = annotation.add(known, COLORS[(value - 1) % len(COLORS)])
            for t in range(len(clip)):
                there = (layers[:, t] == value).any(axis=0)
                if there.any():
                    segment.set(t, there, FrameState.REVIEWED)
        (self.folder / "clips").mkdir(exist_ok=True)
        write_clip(self.folder / image, clip)
        write_seg_nrrd(self.folder / mask, clip, annotation)
        entry = {"clip": image, "mask": mask}
        if not cine:
            entry["axis"] = AXIS_NAMES[clip.geometry.axis]
        self._add(entry, split, group)

    def label_for(self, name: str) -> int:
        """The label value of that name; a new name gets the next value."""
        for value, known in self.labels.items():
            if known == name:
                return value
        value = max(self.labels, default=0) + 1
        self.labels[value] = name
        return value

    def _add(self, entry: dict, split: str, group: str) -> None:
        self.items.append({**entry, "split": split, "group": group})

    def _unused(self, name: str) -> str:
        """As a file name that any system takes, and that no other item has."""
        name = re.sub(r"[^\w.-]+", "_", name).strip("._") or "item"
        found, number = name, 1
        while found.lower() in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found.lower())
        return found

    def _save(self, pixels: np.ndarray, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)


@contextmanager
def new_set(folder: str | os.PathLike, about: About) -> Iterator[SetWriter]:
    """A SetWriter for a new folder, which appears at the end of the block, whole.

    Raises CannotWrite if the folder is there and not empty or cannot be written, InvalidValue if
    nothing was added.
    """
    with atomic_folder(folder) as temporary:
        writer = SetWriter(temporary, dict(about.labels))
        yield writer
        if not writer.items:
            raise InvalidValue("there is no labelled image or clip to import")
        manifest = {
            "name": about.name,
            "labels": {str(value): name for value, name in sorted(writer.labels.items())},
            "licence": about.licence,
            "source": about.source,
            "items": writer.items,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (temporary / "manifest.json").write_text(text, encoding="utf-8")
