"""Read .seg.nrrd files (and plain label images in NRRD) back."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UnreadableFile
from .nrrd_file import axes_to_ras, axis_roles, read_nrrd, unescape


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments on a voxel grid.

    names, ids: texts, one a segment. labels: its number in the file, which several segments share
    where they lie in several layers. colors: (R, G, B) 0..255. masks: bool, (i, j, k) of the
    whole grid. ijk_to_ras: 4x4, mm. shape: voxels along (i, j, k).
    """

    names: list[str]
    ids: list[str]
    labels: list[int]
    colors: list[tuple[int, int, int]]
    masks: list[np.ndarray]
    ijk_to_ras: np.ndarray
    shape: tuple[int, int, int]


def read_seg_nrrd(path: str | os.PathLike) -> Segmentation:
    """Segments of a .seg.nrrd; a plain label image gives a segment for each label above 0.

    The grid is that of the file; one that Slicer cropped starts at its own first voxel. Raises
    UnreadableFile (missing, cut short, not a segmentation).
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist; check the name")
    data, header = read_nrrd(path)
    # The layers' axis has the kind "list" in files of Slicer, other kinds in those of others.
    space, time, components = axis_roles(header)
    if len(space) != 3 or len(time + components) > 1:
        raise UnreadableFile(f"{path} is not a segmentation: it has {data.ndim} axes of data")
    if not np.issubdtype(data.dtype, np.integer):
        if not np.array_equal(data, np.rint(data)):
            raise UnreadableFile(f"{path} is not a segmentation: its values are not whole labels")
        data = data.astype(np.int32)
    matrix, _ = axes_to_ras(header, space)
    layers = data.transpose([*(time + components), *space])
    layers = layers if layers.ndim == 4 else layers[None]
    names, ids, labels, colors, masks = [], [], [], [], []
    for number in _segment_numbers(header):
        key = f"Segment{number}_"
        ids.append(str(header[key + "ID"]))
        names.append(unescape(str(header.get(key + "Name", ids[-1]))))
        colors.append(_color(header.get(key + "Color", header.get(key + "DefaultColor"))))
        try:
            # Files of Slicer 4.10 and older have no layer: segment n fills component n with 1.
            layer = int(header.get(key + "Layer", number))
            label = int(header.get(key + "LabelValue", 1))
        except ValueError:
            layer, label = -1, 0
        if not 0 <= layer < len(layers):
            raise UnreadableFile(f"{path}: segment {names[-1]!r} names a layer that is not there")
        labels.append(label)
        masks.append(layers[layer] == label)
    if not names and not any(str(key).startswith("Segmentation_") for key in header):
        for label in np.unique(layers[0]):
            if label > 0:
                names.append(f"Segment_{label}")
                ids.append(names[-1])
                labels.append(int(label))
                colors.append((255, 0, 0))
                masks.append(layers[0] == label)
    return Segmentation(names, ids, labels, colors, masks, matrix, layers.shape[1:])


def _segment_numbers(header) -> list[int]:
    found = (re.fullmatch(r"Segment(\d+)_ID", str(key)) for key in header)
    return sorted(int(match.group(1)) for match in found if match)


def _color(text) -> tuple[int, int, int]:
    try:
        values = [round(float(value) * 255) for value in str(text).split()]
    except (ValueError, OverflowError):
        values = []
    if len(values) != 3:
        return 128, 128, 128
    return tuple(min(max(value, 0), 255) for value in values)
