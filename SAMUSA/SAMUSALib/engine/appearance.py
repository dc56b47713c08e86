"""How bright a structure is beside its surroundings, remembered from the frames that the annotator
clicked.

The small network's tracking follows the mask of the frame before and the edges in the image, and
makes little of its memory: what leaks once leaks on. Brightness is a memory that it cannot lose:
the log ratio of two histograms, inside and around, says where the structure has gone from the frame
before, and is added to the logits of tracked frames. Where both are alike it is nothing.
docs/adr/0017-appearance.md and 0018-following.md have the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d
from scipy.signal import fftconvolve
from torch import Tensor

from .network import Decoded, expected_iou

WEIGHT = 0.8  # of the log ratio
BLUR = 3.0  # pixels of half the network's input, against speckle; a structure is about 64 wide
AROUND = 0.6  # of the structure's radius: how far its surroundings reach
BINS, LIGHTEST = 32, 2.5  # brightness in standard deviations of the network's input, from -LIGHTEST
LARGEST = 2.0  # log ratio
FLOOR = 0.005  # share of a bin in which nothing was seen
FARTHEST = 0.4  # of the structure's radius: how far it goes from one frame to the next
STAY = 4.0  # log ratio that a move by a radius has to gain; half the move, a quarter of it


@dataclass(frozen=True, eq=False)
class Appearance:
    """log_ratio: (BINS,) of inside to around, by brightness."""

    log_ratio: np.ndarray

    @classmethod
    def seen(cls, image: Tensor, mask: np.ndarray) -> Appearance:
        """From a frame's grey image (1, 1, G, G) of an `Embedding` and its mask (G, G) bool."""
        if not mask.any() or mask.all():
            return cls(np.zeros(BINS))
        bins = _bins(image)
        inside, outside = (_histogram(bins[part]) for part in (mask, _around(mask)))
        return cls(np.clip(np.log(inside / outside), -LARGEST, LARGEST))

    @classmethod
    def mean(cls, seen: Sequence[Appearance]) -> Appearance:
        return cls(np.mean([each.log_ratio for each in seen], axis=0))

    def likeness(self, image: Tensor) -> np.ndarray:
        """(G, G) log ratio of a tracked frame's pixels: where it looks like the structure."""
        return self.log_ratio[_bins(image)]

    @staticmethod
    def follow(prior: Tensor, likeness: np.ndarray) -> Tensor:
        """The prior of a tracked frame, (1, 1, G, G) logits of the mask before, moved by whole
        pixels to where the frame looks most like the structure and its surroundings."""
        mask = prior[0, 0].cpu().numpy() > 0
        if not mask.any() or mask.all():
            return prior
        radius = np.sqrt(mask.sum() / np.pi)
        most = int(np.ceil(FARTHEST * radius))
        around = _around(mask)
        expected = mask / mask.sum() - around / around.sum()
        padded = np.pad(likeness, most, mode="edge")
        gained = fftconvolve(padded, expected[::-1, ::-1], mode="valid")
        y, x = np.mgrid[-most : most + 1, -most : most + 1]
        squared = (y**2 + x**2) / radius**2
        gained = np.where(squared <= FARTHEST**2, gained - STAY * squared, -np.inf)
        row, column = np.unravel_index(gained.argmax(), gained.shape)
        side, top, left = mask.shape[0], 2 * most - row, 2 * most - column
        wide = F.pad(prior, (most,) * 4, mode="replicate")
        return wide[..., top : top + side, left : left + side]

    @staticmethod
    def weigh(decoded: Decoded, likeness: np.ndarray) -> Decoded:
        """A tracked frame's decoding, its logits raised where it looks like the structure."""
        change = torch.from_numpy(likeness.astype(np.float32))[None, None].to(decoded.logits.device)
        decoded = replace(decoded, logits=decoded.logits + WEIGHT * change)
        iou = expected_iou(decoded.full_logits(likeness.shape[-1])).max(dim=1).values
        return replace(decoded, iou=iou)


def _around(mask: np.ndarray) -> np.ndarray:
    """(G, G) bool: the surroundings of a mask."""
    distance = distance_transform_edt(~mask)
    return (distance > 0) & (distance < AROUND * np.sqrt(mask.sum() / np.pi) + 2)


def _bins(image: Tensor) -> np.ndarray:
    """(1, 1, G, G) -> (G, G) brightness as bins."""
    smooth = gaussian_filter(image[0, 0].float().cpu().numpy(), BLUR)
    return np.clip((smooth + LIGHTEST) * (BINS / (2 * LIGHTEST)), 0, BINS - 1).astype(np.intp)


def _histogram(bins: np.ndarray) -> np.ndarray:
    counts = np.bincount(bins, minlength=BINS).astype(np.float64)
    shares = gaussian_filter1d(counts / counts.sum(), 1.0) + FLOOR
    return shares / shares.sum()
