"""Which frames need a look: those the model is unsure of, and those where the mask jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ..annotation import FrameState
from ..masks import EncodedMask
from ..scene.segments import ClipMasks
from ..scene.state import FrameMark, SceneState
from .steps import Stepper

APART = 3  # frames nearer than this to a worse one are not named: one look settles both


def overlap(one: EncodedMask, other: EncodedMask) -> float:
    """IoU of two masks of one shape, 0..1; 1 for two empty ones. Looks only into their boxes."""
    if one.is_empty or other.is_empty:
        return float(one.is_empty and other.is_empty)
    a, b = one.decode_box(), other.decode_box()
    x0, y0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    x1, y1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    common, areas = 0, (np.count_nonzero(a), np.count_nonzero(b))
    if x0 <= x1 and y0 <= y1:
        parts = [
            bits[y0 - box[1] : y1 + 1 - box[1], x0 - box[0] : x1 + 1 - box[0]]
            for bits, box in ((a, one.box), (b, other.box))
        ]
        common = np.count_nonzero(parts[0] & parts[1])
    return common / (sum(areas) - common)


class Jumps:
    """How much of a mask is not shared with the one of the frame before, 1 - IoU: computed once,
    for 700 large masks take 0.2 s."""

    def __init__(self):
        self._known: dict[tuple[str, int], tuple[EncodedMask, EncodedMask, float]] = {}

    def of(self, segment: str, frame: int, masks: Mapping[tuple[str, int], EncodedMask]) -> float:
        """masks: by segment and frame; 0 where one of the two is not known."""
        before, mask = masks.get((segment, frame - 1)), masks.get((segment, frame))
        if before is None or mask is None:
            return 0.0
        known = self._known.get((segment, frame))
        if known is None or known[:2] != (before, mask):
            known = (before, mask, 1.0 - overlap(before, mask))
            self._known[segment, frame] = known
        return known[2]


def to_check(marks: Mapping[int, FrameMark], jump_at: Callable[[int], float]) -> list[int]:
    """Propagated frames, the most doubtful first.

    Doubt is what the model lacks in confidence plus what the mask does not share with the one of
    the frame before (jump_at: `Jumps.of`), each over the worst of the clip.
    """
    frames = [n for n, mark in sorted(marks.items()) if mark.state is FrameState.PROPAGATED]
    unsure = {n: 1.0 - marks[n].confidence for n in frames}
    jump = {n: jump_at(n) for n in frames}
    worst = [max(of.values(), default=0.0) or 1.0 for of in (unsure, jump)]
    doubt = {n: unsure[n] / worst[0] + jump[n] / worst[1] for n in frames}
    chosen: list[int] = []
    for frame in sorted(frames, key=lambda n: (-doubt[n], n)):
        if all(abs(frame - other) >= APART for other in chosen):
            chosen.append(frame)
    return chosen


class Review:
    """The masks of a workspace as they were seen last, compared with their neighbours ahead, so
    that who asks what to check has not to wait for all of them."""

    def __init__(
        self, masks: ClipMasks, state: SceneState, soon: Callable[[Callable[[], None]], None]
    ):
        self.seen: dict[tuple[str, int], EncodedMask] = {}  # by segment ID and frame
        self._masks, self._state, self._soon = masks, state, soon
        self._jumps = Jumps()
        self._comparing: Stepper | None = None

    def compare(self, segment: str, frames: Iterable[int]) -> None:
        """Masks that were just seen, with those before and after them."""
        for frame in frames:
            self._jumps.of(segment, frame, self.seen)
            self._jumps.of(segment, frame + 1, self.seen)

    def compare_soon(self) -> None:
        """All masks, over the next turns of the event loop."""
        self.close()
        self._comparing = Stepper(self._compare_all(), self._soon)

    def _compare_all(self):
        state = self._state
        for segment, frame in [(s, n) for s in state.segments for n in state.marks(s)]:
            if self._masks.has_segment(segment):
                if (segment, frame) not in self.seen:
                    mask = EncodedMask.encode(self._masks.mask(segment, frame))
                    self.seen[segment, frame] = mask
                self._jumps.of(segment, frame, self.seen)
            yield

    def forget(self, segment: str) -> None:
        """It was removed."""
        self.seen = {place: mask for place, mask in self.seen.items() if place[0] != segment}

    def close(self) -> None:
        """Compare no more."""
        if self._comparing is not None:
            self._comparing.cancel()

    def next_to_check(self, segment: str, frame: int | None) -> int | None:
        """The propagated frame that most needs a look, by low confidence and sudden change; when
        `frame` is itself one of those, the next of them. None: nothing is left to check."""
        ranked = to_check(
            self._state.marks(segment), lambda each: self._jumps.of(segment, each, self.seen)
        )
        if not ranked:
            return None
        if frame in ranked:
            return ranked[(ranked.index(frame) + 1) % len(ranked)]
        return ranked[0]
