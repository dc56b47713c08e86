"""A clip that is open in a session: what has been accepted on it, its journal, and its requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..annotation import FrameAnnotation, FrameState
from ..clip import Clip
from ..errors import CannotWrite, InvalidValue
from ..masks import EncodedMask
from ..prompts import FramePrompts, SegmentPrompts, Window
from .accepted import AcceptedSegment, AcceptedWork, ClipIdentity
from .client import Pending
from .journal import Journal
from .journal_records import LiveRecords, MaskRecord
from .messages import MOST_STEPS, Embed, Propagate, Request, SegmentFrame
from .preview import preview

RETRY_SECONDS = 2.0  # after a journal could not be begun


class Asking(Protocol):
    """What a clip needs of its session."""

    def ask(self, request: Request, clip: AnnotatedClip) -> Pending: ...

    def closed(self, clip: AnnotatedClip) -> None: ...

    def tell(self, text: str) -> None: ...


class AnnotatedClip:
    """Made by `Session.open_clip`. A segment is known by an identity of the caller's, such as
    Slicer's segment ID.

    The methods that change `work` return whether the change is safe on disk. Where it is not, the
    session's listener has been told, the change waits in memory, and it is written when the disk
    is willing again. They raise InvalidValue for what makes no sense, and then nothing changes.
    """

    def __init__(
        self,
        session: Asking,
        clip_id: str,
        clip: Clip,
        journals: Path,
        clock: Callable[[], float],
    ):
        self.id = clip_id
        self.clip = clip
        self.work = AcceptedWork(ClipIdentity.of(clip))
        self.journal: Journal | None = None  # begun with the first thing that is accepted
        self._live: LiveRecords | None = None  # of a journal that was removed, as `work` is still
        self.is_open = True
        self._unsaved = False  # something was accepted that is safe nowhere else
        self._session = session
        self._journals = journals
        self._clock = clock
        self._next_try = -np.inf
        self._trouble: CannotWrite | None = None

    def recover(self, path: str | os.PathLike) -> None:
        """Go on with a journal of an earlier session. Raises what `Journal.open` raises, and
        InvalidValue for a journal of another clip or where something was accepted already."""
        if self.work.segments:
            raise InvalidValue("work has begun on this clip; open it anew to recover a journal")
        journal, reading = Journal.open(path, self._clock)
        found, ours = journal.work.clip, self.work.clip
        same_place = np.array_equal(found.geometry.frame_to_ijk, ours.geometry.frame_to_ijk)
        if found.fingerprint != ours.fingerprint or not same_place:
            journal.close()
            raise InvalidValue(
                f"{path} is of another clip, {found.name} ({found.length} frames); this one is "
                f"{ours.name} ({ours.length} frames)"
            )
        self.journal, self.work = journal, journal.work
        if reading.trouble:
            self._session.tell(f"{path}: {reading.trouble}; it is kept in {journal.set_aside}")

    # What is accepted -------------------------------------------------------------------------

    def set_segment(
        self,
        segment: str,
        name: str,
        color: tuple[int, int, int] = (255, 0, 0),
        windows: Iterable[Window] = (),
    ) -> bool:
        """Add a segment, or rename, recolour and give windows to the one of that identity."""
        return self._change("set_segment", segment, name, color, windows)

    def remove_segment(self, segment: str) -> bool:
        """It goes with its prompts and masks."""
        return self._change("remove_segment", segment)

    def set_steps(self, segment: str, frame: int, steps: Iterable[FramePrompts]) -> bool:
        """The prompts on a frame after each click, oldest first; none removes them."""
        return self._change("set_steps", segment, frame, steps)

    def accept(
        self,
        segment: str,
        frame: int,
        mask: EncodedMask,
        state: FrameState,
        confidence: float = 1.0,
    ) -> bool:
        """A mask and its state. A reviewed frame is locked; state EMPTY removes the mask."""
        return self._change("set_frame", segment, frame, FrameAnnotation(mask, state, confidence))

    def accept_frames(
        self,
        segment: str,
        frames: Collection[MaskRecord],
        stale: Collection[int] | None = None,
    ) -> bool:
        """`accept` of several frames, and `set_stale` (None: as before), written together. Most of
        the time goes to `MaskRecord.encoded`: of many masks it can be asked for before."""
        return self._change("set_frames", segment, frames, stale)

    def set_stale(self, segment: str, frames: Collection[int]) -> bool:
        """Frames that a propagation still has to do."""
        return self._change("set_stale", segment, frames)

    @property
    def is_safe(self) -> bool:
        """Whether everything that was accepted is on disk."""
        return self._trouble is None

    def _change(self, method: str, *arguments: Any) -> bool:
        if self._live is not None:
            self._begin_journal()
        if self.journal is not None:
            safe = getattr(self.journal, method)(*arguments)
        else:
            getattr(self.work, method)(*arguments)
            self._unsaved = True
            safe = self._begin_journal()
        self._tell_trouble()
        return safe

    def _begin_journal(self) -> bool:
        if self._clock() < self._next_try:
            return False
        live, self._live = self._live, None
        try:
            self.journal = Journal.create(self._journals, self.work, self._clock, live)
        except CannotWrite as error:
            self._next_try = self._clock() + RETRY_SECONDS
            self._trouble = self._trouble or self._told(
                CannotWrite(f"what you accept is in memory only: {error}; it is tried again")
            )
            return False
        return True

    def _tell_trouble(self) -> None:
        """Say it once when the disk refuses, and once when all is safe again."""
        if self.journal is None:
            return
        trouble, before = self.journal.trouble, self._trouble
        self._trouble = trouble
        if trouble is not None and before is None:
            self._told(trouble)
        elif trouble is None and before is not None:
            self._session.tell("The journal is written again; all that was accepted is in it.")

    def _told(self, trouble: CannotWrite) -> CannotWrite:
        self._session.tell(str(trouble))
        return trouble

    def tick(self) -> None:
        """The session calls it about every half second."""
        if self.journal is not None:
            self.journal.tick()
        elif self._unsaved:
            self._begin_journal()
        self._tell_trouble()

    def saved(self) -> None:
        """The work is safe elsewhere: the journal so far is removed, the next change begins
        another, with everything in it."""
        if self.journal is not None:
            self.journal.close(remove=True)
            self._live, self.journal = self.journal.live, None
        self._unsaved = False

    def close(self, saved: bool = False) -> None:
        """Forget the clip here and in the worker; what is asked about it is cancelled. saved: the
        work is safe elsewhere (the scene is saved), and the journal is removed; otherwise it can
        be recovered. Raises CannotWrite if the end of the journal could not be written; it is
        closed all the same, and `work` still has everything."""
        if not self.is_open:
            return
        self.is_open = False
        self._session.closed(self)
        if self.journal is None and self._unsaved and not saved:
            self._next_try = -np.inf
            if not self._begin_journal():
                raise self._trouble
        if self.journal is not None:
            self.journal.close(remove=saved)

    # What is asked ----------------------------------------------------------------------------

    def segment_frame(
        self, segment: str, frame: int, steps: Sequence[FramePrompts] | None = None
    ) -> Pending:
        """The mask of the prompts on a frame, answered by FrameSegmented. steps: after each click,
        oldest first, the last in force; None: those that are accepted."""
        if steps is None:
            steps = self.work.segment(segment).steps.get(frame, ())
        return self._ask(SegmentFrame(self.id, segment, int(frame), tuple(steps)[-MOST_STEPS:]))

    def propagate(
        self,
        segments: Collection[str] | None = None,
        direction: str = "both",
        changed: Mapping[str, Collection[int]] | None = None,
        keep: Mapping[str, Collection[int]] | None = None,
        within: tuple[int, int] | None = None,
    ) -> Pending:
        """Masks on all frames of the windows from what is accepted: prompts, and reviewed masks,
        which stay. segments: None: all that have prompts or reviewed masks. direction, changed: as
        of `engine.propagation.propagate`. keep: frames, by segment, whose accepted masks stay as
        they are, as if reviewed. within: first and last frame to look at. Prompts outside windows
        are left out. Frames come by `Pending.on_frame` and are not accepted by themselves."""
        chosen = {
            key: known
            for key, known in self.work.segments.items()
            if (known.is_prompted or known.locked if segments is None else key in segments)
        }
        for key in segments or ():
            self.work.segment(key)
        kept = {
            key: known.locked | (set((keep or {}).get(key, ())) & known.frames.keys())
            for key, known in chosen.items()
        }
        prompts = tuple(
            _prompts_of(key, known, within, self.work.clip.length) for key, known in chosen.items()
        )
        locked = {
            each.name: {
                index: chosen[each.name].frames[index].mask for index in sorted(kept[each.name])
            }
            for each in prompts
        }
        if changed is not None:
            changed = {key: tuple(sorted(frames)) for key, frames in changed.items()}
        return self._ask(Propagate(self.id, prompts, direction, locked, changed))

    def embed(
        self,
        frames: Iterable[int],
        extent: tuple[float, float, float, float] | None = None,
    ) -> Pending:
        """Prepare frames that the annotator is about to look at, at low priority. extent: x0, y0,
        x1, y1 in frame pixels of what will be looked at; None: the whole frame."""
        return self._ask(Embed(self.id, tuple(int(frame) for frame in frames), extent))

    def preview(self, prompts: FramePrompts) -> np.ndarray | None:
        """(H, W) bool at once, without the worker and without looking at the image: the curve
        through the clicks, as `preview.preview`."""
        return preview(prompts, self.clip.frame_size, self.clip.geometry.pixel_aspect)

    def _ask(self, request: Request) -> Pending:
        if not self.is_open:
            raise InvalidValue(f"clip {self.clip.name} is closed; open it again")
        return self._session.ask(request, self)


def _prompts_of(
    key: str,
    known: AcceptedSegment,
    within: tuple[int, int] | None,
    length: int,
) -> SegmentPrompts:
    """What a propagation of one segment starts from, inside windows and `within`."""
    windows = known.windows
    if within is not None:
        first, last = max(0, within[0]), min(length - 1, within[1])
        whole = windows or (Window(0, length - 1),)
        cut = [(max(w.start, first), min(w.end, last)) for w in whole]
        windows = tuple(Window(start, end) for start, end in cut if start <= end)
        if not windows:
            raise InvalidValue(
                f"{known.name!r} has no window between frames {first} and {last}; widen one"
            )
    prompts = {n: steps[-1] for n, steps in known.steps.items()}
    inside = {n: p for n, p in prompts.items() if not windows or any(n in w for w in windows)}
    return SegmentPrompts(key, inside, windows)
