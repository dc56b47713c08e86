"""What is being annotated: one clip and its segmentation, shared by the effect and the timeline.

Nothing here needs Qt. `soon(callback)` runs a callback from the event loop; whatever takes longer
than a moment is cut into pieces by `steps.Stepper`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..annotation import FrameState
from ..errors import InvalidValue, SamusaError, SceneChanged
from ..prompts import FramePrompts, SegmentPrompts, Window, merge_windows
from ..scene.clip_source import ClipSource, SequenceSource, open_clip
from ..scene.points import to_ras
from ..scene.rules import EditRules
from ..scene.segments import ClipMasks, SequenceMasks, new_masks, open_masks
from ..scene.state import FrameMark, SceneState, open_state
from ..scene.undo import History, StaleChange, Step
from ..worker.annotated_clip import AnnotatedClip
from ..worker.client import Pending
from ..worker.journal import read_journal
from ..worker.session import Session
from .alignment import Alignment
from .images import views_along
from .journaling import JournalKeeper
from .propagation import Outcome, Progress, Propagation
from .recovery import Recovery
from .replays import Replays
from .review import Review
from .signals import Signal
from .staleness import Stale
from .steps import Stepper

__all__ = ["Outcome", "Progress", "Workspace"]

Soon = Callable[[Callable[[], None]], None]
LOOK_AHEAD = 2  # frames after the shown one that are embedded before anybody asks


@dataclass(frozen=True)
class Opening:
    """How far a workspace has come with opening or undoing: fraction 0..1, and what it does, in
    words."""

    fraction: float
    text: str


class Workspace:
    """A clip, the masks of its segments, what was said about them, and undo.

    Made by `Workspaces.open`; it opens over many turns of the event loop. Until `opened` is
    emitted only `source`, `masks`, `state`, `history` and `preview` can be used. Segments are
    known by Slicer's segment ID. All methods raise InvalidValue or SceneChanged, with a sentence
    for the user, and then nothing has changed.

    Signals, on the GUI's thread:
    opened(); opening(Opening); failed(text): it could not be opened, or its nodes were deleted,
    closed() follows. frame_changed(segment_id, frames): masks, marks or prompts of these frames
    are others now. segments_changed(): added, removed, renamed, or other windows.
    frame_shown(frame): another item of the sequence is shown. progress(Progress) and
    propagated(Outcome): of the propagation that runs. history_changed(). replaying(Opening): of a
    long undo or redo, fraction 1 at its end; replayed(text): a step was undone or done again.
    notice(text): something that the user should read. closed().
    """

    def __init__(
        self,
        session: Session,
        soon: Soon,
        volume,
        segmentation=None,
        axis: int = 2,
        undo_limit: int = 64 * 2**20,
    ):
        """See `Workspaces.open`."""
        self.opened, self.opening, self.failed = Signal(), Signal(), Signal()
        self.frame_changed, self.segments_changed = Signal(), Signal()
        self.progress, self.propagated, self.history_changed = Signal(), Signal(), Signal()
        self.notice, self.closed, self.frame_shown = Signal(), Signal(), Signal()
        self.replaying, self.replayed = Signal(), Signal()
        self.session, self.soon = session, soon
        self.source: ClipSource = open_clip(volume, axis)
        if segmentation is None:
            self.masks: ClipMasks = new_masks(self.source, f"{self.source.name} segmentation")
        else:
            self.masks = open_masks(self.source, segmentation)
        self.state: SceneState = open_state(self.source, self.masks)
        self.history = History(undo_limit)
        self.annotated: AnnotatedClip | None = None  # None until it is opened
        self.keeper: JournalKeeper | None = None  # the same
        self.review = Review(self.masks, self.state, soon)
        self.is_closed = False
        self._propagation: Propagation | None = None
        self._replays = Replays(
            self.history,
            self.masks,
            self.state,
            soon,
            self._step_replayed,
            self._replay_failed,
            self._tell_replaying,
        )
        self._recovery: Recovery | None = None
        self._alignment = Alignment(self.source, self.masks, soon)
        self._alignment.frame_shown.connect(self.frame_shown.emit)
        self._alignment.removed.connect(self._forget_segment)
        self._alignment.changed.connect(self.segments_changed.emit)
        self._alignment.failed.connect(self._fail)
        self._opener = Stepper(self._open(), soon, self._is_open, self._fail, self.opening.emit)

    # Opening and closing ------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether requests can be made: it has been opened and not been closed."""
        return self.annotated is not None and not self.is_closed

    @property
    def is_propagating(self) -> bool:
        return self._propagation is not None

    @property
    def is_replaying(self) -> bool:
        """Whether a long step is being undone or done again."""
        return self._replays.running

    @property
    def is_journaling(self) -> bool:
        """Whether something that changed is not in the journal yet."""
        return self.keeper is not None and self.keeper.is_waiting

    @property
    def is_aligning(self) -> bool:
        """Whether what the user has done to segments on one frame is not yet so on all."""
        return self._alignment.is_running

    def _open(self):
        self.session.start()  # 5 to 15 ms, in a turn of its own
        yield Opening(0.0, "Looking at the pixels")
        for done in self.source.survey():
            yield Opening(0.4 * done, "Looking at the pixels")
        if isinstance(self.masks, SequenceMasks):
            for done in self.masks.make_items():
                yield Opening(0.4 + 0.6 * done, "Making room for the masks")

    def _is_open(self) -> None:
        try:
            self.annotated = self.session.open_clip(self.source.linked_clip())
        except SamusaError as error:
            self._fail(error)
            return
        self.keeper = JournalKeeper(self.annotated, self.masks, self.state, self.review, self.soon)
        self.keeper.kept.connect(self._journal_kept)
        self.keeper.failed.connect(self._fail)
        self.opened.emit()
        self.look(self.source.shown_frame(0))
        self.review.compare_soon()

    def _fail(self, error: SamusaError) -> None:
        self.failed.emit(str(error))
        self.close()

    def close(self, saved: bool = False) -> None:
        """Let go of everything: a propagation is cancelled, what is finished stays; an undo is
        done to its end. saved: the scene is saved, the journal is not needed any more."""
        if self.is_closed:
            return
        self._replays.finish()
        if self.is_closed:  # what was to be undone is gone
            return
        if self._propagation is not None:
            self._propagation.abandon()
        if self.keeper is not None:
            self.keeper.finish()
        self._opener.cancel()
        self.review.close()
        if self._recovery is not None:
            self._recovery.cancel()
        if self.is_closed:
            return
        self.is_closed = True
        self._alignment.close()
        if self.annotated is not None:
            try:
                self.annotated.close(saved)
            except SamusaError as error:
                self.notice.emit(str(error))
        self.closed.emit()

    def is_of(self, clip_node, stored_node, axis: int) -> bool:
        """Whether it is about these nodes; the axis counts for volumes."""
        try:
            same = self.source.node is clip_node and self.masks.stored_node is stored_node
        except SceneChanged:
            return False
        return same and (isinstance(self.source, SequenceSource) or self.source.axis == axis)

    def check_nodes(self) -> None:
        """Close with a sentence where a node was deleted."""
        try:
            _ = self.source.node, self.masks.stored_node, self.state.node
            if isinstance(self.source, SequenceSource):
                _ = self.source.browser
        except SceneChanged as error:
            self._fail(error)

    def check_saved(self) -> None:
        """Where the scene has been saved since the last change, with the masks, the journal so far
        is not needed any more. (Slicer tells nobody when it saves.)"""
        if not self.is_open or self.is_replaying or self.is_journaling:
            return
        if self.annotated.journal is None:
            return
        try:
            state, masks = self.state.node, self.masks.stored_node
        except SceneChanged:
            return  # `check_nodes` closes
        if state.GetScene().GetStoredTime() > state.GetMTime() and not masks.GetModifiedSinceRead():
            self.annotated.saved()

    def _need_open(self) -> AnnotatedClip:
        if self.is_closed:
            raise SceneChanged(f"the work on {self._name} was closed; choose the clip again")
        if self.annotated is None:
            raise InvalidValue(f"{self._name} is still being opened; wait a moment")
        return self.annotated

    def _need_idle(self) -> None:
        if self._propagation is not None:
            raise InvalidValue("a propagation is running; wait for its end or cancel it")
        self._need_whole()

    def _need_whole(self) -> None:
        """Masks and marks belong together: no step is half undone, no journal half recovered."""
        if self.is_replaying:
            name = self._replays.name.lower()
            raise InvalidValue(f"the {name} is still being undone or done again; wait a moment")
        if self._recovery is not None and self._recovery.running:
            raise InvalidValue("earlier work is being recovered; wait a moment")

    @property
    def _name(self) -> str:
        try:
            return f"{self.source.name!r}"
        except SceneChanged:
            return "a clip that was deleted"

    # Frames and views ---------------------------------------------------------------------------

    def show_frame(self, frame: int) -> None:
        """Show a frame: in the sequence's browser, or in the slice views that look along the
        clip's axis."""
        frame = self.source.check_frame(frame)
        if isinstance(self.source, SequenceSource):
            self.source.show_frame(frame)
        else:
            height, width = self.source.frame_size
            centre = to_ras(self.source, [[(width - 1) / 2, (height - 1) / 2]], frame)[0]
            for view in views_along(self.source):
                view.JumpSliceByOffsetting(*centre)
        if self.is_open:
            self.look(frame)

    def look(self, frame: int, extent: tuple[float, float, float, float] | None = None) -> None:
        """The annotator looks at a frame: it and the next ones are embedded ahead of a click.
        extent: what will be looked at, x0, y0, x1, y1 in frame pixels."""
        last = min(len(self.source), frame + 1 + LOOK_AHEAD)
        self._need_open().embed(range(frame, last), extent)

    # A click ------------------------------------------------------------------------------------

    def preview(self, prompts: FramePrompts) -> np.ndarray | None:
        """(H, W) bool at once, without the worker: the curve through the clicks; None where the
        prompts make none. Works while the workspace is opening."""
        from ..worker.preview import preview

        return preview(prompts, self.source.frame_size, self.source.geometry.pixel_aspect)

    def segment(self, segment_id: str, frame: int, steps: Sequence[FramePrompts]) -> Pending:
        """Ask for the mask of clicks: `Pending.on_done`, then `result()` is a FrameSegmented.

        steps: the prompts after each click, oldest first, the last in force. A newer request on
        the same segment and frame replaces one that still waits.
        """
        annotated = self._need_open()
        for step in steps:
            step.check(self.source.frame_size)
        return annotated.segment_frame(segment_id, self.source.check_frame(frame), steps)

    def accept(
        self,
        segment_id: str,
        frame: int,
        steps: Sequence[FramePrompts],
        mask: np.ndarray,
        confidence: float = 1.0,
        rules: EditRules | None = None,
        name: str = "Click",
    ) -> bool:
        """Write the mask of clicks into the segment, as one undo step. mask: (H, W) bool. rules:
        the Segment Editor's. Returns whether it is safe on disk. A frame that is approved is
        refused; unlock it first."""
        annotated = self._need_open()
        self._need_whole()
        frame = self.source.check_frame(frame)
        prompts = steps[-1] if steps else None
        marks = self.state.set_marks(
            segment_id, {frame: FrameMark(FrameState.PROMPTED, float(confidence))}
        )
        step = Step(name)
        told = {}
        try:
            told = self.state.set_frame_prompts(segment_id, frame, prompts)
            step.add(self.masks.write(segment_id, {frame: mask}, rules), marks, told)
        except SamusaError:
            for _, (before, _after) in told.items():
                self.state.set_frame_prompts(segment_id, frame, before)
            for _, (before, _after) in marks.items():
                self.state.restore_marks(segment_id, {frame: before})
            raise
        self.keeper.know(segment_id)
        annotated.set_steps(segment_id, frame, steps)
        self._make_stale(step)
        self._record(step)
        if self._propagation is not None:
            self._propagation.leave_alone(segment_id, frame)
        return all([self.keeper.keep_place(*place) for place in step.places])

    def steps(self, segment_id: str, frame: int) -> tuple[FramePrompts, ...]:
        """The prompts in force on a frame after each click, as far as they are known; after a
        scene was loaded the last ones alone."""
        known = self.annotated.work.segments.get(segment_id) if self.annotated else None
        prompts = self.state.prompts(segment_id)
        now = prompts.frames.get(frame) if prompts else None
        if now is None:
            return ()
        return (known.steps.get(frame) if known else None) or (now,)

    # Time ---------------------------------------------------------------------------------------

    def windows(self, segment_id: str) -> tuple[Window, ...]:
        """In order, not overlapping; none means the whole clip."""
        return self.state.windows(segment_id)

    def set_windows(self, segment_id: str, windows: Iterable[Window]) -> None:
        """When the structure is visible. Masks outside stay until the next propagation, which
        clears those that were propagated."""
        self._need_open()
        before, after = self.windows(segment_id), merge_windows(windows)
        if after == before:
            return
        prompts = self.state.prompts(segment_id) or SegmentPrompts(segment_id)
        self.state.set_prompts(
            segment_id, SegmentPrompts(prompts.name, prompts.frames, after, prompts.color)
        )
        stale = self.stale(segment_id).windows_changed(before, after)
        self.state.set_stale(segment_id, stale.frames)
        self.keeper.know(segment_id)
        self.annotated.set_stale(segment_id, self.state.stale(segment_id))
        self.segments_changed.emit()

    def propagate(
        self,
        segments: Collection[str] | None = None,
        direction: str = "both",
        within: tuple[int, int] | None = None,
        only_affected: bool = True,
        rules: EditRules | None = None,
    ) -> None:
        """Compute the masks of all frames inside the windows from clicks and approved frames.

        segments: None: all that have either. direction: "both", "forward", "backward". within:
        first and last frame (`next_prompted` gives one). only_affected: not the frames whose masks
        follow from what is said already; so this also resumes after a cancel or a loss. Masks are
        written as they come; `progress`, then `propagated`. It is one undo step.
        """
        annotated = self._need_open()
        self._need_idle()
        for segment in segments or ():
            self.masks.segment(segment)
        chosen = [s for s in segments or self.segment_ids() if self.conditioning(s)]
        if not chosen:
            raise InvalidValue(
                "there is nothing to start from; click the border on a frame and accept it, or "
                "approve a frame that has a mask"
            )
        unseen = [s for s in chosen if not self.conditioning(s, in_windows=True)]
        names = ", ".join(repr(self.masks.segment(s).name) for s in unseen)
        sentence = f"{names}: no accepted frame lies inside the windows; widen one or click inside"
        chosen = [s for s in chosen if s not in unseen]
        if not chosen:
            raise InvalidValue(sentence)
        if unseen:
            self.notice.emit(f"Left out, {sentence}.")
        self._propagation = Propagation(self, annotated, chosen, direction, within, rules)
        if not only_affected:
            for segment in chosen:
                self.state.set_stale(segment, self.stale(segment).all().frames)

    def cancel(self) -> None:
        """End the propagation; finished frames stay."""
        if self._propagation is not None:
            self._propagation.cancel()

    def propagation_ended(self, outcome: Outcome, step: Step) -> None:
        """The propagation calls it, once."""
        self._propagation = None
        self.review.compare_soon()
        self.history.record(step)
        self.history_changed.emit()
        self.propagated.emit(outcome)

    def conditioning(self, segment_id: str, in_windows: bool = False) -> list[int]:
        """Frames that a propagation of this segment starts from: clicked or approved, and not
        known to be empty. in_windows: only those that are inside its windows."""
        prompts = self.state.prompts(segment_id)
        frames = {n for n, p in prompts.frames.items() if not p.is_empty} if prompts else set()
        for frame, mark in self.state.marks(segment_id).items():
            if mark.state in (FrameState.REVIEWED, FrameState.PROMPTED):
                mask = self.review.seen.get((segment_id, frame))
                if mask is not None and mask.is_empty:
                    frames.discard(frame)
                else:
                    frames.add(frame)
        windows = self.windows(segment_id) if in_windows else ()
        return sorted(n for n in frames if not windows or any(n in w for w in windows))

    def next_prompted(self, segment_id: str, frame: int, direction: str = "forward") -> int | None:
        """The next conditioning frame after (before) a frame; None where there is none."""
        found = self.conditioning(segment_id)
        if direction == "backward":
            return max((n for n in found if n < frame), default=None)
        return min((n for n in found if n > frame), default=None)

    def stale(self, segment_id: str) -> Stale:
        """What a propagation still has to do, as the scene keeps it."""
        return Stale(len(self.source), self.state.stale(segment_id))

    def to_compute(self, segment_id: str) -> set[int]:
        """Frames inside the windows whose masks are missing, or follow from what is no longer
        said."""
        kept = self.conditioning(segment_id)
        return self.stale(segment_id).within(self.windows(segment_id), kept)

    def computed(self, segment_id: str, frames: Iterable[int]) -> None:
        """Masks of a propagation are in the scene."""
        self.state.set_stale(segment_id, self.stale(segment_id).done(frames).frames)

    # Review -------------------------------------------------------------------------------------

    def approve(self, segment_id: str, frames: Iterable[int]) -> None:
        """Lock frames as they are, also empty ones: the structure is not there. One undo step."""
        self._need_open()
        self._need_whole()
        self.masks.segment(segment_id)
        marks = {}
        for frame in map(self.source.check_frame, frames):
            mark = self.state.mark(segment_id, frame)
            marks[frame] = FrameMark(FrameState.REVIEWED, mark.confidence if mark else 1.0)
        step = Step("Approve")
        step.add({}, self.state.set_marks(segment_id, marks))
        self._record(step)

    def unlock(self, segment_id: str, frames: Iterable[int]) -> None:
        """Approved frames may be changed again. One undo step."""
        self._need_open()
        self._need_whole()
        step = Step("Unlock")
        step.add({}, self.state.unlock(segment_id, list(frames)))
        self._make_stale(step)
        self._record(step)

    def next_to_check(self, segment_id: str, frame: int | None = None) -> int | None:
        """The propagated frame that most needs a look, by low confidence and sudden change; when
        `frame` is itself one of those, the next of them. None: nothing is left to check."""
        return self.review.next_to_check(segment_id, frame)

    # Undo ---------------------------------------------------------------------------------------

    def undo(self) -> str | None:
        """Take the last step back; its name, None where there is none. One of many frames goes on
        over many turns of the event loop, and one that is asked for meanwhile comes after it;
        `replayed` tells the end of each."""
        return self._replay(back=True)

    def redo(self) -> str | None:
        """Do the step again that was undone last, as `undo`."""
        return self._replay(back=False)

    def _replay(self, back: bool) -> str | None:
        self._need_open()
        if not self.is_replaying:
            self._need_idle()
        self.keeper.pause()  # it would journal frames of a step that is half undone
        try:
            name = self._replays.ask(back)
        finally:
            self._keep_soon()
        if self.is_replaying:
            self.history_changed.emit()
        return name

    def _step_replayed(self, step: Step, back: bool) -> None:
        for (segment, frame), (before, after) in step.prompts.items():
            wanted = before if back else after
            if segment in self.annotated.work.segments:
                self.annotated.set_steps(segment, frame, () if wanted is None else (wanted,))
        try:
            self._changed(step.places)
        except SceneChanged as error:
            self._fail(error)
            return
        self.history_changed.emit()
        self.replaying.emit(Opening(1.0, ""))
        self.replayed.emit(f"{'Undone' if back else 'Done again'}: {step.name}.")

    def _tell_replaying(self, done: float, step: Step, back: bool) -> None:
        verb = "Undoing" if back else "Doing again"
        self.replaying.emit(Opening(min(done, 0.99), f"{verb}: {step.name.lower()}"))

    def _replay_failed(self, error: SamusaError) -> None:
        self.history_changed.emit()
        self.replaying.emit(Opening(1.0, ""))
        if isinstance(error, SceneChanged):
            self._fail(error)
        else:
            self.notice.emit(str(error))
            self._keep_soon()

    def _record(self, step: Step) -> None:
        """A step that was just done."""
        self.history.record(step)
        self._changed(step.places)
        self.history_changed.emit()

    def _make_stale(self, step: Step) -> None:
        """Note what a propagation has to do again after a step, in the scene and in the step."""
        if step.is_empty:
            return
        for segment, frames in _by_segment(step.places).items():
            if self.masks.has_segment(segment):
                found, windows = self.conditioning(segment), self.windows(segment)
                self._note_stale(step, segment, self.stale(segment).changed(frames, found, windows))

    def _note_stale(self, step: Step, segment: str, stale: Stale) -> None:
        before = self.state.stale(segment)
        self.state.set_stale(segment, stale.frames)
        windows = self.windows(segment)
        if self._propagation is not None:
            self._propagation.disturb()
            windows = None
        step.stale[segment] = StaleChange.between(before, stale.frames, windows)

    def _changed(self, places: Collection[tuple[str, int]]) -> None:
        """Masks, marks or prompts of (segment, frame) are others now: journal them and tell."""
        self.keeper.changed(places)
        for segment, frames in _by_segment(places).items():
            if self.masks.has_segment(segment):
                self.frame_changed.emit(segment, tuple(sorted(frames)))
        self._keep_soon()

    def _keep_soon(self) -> None:
        """It begins anew with each change, and waits while a step is being undone: what is written
        is whole."""
        if not self.is_replaying:
            self.keeper.keep_soon()

    # The journal --------------------------------------------------------------------------------

    def recover(self, path: str | os.PathLike, other_pixels: bool = False) -> None:
        """Bring back what a journal of an earlier session holds: masks, prompts, windows, marks
        and what was still to compute, as one undo step; then the journal is removed, this
        session's has it all. Segments are found by ID and name, others are added. Frames that are
        approved here stay. other_pixels: also of a clip that only fits this one."""
        annotated = self._need_open()
        self._need_idle()
        work, ours = read_journal(path).work, annotated.work.clip
        same = work.clip.fingerprint == ours.fingerprint
        if not same and not (other_pixels and work.clip.fits(ours)):
            raise InvalidValue(
                f"{path} is of another clip, {work.clip.name}; open that clip to recover it"
            )
        self._recovery = Recovery(self, path, work)

    def recovered(self, step: Step) -> None:
        """The recovery calls it, once."""
        self._record(step)
        self.segments_changed.emit()

    def _journal_kept(self) -> None:
        self.review.compare_soon()
        recovery = self._recovery
        if recovery is not None and not recovery.running and self.annotated.is_safe:
            recovery.remove_journal()
            self._recovery = None

    # Segments -----------------------------------------------------------------------------------

    def segment_ids(self) -> list[str]:
        return [info.id for info in self.masks.segments()]

    def has_segment(self, segment_id: str) -> bool:
        """Also False for one that was deleted on the shown frame and is about to be on all."""
        return not self._alignment.is_going(segment_id) and self.masks.has_segment(segment_id)

    def _forget_segment(self, segment: str) -> None:
        """It was removed, and is gone from all masks."""
        try:
            self.state.remove_segment(segment)
        except SceneChanged:
            return  # `check_nodes` closes
        self.review.forget(segment)
        if self.annotated is not None and segment in self.annotated.work.segments:
            self.annotated.remove_segment(segment)


def _by_segment(places: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    frames: dict[str, set[int]] = {}
    for segment, frame in places:
        frames.setdefault(segment, set()).add(frame)
    return frames
