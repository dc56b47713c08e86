"""What a propagation has to compute: stretches of frames that depend on nothing but their ends.

A segment's conditioning frames cut each of its windows into stretches. A stretch is tracked from
one conditioning frame, remembers that one, the one at its other end (if any) and its own frames,
and nothing else. So a correction recomputes only the stretches that touch it, and the result is
the same as that of a full run; the same rule makes segments and windows independent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..annotation import FrameState
from ..errors import InvalidValue
from ..prompts import SegmentPrompts

DIRECTIONS = ("both", "forward", "backward")


@dataclass(frozen=True, eq=False)
class FrameMask:
    """One segment's result on one frame: mask (H, W) bool, confidence 0..1 (predicted IoU)."""

    segment: str
    frame: int
    mask: np.ndarray
    confidence: float
    state: FrameState


@dataclass(frozen=True)
class Stretch:
    """Frames in the order of tracking, and the conditioning frames that they depend on; the first
    of those is the one that tracking starts from. gap: first and last frame between the same
    conditioning frames; tracked from both ends, it holds two stretches. borrowed: the
    conditioning frames lie in another window, because this window has none."""

    frames: range
    conditioning: tuple[int, ...]
    gap: tuple[int, int]
    borrowed: bool = False

    @property
    def backward(self) -> bool:
        return self.frames.step < 0


def conditioning_frames(
    segment: SegmentPrompts, locked: Mapping[int, np.ndarray], clip_length: int
) -> list[int]:
    """Frames with prompts, and locked frames that show the structure; inside the windows."""
    windows = segment.windows_within(clip_length)
    frames = {index for index, prompts in segment.frames.items() if not prompts.is_empty}
    frames -= set(locked)
    frames |= {index for index, mask in locked.items() if mask.any()}
    return sorted(index for index in frames if any(index in window for window in windows))


def plan_stretches(
    segment: SegmentPrompts,
    locked: Mapping[int, np.ndarray],
    clip_length: int,
    direction: str = "both",
) -> list[Stretch]:
    """Stretches that fill a segment's windows, conditioning frames not included.

    forward: from each conditioning frame to the next, or to the window's end. backward: the same
    towards the start. both: every frame is tracked from the nearer of the conditioning frames
    around it. A window without conditioning frames borrows the nearest one of other windows.
    Raises InvalidValue for another direction, or if there is no conditioning frame at all.
    """
    if direction not in DIRECTIONS:
        raise InvalidValue(f"direction is {direction!r}; it must be one of {', '.join(DIRECTIONS)}")
    conditioning = conditioning_frames(segment, locked, clip_length)
    if not conditioning:
        raise InvalidValue(
            f"segment {segment.name!r} has no frame to start from; "
            "give a prompt on a frame inside one of its windows"
        )
    stretches = []
    for window in segment.windows_within(clip_length):
        inside = [index for index in conditioning if index in window]
        if not inside:
            stretches += _borrowed(window.start, window.end, conditioning, direction)
            continue
        for before, after in zip([None, *inside], [*inside, None], strict=True):
            first = window.start if before is None else before + 1
            last = window.end if after is None else after - 1
            stretches += _between(first, last, before, after, direction)
    return [stretch for stretch in stretches if len(stretch.frames)]


def _between(
    first: int, last: int, before: int | None, after: int | None, direction: str
) -> list[Stretch]:
    """The frames first..last between two conditioning frames, of which one may be missing."""
    gap = (first, last)
    forward, backward = range(first, last + 1), range(last, first - 1, -1)
    if before is None:
        return [] if direction == "forward" else [Stretch(backward, (after,), gap)]
    if after is None:
        return [] if direction == "backward" else [Stretch(forward, (before,), gap)]
    if direction == "forward":
        return [Stretch(forward, (before, after), gap)]
    if direction == "backward":
        return [Stretch(backward, (after, before), gap)]
    middle = (before + after) // 2
    return [
        Stretch(range(first, middle + 1), (before, after), gap),
        Stretch(range(last, middle, -1), (after, before), gap),
    ]


def _borrowed(first: int, last: int, conditioning: list[int], direction: str) -> list[Stretch]:
    """A window first..last that has no conditioning frame, from the nearest of another."""
    before = max((index for index in conditioning if index < first), default=None)
    after = min((index for index in conditioning if index > last), default=None)
    if direction == "forward":
        after = None
    if direction == "backward":
        before = None
    if before is not None and (after is None or first - before <= after - last):
        return [Stretch(range(first, last + 1), (before,), (first, last), borrowed=True)]
    if after is not None:
        return [Stretch(range(last, first - 1, -1), (after,), (first, last), borrowed=True)]
    return []


def count_masks(
    segments: Sequence[SegmentPrompts],
    clip_length: int,
    direction: str = "both",
    locked: Mapping[str, Mapping[int, np.ndarray]] | None = None,
    changed: Mapping[str, Collection[int]] | None = None,
) -> int:
    """Masks that a complete `propagation.propagate` with these arguments yields."""
    total = 0
    for segment in segments:
        if changed is not None and segment.name not in changed:
            continue
        kept = (locked or {}).get(segment.name, {})
        stretches = plan_stretches(segment, kept, clip_length, direction)
        prompted = set(conditioning_frames(segment, kept, clip_length)) - set(kept)
        if changed is not None:
            stretches = affected_by(stretches, changed[segment.name])
            prompted &= set(changed[segment.name])
        tracked = (index for stretch in stretches for index in stretch.frames)
        total += len(prompted) + sum(index not in kept for index in tracked)
    return total


def affected_by(stretches: list[Stretch], changed: Collection[int]) -> list[Stretch]:
    """The stretches to compute anew when prompts or locks of the frames `changed` were set,
    altered or removed: those of a gap that such a frame ends or lies in, and borrowing ones."""
    return [
        stretch
        for stretch in stretches
        if stretch.borrowed
        or any(
            index in stretch.conditioning or stretch.gap[0] <= index <= stretch.gap[1]
            for index in changed
        )
    ]
