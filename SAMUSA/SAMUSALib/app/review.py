"""Which frames need a look: those the model is unsure of, and those where the mask jumps."""

from __future__ import annotations

from collections.abc import Mapping

from ..annotation import FrameState
from ..masks import EncodedMask
from ..scene.state import FrameMark

APART = 3  # frames nearer than this to a worse one are not named: one look settles both


def overlap(one: EncodedMask, other: EncodedMask) -> float:
    """IoU of two masks of one shape, 0..1; 1 for two empty ones. Looks only into their boxes."""
    if one.is_empty or other.is_empty:
        return float(one.is_empty and other.is_empty)
    a, b = one.decode_box(), other.decode_box()
    x0, y0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    x1, y1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    common = 0
    if x0 <= x1 and y0 <= y1:
        parts = [
            bits[y0 - box[1] : y1 + 1 - box[1], x0 - box[0] : x1 + 1 - box[0]]
            for bits, box in ((a, one.box), (b, other.box))
        ]
        common = int((parts[0] & parts[1]).sum())
    return common / (int(a.sum()) + int(b.sum()) - common)


def to_check(marks: Mapping[int, FrameMark], masks: Mapping[int, EncodedMask]) -> list[int]:
    """Propagated frames, the most doubtful first.

    Doubt is what the model lacks in confidence plus what the mask does not share with the one of
    the frame before (1 - IoU), each over the worst of the clip.
    """
    frames = [n for n, mark in sorted(marks.items()) if mark.state is FrameState.PROPAGATED]
    unsure = {n: 1.0 - marks[n].confidence for n in frames}
    jump = {
        n: 1.0 - overlap(masks[n - 1], masks[n]) if n in masks and n - 1 in masks else 0.0
        for n in frames
    }
    worst = [max(of.values(), default=0.0) or 1.0 for of in (unsure, jump)]
    doubt = {n: unsure[n] / worst[0] + jump[n] / worst[1] for n in frames}
    chosen: list[int] = []
    for frame in sorted(frames, key=lambda n: (-doubt[n], n)):
        if all(abs(frame - other) >= APART for other in chosen):
            chosen.append(frame)
    return chosen
