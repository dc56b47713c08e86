"""Write a clip as NRRD, so that reading it gives the same clip again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..clip import Clip
from ..errors import InvalidValue
from .frames import LPS_TO_RAS
from .nrrd_file import nrrd_vector, write_nrrd


def write_clip(path: str | os.PathLike, clip: Clip) -> None:
    """Write a cine as an image sequence (.seq.nrrd), laid out as Slicer writes one, or a volume
    (.nrrd) on its source's grid; grey or colour. Raises InvalidValue (suffix), CannotWrite.
    """
    path = Path(path)
    geometry = clip.geometry
    cine = geometry.kind == "cine"
    if path.suffix.lower() != ".nrrd":
        raise InvalidValue(f"{path.name} must end in .nrrd")
    matrix = LPS_TO_RAS @ geometry.ijk_to_ras
    directions = [nrrd_vector(matrix[:3, column]) for column in range(3)]
    kinds = ["domain"] * 3
    channels = np.moveaxis(clip.frames, 3, 0) if clip.frames.ndim == 4 else clip.frames[None]
    pixels = np.stack([geometry.to_source(channel) for channel in channels])  # c, i, j, k
    values = {}
    if cine:
        pixels = pixels[:, :, :, None]  # c, x, y, one slice, time
        directions.append("none")
        kinds.append("list")
    if clip.frames.ndim == 4:
        directions.insert(0, "none")
        kinds.insert(0, "RGB-color")
    else:
        pixels = pixels[0]
    fields = {
        "space": "left-posterior-superior",
        "kinds": " ".join(kinds),
        "space directions": " ".join(directions),
        "space origin": nrrd_vector(matrix[:3, 3]),
    }
    if cine and clip.times is not None:
        # Units of the axes that have a direction are those of space; Slicer refuses others.
        fields["space units"] = '"mm" "mm" "mm"'
        fields["labels"] = " ".join('"time"' if kind == "list" else '""' for kind in kinds)
        fields["units"] = " ".join('"s"' if kind == "list" else '""' for kind in kinds)
        values["axis 3 index type"] = "numeric"
        values["axis 3 index values"] = " ".join(f"{t:.6g}" for t in clip.times)
    with atomic_write(path) as part:
        write_nrrd(part, pixels, fields, values)
