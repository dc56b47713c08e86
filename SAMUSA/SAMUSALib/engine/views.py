"""Views: which part of a frame the network sees, and the way between frame and network pixels.

Zoom was worth 1 to 10 Dice points in a first experiment with a small network (small structures
are seen as sharply as large ones), and it makes the cost independent of the frame's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ZOOM = 2.0  # side of a view over the extent of the structure in it
# Two clicks need not span the structure: on an ellipse of 2:1, clicked first at the end of its
# short axis, a third of it lies beyond 2 times their extent.
ZOOM_TWO_CLICKS = 3.0
MIN_VIEW = 24  # frame pixels; below that a view shows speckle, no structure
KEPT_RANGE = (0.75, 1.4)  # a view is kept while its side over the wanted side is in this range


@dataclass(frozen=True)
class View:
    """An axis-parallel part of a frame: pixels x0 <= x < x0 + width, y0 <= y < y0 + height.

    It may reach outside the frame; what is outside is black. The network's input of `size` x
    `size` pixels is the view, stretched.
    """

    x0: int
    y0: int
    width: int
    height: int

    @classmethod
    def whole(cls, frame_size: tuple[int, int]) -> View:
        """The frame itself, stretched to a square as SAM2 does."""
        return cls(0, 0, frame_size[1], frame_size[0])

    @classmethod
    def square(cls, frame_size: tuple[int, int], aspect: float = 1.0) -> View:
        """The smallest centred square around the whole frame; keeps proportions.

        aspect: height of a pixel over its width; the view is square in space, not in pixels.
        """
        height, width = frame_size
        return cls._centred((width / 2, height / 2), max(width, height * aspect), aspect)

    @classmethod
    def around(
        cls,
        extent: tuple[float, float, float, float],
        frame_size: tuple[int, int],
        zoom: float = ZOOM,
        aspect: float = 1.0,
    ) -> View:
        """Square of zoom times the extent (x0, y0, x1, y1), centred on it; at most the frame."""
        x0, y0, x1, y1 = extent
        height, width = frame_size
        side = max(x1 - x0, (y1 - y0) * aspect) * zoom
        side = min(max(side, MIN_VIEW * max(1.0, aspect)), max(width, height * aspect))
        return cls._centred(((x0 + x1 + 1) / 2, (y0 + y1 + 1) / 2), side, aspect)

    @classmethod
    def _centred(cls, centre: tuple[float, float], side: float, aspect: float) -> View:
        """centre: x and y of pixel edges; side: in widths of a pixel."""
        width, height = max(1, round(side)), max(1, round(side / aspect))
        return cls(round(centre[0] - width / 2), round(centre[1] - height / 2), width, height)

    def suits(self, extent: tuple[float, float, float, float], wanted: View) -> bool:
        """Whether this view still shows an extent well, so that its embedding can be kept
        instead of the wanted view's."""
        x0, y0, x1, y1 = extent
        across, down = 0.1 * self.width, 0.1 * self.height
        inside = (
            x0 >= self.x0 + across
            and y0 >= self.y0 + down
            and x1 <= self.x0 + self.width - 1 - across
            and y1 <= self.y0 + self.height - 1 - down
        )
        return inside and KEPT_RANGE[0] <= self.width / wanted.width <= KEPT_RANGE[1]

    def to_network(self, xy: np.ndarray, size: int) -> np.ndarray:
        """(N, 2) frame pixels -> network pixels; pixel centres at integers on both sides."""
        scale = np.array([size / self.width, size / self.height])
        return (np.asarray(xy, dtype=np.float64) - [self.x0, self.y0] + 0.5) * scale - 0.5

    def cut(self, frame: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, 3) -> (height, width, ...) copy of the view, zeros outside."""
        height, width = frame.shape[:2]
        out = np.zeros((self.height, self.width, *frame.shape[2:]), frame.dtype)
        left, top = max(0, self.x0), max(0, self.y0)
        right, bottom = min(width, self.x0 + self.width), min(height, self.y0 + self.height)
        if right > left and bottom > top:
            out[top - self.y0 : bottom - self.y0, left - self.x0 : right - self.x0] = frame[
                top:bottom, left:right
            ]
        return out

    def paste(self, part: np.ndarray, frame_size: tuple[int, int], background) -> np.ndarray:
        """Inverse of `cut`: (height, width) -> (H, W), `background` beyond the view."""
        height, width = frame_size
        out = np.full((height, width), background, part.dtype)
        left, top = max(0, self.x0), max(0, self.y0)
        right, bottom = min(width, self.x0 + self.width), min(height, self.y0 + self.height)
        if right > left and bottom > top:
            out[top:bottom, left:right] = part[
                top - self.y0 : bottom - self.y0, left - self.x0 : right - self.x0
            ]
        return out

    def network_input(self, frame: np.ndarray, size: int) -> Tensor:
        """uint8 frame (H, W) or (H, W, 3) -> (3, size, size) float32 in 0..1."""
        part = torch.from_numpy(np.ascontiguousarray(self.cut(frame)))
        part = part[None] if part.ndim == 2 else part.permute(2, 0, 1)
        resized = resize(part.float().div_(255.0)[None], size, size)[0]
        return resized.expand(3, size, size)


def resize(maps: Tensor, height: int, width: int) -> Tensor:
    """(B, C, h, w) -> (B, C, height, width), bilinear, antialiased where it shrinks."""
    if maps.shape[-2:] == (height, width):
        return maps
    return F.interpolate(
        maps, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
