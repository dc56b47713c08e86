"""Boundary clicks, decoded in passes: each starts from the outline that the one before drew.

The first pass is primed by curves through the clicks alone. What it draws knows the image, so from
then on its outline primes the network, beside a smooth curve through the clicks that starts from
that outline's ellipse instead of the spline's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from skimage.measure import find_contours
from torch import Tensor

from .network import Decoded, Embedding, SamusaNetwork, shape_prior
from .smooth import smooth_contour
from .spline import contour_distance, distinct, spline_contour

PASSES = 3  # docs/adr/0015-passes.md
MISSED = 0.2  # of the radius; human clicks miss by 0.05 (standard deviation)
RESCUES = 10  # clicks left out, at most, to find a start that meets all
SMALLEST_OUTLINE = 8  # vertices, on the grid of a prior


def decode_clicks(
    network: SamusaNetwork,
    embedding: Embedding,
    points: tuple[Tensor, Tensor],
    clicks: np.ndarray,
    start: np.ndarray | None = None,
    rescues: int = RESCUES,
) -> Decoded:
    """Decode one frame; `decode_boundary` where its outline meets the clicks.

    points: all prompts as the network takes them, (1, N, 2), (1, N), the boundary points last and
    in the order of clicks, (N, 2) network pixels. start: (M, 2), the outline of a mask that the
    clicks correct; without one two distinct clicks or more are needed. Where what is drawn misses
    a click, as when most clicks lie on one side of a bent structure and no curve about their
    middle fits, passes begin once more, without the start, or from what the clicks before the last
    one give; what meets the clicks better is returned. It depends on the prompts alone.
    """
    size = network.image_size
    first = None if start is None else [start]
    decoded = decode_boundary(network, embedding, points, [clicks], start=first)
    missed = _miss(decoded, size, clicks)
    if missed <= MISSED:
        return decoded
    earlier = clicks[:-1]
    if start is not None and len(distinct(clicks)) >= 2:
        again = decode_clicks(network, embedding, points, clicks)
    elif start is None and rescues > 0 and len(distinct(earlier)) >= 2:
        fewer = (points[0][:, :-1], points[1][:, :-1])
        before = decode_clicks(network, embedding, fewer, earlier, rescues=rescues - 1)
        outlines = _outlines(before, size, [spline_contour(earlier)])
        again = decode_boundary(network, embedding, points, [clicks], start=outlines)
    else:
        return decoded
    return again if _miss(again, size, clicks) < missed else decoded


def decode_boundary(
    network: SamusaNetwork,
    embedding: Embedding,
    points: tuple[Tensor, Tensor],
    clicks: Sequence[np.ndarray],
    passes: int = PASSES,
    start: Sequence[np.ndarray] | None = None,
) -> Decoded:
    """Decode a frame each of a batch that no other frame conditions, in passes.

    points: all prompts as the network takes them, (B, N, 2), (B, N). clicks: of each frame the
    boundary points among them, (N, 2) network pixels, two distinct ones or more, with a start one.
    start: of each frame a closed curve (M, 2) to begin with instead of the clicks' own. Gradients
    are those of the last pass: where an outline runs is no smooth function of the one before.
    """
    size = network.image_size
    outlines = [spline_contour(xy) for xy in clicks] if start is None else list(start)
    curves = [smooth_contour(xy) for xy in clicks] if start is None else _guided(clicks, outlines)
    features = network.without_memory(embedding)
    with_gradient = torch.is_grad_enabled()
    for number in range(1, passes + 1):
        last = number == passes
        with torch.set_grad_enabled(with_gradient and last):
            prior = curves_prior(outlines, size, network.device)
            smooth = curves_prior(curves, size, network.device)
            decoded = network.decode(embedding, features, points, prior, smooth=smooth)
        if not last:
            outlines = _outlines(decoded, size, outlines)
            curves = _guided(clicks, outlines)
    return decoded


def curves_prior(curves: Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """Prior logits of closed curves (M, 2), network pixels, of which the network's input has
    `size` a side -> (B, 1, size / 2, size / 2)."""
    grid = size // 2
    distances = [
        contour_distance((curve + 0.5) / 2 - 0.5, (grid, grid)) * np.float32(2) for curve in curves
    ]
    return shape_prior(torch.from_numpy(np.stack(distances))[:, None].to(device))


def _guided(clicks: Sequence[np.ndarray], outlines: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Smooth curves near clicks that start from the ellipses of outlines."""
    return [smooth_contour(xy, guess=outline) for xy, outline in zip(clicks, outlines, strict=True)]


def outline(logits: np.ndarray) -> np.ndarray | None:
    """Outline of the largest piece of a mask, found between the pixels of its logits (G, G):
    (M, 2) pixels of the network's input, which has 2 G a side; None where next to nothing was
    drawn. It closes at the edge of what the network sees."""
    padded = np.pad(logits, 1, constant_values=min(logits.min(), -1.0))
    pieces = find_contours(padded, 0.0)
    largest = max(pieces, key=_area, default=np.empty((0, 2)))[:-1, ::-1] - 1
    return (largest + 0.5) * 2 - 0.5 if len(largest) >= SMALLEST_OUTLINE else None


def _outlines(decoded: Decoded, size: int, before: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outline of each mask; the curve before where there is none. Boundary clicks outline one
    piece."""
    logits = decoded.full_logits(size // 2)[:, 0].detach().float().cpu().numpy()
    found = [outline(each) for each in logits]
    return [old if new is None else new for new, old in zip(found, before, strict=True)]


def _miss(decoded: Decoded, size: int, clicks: np.ndarray) -> float:
    """How far the outline of one frame's mask stays from a click at most, as a share of its mean
    radius; infinite without an outline."""
    (drawn,) = _outlines(decoded, size, [np.empty((0, 2))])
    if len(drawn) == 0:
        return np.inf
    apart = np.linalg.norm(clicks[:, None] - drawn[None], axis=2).min(axis=1).max()
    radius = np.sqrt(_area(np.vstack([drawn, drawn[:1]])) / np.pi)
    return float(apart / max(radius, 1.0))


def _area(closed: np.ndarray) -> float:
    y, x = closed.T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2
