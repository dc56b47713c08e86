"""A clip: ordered frames of one acquisition, and where its pixels are in space.

Frame coordinates are continuous: x = column, y = row, t = frame index; pixel centres are at
integers. IJK are the voxel indices of the source volume, RAS are millimetres in Slicer's world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .errors import InvalidValue

AXIS_NAMES = ("i", "j", "k")


def _affine(name: str, value) -> np.ndarray:
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InvalidValue(f"{name} has shape {matrix.shape}; a 4x4 matrix is needed")
    if not np.isfinite(matrix).all():
        raise InvalidValue(f"{name} holds values that are not finite numbers")
    if not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InvalidValue(f"{name} has last row {matrix[3].tolist()}; it must be 0 0 0 1")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InvalidValue(f"{name} is singular: two of its axes coincide or one has no length")
    matrix = matrix.copy()
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class Geometry:
    """Maps frame coordinates to the source's voxels and to space.

    frame_to_ijk: 4x4, (x, y, t, 1) -> (i, j, k, 1); a permutation of axes, no scaling.
    ijk_to_ras: 4x4, millimetres. For a cine without physical calibration: pixels.
    source_shape: voxels of the source along (i, j, k).
    kind: "volume" (frames are slices, t has a length in mm) or "cine" (t is time; there is no
        space between frames and every frame lies in the same plane, t = 0).
    calibrated: False where the source states no pixel size; lengths are then in pixels.
    """

    frame_to_ijk: np.ndarray
    ijk_to_ras: np.ndarray
    source_shape: tuple[int, int, int]
    kind: str = "volume"
    calibrated: bool = True

    def __post_init__(self):
        object.__setattr__(self, "frame_to_ijk", _affine("frame_to_ijk", self.frame_to_ijk))
        object.__setattr__(self, "ijk_to_ras", _affine("ijk_to_ras", self.ijk_to_ras))
        shape = tuple(int(n) for n in self.source_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InvalidValue(f"source_shape is {shape}; three counts of at least 1 are needed")
        object.__setattr__(self, "source_shape", shape)
        if self.kind not in ("volume", "cine"):
            raise InvalidValue(f"geometry kind is {self.kind!r}; it must be 'volume' or 'cine'")
        rows = np.sort(self.frame_to_ijk[:3], axis=1)  # a flip or shift would be lost in to_source
        if not np.array_equal(rows, np.tile([0.0, 0.0, 0.0, 1.0], (3, 1))):
            raise InvalidValue("frame_to_ijk must permute the axes, without flip or shift")

    @classmethod
    def for_volume(cls, source_shape, ijk_to_ras, axis: int = 2) -> Geometry:
        """Slices of a volume along its own voxel axis (0 = i, 1 = j, 2 = k); no resampling.

        The remaining axes keep their order: the lower one is x, the higher one is y.
        """
        if axis not in (0, 1, 2):
            raise InvalidValue(f"axis is {axis!r}; it must be 0 (i), 1 (j) or 2 (k)")
        x_axis, y_axis = (a for a in range(3) if a != axis)
        frame_to_ijk = np.zeros((4, 4))
        frame_to_ijk[x_axis, 0] = frame_to_ijk[y_axis, 1] = frame_to_ijk[axis, 2] = 1
        frame_to_ijk[3, 3] = 1
        return cls(frame_to_ijk, ijk_to_ras, source_shape, "volume")

    @classmethod
    def for_cine(cls, frames: int, height: int, width: int, ijk_to_ras=None) -> Geometry:
        """A cine: x is i, y is j; frame index is k. Without ijk_to_ras lengths are pixels, and
        the image is laid into the LPS plane as Slicer does for a photograph."""
        calibrated = ijk_to_ras is not None
        if not calibrated:
            ijk_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
        return cls(np.eye(4), ijk_to_ras, (width, height, frames), "cine", calibrated)

    @property
    def axis(self) -> int:
        """Voxel axis (0, 1 or 2) that the frame index runs along."""
        return int(np.argmax(np.abs(self.frame_to_ijk[:3, 2])))

    @property
    def frame_to_ras(self) -> np.ndarray:
        """4x4, (x, y, t, 1) -> RAS. In a cine the frame index does not move a point."""
        matrix = self.ijk_to_ras @ self.frame_to_ijk
        if self.kind == "cine":
            matrix[:3, 2] = 0
        return matrix

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Distance between pixel centres along (x, y), mm (pixels where not calibrated)."""
        lengths = np.linalg.norm((self.ijk_to_ras @ self.frame_to_ijk)[:3, :2], axis=0)
        return float(lengths[0]), float(lengths[1])

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width."""
        across, down = self.pixel_spacing
        return down / across

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(T, H, W) of the frames that this geometry describes."""
        x, y, t = np.abs(self.frame_to_ijk[:3, :3]).T @ np.array(self.source_shape)
        return int(t), int(y), int(x)

    def points_to_ras(self, xy, frame: float) -> np.ndarray:
        """(N, 2) frame pixels on one frame -> (N, 3) RAS, mm."""
        xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        homogeneous = np.column_stack([xy, np.full(len(xy), float(frame)), np.ones(len(xy))])
        return (homogeneous @ self.frame_to_ras.T)[:, :3]

    def points_from_ras(self, ras) -> np.ndarray:
        """(N, 3) RAS -> (N, 3) continuous frame coordinates (x, y, t).

        In a cine a place does not tell the time: the third value is then the distance from the
        image plane in voxels of the third axis.
        """
        ras = np.asarray(ras, dtype=np.float64).reshape(-1, 3)
        inverse = np.linalg.inv(self.ijk_to_ras @ self.frame_to_ijk)
        return (np.column_stack([ras, np.ones(len(ras))]) @ inverse.T)[:, :3]

    def to_source(self, masks: np.ndarray) -> np.ndarray:
        """(T, H, W) in frame order -> the source's own grid, array indexed (i, j, k)."""
        masks = np.asarray(masks)
        if masks.shape != self.frame_shape:
            raise InvalidValue(
                f"masks have shape {masks.shape}; this clip's frames are {self.frame_shape}"
            )
        by_xyt = masks.transpose(2, 1, 0)
        order = [int(np.argmax(np.abs(self.frame_to_ijk[a, :3]))) for a in range(3)]
        return by_xyt.transpose(order)

    def from_source(self, voxels: np.ndarray) -> np.ndarray:
        """Inverse of `to_source`: array indexed (i, j, k) -> (T, H, W) in frame order."""
        voxels = np.asarray(voxels)
        if voxels.shape[:3] != self.source_shape:
            raise InvalidValue(
                f"voxels have shape {voxels.shape[:3]}; the source is {self.source_shape}"
            )
        order = [int(np.argmax(np.abs(self.frame_to_ijk[:3, a]))) for a in (2, 1, 0)]
        return voxels.transpose(*order, *range(3, voxels.ndim))


class FrameReader:
    """Frames that lie elsewhere and are read when they are asked for; nothing is kept.

    It reads like a uint8 array of `shape`, (T, H, W) or (T, H, W, 3): reader[t], reader[t0:t1],
    reader[t, rows]. read(t, rows): rows of frame t, of any index that an array takes; what it
    raises comes out of the reading.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...], read: Callable[[int, slice], np.ndarray]):
        self.shape = tuple(int(n) for n in shape)
        self._read = read

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key) -> np.ndarray:
        if isinstance(key, tuple):
            return self._read(int(key[0]), key[1])
        if isinstance(key, slice):
            frames = [self[index] for index in range(*key.indices(len(self)))]
            return np.stack(frames) if frames else np.empty((0, *self.shape[1:]), np.uint8)
        return self._read(int(key), slice(None))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        frames = self[:]
        return frames if dtype is None else frames.astype(dtype)


@dataclass(frozen=True, eq=False)
class Clip:
    """Ordered 8-bit frames of one acquisition.

    frames: uint8, (T, H, W) grey or (T, H, W, 3) RGB; an array, or a FrameReader.
    geometry: where the pixels are; its frame shape must equal the frames'.
    name: shown to the user. times: seconds from the first frame, (T,), or None.
    intensity_rule: how the source's values became 8 bits, in words ("" if they were).
    """

    frames: np.ndarray
    geometry: Geometry
    name: str = "clip"
    times: np.ndarray | None = None
    intensity_rule: str = ""
    source: str = field(default="")

    def __post_init__(self):
        lazy = isinstance(self.frames, FrameReader)
        frames = self.frames if lazy else np.asarray(self.frames)
        if frames.dtype != np.uint8:
            raise InvalidValue(f"frames are {frames.dtype}; 8-bit frames are needed (see to_8bit)")
        if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
            raise InvalidValue(f"frames have shape {frames.shape}; (T,H,W) or (T,H,W,3) is needed")
        if min(frames.shape) < 1:
            raise InvalidValue(f"frames have shape {frames.shape}; a clip needs at least one pixel")
        if frames.shape[:3] != self.geometry.frame_shape:
            raise InvalidValue(
                f"frames have shape {frames.shape[:3]}; "
                f"their geometry says {self.geometry.frame_shape}"
            )
        object.__setattr__(self, "frames", frames)
        if self.times is not None:
            times = np.asarray(self.times, dtype=np.float64)
            if times.shape != (len(frames),) or not np.isfinite(times).all():
                raise InvalidValue(f"times has shape {times.shape}; {len(frames)} are needed")
            object.__setattr__(self, "times", times)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of a frame, pixels."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def frame_rgb(self, index: int) -> np.ndarray:
        """One frame as (H, W, 3) uint8; grey is replicated."""
        if not 0 <= index < len(self):
            raise InvalidValue(
                f"frame {index} does not exist; the clip has frames 0..{len(self) - 1}"
            )
        frame = self.frames[index]
        return frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)


def to_8bit(
    values: np.ndarray, window: tuple[float, float] | None = None
) -> tuple[np.ndarray, str]:
    """Any scalar frames -> (uint8 frames, the rule in words). The same rule for every frame.

    values: any integer or float array. window: (lowest, highest) shown value, e.g. from the
    display's window/level; without it uint8 is kept as it is and anything else is stretched from
    its 0.5th to its 99.5th percentile over the whole clip (non-finite values count as lowest).
    """
    values = np.asarray(values)
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise InvalidValue(f"pixels are {values.dtype}; numbers are needed")
    if window is None and values.dtype == np.uint8:
        return values, ""
    if window is None:
        low, high, rule = robust_window(values.ravel()[:: sample_step(values.size)])
    else:
        low, high, rule = display_window(*window)
    out = np.empty(values.shape, np.uint8)
    for index in range(len(values)):  # frame by frame: a float copy of a long clip would be large
        out[index] = stretch(values[index], low, high)
    return out, rule


def sample_step(size: int) -> int:
    """Every so many of a clip's `size` values are looked at for its percentiles."""
    return max(1, size // 2_000_000)


def robust_window(sample: np.ndarray) -> tuple[float, float, str]:
    """(lowest, highest, the rule in words): percentiles 0.5 and 99.5 of a clip's values."""
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        raise InvalidValue("pixels hold no finite number")
    low, high = (float(v) for v in np.percentile(sample, [0.5, 99.5]))
    rule = f"percentiles 0.5 and 99.5 of the clip: {low:g}..{high:g} -> 0..255"
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
        rule = f"lowest and highest value of the clip: {low:g}..{high:g} -> 0..255"
    return low, high, rule


def display_window(low: float, high: float) -> tuple[float, float, str]:
    """(lowest, highest, the rule in words) of what a display shows. Raises InvalidValue."""
    low, high = float(low), float(high)
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise InvalidValue(f"window is {(low, high)}; its end must be above its start")
    return low, high, f"display window {low:g}..{high:g} -> 0..255"


def stretch(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    """One frame of any numbers -> uint8, linear from low..high; what is not finite counts as
    lowest. Where low and high are the same: 0."""
    scale = 255.0 / (high - low) if high > low else 0.0
    frame = np.nan_to_num(frame.astype(np.float32), nan=low, posinf=high, neginf=low)
    return np.clip((frame - low) * scale + 0.5, 0, 255).astype(np.uint8)
