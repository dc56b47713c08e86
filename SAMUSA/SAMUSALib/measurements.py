"""What the masks of a segment measure: area, volume, change from frame to frame, ejection.

Areas are mm2 where the clip states its pixel size, else pixels. Numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .annotation import SegmentAnnotation
from .clip import Geometry
from .errors import InvalidValue
from .masks import EncodedMask

_DIRECTIONS = np.deg2rad(np.arange(0.0, 180.0, 1.0))  # a diameter is short by at most 0.004 %


@dataclass(frozen=True)
class Measurements:
    """A segment on every frame of a clip.

    area: (T,) float64 in `unit` ("mm2" or "px"); 0 where the mask is empty. confidence: (T,)
    float64, predicted IoU; NaN where the mask is empty. change: (T,) float64, 1 - Dice with the
    frame before: 0 nothing changed, 1 nothing is common; NaN on the first frame and between two
    empty ones. diameter: (T,) float64, the longest one, mm or px; NaN where empty.
    volume: mm3 of all frames together where they are slices of a calibrated volume, else None.
    """

    area: np.ndarray
    confidence: np.ndarray
    change: np.ndarray
    diameter: np.ndarray
    unit: str
    volume: float | None


@dataclass(frozen=True)
class Range:
    """Largest and smallest of a cine's frames that have a mask, in `unit`; fraction: (largest -
    smallest) / largest, 0..1, which for the cavity of the left ventricle is the fractional area
    change or the ejection fraction."""

    largest: float
    smallest: float
    frame_of_largest: int
    frame_of_smallest: int
    fraction: float
    unit: str


def measure(segment: SegmentAnnotation, geometry: Geometry) -> Measurements:
    """Measure all frames. Raises InvalidValue where the clip is another one."""
    *_, measured = measure_steps(segment, geometry)
    return measured


def measure_steps(segment: SegmentAnnotation, geometry: Geometry) -> Iterator[float | Measurements]:
    """`measure` frame by frame: yields how much is done, 0..1, and at last the Measurements."""
    length, *size = geometry.frame_shape
    if segment.length != length or tuple(segment.frame_size) != tuple(size):
        raise InvalidValue(
            f"{segment.name!r} has {segment.length} frames of {tuple(segment.frame_size)} pixels; "
            f"the clip has {length} of {tuple(size)}"
        )
    pixel = pixel_area(geometry)
    area, diameter = np.zeros(length), np.full(length, np.nan)
    confidence, change = np.full(length, np.nan), np.full(length, np.nan)
    before: np.ndarray | None = None
    for index in range(length):
        frame = segment.frame(index)
        mask = frame.mask.decode()
        area[index] = np.count_nonzero(mask)
        if before is not None and (changed := change_between(before, mask)) is not None:
            change[index] = changed
        if area[index]:
            confidence[index] = frame.confidence
            diameter[index] = longest_diameter(frame.mask, geometry)
        before = mask
        yield (index + 1) / length
    volume = None
    if geometry.calibrated and geometry.kind == "volume":
        volume = float(area.sum() * abs(np.linalg.det(geometry.ijk_to_ras[:3, :3])))
    if pixel is not None:
        area = area * pixel
    yield Measurements(area, confidence, change, diameter, "px" if pixel is None else "mm2", volume)


def change_between(before: np.ndarray, after: np.ndarray) -> float | None:
    """1 - Dice of two (H, W) bool masks: 0 nothing changed, 1 nothing is common; None: both are
    empty."""
    both = np.count_nonzero(before) + np.count_nonzero(after)
    return 1 - 2 * np.count_nonzero(before & after) / both if both else None


def pixel_area(geometry: Geometry) -> float | None:
    """mm2 of one frame pixel, also where its axes are not at right angles; None: unknown."""
    if not geometry.calibrated:
        return None
    x, y = _pixel_axes(geometry).T
    return float(np.linalg.norm(np.cross(x, y)))


def longest_diameter(mask: EncodedMask, geometry: Geometry) -> float:
    """The longest distance across a mask that is not empty, from outer pixel edge to outer pixel
    edge (the largest Feret diameter); mm, or pixels where the clip states no pixel size."""
    inside = mask.decode_box()
    rows = np.flatnonzero(inside.any(axis=1))
    first = inside[rows].argmax(axis=1) - 0.5
    last = inside.shape[1] - 1 - inside[rows, ::-1].argmax(axis=1) + 0.5
    x = np.concatenate([first, last, first, last])
    y = np.concatenate([rows - 0.5, rows - 0.5, rows + 0.5, rows + 0.5])
    plane = np.linalg.qr(_pixel_axes(geometry))[1]  # pixels -> mm in the plane, skewed axes too
    points = plane @ np.stack([x, y])
    along = np.stack([np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)], axis=1) @ points
    return float(np.ptp(along, axis=1).max())


def area_range(measured: Measurements, geometry: Geometry) -> Range | None:
    """Largest and smallest area of a cine, the fraction being the fractional area change. None
    for a volume, whose slices are no heart beat, and where fewer than two frames have a mask."""
    return None if geometry.kind == "volume" else _range(measured.area, measured.unit)


def volume_range(measured: Measurements, geometry: Geometry) -> Range | None:
    """Largest and smallest volume in mm3 by the area-length method, V = 8 A^2 / (3 pi L): a body
    of revolution about its longest diameter L, as the left ventricle's cavity is taken for in an
    apical view. It makes sense for nothing else. None where `area_range` is, or without a pixel
    size. Lang et al. 2015, doi:10.1016/j.echo.2014.10.003."""
    if geometry.kind == "volume" or not geometry.calibrated:
        return None
    return _range(8 * measured.area**2 / (3 * np.pi * measured.diameter), "mm3")


def _range(values: np.ndarray, unit: str) -> Range | None:
    there = np.flatnonzero(np.nan_to_num(values) > 0)
    if len(there) < 2:
        return None
    high, low = there[values[there].argmax()], there[values[there].argmin()]
    largest, smallest = float(values[high]), float(values[low])
    fraction = (largest - smallest) / largest
    return Range(largest, smallest, int(high), int(low), fraction, unit)


def in_words(value: float, unit: str) -> str:
    """A measure for the reader: 87.3 mm², 12.4 cm² from 1 cm², 51.2 ml from 1 ml, 5120 px."""
    if unit == "px":
        return f"{value:.0f} px"
    factor, small, large = {"mm2": (100.0, "mm²", "cm²"), "mm3": (1000.0, "mm³", "ml")}[unit]
    return f"{value / factor:.2f} {large}" if value >= factor else f"{value:.1f} {small}"


def _pixel_axes(geometry: Geometry) -> np.ndarray:
    """(3, 2): one pixel along x and y in space, mm."""
    return geometry.frame_to_ras[:3, :2]
