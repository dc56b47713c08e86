"""Undo of what was accepted: changed pixels and frame marks, never whole volumes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import SamusaError
from ..prompts import FramePrompts, Window
from .segments import ClipMasks, Deltas
from .state import FrameMark, SceneState

PER_PIECE = 8  # masks written at once; one of 640 x 480 takes 0.5 to 1 ms

Marks = dict[tuple[str, int], tuple[FrameMark | None, FrameMark | None]]
Prompts = dict[tuple[str, int], tuple[FramePrompts | None, FramePrompts | None]]


@dataclass(frozen=True)
class StaleChange:
    """Frames of a segment that a step has left for the next propagation (added), and that it has
    done (removed).

    windows: of the segment then. Under other windows, and where None tells that two steps went on
    at once, nobody knows any more what follows from what: undo and redo only add frames then.
    """

    added: frozenset[int]
    removed: frozenset[int]
    windows: tuple[Window, ...] | None

    @classmethod
    def between(
        cls,
        before: frozenset[int],
        after: frozenset[int],
        windows: tuple[Window, ...] | None,
    ) -> StaleChange:
        return cls(after - before, before - after, windows)

    def replayed(
        self, stale: frozenset[int], windows: tuple[Window, ...], back: bool
    ) -> frozenset[int]:
        """What is stale after undo (`back`) or redo, from what is stale now."""
        added, removed = (self.removed, self.added) if back else (self.added, self.removed)
        return (stale | added) - (removed if windows == self.windows else frozenset())


@dataclass
class Step:
    """One thing that the user undoes at once: an accepted click, a whole propagation.

    name: shown in the menu. deltas: as `ClipMasks.write` returns them. marks: (segment ID, frame)
    -> what `SceneState` said before and after; None where the frame had no mark. prompts: the same
    for the prompts of frames. stale: by segment ID.
    """

    name: str
    deltas: Deltas = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    prompts: Prompts = field(default_factory=dict)
    stale: dict[str, StaleChange] = field(default_factory=dict)

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
        told = 200 * (len(self.marks) + len(self.prompts))
        stale = 40 * sum(len(each.added) + len(each.removed) for each in self.stale.values())
        return masks + 400 * len(self.deltas) + told + stale


class History:
    """Steps to undo and redo; the oldest are dropped beyond `limit` bytes."""

    def __init__(self, limit: int = 64 * 2**20):
        self.limit = limit
        self._done: deque[Step] = deque()
        self._undone: deque[Step] = deque()

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

    def take(self, back: bool) -> Step | None:
        """The step that is to be undone (`back`) or redone next, for `replay`; from now on it
        counts as such. None where there is none."""
        source, target = self._ends(back)
        if not source:
            return None
        target.append(source.pop())
        return target[-1]

    def give_back(self, step: Step, back: bool) -> None:
        """What `take` gave last could not be replayed; it can be taken once more."""
        source, target = self._ends(back)
        if target and target[-1] is step:
            source.append(target.pop())

    def undo(self, masks: ClipMasks, state: SceneState) -> Step | None:
        """Take the last step back, all at once, and return it. Raises SceneChanged where a node
        is gone; the step then stays. Segments that are gone are left out."""
        return self._move(masks, state, back=True)

    def redo(self, masks: ClipMasks, state: SceneState) -> Step | None:
        return self._move(masks, state, back=False)

    def _move(self, masks: ClipMasks, state: SceneState, back: bool) -> Step | None:
        step = self.take(back)
        if step is not None:
            try:
                for _ in replay(step, masks, state, back):
                    pass
            except SamusaError:
                self.give_back(step, back)
                raise
        return step

    def _ends(self, back: bool) -> tuple[deque[Step], deque[Step]]:
        return (self._done, self._undone) if back else (self._undone, self._done)

    def clear(self) -> None:
        """Forget everything: another clip or segmentation was chosen, the scene was closed."""
        self._done.clear()
        self._undone.clear()


def replay(step: Step, masks: ClipMasks, state: SceneState, back: bool) -> Iterator[float]:
    """Undo a step (`back`) or do it again, a few masks at a time: yields how much is done, 0..1.

    Marks, prompts and what is stale change at the end, so that until then the scene says of every
    frame what it said before. What is given up in the middle, or fails, may be replayed from its
    start. Raises as `ClipMasks.apply`.
    """
    pieces = _pieces(step.deltas)
    for number, deltas in enumerate(pieces, start=1):
        masks.apply(deltas, back)
        yield 0.9 * number / len(pieces)
    wanted: dict[str, dict[int, FrameMark | None]] = {}
    for (segment, frame), (before, after) in step.marks.items():
        wanted.setdefault(segment, {})[frame] = before if back else after
    told = {segment for segment, _ in {*step.marks, *step.prompts}} | step.stale.keys()
    there = {segment for segment in told if masks.has_segment(segment)}
    for segment, marks in wanted.items():
        if segment in there:
            state.restore_marks(segment, marks)
            yield 0.95
    for (segment, frame), (before, after) in step.prompts.items():
        if segment in there:
            state.set_frame_prompts(segment, frame, before if back else after)
            yield 0.95
    for segment, change in step.stale.items():
        if segment in there:
            stale = change.replayed(state.stale(segment), state.windows(segment), back)
            state.set_stale(segment, stale)
            yield 0.95


def _pieces(deltas: Deltas) -> list[Deltas]:
    """All segments of a frame are in one piece: a pixel that one has taken from another changes
    hands at once, so that the two need no labelmaps of their own in between."""
    by_frame: dict[int, Deltas] = {}
    for (segment, frame), delta in deltas.items():
        by_frame.setdefault(frame, {})[segment, frame] = delta
    pieces: list[Deltas] = []
    for part in by_frame.values():
        if not pieces or len(pieces[-1]) >= PER_PIECE:
            pieces.append({})
        pieces[-1].update(part)
    return pieces
