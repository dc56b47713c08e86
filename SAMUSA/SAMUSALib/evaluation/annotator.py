"""The simulated annotator: clicks on one structure of one frame against a method's own masks.

Where each click lands is said in `training.clicks`; this file turns clicks into prompts and asks
the method for a mask after each. Evaluation, demo, benchmark and tests click through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import InvalidValue
from ..prompts import FramePrompts
from ..training.clicks import (
    border,
    farthest_from_border,
    jitter,
    next_boundary_click,
    next_region_click,
    simulated_box,
)

CLICK_KINDS = ("boundary", "region", "box")
BOX_NOISE = 0.05  # share of the box's side (UltraSam's)


class Segmented(Protocol):
    """What a method returns: the mask, (H, W) bool, and whatever it wants to get back."""

    mask: np.ndarray


Segment = Callable[[np.ndarray, FramePrompts, Any], Segmented]


@dataclass(frozen=True, eq=False)
class Clicked:
    """The prompts after a click and what the method made of them."""

    prompts: FramePrompts
    result: Segmented

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return np.asarray(self.result.mask, dtype=bool)


def simulate_clicks(
    segment: Segment,
    frame: np.ndarray,
    truth: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    error: float = 0.0,
    start: np.ndarray | None = None,
) -> Iterator[Clicked]:
    """Click without end; take as many clicks as are wanted (`itertools.islice`).

    segment: (frame, prompts, previous result or None) -> result with a mask. frame: uint8 (H, W)
    or (H, W, 3). truth: (H, W) bool, not empty. kind: "boundary" (a random border point, the
    point farthest from it, then the point farthest from the predicted border), "region" (the
    centre, then the centre of the largest error) or "box" (a box with BOX_NOISE counts as one
    click, then as region). error: the annotator's inaccuracy, the standard deviation of each
    click (and box side) along x and y as a share of sqrt(area of the structure). start: (H, W)
    bool, a mask to correct: it goes with all prompts, costs no click, and no click looks for the
    structure anew: the first one is already where this mask is worst.

    Everything follows from the Generator. Raises InvalidValue for another kind, an empty
    structure, a negative error or a mask that does not fit the frame.
    """
    if kind not in CLICK_KINDS:
        raise InvalidValue(f"clicks of kind {kind!r}; choose from {', '.join(CLICK_KINDS)}")
    if not error >= 0:
        raise InvalidValue(f"the annotator's error is {error!r}; a share of at least 0 is needed")
    truth = np.asarray(truth, dtype=bool)
    if not truth.any():
        raise InvalidValue("the structure is empty; there is nothing to click on")
    for name, mask in (("truth", truth), ("start", start)):
        if mask is not None and np.shape(mask) != frame.shape[:2]:
            raise InvalidValue(
                f"the {name} mask has shape {np.shape(mask)} for a frame of {frame.shape[:2]}"
            )
    return _clicks(segment, frame, truth, kind, rng, error, start)


def _clicks(segment, frame, truth, kind, rng, error, start) -> Iterator[Clicked]:
    sd = error * float(np.sqrt(np.count_nonzero(truth)))
    outline = border(truth)
    points: dict[str, list[np.ndarray]] = {"boundary": [], "include": [], "exclude": []}
    box, previous, mask = None, None, start
    while True:
        if kind == "box" and box is None and start is None:
            box = _drawn_box(truth, rng, sd)
        else:
            if kind == "boundary":
                to, made = "boundary", np.array(points["boundary"]).reshape(-1, 2)
                xy = _boundary_click(outline, made, mask, rng, start is not None)
            else:
                xy, include = next_region_click(truth, mask, rng)
                to = "include" if include else "exclude"
            if sd > 0:
                xy = jitter(xy, rng, sd, truth.shape)
            points[to].append(xy)
        prompts = FramePrompts(
            **{name: np.array(made) for name, made in points.items()}, box=box, mask=start
        )
        previous = segment(frame, prompts, previous)
        mask = np.asarray(previous.mask, dtype=bool)
        if mask.shape != truth.shape:
            raise InvalidValue(
                f"a method gave a mask of shape {mask.shape} for a frame of {truth.shape}"
            )
        yield Clicked(prompts, previous)


def _boundary_click(outline, made, mask, rng, correcting: bool) -> np.ndarray:
    """Correcting a mask, the first two clicks too are where it is worst."""
    if correcting and mask.any():
        return farthest_from_border(outline, border(mask), made)
    return next_boundary_click(outline, made, mask, rng)


def _drawn_box(truth: np.ndarray, rng: np.random.Generator, sd: float) -> np.ndarray:
    """(4,) box by hand; with an inexact hand its corners move too,
    never nearer to its middle than half a pixel."""
    box = simulated_box(truth, rng, BOX_NOISE)
    if sd > 0:
        moved = jitter(box.reshape(2, 2), rng, sd, truth.shape).reshape(4)
        middle = (box[:2] + box[2:]) / 2
        low, high = np.minimum(moved[:2], middle - 0.5), np.maximum(moved[2:], middle + 0.5)
        limit = np.array(truth.shape[::-1]) - 0.5
        box = np.concatenate([np.maximum(low, -0.5), np.minimum(high, limit)])
    return box
