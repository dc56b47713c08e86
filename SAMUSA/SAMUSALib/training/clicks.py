"""Simulated clicks: where an annotator would click next, given the truth and a prediction.

Used in training and in evaluation. Coordinates are frame pixels (x = column, y = row), float64,
pixel centres at integers; the frame reaches from -0.5 to W - 0.5 and H - 0.5. Everything is
deterministic under a given numpy Generator.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects, label
from scipy.spatial import cKDTree

from ..errors import InvalidValue

SAME_CLICK = 1.0  # pixels; a border point this near to a click has been clicked already


def _mask(mask) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InvalidValue(f"mask has shape {mask.shape}; (H, W) is needed")
    return mask.astype(bool, copy=False)


def border(mask: np.ndarray) -> np.ndarray:
    """Border of a mask: (H, W) bool -> (N, 2) float64 x, y; (0, 2) for an empty mask.

    One point for every pair of an inside pixel and an outside 4-neighbour, midway between their
    centres, so exactly on the pixel edge; borders of holes and of all parts are included. Where a
    structure is cut off by the image edge nobody sees a border, so the image edge does not count,
    except for a mask that covers the whole image: its border is the image edge.
    """
    mask = _mask(mask)
    height, width = mask.shape
    y, x = np.nonzero(mask[:, 1:] != mask[:, :-1])
    v, u = np.nonzero(mask[1:] != mask[:-1])
    if len(x) + len(u):
        points = np.empty((len(x) + len(u), 2))
        points[: len(x), 0], points[: len(x), 1] = x + 0.5, y
        points[len(x) :, 0], points[len(x) :, 1] = u, v + 0.5
        return points
    if not mask.any():
        return np.zeros((0, 2))
    columns, rows = np.arange(width), np.arange(height)
    return np.concatenate(
        [
            np.column_stack([columns, np.full(width, -0.5)]),
            np.column_stack([columns, np.full(width, height - 0.5)]),
            np.column_stack([np.full(height, -0.5), rows]),
            np.column_stack([np.full(height, width - 0.5), rows]),
        ]
    )


def _farthest(distances: np.ndarray, points: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """The point of greatest distance that is not clicked already; of equals, the one farthest
    from the clicks (distances between pixel edges are often equal, and all are 0 where the
    prediction is right)."""
    if len(clicks):
        # a handful of clicks: the full table is cheaper than a tree
        to_clicks = np.sqrt(((points[:, None] - clicks[None]) ** 2).sum(axis=2).min(axis=1))
        fresh = to_clicks > SAME_CLICK
        if fresh.any():
            points, distances, to_clicks = points[fresh], distances[fresh], to_clicks[fresh]
        best = np.flatnonzero(distances >= distances.max() - 1e-9)
        return points[best[np.argmax(to_clicks[best])]].copy()
    return points[np.argmax(distances)].copy()


def first_boundary_click(truth_border: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random point, (2,), of a border (N, 2); each is equally likely."""
    return truth_border[rng.integers(len(truth_border))].copy()


def farthest_from_point(truth_border: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The point, (2,), of a border (N, 2) that is farthest from a point (2,)."""
    point = np.asarray(point, dtype=np.float64).reshape(1, 2)
    return _farthest(np.linalg.norm(truth_border - point, axis=1), truth_border, point)


def farthest_from_border(
    truth_border: np.ndarray, predicted_border: np.ndarray, clicks: np.ndarray = ()
) -> np.ndarray:
    """The point, (2,), of a border (N, 2) that is farthest from the predicted border (M, 2).

    Points within SAME_CLICK of clicks (K, 2) are left out unless nothing else is left. Without a
    predicted border: the point farthest from all clicks.
    """
    clicks = np.asarray(clicks, dtype=np.float64).reshape(-1, 2)
    reference = predicted_border if len(predicted_border) else clicks
    if not len(reference):
        raise InvalidValue("neither a predicted border nor a click to be far from")
    # an unbalanced tree is built 3 times faster and is asked only once
    tree = cKDTree(reference, balanced_tree=False, compact_nodes=False)
    return _farthest(tree.query(truth_border)[0], truth_border, clicks)


def next_boundary_click(
    truth_border: np.ndarray,
    clicks: np.ndarray,
    predicted_mask: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """The next boundary click, (2,) float64, on the true border.

    truth_border: (N, 2) from `border`, N >= 1. clicks: (K, 2) made so far. predicted_mask: (H, W)
    bool, or None. The first click is random on the border; the second is the point farthest from
    the first; every further one is the point farthest from the predicted border, or from the
    clicks where nothing is predicted (Podvin et al., SAMUSA, after Dupont et al. 2021, UCP-Net).
    A point within SAME_CLICK of a click is not chosen unless nothing else is left. Raises
    InvalidValue if the border is empty.
    """
    truth_border = np.asarray(truth_border, dtype=np.float64).reshape(-1, 2)
    clicks = np.asarray(clicks, dtype=np.float64).reshape(-1, 2)
    if not len(truth_border):
        raise InvalidValue("the structure is empty; it has no border to click on")
    if len(clicks) == 0:
        return first_boundary_click(truth_border, rng)
    if len(clicks) == 1:
        return farthest_from_point(truth_border, clicks[0])
    predicted = np.zeros((0, 2)) if predicted_mask is None else border(predicted_mask)
    return farthest_from_border(truth_border, predicted, clicks)


def _largest_part(mask: np.ndarray) -> tuple[int, np.ndarray | None]:
    """Area and (H, W) bool of the largest 4-connected part; (0, None) for an empty mask."""
    parts, count = label(mask)
    if count == 0:
        return 0, None
    areas = np.bincount(parts.ravel())[1:]
    return int(areas.max()), parts == 1 + int(np.argmax(areas))


def _deepest(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixel centre (2,) farthest from the outside; of equals, the nearest to the mask's mean, then
    a random one. The image edge counts as outside."""
    rows, columns = find_objects(mask.astype(np.uint8))[0]
    depth = distance_transform_edt(np.pad(mask[rows, columns], 1))[1:-1, 1:-1]
    candidates = np.argwhere(depth >= depth.max() - 1e-9)
    mean = np.argwhere(mask[rows, columns]).mean(axis=0)
    off = np.linalg.norm(candidates - mean, axis=1)
    candidates = candidates[off <= off.min() + 1e-9]
    row, column = candidates[rng.integers(len(candidates))]
    return np.array([column + columns.start, row + rows.start], dtype=np.float64)


def next_region_click(
    truth: np.ndarray, predicted: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """The next click inside or outside: ((2,) x, y, True to include or False to exclude).

    truth, predicted: (H, W) bool. Without a prediction: the centre of the structure, the maximum
    of its distance transform. Else the centre of the largest 4-connected part of what is missed
    (include) or wrong (exclude), the protocol of SAM and SAM 2. Where nothing is wrong, the centre
    again. Raises InvalidValue if truth is empty.
    """
    truth = _mask(truth)
    if not truth.any():
        raise InvalidValue("the structure is empty; it has no centre to click on")
    if predicted is None:
        return _deepest(truth, rng), True
    predicted = _mask(predicted)
    missed_area, missed = _largest_part(truth & ~predicted)
    wrong_area, wrong = _largest_part(predicted & ~truth)
    if missed is None and wrong is None:
        return _deepest(truth, rng), True
    if missed_area >= wrong_area:
        return _deepest(missed, rng), True
    return _deepest(wrong, rng), False


def simulated_box(truth: np.ndarray, rng: np.random.Generator, noise: float = 0.05) -> np.ndarray:
    """A hand-drawn box, (4,) float64 x0, y0, x1, y1, around truth (H, W) bool.

    The pixel edges of the bounding box, each moved by up to `noise` (0 <= noise < 0.5) of the
    box's side, uniformly (UltraSam's 5 %), clipped to the frame. Raises InvalidValue if truth is
    empty.
    """
    truth = _mask(truth)
    if not 0 <= noise < 0.5:
        raise InvalidValue(f"noise is {noise!r}; a share of the side from 0 to below 0.5 is needed")
    if not truth.any():
        raise InvalidValue("the structure is empty; there is nothing to draw a box around")
    rows, columns = find_objects(truth.astype(np.uint8))[0]
    box = np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64) - 0.5
    sides = np.tile(box[2:] - box[:2], 2)
    box = box + rng.uniform(-noise, noise, 4) * sides
    return _clip(box.reshape(2, 2), truth.shape).reshape(4)


def _clip(xy: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    height, width = frame_size
    return np.clip(xy, -0.5, [width - 0.5, height - 0.5])


def jitter(
    xy: np.ndarray, rng: np.random.Generator, sd: float, frame_size: tuple[int, int]
) -> np.ndarray:
    """Human inaccuracy: (2,) or (N, 2) clicks, each moved by a Gaussian of sd pixels along x and y.

    Clipped to the frame of (H, W) pixels. Callers that want an error in proportion to the
    structure pass sd = share * sqrt(area).
    """
    xy = np.asarray(xy, dtype=np.float64)
    return _clip(xy + rng.normal(0.0, sd, xy.shape), frame_size)
