"""How well two masks agree: overlap (0 not at all, 1 the same) and distance of their borders."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import InvalidValue
from ..masks import bounding_box


def _areas(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Pixels set in both, and pixels set in the first plus pixels set in the second."""
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise InvalidValue(f"masks have shapes {first.shape} and {second.shape}; one is needed")
    both = int(np.count_nonzero(first & second))
    return both, int(np.count_nonzero(first)) + int(np.count_nonzero(second))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two bool arrays of one shape; 1 if both are empty."""
    both, total = _areas(first, second)
    return 2 * both / total if total else 1.0


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """|A and B| / |A or B| of two bool arrays of one shape; 1 if both are empty."""
    both, total = _areas(first, second)
    return both / (total - both) if total else 1.0


def surface_distances(
    first: np.ndarray, second: np.ndarray, aspect: float = 1.0
) -> tuple[float, float]:
    """(95 % Hausdorff distance, mean surface distance) of two (H, W) bool masks, in pixel widths.

    Over the border pixels of both masks, each with its distance to the nearest border pixel of the
    other: the 95th percentile and the mean. A border pixel is set, and one of its four neighbours
    is not or lies outside the frame. aspect: height of a pixel over its width. Both empty: 0. Only
    one empty: the frame's diagonal, the largest distance there is, so that a method gains nothing
    by giving no mask (as in BraTS).
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    _areas(first, second)
    if not (first.any() and second.any()):
        if first.any() == second.any():
            return 0.0, 0.0
        diagonal = float(np.hypot(first.shape[0] * aspect, first.shape[1]))
        return diagonal, diagonal
    x0, y0, x1, y1 = bounding_box(first | second)  # distances are the same on a part, and faster
    part = np.s_[y0 : y1 + 1, x0 : x1 + 1]
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (first[part], second[part])]
    to_border = [ndimage.distance_transform_edt(~border, (aspect, 1.0)) for border in borders]
    distances = np.concatenate([to_border[1][borders[0]], to_border[0][borders[1]]])
    return float(np.percentile(distances, 95)), float(distances.mean())
