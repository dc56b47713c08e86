"""How well two masks agree: 0 (not at all) to 1 (the same)."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidValue


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
