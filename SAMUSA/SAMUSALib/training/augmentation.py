"""Augmentation for ultrasound: what a scanner's settings and the probe's pressure change.

The part that moves pixels (flip, turn, stretch, elastic deformation) is drawn here and applied by
`samples`, to image, truth and clicks alike; the part that changes intensities is applied here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, map_coordinates

KNOTS = 4  # cells of the elastic grid along each side of the view


@dataclass(frozen=True)
class Augmentation:
    """How strong and how often; a share is the part of the samples that get it.

    flip: share mirrored left to right. turn: standard deviation, degrees. stretch: standard
    deviation of the log of each side. elastic: largest standard deviation of the displacement, as
    a share of the view's side. gamma, gain: standard deviations of their logs. offset: standard
    deviation, of full scale. tgc: standard deviation of the log gain at top and bottom.
    attenuation: the most that is lost from focus to the far end of the view, in nepers. defocus:
    largest standard deviation of the blur far from the focus, pixels. speckle: largest standard
    deviation of the multiplied grain.
    """

    flip: float = 0.5
    turn: float = 15.0
    stretch: float = 0.1
    elastic: float = 0.025
    elastic_share: float = 0.2
    gamma: float = 0.25
    gain: float = 0.2
    offset: float = 0.03
    tgc: float = 0.3
    tgc_share: float = 0.3
    attenuation: float = 1.2
    attenuation_share: float = 0.1
    defocus: float = 2.0
    defocus_share: float = 0.08
    shadow_share: float = 0.15
    blur_share: float = 0.2
    speckle: float = 0.25
    speckle_share: float = 0.4

    @classmethod
    def none(cls) -> Augmentation:
        """Images as they are."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__, 0.0))


def displacement(
    size: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray | None:
    """Elastic deformation of a view: (2, S, S) float32, pixels that x and y are read away from
    their place, or None if this sample gets none.

    A cubic B-spline with random coefficients: smooth, and without folds at the default strength.
    """
    if rng.random() >= augmentation.elastic_share:
        return None
    spread = rng.uniform(0.2, 1.0) * augmentation.elastic * size
    basis = _spline_basis(size)
    coefficients = rng.normal(0, 1, (2, basis.shape[1], basis.shape[1]))
    moved = basis @ coefficients @ basis.T
    return (moved * (spread / _SPLINE_SD)).astype(np.float32)


def _spline_basis(size: int) -> np.ndarray:
    """(S, KNOTS + 3): cubic B-splines over the pixels of one side."""
    knots = np.arange(-3, KNOTS + 4, dtype=np.float64)
    places = (np.arange(size) + 0.5) * (KNOTS / size)
    return BSpline.design_matrix(places, knots, 3).toarray()


# A sum of independent coefficients has this standard deviation, averaged over the pixels.
_SPLINE_SD = float((_spline_basis(64) ** 2).sum(axis=1).mean())


def undisplaced(points: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Where points of the undeformed view, (N, 2) x, y, appear in the deformed one.

    The deformed view shows at q what the other has at q + moved(q); solved by iteration, which
    converges because neighbouring pixels move by nearly the same.
    """
    found = points
    for _ in range(8):
        at = found[:, ::-1].T
        found = points - np.column_stack(
            [map_coordinates(axis, at, order=1, mode="nearest") for axis in moved]
        )
    return found


def augment_intensity(
    images: np.ndarray, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """Gamma, gain, gain by depth (TGC), attenuation, focus, shadow, blur and speckle.

    images: (T, S, S) float in 0..1, row 0 nearest to the probe. The same for all frames but for
    the speckle. Returns float32 in 0..1.
    """
    size = images.shape[-1]
    images = np.clip(images, 0, 1) ** math.exp(rng.normal(0, augmentation.gamma))
    images = images * math.exp(rng.normal(0, augmentation.gain))
    images = images + rng.normal(0, augmentation.offset)
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    if rng.random() < augmentation.tgc_share:
        images = images * np.exp(rng.normal(0, augmentation.tgc) * (2 * depth - 1))
    if rng.random() < augmentation.attenuation_share:
        focus, lost = rng.uniform(0, 0.6), rng.uniform(0.3, 1.0) * augmentation.attenuation
        images = images * np.exp(-lost * np.clip(depth - focus, 0, None) / (1 - focus))
    if rng.random() < augmentation.defocus_share:
        focus, wide = rng.uniform(0, 1), rng.uniform(0.25, 0.6)
        spread = rng.uniform(0.4, 1.0) * augmentation.defocus
        # beams widen sideways away from the focus; along the beam the pulse stays as short
        far = 1 - np.exp(-0.5 * ((depth - focus) / wide) ** 2)
        images = images + far * (gaussian_filter(images, (0, 0.3 * spread, spread)) - images)
    if rng.random() < augmentation.shadow_share:
        at, wide = rng.uniform(0, size), rng.uniform(0.03, 0.12) * size
        column = np.exp(-0.5 * ((np.arange(size, dtype=np.float32) - at) / wide) ** 2)
        images = images * (1 - rng.uniform(0.3, 0.8) * column)
    if rng.random() < augmentation.blur_share:
        images = gaussian_filter(images, (0, *[rng.uniform(0.4, 1.2)] * 2))
    if rng.random() < augmentation.speckle_share:
        grain = rng.normal(0, 1, images.shape).astype(np.float32)
        grain = gaussian_filter(grain, (0, 0.7, 1.0))
        images = images * (1 + rng.uniform(0.2, 1.0) * augmentation.speckle * grain / grain.std())
    return np.clip(images, 0, 1).astype(np.float32)
