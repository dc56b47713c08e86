"""What an annotator has accepted on one clip: segments, prompts, windows, masks and their states.

A session holds it, a journal keeps it on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from ..annotation import Annotation, FrameAnnotation, FrameState
from ..clip import Clip, FrameReader, Geometry
from ..errors import InvalidValue
from ..prompts import FramePrompts, SegmentPrompts, Window
from .messages import MOST_STEPS

SAMPLED_FRAMES, SAMPLED_ROWS = 32, 16


def fingerprint(frames: np.ndarray | FrameReader) -> str:
    """64 hex digits that tell the pixels of two clips apart: of the shape and of 16 rows of 32
    frames, evenly spread. Speckle differs everywhere; all of a 215 MB clip takes 1 s, this 0.5 ms.

    frames: (T, H, W) or (T, H, W, 3) uint8, an array or a FrameReader.
    """
    digest = hashlib.sha256(repr((frames.shape, frames.dtype.str)).encode())
    rows = _evenly(frames.shape[1], SAMPLED_ROWS)
    for index in _evenly(len(frames), SAMPLED_FRAMES):
        digest.update(np.ascontiguousarray(frames[index, rows]))
    return digest.hexdigest()


def _evenly(length: int, most: int) -> list[int]:
    """Indices from the first to the last, each once. (The first np.unique of a process imports
    numpy.ma, 20 to 100 ms in Slicer's GUI thread.)"""
    return sorted(set(np.linspace(0, length - 1, most).round().astype(int).tolist()))


@dataclass(frozen=True, eq=False)
class ClipIdentity:
    """Which clip it is, without its pixels.

    name: shown to the user. source: where it came from (a path, a node), may be empty.
    fingerprint: of the pixels. created: when its annotation began, ISO 8601 with time zone.
    """

    name: str
    source: str
    fingerprint: str
    geometry: Geometry
    created: str

    @classmethod
    def of(cls, clip: Clip) -> ClipIdentity:
        """Of a clip whose annotation begins now."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(clip.name, clip.source, fingerprint(clip.frames), clip.geometry, now)

    def fits(self, other: ClipIdentity) -> bool:
        """Whether masks of the one lie on the pixels of the other: frames of one number, size and
        pixel spacing, cut the same way. Their values may differ: as 8 bits they follow the
        display's window."""
        ours, theirs = self.geometry, other.geometry
        return (
            (ours.kind, ours.source_shape) == (theirs.kind, theirs.source_shape)
            and np.array_equal(ours.frame_to_ijk, theirs.frame_to_ijk)
            and np.allclose(ours.pixel_spacing, theirs.pixel_spacing)
        )

    @cached_property
    def length(self) -> int:
        """Frames."""
        return self.geometry.frame_shape[0]

    @cached_property
    def frame_size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.geometry.frame_shape[1:]

    def blank_clip(self) -> Clip:
        """A clip of this geometry whose pixels are black and take no memory; for writing masks."""
        frames = np.broadcast_to(np.uint8(0), self.geometry.frame_shape)
        return Clip(frames, self.geometry, self.name, source=self.source)


@dataclass
class AcceptedSegment:
    """One segment. steps: frame -> the prompts after each click, oldest first, the last in force.
    frames: frame -> mask, state, confidence; never of state EMPTY. stale: frames that a
    propagation still has to do; None where nobody has said."""

    name: str
    color: tuple[int, int, int] = (255, 0, 0)
    windows: tuple[Window, ...] = ()
    steps: dict[int, tuple[FramePrompts, ...]] = field(default_factory=dict)
    frames: dict[int, FrameAnnotation] = field(default_factory=dict)
    stale: frozenset[int] | None = None

    @property
    def is_prompted(self) -> bool:
        """Whether a prompt is in force on any frame."""
        return any(not steps[-1].is_empty for steps in self.steps.values())

    @property
    def locked(self) -> frozenset[int]:
        """Reviewed frames."""
        return frozenset(i for i, f in self.frames.items() if f.state is FrameState.REVIEWED)


@dataclass
class AcceptedWork:
    """The segments of one clip, by an identity of the caller's (Slicer's segment ID): names may
    change. Every method checks what it is given and raises InvalidValue."""

    clip: ClipIdentity
    segments: dict[str, AcceptedSegment] = field(default_factory=dict)

    def segment(self, segment: str) -> AcceptedSegment:
        found = self.segments.get(segment)
        if found is None:
            raise InvalidValue(f"there is no segment {segment!r}; add it first")
        return found

    def set_segment(
        self,
        segment: str,
        name: str,
        color: tuple[int, int, int] = (255, 0, 0),
        windows: Iterable[Window] = (),
    ) -> None:
        """Add a segment, or rename, recolour and give windows to the one of that identity."""
        if not segment.strip():
            raise InvalidValue(f"the identity of segment {name!r} is {segment!r}; a text is needed")
        about = SegmentPrompts(name, {}, tuple(windows), color)  # checks them
        for window in about.windows:
            if window.end >= self.clip.length:
                raise InvalidValue(
                    f"window [{window.start}, {window.end}] of {name!r} reaches beyond the clip, "
                    f"whose last frame is {self.clip.length - 1}"
                )
        known = self.segments.get(segment) or AcceptedSegment(about.name)
        known.name, known.color, known.windows = about.name, about.color, about.windows
        self.segments[segment] = known

    def remove_segment(self, segment: str) -> None:
        self.segment(segment)
        del self.segments[segment]

    def set_steps(self, segment: str, frame: int, steps: Iterable[FramePrompts]) -> None:
        """The prompts on a frame after each click, oldest first; none removes them. Of more than
        MOST_STEPS the newest are kept."""
        known, frame, steps = self.segment(segment), self._frame(frame), tuple(steps)[-MOST_STEPS:]
        for step in steps:
            step.check(self.clip.frame_size)
        if steps:
            known.steps[frame] = steps
        else:
            known.steps.pop(frame, None)

    def set_frame(self, segment: str, frame: int, accepted: FrameAnnotation) -> None:
        """A mask with its state; state EMPTY removes it."""
        known, frame = self.segment(segment), self._frame(frame)
        if tuple(accepted.mask.shape) != tuple(self.clip.frame_size):
            raise InvalidValue(
                f"mask has shape {accepted.mask.shape}; frames are {self.clip.frame_size}"
            )
        if accepted.state is FrameState.EMPTY:
            known.frames.pop(frame, None)
        else:
            known.frames[frame] = accepted

    def set_frames(
        self,
        segment: str,
        frames: Mapping[int, FrameAnnotation],
        stale: Iterable[int] | None = None,
    ) -> None:
        """`set_frame` of several, and `set_stale`; None: that stays."""
        for frame, accepted in frames.items():
            self.set_frame(segment, frame, accepted)
        if stale is not None:
            self.set_stale(segment, stale)

    def set_stale(self, segment: str, frames: Iterable[int]) -> None:
        """What a propagation still has to do."""
        known, frames = self.segment(segment), frozenset(frames)
        before = known.stale or frozenset()
        known.stale = (before & frames).union(map(self._frame, frames - before))

    def _frame(self, frame: int) -> int:
        if isinstance(frame, bool) or not 0 <= frame < self.clip.length:
            raise InvalidValue(
                f"frame {frame!r} does not exist; the last frame is {self.clip.length - 1}"
            )
        return int(frame)

    def annotation(self) -> Annotation:
        """Masks, states and confidence; of several segments of one name the later get a number."""
        annotation = Annotation(self.clip.length, self.clip.frame_size)
        for name, known in self._named():
            segment = annotation.add(name, known.color)
            for index, frame in known.frames.items():
                segment.restore(index, frame)
        return annotation

    def prompts(self) -> list[SegmentPrompts]:
        """Prompts in force and windows; names as in `annotation`."""
        return [
            SegmentPrompts(
                name, {index: s[-1] for index, s in known.steps.items()}, known.windows, known.color
            )
            for name, known in self._named()
        ]

    def _named(self) -> list[tuple[str, AcceptedSegment]]:
        taken: set[str] = set()
        named = []
        for known in self.segments.values():
            name, number = known.name, 2
            while name in taken:
                name, number = f"{known.name} ({number})", number + 1
            taken.add(name)
            named.append((name, known))
        return named
