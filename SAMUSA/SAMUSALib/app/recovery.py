"""What a journal of an earlier session holds, back into the scene."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..annotation import FrameState
from ..errors import SamusaError
from ..masks import EncodedMask
from ..scene.state import FrameMark
from ..scene.undo import StaleChange, Step
from ..worker.accepted import AcceptedSegment, AcceptedWork
from ..worker.journal import remove_journal
from .staleness import Stale
from .steps import Stepper

if TYPE_CHECKING:
    from .workspace import Workspace


class Recovery:
    """Made by `Workspace.recover`, over many turns of the event loop; ends by
    `Workspace.recovered`, as one undo step."""

    def __init__(self, workspace: Workspace, path: str | os.PathLike, work: AcceptedWork):
        self._workspace, self._path, self._work = workspace, path, work
        self._step = Step("Recover")
        self._restored = False
        self._stepper = Stepper(
            self._restore(),
            workspace.soon,
            self._end,
            lambda error: workspace.notice.emit(str(error)),
        )

    @property
    def running(self) -> bool:
        return self._stepper.running

    def cancel(self) -> None:
        """What is back stays, the journal too."""
        self._stepper.cancel()

    def remove_journal(self) -> None:
        """This session's journal has all of it."""
        if self._restored:
            try:
                remove_journal(self._path)
            except SamusaError as error:
                self._workspace.notice.emit(str(error))

    def _restore(self):
        workspace = self._workspace
        for old, found in self._work.segments.items():
            segment = self._segment(old, found.name, found.color)
            before, locked = workspace.state.stale(segment), workspace.state.locked(segment)
            known = workspace.annotated.work.segments.get(segment)
            ours = set(known.frames) - found.frames.keys() if known else set()
            workspace.set_windows(segment, found.windows)
            for frame, steps in found.steps.items():
                if frame not in locked:
                    told = workspace.state.set_frame_prompts(segment, frame, steps[-1])
                    self._step.add({}, {}, told)
                    yield
            for frame, accepted in found.frames.items():
                if frame in locked:
                    mask = EncodedMask.encode(workspace.masks.mask(segment, frame))
                    if accepted.state is not FrameState.REVIEWED or mask != accepted.mask:
                        ours.add(frame)
                    yield
                    continue
                mark = FrameMark(accepted.state, accepted.confidence)
                marks = workspace.state.set_marks(segment, {frame: mark})
                deltas = workspace.masks.write(segment, {frame: accepted.mask.decode()})
                self._step.add(deltas, marks)
                yield
            stale = self._stale(segment, found, ours)
            workspace.state.set_stale(segment, stale.frames)
            self._step.stale[segment] = StaleChange.between(
                before, stale.frames, workspace.windows(segment)
            )

    def _stale(self, segment: str, found: AcceptedSegment, ours: set[int]) -> Stale:
        """What is still to compute of a recovered segment. ours: frames that were accepted or
        approved here and are not as in the journal. Journals of before say nothing of it, then it
        is what lies around all that came back."""
        workspace = self._workspace
        if found.stale is None:
            stale, ours = workspace.stale(segment), {*ours, *found.frames, *found.steps}
        else:
            length = len(workspace.source)
            nowhere = set(range(length)) - workspace.state.marks(segment).keys()
            stale = Stale(length, found.stale | nowhere)
        return stale.changed(ours, workspace.conditioning(segment), workspace.windows(segment))

    def _segment(self, old: str, name: str, color: tuple[int, int, int]) -> str:
        masks = self._workspace.masks
        for info in masks.segments():
            if info.id == old or info.name == name:
                return info.id
        return masks.add_segment(name, color)

    def _end(self) -> None:
        self._restored = True
        self._workspace.recovered(self._step)
        count = len(self._step.places)
        frames = "1 frame is" if count == 1 else f"{count} frames are"
        self._workspace.notice.emit(f"{frames} back from {self._work.clip.created}.")
