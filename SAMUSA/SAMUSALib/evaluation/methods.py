"""Ways to turn clicks into masks: a model clicked on the border, inside or with a box, the spline.

The same methods are judged on images and on clips.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..clip import Clip
from ..engine.cache import EmbeddingCache
from ..engine.models import Model
from ..engine.plan import FrameMask
from ..engine.propagation import propagate
from ..engine.segmentation import FrameSegmenter
from ..engine.spline import propagate_spline, spline_mask
from ..errors import InvalidValue
from ..prompts import FramePrompts, SegmentPrompts
from .annotator import CLICK_KINDS, Segment

METHODS = ("boundary", "region", "box", "spline")

# (clip, segment, direction, frames whose prompts changed or None for all) -> masks
Propagate = Callable[[Clip, SegmentPrompts, str, Collection[int] | None, str], Iterator[FrameMask]]


@dataclass(frozen=True)
class Method:
    """A way to turn clicks into a mask.

    segment: (frame uint8 (H, W) or (H, W, 3), FramePrompts, previous) -> something with a mask;
    previous is what it returned after the click before, None at first. The segment method of an
    `engine.segmentation.FrameSegmenter` fits as it is. clicks: what the annotator clicks, see
    `annotator.simulate_clicks`. for_aspect: the segment for pixels of another height over width
    than 1; None where it knows square pixels only. propagate: from the prompts of a segment to the
    masks of a clip, (clip, segment, direction, changed frames or None, key of the clip); None for
    a method of images only.
    """

    name: str
    segment: Segment
    clicks: str = "boundary"
    for_aspect: Callable[[float], Segment] | None = None
    propagate: Propagate | None = None

    def __post_init__(self):
        if self.clicks not in CLICK_KINDS:
            raise InvalidValue(
                f"method {self.name!r} wants {self.clicks!r} clicks; "
                f"choose from {', '.join(CLICK_KINDS)}"
            )

    def on_pixels(self, aspect: float) -> Segment:
        """The segment function for pixels of that height over width."""
        if aspect == 1.0:
            return self.segment
        if self.for_aspect is None:
            raise InvalidValue(f"method {self.name!r} knows square pixels only, not of {aspect:g}")
        return self.for_aspect(aspect)


@dataclass(frozen=True)
class _Mask:
    mask: np.ndarray


def spline_method(name: str = "spline") -> Method:
    """The baseline: the curve through the boundary points, without a look at the image."""

    def on_pixels(aspect: float) -> Segment:
        def segment(frame: np.ndarray, prompts: FramePrompts, previous=None) -> _Mask:
            return _Mask(spline_mask(prompts.boundary, frame.shape[:2], aspect))

        return segment

    def carry(clip, segment, direction, changed, key) -> Iterator[FrameMask]:
        # the outlines of all frames follow from all clicks, and cost little
        return propagate_spline(clip, [segment], direction)

    return Method(name, on_pixels(1.0), "boundary", on_pixels, carry)


def model_methods(model: Model, kinds: Sequence[str]) -> list[Method]:
    """A model as methods of these kinds of clicks, which share its embeddings.

    A model that was not trained for a kind gets it through the engine's adapter.
    """
    cache = EmbeddingCache()
    work = _FrameInWork()

    def on_pixels(aspect: float) -> Segment:
        segmenter = FrameSegmenter(model, cache, aspect)

        def segment(frame: np.ndarray, prompts: FramePrompts, previous=None):
            return segmenter.segment(frame, prompts, previous, key=work.key(frame))

        return segment

    def carry(clip, segment, direction, changed, key) -> Iterator[FrameMask]:
        changed = None if changed is None else {segment.name: changed}
        return propagate(
            model, clip, [segment], direction, changed=changed, cache=cache, clip_key=key
        )

    segment = on_pixels(1.0)
    return [Method(kind, segment, kind, on_pixels, carry) for kind in kinds]


class _FrameInWork:
    """Numbers frames as they come, so that the embedding of the one in work is found again."""

    def __init__(self):
        self._frame, self._number = None, 0

    def key(self, frame: np.ndarray) -> int:
        if frame is not self._frame:
            self._frame, self._number = frame, self._number + 1
        return self._number
