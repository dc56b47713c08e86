"""NRRD files: volumes, sequences, and the low level that segmentations are written with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np

from ..clip import Clip
from ..errors import UnreadableFile
from .frames import cine_clip, one_line, plane_matrix, sequence_times, volume_clip

_TIME_KINDS = ("list", "time")
_SPACE_KINDS = ("domain", "space")
# Rows that turn a file's world into RAS; whatever else a file names is taken as LPS, as ITK does.
_TO_RAS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}
_LPS = (-1.0, -1.0, 1.0)
_SEVERAL_FILES = re.compile(r"data ?file: *(LIST\b|\S*%\d*d\S* )")  # a list, or a pattern of names
_NRRD_TYPES = {"u1": "uint8", "u2": "uint16", "i2": "int16", "u4": "uint32", "f4": "float"}


def read_nrrd(path: Path) -> tuple[np.ndarray, dict]:
    """(array indexed in the order of the header's sizes, header fields).

    Field values are parsed as pynrrd does; texts are UTF-8. Raises UnreadableFile.
    """
    import nrrd

    with open(path, "rb") as file:
        header = _header(path, file)
        try:
            return nrrd.read_data(header, file, str(path)), header
        except (nrrd.NRRDError, ValueError, EOFError, zlib.error, OSError) as error:
            raise UnreadableFile(
                f"{path} does not hold the pixels that its header states; "
                "it was cut short or damaged, export it again"
            ) from error


def read_nrrd_header(path: Path) -> dict:
    """The header fields of `read_nrrd`, without the pixels. Raises UnreadableFile."""
    with open(path, "rb") as file:
        return _header(path, file)


def _header(path: Path, file: BinaryIO) -> dict:
    """Leaves `file` where its pixels begin."""
    import nrrd

    if file.read(4) != b"NRRD":
        raise UnreadableFile(f"{path} is not an NRRD file; choose another file")
    file.seek(0)
    lines = []
    for line in file:
        lines.append(line.decode("utf-8", errors="replace"))
        if not line.strip() or len(lines) > 1_000_000:
            break
    complete = bool(lines) and not lines[-1].strip()
    if any(_SEVERAL_FILES.match(line) for line in lines):
        raise UnreadableFile(
            f"{path} keeps its pixels in several files; open it in Slicer and save it as one .nrrd"
        )
    try:
        header = dict(nrrd.read_header(lines))
    except Exception as error:
        raise UnreadableFile(
            f"{path} has a damaged NRRD header ({one_line(error)}); export it again"
        ) from error
    detached = header.get("data file", header.get("datafile"))
    if not complete and detached is None:
        raise UnreadableFile(f"{path} ends within its NRRD header; it was cut short")
    if detached is not None and not (path.parent / detached).is_file():
        raise UnreadableFile(
            f"{path} keeps its pixels in {detached}, which is not there; copy both files"
        )
    return header


def write_nrrd(
    path: Path, array: np.ndarray, fields: Mapping[str, str], values: Mapping[str, str]
) -> None:
    """Write a gzip NRRD. array: indexed in the order of the header's sizes (first runs fastest).
    fields, values: as of `nrrd_steps`. Raises OSError."""
    parts = (array[..., index] for index in range(array.shape[-1]))
    for _ in nrrd_steps(path, array.shape, array.dtype, parts, fields, values):
        pass


def nrrd_steps(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    parts: Iterable[np.ndarray],
    fields: Mapping[str, str],
    values: Mapping[str, str],
) -> Iterator[int]:
    """Write a gzip NRRD part by part, so that the whole need not be in memory: yields how many
    parts are written, after each.

    shape: the header's sizes (first runs fastest). parts: the array's (..., index) for each index
    of the last axis. fields: header lines "name: text" (type, dimension, sizes and encoding are
    added). values: key/value lines "name:=text", UTF-8; pynrrd can write ASCII only, and segment
    names are in the annotator's language. Raises OSError.
    """
    header = ["NRRD0004", "# Complete NRRD file format specification at:"]
    header.append("# http://teem.sourceforge.net/nrrd/format.html")
    little = np.dtype(dtype).newbyteorder("<")
    header.append(f"type: {_NRRD_TYPES[little.str[1:]]}")
    header.append(f"dimension: {len(shape)}")
    if "space" in fields:
        header.append(f"space: {fields['space']}")
    header.append("sizes: " + " ".join(str(n) for n in shape))
    header += [f"{name}: {text}" for name, text in fields.items() if name != "space"]
    if little.itemsize > 1:
        header.append("endian: little")
    header.append("encoding: gzip")
    header += [f"{name}:={_escape(text)}" for name, text in values.items()]
    with open(path, "wb") as file:
        file.write(("\n".join(header) + "\n\n").encode())
        compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
        for count, part in enumerate(parts, start=1):
            data = part.astype(little, copy=False).tobytes(order="F")
            file.write(compressor.compress(data))
            yield count
        file.write(compressor.flush())


def nrrd_vector(values) -> str:
    """Numbers as a header states a point or a direction, without loss."""
    return "(" + ",".join(f"{value + 0.0:.17g}" for value in values) + ")"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def unescape(text: str) -> str:
    """Undo what the format prescribes for line ends and backslashes in key/value texts."""
    out, rest = "", text
    while "\\" in rest:
        before, _, rest = rest.partition("\\")
        out += before + {"n": "\n", "\\": "\\"}.get(rest[:1], "\\" + rest[:1])
        rest = rest[1:]
    return out + rest


def axis_roles(header: Mapping) -> tuple[list[int], list[int], list[int]]:
    """Axis numbers of (space, time, components) by the header's kinds and directions."""
    count = len(header["sizes"])
    kinds = [kind.lower() for kind in header.get("kinds", [])] or ["???"] * count
    directions = header.get("space directions")
    space, time, components = [], [], []
    for axis in range(count):
        kind = kinds[axis] if axis < len(kinds) else "???"
        direction = None if directions is None else directions[axis]
        # Worlds that end in "-time" give their axes a fourth coordinate, the time.
        of_time = direction is not None and len(direction) == 4 and not np.any(direction[:3])
        if kind in _TIME_KINDS or of_time:
            time.append(axis)
        elif kind in _SPACE_KINDS:
            space.append(axis)
        elif kind in ("???", "none"):
            no_direction = direction is not None and not np.isfinite(direction).all()
            (components if no_direction else space).append(axis)
        else:
            components.append(axis)
    return space, time, components


def axes_to_ras(header: Mapping, axes: list[int]) -> tuple[np.ndarray, bool]:
    """(4x4, True if the file states lengths) for two or three of the file's axes.

    A missing third axis becomes the unit normal of the others; a file without `space` is taken
    as LPS with what spacings it states.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    directions, calibrated = header.get("space directions"), True
    if directions is not None:
        for column, axis in enumerate(axes):
            direction = np.asarray(directions[axis], dtype=np.float64)[:3]
            matrix[: len(direction), column] = direction
    else:
        spacings = np.asarray(header.get("spacings", []), dtype=np.float64)
        for column, axis in enumerate(axes):
            known = axis < len(spacings) and np.isfinite(spacings[axis]) and spacings[axis] != 0
            matrix[column, column] = abs(spacings[axis]) if known else 1.0
            calibrated = calibrated and known
    origin = np.nan_to_num(np.asarray(header.get("space origin", [0, 0, 0]), dtype=np.float64)[:3])
    matrix[: len(origin), 3] = origin
    world = str(header.get("space", "")).lower().removesuffix("-time")
    signs = _TO_RAS.get(world, _LPS)
    matrix[:3] *= np.array(signs)[:, None]
    return (plane_matrix(matrix) if len(axes) == 2 else matrix), bool(calibrated)


def read_nrrd_clip(path: Path, axis: int | None, window) -> Clip:
    """A volume, an image, or a sequence of images (one `list` axis, as Slicer and Plus write)."""
    data, header = read_nrrd(path)
    if any(str(key).startswith(("Segment0_", "Segmentation_")) for key in header):
        raise UnreadableFile(
            f"{path} is a segmentation, not images; open the images it was drawn on"
        )
    space, time, components = axis_roles(header)
    if len(components) > 1 or len(time) > 1 or len(space) not in (2, 3):
        raise UnreadableFile(
            f"{path} has {len(space)} axes of space, {len(time)} of time and {len(components)} "
            "of components; a volume or a sequence of images is needed"
        )
    if components and data.shape[components[0]] not in (1, 3, 4):
        raise UnreadableFile(
            f"{path} has {data.shape[components[0]]} values a pixel; 1 (grey), 3 (RGB) or 4 (RGBA) "
            "can be shown"
        )
    if time and data.shape[time[0]] == 1 and len(space) == 3:
        data, time = data.take([0], axis=time[0]), []  # one time point: a volume
    if len(space) == 3 and not time:
        matrix, calibrated = axes_to_ras(header, space)
        rest = [a for a in range(data.ndim) if a not in space + components]
        voxels = data.transpose(space + components + rest)
        voxels = voxels.reshape(voxels.shape[: 3 + len(components)]) if rest else voxels
        return volume_clip(path, voxels, matrix, axis, window, calibrated)
    if len(space) == 3:
        single = next((a for a in reversed(space) if data.shape[a] == 1), None)
        if single is None:
            raise UnreadableFile(
                f"{path} is a sequence of {data.shape[time[0]]} volumes; choose one time point "
                "and save it as a file of its own"
            )
        space.remove(single)
        matrix, calibrated = axes_to_ras(header, [*space, single])
    else:
        single = None
        matrix, calibrated = axes_to_ras(header, space)
    order = [*time, *([single] if single is not None else []), space[1], space[0], *components]
    frames = data.transpose(order)
    if single is not None:
        frames = frames[:, 0]
    if not time:
        frames = frames[None]
    times = _times(header, time[0], len(frames)) if time else None
    return cine_clip(path, frames, axis, window, matrix if calibrated else None, times)


def _times(header: Mapping, axis: int, count: int) -> np.ndarray | None:
    """Seconds of each frame, where the file states them in a unit of time."""
    units = header.get("units", [])
    unit = units[axis].strip().lower() if axis < len(units) else ""
    scale = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3}.get(unit)
    listed = header.get("axis 3 index values", header.get("axis 0 index values"))
    if scale is not None and listed is not None:
        try:
            times = np.array([float(unquote(text)) for text in str(listed).split()]) * scale
        except ValueError:
            times = np.empty(0)
        if len(times) == count:
            return times
    return sequence_times(header, count)
