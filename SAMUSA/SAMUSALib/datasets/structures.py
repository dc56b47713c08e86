"""What counts as one structure of a label image."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from ..errors import InvalidValue

MIN_AREA = 100  # pixels; smaller structures are neither trained on nor judged


def connected_structures(labels: np.ndarray, min_area: int = MIN_AREA) -> list[np.ndarray]:
    """Every structure of a label image: (H, W) integers -> list of (H, W) bool.

    A structure is a 4-connected part of one label value (0 is background) of at least min_area
    pixels. Ordered by label value, then by first pixel in reading order.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise InvalidValue(f"label image has shape {labels.shape}; (H, W) is needed")
    structures = []
    for value in np.unique(labels[labels > 0]):
        parts, _ = label(labels == value)
        areas = np.bincount(parts.ravel())
        structures += [parts == n for n in range(1, len(areas)) if areas[n] >= min_area]
    return structures
