"""Steps that are undone or done again, one after the other, between turns of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import SamusaError
from ..scene.segments import ClipMasks
from ..scene.state import SceneState
from ..scene.undo import History, Step, replay
from .steps import Stepper

AT_ONCE = 16  # places; a step of no more is replayed before `ask` returns


class Replays:
    """What was asked for is done in its order; a step is whole, or it has not begun to count.

    on_end(step, back): it is replayed. on_error(SamusaError): it failed after `ask` had returned;
    it is to be had again, and those that waited are given up. on_progress(fraction, step, back).
    """

    def __init__(
        self,
        history: History,
        masks: ClipMasks,
        state: SceneState,
        soon: Callable[[Callable[[], None]], None],
        on_end: Callable[[Step, bool], Any],
        on_error: Callable[[SamusaError], Any],
        on_progress: Callable[[float, Step, bool], Any],
    ):
        self._history, self._masks, self._state, self._soon = history, masks, state, soon
        self._on_end, self._on_error, self._on_progress = on_end, on_error, on_progress
        self._asked: deque[tuple[Step, bool]] = deque()  # the first is being replayed
        self._stepper: Stepper | None = None

    @property
    def running(self) -> bool:
        return bool(self._asked)

    @property
    def name(self) -> str:
        """Of the step that is being replayed."""
        return self._asked[0][0].name

    def ask(self, back: bool) -> str | None:
        """Undo the next step, or do it again, after those that were asked for before: its name,
        None where there is none. Raises, where it is done at once, as `replay`."""
        step = self._history.take(back)
        if step is None:
            return None
        if not self.running and len(step.places) <= AT_ONCE:
            self._replay_at_once(step, back)
        else:
            self._asked.append((step, back))
            if self._stepper is None:
                self._begin()
        return step.name

    def finish(self) -> None:
        """Do at once what is left of all that was asked for."""
        while self._stepper is not None:
            self._stepper.finish()

    def _replay_at_once(self, step: Step, back: bool) -> None:
        try:
            for _ in replay(step, self._masks, self._state, back):
                pass
        except SamusaError:
            self._history.give_back(step, back)
            raise
        self._on_end(step, back)

    def _begin(self) -> None:
        step, back = self._asked[0]
        self._stepper = Stepper(
            replay(step, self._masks, self._state, back),
            self._soon,
            self._ended,
            self._failed,
            lambda done: self._on_progress(done, step, back),
        )

    def _ended(self) -> None:
        step, back = self._asked.popleft()
        self._stepper = None
        if self._asked:
            self._begin()
        self._on_end(step, back)

    def _failed(self, error: SamusaError) -> None:
        self._stepper = None
        while self._asked:
            self._history.give_back(*self._asked.pop())
        self._on_error(error)
