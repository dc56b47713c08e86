"""The masks of a segment on all frames of a clip, their states, locks and confidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from .errors import InvalidValue
from .masks import EncodedMask

# Okabe and Ito's, which the colour-blind tell apart too
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))


class FrameState(str, Enum):
    """State of one segment on one frame. Reviewed frames are locked."""

    EMPTY = "empty"
    PROMPTED = "prompted"
    PROPAGATED = "propagated"
    REVIEWED = "reviewed"


class Checked:
    """Of a dataclass with a state and a confidence: both are what they must be."""

    def __post_init__(self):
        object.__setattr__(self, "state", FrameState(self.state))
        if not 0.0 <= self.confidence <= 1.0:
            raise InvalidValue(f"confidence is {self.confidence!r}; a number from 0 to 1 is needed")


@dataclass(frozen=True)
class FrameAnnotation(Checked):
    """Mask, state and confidence (predicted IoU, 0..1) of one segment on one frame."""

    mask: EncodedMask
    state: FrameState
    confidence: float = 1.0


@dataclass
class SegmentAnnotation:
    """One segment's masks on a clip of `length` frames of `frame_size` (H, W) pixels.

    Frames that were never set are empty. A reviewed frame is locked: it is not overwritten
    until it is unlocked.
    """

    name: str
    length: int
    frame_size: tuple[int, int]
    color: tuple[int, int, int] = (255, 0, 0)
    _frames: dict[int, FrameAnnotation] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        if self.length < 1 or min(self.frame_size) < 1:
            raise InvalidValue(f"a clip of {self.length} frames of {self.frame_size} pixels")

    def _check(self, index: int) -> int:
        if isinstance(index, bool) or not 0 <= index < self.length:
            raise InvalidValue(f"frame {index} does not exist; the last frame is {self.length - 1}")
        return int(index)

    def frame(self, index: int) -> FrameAnnotation:
        index = self._check(index)
        empty = FrameAnnotation(EncodedMask(self.frame_size, None, b""), FrameState.EMPTY, 1.0)
        return self._frames.get(index, empty)

    def mask(self, index: int) -> np.ndarray:
        """(H, W) bool."""
        return self.frame(index).mask.decode()

    def set(
        self, index: int, mask: np.ndarray, state: FrameState, confidence: float = 1.0
    ) -> FrameAnnotation:
        """Store a mask and return what was there before. A locked frame is refused."""
        index = self._check(index)
        mask = np.asarray(mask)
        if mask.shape != tuple(self.frame_size):
            raise InvalidValue(f"mask has shape {mask.shape}; frames are {self.frame_size}")
        before = self.frame(index)
        if before.state is FrameState.REVIEWED and state is not FrameState.REVIEWED:
            raise InvalidValue(f"frame {index} of {self.name!r} is locked; unlock it first")
        self._frames[index] = FrameAnnotation(EncodedMask.encode(mask), state, confidence)
        return before

    def restore(self, index: int, frame: FrameAnnotation) -> None:
        """Put back what `set` returned (undo)."""
        self._frames[self._check(index)] = frame

    def lock(self, index: int) -> None:
        """Mark a frame as reviewed; also an empty one: the structure is not there."""
        frame = self.frame(index)
        self._frames[int(index)] = FrameAnnotation(
            frame.mask, FrameState.REVIEWED, frame.confidence
        )

    def unlock(self, index: int) -> None:
        frame = self.frame(index)
        if frame.state is FrameState.REVIEWED:
            state = FrameState.EMPTY if frame.mask.is_empty else FrameState.PROPAGATED
            self._frames[int(index)] = FrameAnnotation(frame.mask, state, frame.confidence)

    @property
    def locked(self) -> frozenset[int]:
        return frozenset(i for i, f in self._frames.items() if f.state is FrameState.REVIEWED)

    def masks(self) -> Iterator[np.ndarray]:
        """(H, W) bool for every frame in order, one at a time."""
        return (self.mask(index) for index in range(self.length))


@dataclass
class Annotation:
    """The segments of one clip; names are unique."""

    length: int
    frame_size: tuple[int, int]
    segments: list[SegmentAnnotation] = field(default_factory=list)

    def add(self, name: str, color: tuple[int, int, int] = (255, 0, 0)) -> SegmentAnnotation:
        if any(segment.name == name for segment in self.segments):
            raise InvalidValue(f"segment {name!r} exists already; choose another name")
        segment = SegmentAnnotation(name, self.length, self.frame_size, color)
        self.segments.append(segment)
        return segment

    def segment(self, name: str) -> SegmentAnnotation:
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise InvalidValue(f"there is no segment {name!r}")
