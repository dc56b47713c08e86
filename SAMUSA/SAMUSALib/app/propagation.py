"""A propagation as it runs in Slicer: what it starts from, its frames into the scene, its end."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..annotation import FrameState
from ..errors import InvalidValue, SamusaError, SceneChanged
from ..masks import EncodedMask
from ..scene.rules import EditRules
from ..scene.state import FrameMark
from ..scene.undo import StaleChange, Step
from ..worker.annotated_clip import AnnotatedClip
from ..worker.client import Pending, RequestFailed
from ..worker.messages import FailureKind, FramePropagated
from .steps import PIECE_SECONDS, Stepper

if TYPE_CHECKING:
    from .workspace import Workspace


@dataclass(frozen=True)
class Progress:
    """done of total masks, seconds in the worker since the start."""

    done: int
    total: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None while nothing is known."""
        return (self.total - self.done) / self.per_second if self.done and self.seconds else None


@dataclass(frozen=True)
class Outcome:
    """frames: that were written. complete: all that was asked for. cancelled: by the user. error:
    why it ended before, a sentence; `Workspace.propagate` goes on with what is missing."""

    frames: int
    seconds: float
    complete: bool
    cancelled: bool = False
    error: str = ""


class Propagation:
    """One run, made by `Workspace.propagate`; ends by `Workspace.propagation_ended`."""

    def __init__(
        self,
        workspace: Workspace,
        annotated: AnnotatedClip,
        segments: Collection[str],
        direction: str,
        within: tuple[int, int] | None,
        rules: EditRules | None,
    ):
        self._workspace, self._annotated = workspace, annotated
        self._segments = list(segments)
        self._direction, self._within, self._rules = direction, within, rules
        self._step = Step("Propagation")
        state = workspace.state
        self._before = {each: (state.stale(each), state.windows(each)) for each in segments}
        self._disturbed = False
        self._pending: Pending | None = None
        self._arrived: deque[FramePropagated] = deque()
        self._left_alone: set[tuple[str, int]] = set()
        self._written = 0
        self._progress = Progress(0, 0, 0.0)
        self._cancelled = False
        self._answered: Pending | None = None
        self._trouble: SamusaError | None = None
        self._over = False
        self._writing = False
        self._preparing = Stepper(self._prepare(), workspace.soon, self._ask, self._end_with)

    def cancel(self) -> None:
        """Finished frames stay."""
        self._cancelled = True
        if self._pending is not None:
            self._pending.cancel()
        else:
            self._preparing.cancel()
            self._end()

    def abandon(self) -> None:
        """The workspace closes: write nothing more."""
        self._cancelled = True
        self._arrived.clear()
        self._preparing.cancel()
        if self._pending is not None:
            self._pending.cancel()
        self._end()

    def leave_alone(self, segment: str, frame: int) -> None:
        """The annotator has accepted a mask there meanwhile, which counts more."""
        self._left_alone.add((segment, frame))

    def disturb(self) -> None:
        """Something was accepted or unlocked meanwhile: nobody knows what follows from what."""
        self._disturbed = True

    def _prepare(self):
        workspace = self._workspace
        yield from workspace.keeper.prepare(self._segments)
        for segment in self._segments:
            if not workspace.masks.has_segment(segment):
                continue
            windows = workspace.windows(segment)
            for frame, mark in workspace.state.marks(segment).items():
                outside = windows and not any(frame in window for window in windows)
                if outside and mark.state is FrameState.PROPAGATED:
                    self._clear(segment, frame)
                    yield

    def _clear(self, segment: str, frame: int) -> None:
        """Outside the windows nothing is visible."""
        workspace = self._workspace
        mark = workspace.state.mark(segment, frame)
        workspace.state.restore_marks(segment, {frame: None})
        empty = EncodedMask(workspace.source.frame_size, None, b"")
        deltas = workspace.masks.write(segment, {frame: empty.decode()})
        self._step.add(deltas, {(segment, frame): (mark, None)})
        workspace.keeper.keep(segment, {frame: empty})
        workspace.review.seen.pop((segment, frame), None)
        workspace.frame_changed.emit(segment, (frame,))

    def _ask(self) -> None:
        workspace = self._workspace
        keep, changed = {}, {}
        for segment in self._segments:
            known = self._annotated.work.segments.get(segment)
            if known is None or not workspace.conditioning(segment, in_windows=True):
                continue  # deleted meanwhile
            keep[segment] = {n for n, f in known.frames.items() if f.state is FrameState.PROMPTED}
            stale = workspace.stale(segment).within(
                workspace.windows(segment), keep[segment] | known.locked
            )
            if self._within is not None:
                stale = {n for n in stale if self._within[0] <= n <= self._within[1]}
            if stale:
                changed[segment] = stale
        if not changed:
            workspace.notice.emit("All frames follow from your clicks already.")
            self._end(complete=True)
            return
        try:
            self._pending = self._annotated.propagate(
                list(changed), self._direction, changed, keep, self._within
            )
        except InvalidValue as error:
            self._end_with(error)
            return
        self._pending.on_frame(self._frame_came)
        self._pending.on_done(self._is_answered)

    def _frame_came(self, event: FramePropagated) -> None:
        if not self._over:
            self._arrived.append(event)
            self._write_soon()

    def _is_answered(self, pending: Pending) -> None:
        self._answered = pending
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            self._workspace.soon(self._write)

    def _write(self) -> None:
        """Those of the frames that have come for which there is time; the end when there are no
        more. Marks, the list of what is still to compute, and the journal follow once."""
        self._writing = False
        if self._over:
            return
        until = time.perf_counter() + PIECE_SECONDS
        written: dict[str, list[FramePropagated]] = {}
        touched: set[tuple[str, int]] = set()
        try:
            try:
                while self._arrived:
                    event = self._arrived.popleft()
                    self._progress = Progress(event.done, event.total, event.seconds)
                    if self._may_write(event):
                        touched.update(self._write_mask(event))
                        written.setdefault(event.segment, []).append(event)
                    if time.perf_counter() >= until:
                        break
            finally:  # also of what was written before one that could not be
                self._note(written, touched)
        except SamusaError as error:
            self._stop_with(error)
            return
        self._workspace.progress.emit(self._progress)
        if self._arrived:
            self._write_soon()
        elif self._answered is not None:
            self._conclude(self._answered)

    def _may_write(self, event: FramePropagated) -> bool:
        workspace = self._workspace
        if not workspace.has_segment(event.segment):
            workspace.masks.stored_node  # noqa: B018 - raises where it was deleted with all others
            return False  # the others go on
        mark = workspace.state.mark(event.segment, event.frame)
        locked = mark is not None and mark.state is FrameState.REVIEWED
        return not locked and (event.segment, event.frame) not in self._left_alone

    def _write_mask(self, event: FramePropagated) -> set[tuple[str, int]]:
        """Returns whose masks are others now: segments and frames."""
        masks = {event.frame: event.mask.decode()}
        deltas = self._workspace.masks.write(event.segment, masks, self._rules)
        self._step.add(deltas)
        return {*deltas, (event.segment, event.frame)}

    def _note(
        self, written: dict[str, list[FramePropagated]], touched: set[tuple[str, int]]
    ) -> None:
        """What follows from masks that are in the scene."""
        workspace = self._workspace
        kept: dict[str, dict[int, EncodedMask]] = {}
        for segment, events in written.items():
            marks = {each.frame: FrameMark(each.state, each.confidence) for each in events}
            self._step.add({}, workspace.state.set_marks(segment, marks))
            workspace.computed(segment, marks)
            self._written += len(marks)
            kept[segment] = {each.frame: each.mask for each in events}
        if self._rules is not None and not self._rules.are_plain:
            for segment, frame in touched:  # not as asked, and others may have been overwritten
                mask = EncodedMask.encode(workspace.masks.mask(segment, frame))
                kept.setdefault(segment, {})[frame] = mask
        for segment, masks in kept.items():
            workspace.keeper.keep(segment, masks)
            workspace.review.compare(segment, masks)
            workspace.frame_changed.emit(segment, tuple(masks))

    def _conclude(self, pending: Pending) -> None:
        try:
            pending.result()
        except RequestFailed as error:
            if error.kind is FailureKind.CANCELLED:
                self._cancelled = True
                self._end()
            else:
                self._end_with(error)
        except SamusaError as error:
            self._end_with(error)
        else:
            self._end(complete=True)

    def _stop_with(self, error: SamusaError) -> None:
        """Frames cannot be written any more."""
        if self._pending is not None:
            self._pending.cancel()
        self._arrived.clear()
        self._end_with(error)
        if isinstance(error, SceneChanged):
            self._workspace.check_nodes()

    def _end_with(self, error: SamusaError) -> None:
        self._trouble = error
        self._end()

    def _end(self, complete: bool = False) -> None:
        if self._over:
            return
        self._over = True
        with contextlib.suppress(SceneChanged):  # the workspace looks for deleted nodes itself
            for segment, (before, windows) in self._before.items():
                followed = None if self._disturbed else windows
                after = self._workspace.state.stale(segment)
                self._step.stale[segment] = StaleChange.between(before, after, followed)
        outcome = Outcome(
            self._written,
            self._progress.seconds,
            complete,
            self._cancelled,
            str(self._trouble or ""),
        )
        self._workspace.propagation_ended(outcome, self._step)
