"""One frame of an evaluation as a drawing: the truth, a method's mask, and the clicks."""

from __future__ import annotations

import numpy as np

from ..masks import bounding_box
from ..prompts import FramePrompts
from .pictures import contour_path, layer, picture, rgb

COLORS = {
    "boundary": (0, 114, 178),
    "region": (213, 94, 0),
    "box": (0, 158, 115),
    "spline": (96, 108, 120),
}
OTHER_COLOR = (204, 121, 167)
MARGIN = 0.35  # share of the longer side of what is drawn, left around it
LEAST_PART = 0.35  # of the frame's side that is shown at least


def method_color(name: str) -> str:
    """#rrggbb, the same in all charts."""
    return rgb(COLORS.get(name, OTHER_COLOR))


def draw(
    frame: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray,
    prompts: FramePrompts | None,
    method: str,
    label: str,
    aspect: float = 1.0,
) -> dict:
    """For the drawing macro of parts.html.j2: the part of the frame around truth and mask.

    frame: uint8 (H, W) or (H, W, 3). truth, mask: (H, W) bool. aspect: height of a pixel over its
    width.
    """
    x0, y0, x1, y1 = _part(truth | mask, aspect)
    height, width = truth.shape
    marks = layer(mask, prompts, COLORS.get(method, OTHER_COLOR), max(x1 - x0, y1 - y0))
    ratio = (x1 - x0) / ((y1 - y0) * aspect)
    return marks | {
        "view": f"{x0 - 0.5} {y0 - 0.5} {x1 - x0} {y1 - y0}",
        "ratio": f"{ratio:.4f}",
        "x": x0 - 0.5,
        "y": y0 - 0.5,
        "width": x1 - x0,
        "height": y1 - y0,
        "picture": picture(frame[y0:y1, x0:x1], ratio),
        "truth": contour_path(truth),
        "label": label,
    }


def _part(shown: np.ndarray, aspect: float) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (ends not included) of a square in space, as far as the frame has room."""
    height, width = shown.shape
    box = bounding_box(shown)
    if box is None:
        return 0, 0, width, height
    sides = (box[2] - box[0] + 1), (box[3] - box[1] + 1) * aspect
    side = max(max(sides) * (1 + 2 * MARGIN), LEAST_PART * min(width, height * aspect))
    part = []
    for low, high, size, length in (
        (box[0], box[2], side, width),
        (box[1], box[3], side / aspect, height),
    ):
        extent = min(length, int(np.ceil(size)))
        start = int(np.clip(round((low + high + 1 - extent) / 2), 0, length - extent))
        part.append((start, start + extent))
    (x0, x1), (y0, y1) = part
    return x0, y0, x1, y1
