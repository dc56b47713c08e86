"""Beam space and scan conversion.

Echoes are simulated on a grid of depth samples (rows) by scan lines (columns), as a scanner
acquires them, and then converted to the square pixels of the frame. So the speckle of a sector
widens with depth. Scan conversion is bilinear, as one sparse matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .spec import PhantomSpec

_MARGIN = 2.0
_LINE_SPACING = 1.25  # px, of a sector at 0.6 of its depth


@dataclass(frozen=True)
class Beams:
    """The scan lines of one probe position, in pixels of the frame.

    x, y: (N, L) float32 positions of N depth samples on L lines. direction: (2, L) float32 unit
    vector (x, y) along each line. depth: (N,) float32 distance from the probe face, in steps of
    about 1 px. spacing: (N, 1) float32 distance between lines. inside: (H, W) bool field of view.
    matrix: (inside.sum(), N*L) float32 scan conversion. step: px between depth samples. apex:
    (x, y) where the lines meet (linear: middle of the face). inner, outer: px from it to the face
    and to the far end.
    """

    x: np.ndarray
    y: np.ndarray
    direction: np.ndarray
    depth: np.ndarray
    spacing: np.ndarray
    inside: np.ndarray
    matrix: sparse.csr_array
    step: float
    apex: tuple[float, float]
    inner: float
    outer: float

    def scan_convert(self, beams: np.ndarray) -> np.ndarray:
        """(N, L) values -> (H, W) uint8, 0 outside the field of view."""
        frame = np.zeros(self.inside.shape, np.uint8)
        frame[self.inside] = np.clip(self.matrix @ beams.ravel(), 0, 255).astype(np.uint8)
        return frame


@dataclass(frozen=True)
class _Layout:
    """Where the field of view lies, in px: see `Beams`. half: half its opening (radians), or half
    the width of a linear face.
    """

    apex: tuple[float, float]
    inner: float
    outer: float
    half: float


def _layout(spec: PhantomSpec) -> _Layout:
    height, width = spec.size
    tall, wide = height - 1 - 2 * _MARGIN, width - 1 - 2 * _MARGIN
    middle = (width - 1) / 2
    if spec.geometry == "linear":
        return _Layout((middle, _MARGIN), 0.0, tall * spec.zoom, wide * spec.zoom / 2)
    if spec.geometry == "sector":
        half = math.radians(spec.view_angle_deg) / 2
        tall, wide = tall / (1 - spec.probe_radius * math.cos(half)), wide / (2 * math.sin(half))
        outer = min(tall, wide) * spec.zoom
        inner = outer * spec.probe_radius
        return _Layout((middle, _MARGIN - inner * math.cos(half)), inner, outer, half)
    outer = min(tall, wide) / 2 * spec.zoom
    return _Layout((middle, (height - 1) / 2), outer * spec.probe_radius, outer, math.pi)


def position(spec: PhantomSpec, depth: float, lateral: float) -> tuple[float, float]:
    """(x, y) px of a place in the field of view: depth 0 (probe) .. 1, lateral -1 .. 1."""
    layout = _layout(spec)
    radius = layout.inner + depth * (layout.outer - layout.inner)
    across = lateral * layout.half
    if spec.geometry == "linear":
        return layout.apex[0] + across, layout.apex[1] + radius
    return (
        layout.apex[0] + radius * math.sin(across),
        layout.apex[1] + radius * math.cos(across),
    )


def make_beams(spec: PhantomSpec) -> Beams:
    """Beam grid and scan conversion of a spec's geometry."""
    height, width = spec.size
    layout = _layout(spec)
    apex, inner, outer, half = layout.apex, layout.inner, layout.outer, layout.half
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = xx - np.float32(apex[0]), yy - np.float32(apex[1])
    if spec.geometry == "linear":
        lateral, radius, face = dx, dy, 2 * half
    else:
        lateral, radius, face = np.arctan2(dx, dy), np.hypot(dx, dy), 2 * half * outer * 0.6
    lines = max(8, round(face / _LINE_SPACING))
    around = spec.geometry == "radial"
    samples = max(8, round(outer - inner) + 1)
    step = (outer - inner) / (samples - 1)
    pitch = 2 * half / (lines if around else lines - 1)
    at_depth = np.linspace(inner, outer, samples, dtype=np.float32)
    at_line = (-half + pitch * np.arange(lines)).astype(np.float32)
    inside = (radius >= inner) & (radius <= outer) & (np.abs(lateral) <= half)
    if spec.geometry == "linear":
        direction = np.stack([np.zeros_like(at_line), np.ones_like(at_line)])
        x = np.broadcast_to(apex[0] + at_line, (samples, lines)).astype(np.float32)
        y = np.broadcast_to(apex[1] + at_depth[:, None], (samples, lines)).astype(np.float32)
        spacing = np.full((samples, 1), pitch, np.float32)
    else:
        direction = np.stack([np.sin(at_line), np.cos(at_line)])
        x = np.float32(apex[0]) + at_depth[:, None] * direction[0]
        y = np.float32(apex[1]) + at_depth[:, None] * direction[1]
        spacing = (at_depth * pitch)[:, None].astype(np.float32)

    matrix = _bilinear(
        (radius[inside] - inner) / step, (lateral[inside] + half) / pitch, samples, lines, around
    )
    return Beams(
        x, y, direction, at_depth - np.float32(inner), spacing, inside, matrix, step,
        apex, inner, outer,
    )  # fmt: skip


def _bilinear(rows, columns, samples: int, lines: int, around: bool) -> sparse.csr_array:
    """Sparse matrix that interpolates a (samples, lines) grid at the given positions."""
    row = np.clip(np.floor(rows), 0, samples - 2).astype(np.int32)
    column = np.floor(columns).astype(np.int32)
    column = column % lines if around else np.clip(column, 0, lines - 2)
    beyond = (column + 1) % lines
    down = np.clip(rows - row, 0, 1)
    right = np.clip(columns - (np.floor(columns) if around else column), 0, 1)
    indices = np.stack(
        [row * lines + column, row * lines + beyond,
         (row + 1) * lines + column, (row + 1) * lines + beyond], axis=1,
    )  # fmt: skip
    weights = np.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=1
    )
    count = len(rows)
    starts = np.arange(0, 4 * count + 1, 4, dtype=np.int32)
    parts = (weights.ravel().astype(np.float32), indices.ravel(), starts)
    return sparse.csr_array(parts, shape=(count, samples * lines))
