"""The smooth curve: a closed curve near the boundary points that allows for inexact clicks.

An interpolating spline takes every click at its word. This one weighs clicks against the shape of
what they outline: an ellipse, and on it a Gaussian process of the radius (periodic, by harmonics).
How irregular the shape is and how inexact the clicks are follows from the clicks themselves:
all combinations of a small grid are averaged by their marginal likelihood (Rasmussen & Williams
2006, §5.4). Mean Dice at 10 clicks that miss by 3 % of the root of the area: fetal heads 0.978
(spline 0.963), carotid 0.966 (0.953), nerves and vessels 0.948 (0.944); with 3 exact clicks
0.90, 0.88 and 0.76 (0.77, 0.75, 0.64).
"""

from __future__ import annotations

import numpy as np

from .spline import distinct, spline_contour

HARMONICS = np.arange(1, 11)
ANGLES = np.linspace(-np.pi, np.pi, 240, endpoint=False)
ELLIPSE_FREEDOM = 0.1  # standard deviation of harmonics 0 to 2: how wrong the first ellipse may be
IRREGULAR = (0.01, 0.04, 0.1)  # standard deviation of harmonic 3, of the radius
INEXACT = (0.003, 0.01, 0.03, 0.05)  # standard deviation of a click, of the radius
DECAY = 1.5  # harmonic k has (k / 3)^-DECAY of harmonic 3 (train masks: between 1 and 2)
THINNEST = 0.15  # least ratio of the ellipse's axes
# Clicks around a bent or split shape are no function of the angle about its middle. The fit then
# misses clicks or swings far out, and the spline is the better guess.
MISSED = 0.15  # of the radius, by which the fit may miss a click
SWINGS = (0.25, 2.5)  # radii between which it may swing


def smooth_contour(
    points: np.ndarray, aspect: float = 1.0, guess: np.ndarray | None = None
) -> np.ndarray:
    """Closed curve near the clicks.

    points: (N, 2) x, y in any pixel frame, N >= 2, with a guess N >= 1. guess: (M, 2), a closed
    curve whose ellipse the Gaussian process starts from; the guess itself is returned where that
    does not fit the clicks. Without a guess two points give the circle on them as diameter, three
    the ellipse through them whose long axis joins the two farthest apart, more the Gaussian
    process about the spline's ellipse, or the spline where that does not fit. aspect: height of a
    pixel over its width; shapes are judged in space, not in pixels. Returns (M, 2), not repeated
    at the end. Raises InvalidValue for fewer than 2 distinct points without a guess.
    """
    stretch = np.array([1.0, aspect])
    curve = (spline_contour(points, aspect) if guess is None else guess) * stretch
    points = distinct(points) * stretch
    if guess is None and len(points) == 3:
        curve = _ellipse_through(points)
    elif guess is not None or len(points) > 3:
        fitted = _process(points, *_moments(curve))
        curve = curve if fitted is None else fitted
    return curve / stretch


def _ellipse_through(points: np.ndarray) -> np.ndarray:
    """(3, 2) -> (M, 2); the short axis is kept between 0.3 and 1.1 of the long one."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    i, j = np.unravel_index(apart.argmax(), apart.shape)
    third = points[3 - i - j]
    centre, half = (points[i] + points[j]) / 2, (points[i] - points[j]) / 2
    long = np.linalg.norm(half)
    along = half / long
    across = np.array([-along[1], along[0]])
    offset = third - centre
    share = np.clip(offset @ along / long, -0.9, 0.9)
    short = np.clip(abs(offset @ across) / np.sqrt(1 - share**2), 0.3 * long, 1.1 * long)
    return (
        centre + long * np.cos(ANGLES)[:, None] * along + short * np.sin(ANGLES)[:, None] * across
    )


def _moments(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (2,) and matrix L (2, 2) of the ellipse with the second moments of a closed curve's
    area: L maps the unit circle onto it."""
    x, y = curve.T
    x1, y1 = np.roll(curve, -1, axis=0).T
    cross = x * y1 - x1 * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:  # clicks on one line
        centre, second = curve.mean(axis=0), np.cov(curve.T) * 2
    else:
        centre = np.array([((x + x1) * cross).sum(), ((y + y1) * cross).sum()]) / (6 * area)
        x, y, x1, y1 = x - centre[0], y - centre[1], x1 - centre[0], y1 - centre[1]
        cross = x * y1 - x1 * y
        xx = ((x * x + x * x1 + x1 * x1) * cross).sum() / 12
        yy = ((y * y + y * y1 + y1 * y1) * cross).sum() / 12
        xy = ((x * y1 + 2 * x * y + 2 * x1 * y1 + x1 * y) * cross).sum() / 24
        second = np.array([[xx, xy], [xy, yy]]) * 4 / area
    values, vectors = np.linalg.eigh(second)
    values = np.maximum(values, max(values.max(), 1e-6) * THINNEST**2)
    return centre, vectors * np.sqrt(values)


def _harmonics(angles: np.ndarray) -> np.ndarray:
    """(N,) radians -> (N, 21): 1, cos k, sin k."""
    turns = angles[:, None] * HARMONICS
    return np.concatenate([np.ones((len(angles), 1)), np.cos(turns), np.sin(turns)], axis=1)


def _variances(irregular: float) -> np.ndarray:
    """(21,) prior variances of the coefficients of `_harmonics`."""
    deviation = np.where(HARMONICS <= 2, ELLIPSE_FREEDOM, irregular * (HARMONICS / 3.0) ** -DECAY)
    return np.concatenate([[ELLIPSE_FREEDOM], deviation, deviation]) ** 2


_ON_CURVE = _harmonics(ANGLES)
_VARIANCES = np.stack([_variances(irregular) for irregular in IRREGULAR])


def _process(points: np.ndarray, centre: np.ndarray, ellipse: np.ndarray) -> np.ndarray | None:
    """Posterior mean curve (M, 2) of the radius about an ellipse; None if it does not fit."""
    unit = (points - centre) @ np.linalg.inv(ellipse).T
    at = _harmonics(np.arctan2(unit[:, 1], unit[:, 0]))
    off = np.linalg.norm(unit, axis=1) - 1
    shape = np.einsum("nk,sk,mk->snm", at, _VARIANCES, at)
    noise = np.square(INEXACT)[:, None, None] * np.eye(len(points))
    covariance = shape[:, None] + noise[None]  # (irregular, inexact, N, N)
    weights = np.linalg.solve(covariance, off[:, None])[..., 0]
    evidence = -0.5 * (weights @ off) - 0.5 * np.linalg.slogdet(covariance)[1]
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    coefficients = np.einsum("si,sk,nk,sin->k", share, _VARIANCES, at, weights)
    radius = 1 + _ON_CURVE @ coefficients
    missed = np.abs(off - at @ coefficients).max()
    if missed > MISSED or radius.min() < SWINGS[0] or radius.max() > SWINGS[1]:
        return None
    circle = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
    return centre + (circle * radius[:, None]) @ ellipse.T
