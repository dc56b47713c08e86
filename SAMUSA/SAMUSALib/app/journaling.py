"""What is in the scene, in the journal of its clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ..annotation import FrameState
from ..errors import SceneChanged
from ..masks import EncodedMask
from ..prompts import FramePrompts
from ..scene.segments import ClipMasks
from ..scene.state import FrameMark, SceneState
from ..worker.annotated_clip import AnnotatedClip
from ..worker.journal_records import MaskRecord
from .review import Review
from .signals import Signal
from .steps import Stepper


class JournalKeeper:
    """Journals masks, marks, prompts and what is stale as they are in the scene.

    One mask is written at once (`keep_place`). Many places, segment IDs with frames, are told of
    by `changed` and read over the next turns after `keep_soon`; all of a segment are then written
    together, so that a process that is killed leaves all or none.

    Signals: kept(): all is in it. failed(SamusaError).
    """

    def __init__(
        self,
        annotated: AnnotatedClip,
        masks: ClipMasks,
        state: SceneState,
        review: Review,
        soon: Callable[[Callable[[], None]], None],
    ):
        self.kept, self.failed = Signal(), Signal()
        self._annotated, self._masks, self._state = annotated, masks, state
        self._review, self._soon = review, soon
        self._waiting: dict[tuple[str, int], None] = {}  # oldest first
        self._stepper: Stepper | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something that changed is not in the journal yet."""
        return bool(self._waiting)

    def changed(self, places: Iterable[tuple[str, int]]) -> None:
        """To be journaled by the next `keep_soon`."""
        for place in places:
            self._waiting[place] = None

    def keep_soon(self) -> None:
        """Begin, or begin anew where something has changed meanwhile."""
        self.pause()
        self._stepper = Stepper(self._keep_all(), self._soon, self.kept.emit, self.failed.emit)

    def pause(self) -> None:
        """Until the next `keep_soon`."""
        if self._stepper is not None:
            self._stepper.cancel()

    def finish(self) -> None:
        """What was begun, in one go."""
        if self._stepper is not None:
            self._stepper.finish()

    def _keep_all(self):
        """Read and encode all masks, one in a step, and then write them together."""
        found: dict[str, list[MaskRecord]] = {}
        for segment, frame in list(self._waiting):
            try:
                mask = EncodedMask.encode(self._masks.mask(segment, frame))
            except SceneChanged:
                self._waiting.pop((segment, frame), None)  # deleted, with its journal entry
                continue
            record = self._record_of(segment, frame, mask)
            _ = record.encoded  # now, not all at once
            found.setdefault(segment, []).append(record)
            yield
        for segment, records in found.items():
            try:
                # Without those that a propagation has written meanwhile.
                self._write(segment, [r for r in records if (segment, r.frame) in self._waiting])
            except SceneChanged:
                for record in records:
                    self._waiting.pop((segment, record.frame), None)
            yield

    def keep_place(self, segment: str, frame: int) -> bool:
        """Journal one mask at once; whether it is safe on disk."""
        try:
            mask = EncodedMask.encode(self._masks.mask(segment, frame))
        except SceneChanged:
            self._waiting.pop((segment, frame), None)
            return True  # deleted meanwhile, with its journal entry
        return self.keep(segment, {frame: mask})

    def keep(self, segment: str, masks: Mapping[int, EncodedMask]) -> bool:
        """Journal masks and marks of some frames as they are in the scene, together, with what is
        stale."""
        records = [self._record_of(segment, frame, mask) for frame, mask in masks.items()]
        return self._write(segment, records)

    def _record_of(self, segment: str, frame: int, mask: EncodedMask) -> MaskRecord:
        mark = self._state.mark(segment, frame)
        if mark is None:  # drawn by hand, or nothing
            mark = FrameMark(FrameState.EMPTY if mask.is_empty else FrameState.PROPAGATED)
        return MaskRecord(segment, frame, mask, mark.state, float(mark.confidence))

    def _write(self, segment: str, records: Collection[MaskRecord]) -> bool:
        self.know(segment)
        for record in records:
            self._waiting.pop((segment, record.frame), None)
            self._review.seen[segment, record.frame] = record.mask
        return self._annotated.accept_frames(segment, records, self._state.stale(segment))

    def know(self, segment: str) -> None:
        """Name, colour and windows of a segment as they are now."""
        info, windows = self._masks.segment(segment), self._state.windows(segment)
        known = self._annotated.work.segments.get(segment)
        told = (info.name.strip() or "segment", info.color, windows)
        if known is None or (known.name, known.color, known.windows) != told:
            self._annotated.set_segment(segment, *told)

    def prepare(self, segments: Collection[str]):
        """What a propagation starts from, from the scene into the worker's words: prompts, and
        the masks of conditioning frames as they are on the screen. Yields after each frame."""
        for segment in segments:
            if not self._masks.has_segment(segment):
                continue  # deleted meanwhile
            self.know(segment)
            known = self._annotated.work.segments[segment]
            prompts = self._state.prompts(segment)
            frames: Mapping[int, FramePrompts] = prompts.frames if prompts else {}
            for frame in {*frames, *known.steps}:
                now = frames.get(frame)
                if now is not (known.steps[frame][-1] if frame in known.steps else None):
                    self._annotated.set_steps(segment, frame, () if now is None else (now,))
                yield
            for frame, mark in self._state.marks(segment).items():
                if mark.state in (FrameState.REVIEWED, FrameState.PROMPTED):
                    mask = EncodedMask.encode(self._masks.mask(segment, frame))
                    there = known.frames.get(frame)
                    if there is None or there.mask != mask or there.state is not mark.state:
                        self.keep(segment, {frame: mask})
                    yield
