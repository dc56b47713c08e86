"""From decoded pixels to a Clip: what all formats share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

import numpy as np

from ..clip import Clip, Geometry, to_8bit
from ..errors import InvalidValue, UnreadableFile

LABELS = "labels"  # in place of a window: the values are labels
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_KNOWN_SUFFIX = re.compile(
    r"(\.(seq|igs|nii))?\.(nrrd|nhdr|mha|mhd|nii|gz|dcm|dicom|mp4|m4v|mov|mpe?g|avi|mkv|webm|wmv"
    r"|png|jpe?g|bmp|tiff?)$",
    re.IGNORECASE,
)


def clip_name(path: PurePath) -> str:
    """File name without its format suffixes; for a folder its name."""
    return _KNOWN_SUFFIX.sub("", path.name) or path.name


def one_line(error: BaseException, limit: int = 160) -> str:
    """First line of a library's message, for use inside our own sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def drop_alpha(frame: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W) or (H, W, 3)."""
    if frame.ndim == 3 and frame.shape[2] == 1:
        return frame[..., 0]
    return frame[..., :3] if frame.ndim == 3 and frame.shape[2] == 4 else frame


def is_grey(frame: np.ndarray) -> bool:
    """True if an (H, W, 3) frame has R == G == B everywhere."""
    red = frame[..., 0]
    return np.array_equal(red, frame[..., 1]) and np.array_equal(red, frame[..., 2])


def grey_if_possible(frames: np.ndarray) -> np.ndarray:
    """(T, H, W[, 1, 3 or 4]) -> (T, H, W) where no pixel has a colour, else (T, H, W, 3)."""
    if frames.ndim == 3:
        return np.ascontiguousarray(frames)
    if frames.shape[3] == 1 or all(is_grey(frame) for frame in frames):
        return np.ascontiguousarray(frames[..., 0])
    return np.ascontiguousarray(frames[..., :3])


def stack_frames(frames: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """Frames one at a time -> (T, H, W) grey or (T, H, W, 3); a grey RGB frame is kept as grey.

    Frames have one size and keep their type. Raises UnreadableFile where sizes differ or there
    is no frame.
    """
    kept: list[np.ndarray | None] = []
    for frame in frames:
        frame = drop_alpha(frame)
        if frame.ndim == 3 and is_grey(frame):
            frame = frame[..., 0]
        if kept and frame.shape[:2] != kept[0].shape[:2]:
            (h0, w0), (h, w) = kept[0].shape[:2], frame.shape[:2]
            raise UnreadableFile(
                f"{path}: frame {len(kept)} is {w} x {h} pixels, the first is {w0} x {h0}; "
                "all frames of a clip must have one size"
            )
        kept.append(np.ascontiguousarray(frame))
    if not kept:
        raise UnreadableFile(f"{path} holds no frame; choose a file that shows images")
    colour = any(frame.ndim == 3 for frame in kept)
    shape = (len(kept), *kept[0].shape[:2]) + ((3,) if colour else ())
    stacked = np.empty(shape, np.result_type(*{frame.dtype for frame in kept}))
    for index, frame in enumerate(kept):
        stacked[index] = frame[..., None] if colour and frame.ndim == 2 else frame
        kept[index] = None  # freed at once: two copies of a long clip would be large
    return stacked


def volume_clip(
    path: Path, voxels: np.ndarray, ijk_to_ras, axis: int | None, window, calibrated: bool = True
) -> Clip:
    """Slices of a volume. voxels: (i, j, k) or (i, j, k, components).

    axis: voxel axis that the slices are taken along; None is the last one, or the one along which
    the volume has a single slice.
    """
    shape = voxels.shape[:3]
    if axis is None:
        axis = next((a for a in (2, 1, 0) if shape[a] == 1), 2)
    geometry = Geometry.for_volume(shape, ijk_to_ras, axis)
    if not calibrated:
        geometry = dataclasses.replace(geometry, calibrated=False)
    frames, rule = _as_8bit(path, geometry.from_source(voxels), window)
    frames = grey_if_possible(frames)
    return Clip(frames, geometry, clip_name(path), None, rule, str(path))


def cine_clip(
    path: Path, frames: np.ndarray, axis: int | None, window, ijk_to_ras=None, times=None
) -> Clip:
    """A cine. frames: (T, H, W) or (T, H, W, components); ijk_to_ras: None if the file states no
    pixel size; times: seconds, (T,), or None; they are counted from the first frame.

    A pixel size of exactly 1 x 1 is what writers put where they know none: not calibrated.
    """
    if axis is not None:
        raise InvalidValue(
            f"{path} is a cine: its frames follow each other in time, so no slice axis can be "
            "chosen; leave the axis out"
        )
    count, height, width = frames.shape[:3]
    geometry = Geometry.for_cine(count, height, width, ijk_to_ras)
    if geometry.calibrated and np.allclose(geometry.pixel_spacing, 1.0, atol=1e-9):
        geometry = dataclasses.replace(geometry, calibrated=False)
    frames, rule = _as_8bit(path, frames, window)
    frames = grey_if_possible(frames)
    if times is not None:
        times = np.asarray(times, dtype=np.float64)
        usable = times.shape == (count,) and np.isfinite(times).all()
        times = times - times[0] if usable else None
    return Clip(frames, geometry, clip_name(path), times, rule, str(path))


def _as_8bit(path: Path, values: np.ndarray, window) -> tuple[np.ndarray, str]:
    """`to_8bit`, but with window = LABELS the values are kept: whole numbers from 0 to 255."""
    if window is not LABELS:
        return to_8bit(values, window)
    labels = values.astype(np.uint8)
    if not np.array_equal(labels, values):
        raise UnreadableFile(
            f"{path} is not a label image: its values must be whole numbers from 0 to 255"
        )
    return labels, ""


def sequence_times(fields: Mapping[str, str], count: int) -> np.ndarray | None:
    """Timestamps (s) of a Plus sequence from its Seq_FrameNNNN_Timestamp fields, or None."""
    try:
        return np.array([float(fields[f"Seq_Frame{t:04d}_Timestamp"]) for t in range(count)])
    except (KeyError, ValueError):
        return None


def plane_matrix(matrix: np.ndarray) -> np.ndarray:
    """4x4 whose third column is missing (zero) -> with the unit normal of the first two."""
    matrix = np.array(matrix, dtype=np.float64)
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    length = np.linalg.norm(normal)
    matrix[:3, 2] = normal / length if length else normal
    return matrix
