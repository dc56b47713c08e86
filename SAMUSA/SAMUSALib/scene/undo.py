"""Undo of what was accepted: changed pixels and frame marks, never whole volumes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..prompts import FramePrompts
from .segments import ClipMasks, Deltas
from .state import FrameMark, SceneState

Marks = dict[tuple[str, int], tuple[FrameMark | None, FrameMark | None]]
Prompts = dict[tuple[str, int], tuple[FramePrompts | None, FramePrompts | None]]


@dataclass
class Step:
    """One thing that the user undoes at once: an accepted click, a whole propagation.

    name: shown in the menu. deltas: as `ClipMasks.write` returns them. marks: (segment ID, frame)
    -> what `SceneState` said before and after; None where the frame had no mark. prompts: the same
    for the prompts of frames.
    """

    name: str
    deltas: Deltas = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    prompts: Prompts = field(default_factory=dict)

    def add(
        self, deltas: Deltas, marks: Marks | None = None, prompts: Prompts | None = None
    ) -> None:
        """Add a part of the step. What changed before in this step, such as a segment that
        another one has overwritten, becomes one change with it."""
        for place, delta in deltas.items():
            earlier = self.deltas.get(place)
            self.deltas[place] = delta if earlier is None else earlier.then(delta)
        for place, (before, after) in (marks or {}).items():
            self.marks[place] = (self.marks.get(place, (before, after))[0], after)
        for place, (before, after) in (prompts or {}).items():
            self.prompts[place] = (self.prompts.get(place, (before, after))[0], after)

    @property
    def is_empty(self) -> bool:
        told = [*self.marks.values(), *self.prompts.values()]
        return not self.deltas and all(before == after for before, after in told)

    @property
    def places(self) -> set[tuple[str, int]]:
        """(segment ID, frame) of everything that the step changes."""
        return {*self.deltas, *self.marks, *self.prompts}

    @property
    def size(self) -> int:
        """Bytes of what is kept, about."""
        masks = sum(len(d.added.data) + len(d.removed.data) for d in self.deltas.values())
        return masks + 400 * len(self.deltas) + 200 * (len(self.marks) + len(self.prompts))


class History:
    """Steps to undo and redo; the oldest are dropped beyond `limit` bytes."""

    def __init__(self, limit: int = 64 * 2**20):
        self.limit = limit
        self._done: deque[Step] = deque()
        self._undone: list[Step] = []

    @property
    def undo_name(self) -> str | None:
        """What would be undone, None where there is nothing."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        return self._undone[-1].name if self._undone else None

    def record(self, step: Step) -> None:
        """Add what was just done; what was undone before is gone then."""
        if step.is_empty:
            return
        self._done.append(step)
        self._undone.clear()
        size = sum(step.size for step in self._done)
        while size > self.limit and len(self._done) > 1:
            size -= self._done.popleft().size

    def undo(self, masks: ClipMasks, state: SceneState) -> Step | None:
        """Take the last step back and return it. Raises SceneChanged where a node is gone; the
        step then stays. Segments that are gone are left out."""
        if not self._done:
            return None
        _replay(self._done[-1], masks, state, back=True)
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self, masks: ClipMasks, state: SceneState) -> Step | None:
        if not self._undone:
            return None
        _replay(self._undone[-1], masks, state, back=False)
        self._done.append(self._undone.pop())
        return self._done[-1]

    def clear(self) -> None:
        """Forget everything: another clip or segmentation was chosen, the scene was closed."""
        self._done.clear()
        self._undone.clear()


def _replay(step: Step, masks: ClipMasks, state: SceneState, back: bool) -> None:
    masks.apply(step.deltas, back)
    wanted: dict[str, dict[int, FrameMark | None]] = {}
    for (segment, frame), (before, after) in step.marks.items():
        if masks.has_segment(segment):
            wanted.setdefault(segment, {})[frame] = before if back else after
    for segment, marks in wanted.items():
        state.restore_marks(segment, marks)
    for (segment, frame), (before, after) in step.prompts.items():
        if masks.has_segment(segment):
            state.set_frame_prompts(segment, frame, before if back else after)
