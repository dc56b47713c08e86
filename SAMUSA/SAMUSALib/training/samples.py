"""Training samples: augmented network inputs with their truth, from labelled images and clips.

A sample is what the network sees: a view of SIZE x SIZE pixels, the truth on the same grid and
the first two boundary clicks, which also decided the view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.views import MIN_VIEW, ZOOM, ZOOM_TWO_CLICKS
from .augmentation import Augmentation, augment_intensity, displacement, undisplaced
from .clicks import border, next_boundary_click

AUGMENTATION = Augmentation()


@dataclass(frozen=True)
class LabelledClip:
    """Frames (T, H, W) uint8 grey and one structure's masks (T, H, W) bool; T = 1 for an image.

    moving: False for a single image that may be animated into a clip by a drifting view.
    """

    frames: np.ndarray
    masks: np.ndarray

    @property
    def moving(self) -> bool:
        return len(self.frames) > 1


@dataclass(frozen=True)
class Sample:
    """images (T, S, S) float32 in 0..1, an array, or a tensor on the device; truth (T, S, S) bool;
    outline (N, 2) true border points of the first frame in view, clicks (2, 2) the first two on
    it; jitter: standard deviation of a human click. All in network pixels.

    The outline comes from the frame's own pixels: taken from `truth` it would be off by up to half
    a network pixel, and exact clicks on it would not be exact.
    """

    images: np.ndarray | torch.Tensor
    truth: np.ndarray
    outline: np.ndarray
    clicks: np.ndarray
    jitter: float


def draw_sample(
    clip: LabelledClip,
    frames: int,
    size: int,
    rng: np.random.Generator,
    augmentation: Augmentation = AUGMENTATION,
    zoom: bool = True,
    share_exact: float = 0.5,
    click_error: tuple[float, float] = (0.01, 0.04),
    wide: float = 0.08,
) -> Sample | None:
    """An augmented sample of `frames` frames, or None if the drawn view shows no structure.

    Human error: a share of the samples has exact clicks, the rest a standard deviation within
    click_error, as a share of the root of the area. zoom: False for networks that see whole frames.
    wide: share of the samples that show the whole frame all the same.
    """
    chosen = _choose_frames(clip, frames, rng)
    first = clip.masks[chosen[0]]
    outline = border(first)
    if len(outline) == 0:
        return None
    exact = rng.random() < share_exact
    spread = 0.0 if exact else rng.uniform(*click_error) * np.sqrt(first.sum())
    clicks = np.empty((0, 2))
    for _ in range(2):
        clicks = np.vstack([clicks, next_boundary_click(outline, clicks, None, rng)])
    clicks = clicks + rng.normal(0, spread, clicks.shape)
    seen = outline if frames > 1 else clicks
    to_frame = _view_affine(seen, first.shape, size, frames, augmentation, rng, zoom, wide)
    moved = displacement(size, augmentation, rng)
    images, truth = [], []
    drift = _Drift(rng, frames, moving=clip.moving)
    for step, index in enumerate(chosen):
        affine = to_frame @ drift.at(step, size)
        where = _places(affine, moved, size)
        images.append(_warp(clip.frames[index].astype(np.float32) / 255.0, affine, where))
        truth.append(_warp(clip.masks[index].astype(np.float32), affine, where) > 0.5)
    if truth[0].sum() < 30:
        return None
    from_frame = np.linalg.inv(to_frame)
    points = np.vstack([clicks, outline]) @ from_frame[:2, :2].T + from_frame[:2, 2]
    if moved is not None:
        points = undisplaced(points, moved)
    clicks, outline = points[: len(clicks)], points[len(clicks) :]
    outline = outline[(np.abs(outline - (size - 1) / 2) <= size / 2).all(axis=1)]
    if len(outline) == 0:
        return None
    scale = np.sqrt(abs(np.linalg.det(from_frame[:2, :2])))
    images = augment_intensity(np.stack(images), augmentation, rng)
    return Sample(images, np.stack(truth), outline, clicks, float(spread * scale))


def _choose_frames(clip: LabelledClip, frames: int, rng: np.random.Generator) -> list[int]:
    count = len(clip.frames)
    if count == 1:
        return [0] * frames
    visible = np.flatnonzero(clip.masks.any(axis=(1, 2)))
    start = int(rng.choice(visible))
    step = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])) * (1 if rng.random() < 0.5 else -1)
    chosen = start + step * np.arange(frames)
    if chosen[-1] < 0 or chosen[-1] >= count:
        chosen = start - step * np.arange(frames)
    return np.clip(chosen, 0, count - 1).tolist()


def _view_affine(
    points: np.ndarray,
    frame_size,
    size: int,
    frames: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    zoom: bool,
    wide: float,
) -> np.ndarray:
    """3x3, network pixel -> frame pixel: the view that the engine would choose, varied."""
    across = np.ones(2)
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    kind = rng.random()
    if not zoom:
        side, centre = 1.0, np.array([frame_size[1] - 1, frame_size[0] - 1]) / 2
        across = np.array([frame_size[1], frame_size[0]], dtype=np.float64)
    elif kind < wide:
        side, centre = max(frame_size), np.array([frame_size[1] / 2, frame_size[0] / 2])
    else:
        times = ZOOM_TWO_CLICKS if frames == 1 and rng.random() < 0.5 else ZOOM
        side = max((high - low).max(), MIN_VIEW / times) * times * rng.uniform(0.8, 1.35)
        side = min(side, 1.2 * max(frame_size))
        centre = centre + rng.normal(0, 0.03, 2) * side
    angle = rng.normal(0, np.deg2rad(augmentation.turn))
    stretch = np.exp(rng.normal(0, augmentation.stretch, 2))
    flip = -1.0 if rng.random() < augmentation.flip else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag(across) @ turn @ np.diag([flip * stretch[0], stretch[1]]) * (side / size)
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = centre - linear @ np.full(2, (size - 1) / 2)
    return affine


class _Drift:
    """How the view moves from frame to frame: a still image becomes a clip by it, and a moving
    clip gets a moved view now and then, as at inference."""

    def __init__(self, rng: np.random.Generator, frames: int, moving: bool):
        strength = (0.3 if rng.random() < 0.4 else 0.0) if moving else 1.0
        steps = rng.normal(0, 1, (frames, 4)) * strength
        steps[0] = 0
        trend = rng.normal(0, 1, 4) * strength
        path = np.cumsum(steps + trend * (np.arange(frames) > 0)[:, None], axis=0)
        self.path = path * [0.03, 0.03, 0.02, 0.05]  # of the view, of it, radians, log of size

    def at(self, step: int, size: int) -> np.ndarray:
        dx, dy, angle, growth = self.path[step]
        centre = (size - 1) / 2
        linear = np.exp(growth) * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        affine = np.eye(3)
        affine[:2, :2] = linear
        affine[:2, 2] = centre + np.array([dx, dy]) * size - linear @ [centre, centre]
        return affine


def _places(to_frame: np.ndarray, moved: np.ndarray | None, size: int) -> np.ndarray:
    """(2, S, S) float32: x and y in the frame of each pixel of the view."""
    xs, ys = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2, sparse=True)
    if moved is not None:
        xs, ys = xs + moved[0], ys + moved[1]
    a = to_frame.astype(np.float32)
    return np.stack([a[n, 0] * xs + a[n, 1] * ys + a[n, 2] for n in range(2)])


def _warp(image: np.ndarray, to_frame: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(H, W) float -> (S, S) at the `_places`, bilinear, zero outside, halved first where it would
    alias by `to_frame`."""
    tensor = torch.from_numpy(image)[None, None]
    scale = np.sqrt(abs(np.linalg.det(to_frame[:2, :2])))
    halved = 1
    while scale / halved > 1.7 and min(tensor.shape[-2:]) > 32:
        tensor = F.avg_pool2d(tensor, 2)
        halved *= 2
    height, width = tensor.shape[-2:]
    # pixel centres at integers before halving; grid_sample counts from the outer edge, -1 to 1
    sides = np.array([width, height], dtype=np.float32)[:, None, None] * halved
    where = torch.from_numpy(((2 * places + 1) / sides - 1).transpose(1, 2, 0).copy())[None]
    return F.grid_sample(tensor, where, align_corners=False)[0, 0].numpy()
