"""Clicks on one frame of a workspace: the spline's mask at once, the model's when it is there, and
accepting. No Qt: the effect draws what this holds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..errors import SamusaError
from ..scene.rules import EditRules
from ..worker.client import Pending, RequestFailed
from ..worker.messages import FailureKind
from .click_editor import ClickEditor
from .signals import Signal
from .workspace import Workspace


class ClickSession:
    """One segment on one frame.

    changed(): points or mask are others. told(text): a sentence for the user. mask: (H, W) bool to
    be shown, None for none; from_model: whether it is the model's, not the preview. latency: s
    from the last click to the model's mask, None while there was none.
    """

    def __init__(
        self,
        workspace: Workspace,
        segment: str,
        frame: int,
        use_mask: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """use_mask: clicks start from the mask that the segment has on the frame."""
        self.changed, self.told = Signal(), Signal()
        self.workspace, self.segment, self.frame = workspace, segment, frame
        self.editor = ClickEditor(workspace.source.frame_size)
        self.mask: np.ndarray | None = None
        self.from_model = False
        self.confidence = 1.0
        self.latency: float | None = None
        self._clock = clock
        self._pending: Pending | None = None
        self._steps_waiting = False  # until the workspace is open
        self._accept_rules: EditRules | None = None  # accept as soon as the model has answered
        self._accepting = False
        start = workspace.masks.mask(segment, frame) if use_mask else None
        self.editor.load(
            workspace.steps(segment, frame), start if start is not None and start.any() else None
        )
        workspace.opened.connect(self._opened)

    def close(self) -> None:
        """Forget what was not accepted."""
        self.workspace.opened.disconnect(self._opened)
        self._pending = None

    @property
    def is_waiting(self) -> bool:
        """Whether the model's mask is still to come."""
        return self._pending is not None or self._steps_waiting

    # What the hand does -------------------------------------------------------------------------

    def add(self, kind: str, x: float, y: float) -> None:
        self.editor.add(kind, x, y)
        self._update()

    def delete(self, index: int) -> None:
        self.editor.delete(index)
        self._update()

    def drag(self, x: float, y: float) -> None:
        self.editor.drag(x, y)
        self._preview()
        self.changed.emit()

    def finish(self) -> None:
        if self.editor.finish():
            self._update()

    def clear(self) -> None:
        """Forget the clicks that were not accepted."""
        self.editor.clear()
        self._forget()
        self.changed.emit()

    def undo(self) -> bool:
        """A click back. False where there is none to take back: then undo what was accepted."""
        if not self.editor.undo():
            return False
        self._update()
        return True

    def redo(self) -> bool:
        if not self.editor.redo():
            return False
        self._update()
        return True

    @property
    def can_accept(self) -> bool:
        """Whether there are clicks that were not accepted yet, with a mask or one on its way."""
        return self.editor.is_changed and (self.mask is not None or self.is_waiting)

    def accept(self, rules: EditRules | None = None) -> bool:
        """Write the mask into the segment: the model's; one that is on its way is waited for and
        written when it comes. Whether there is something to accept. Raises as
        `Workspace.accept`."""
        if not self.can_accept:
            return False
        self.editor.finish()
        if self.is_waiting:
            self._accepting, self._accept_rules = True, rules
            self.told.emit("The mask is accepted as soon as it is computed.")
            return True
        self._write(rules)
        return True

    def _write(self, rules: EditRules | None) -> None:
        self.workspace.accept(
            self.segment, self.frame, self.editor.steps, self.mask, self.confidence, rules
        )
        self.editor.accepted()
        self.mask = None  # the segment shows it now
        self.changed.emit()

    # Masks --------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.mask, self._pending, self._steps_waiting = None, None, False
        self._accepting = self.from_model = False

    def _preview(self) -> None:
        clicks = self.editor.clicks
        self.from_model, self.confidence = False, 1.0
        self.mask = self.workspace.preview(clicks.prompts) if not clicks.is_empty else None

    def _update(self) -> None:
        """Clicks have changed: the curve at once, and the model is asked."""
        self._forget()
        if self.editor.is_changed and not self.editor.clicks.is_empty:
            self._preview()
            self._ask()
        self.changed.emit()

    def _opened(self) -> None:
        if self._steps_waiting:
            self._steps_waiting = False
            self._ask()

    def _ask(self) -> None:
        if self.workspace.annotated is None and not self.workspace.is_closed:
            self._steps_waiting = True
            return
        asked = self._clock()
        pending = self._pending = self.workspace.segment(
            self.segment, self.frame, self.editor.steps
        )  # set before `on_done`, which calls back at once where no worker can be had
        pending.on_done(lambda done: self._answered(done, asked))

    def _answered(self, pending: Pending, asked: float) -> None:
        if pending is not self._pending:
            return  # there are newer clicks, or they were cleared
        self._pending = None
        try:
            result = pending.result()
        except RequestFailed as error:
            if error.kind not in (FailureKind.SUPERSEDED, FailureKind.CANCELLED):
                self._failed(error)
            return
        except SamusaError as error:
            self._failed(error)
            return
        self.latency = self._clock() - asked
        self.mask, self.confidence = result.mask.decode(), result.confidence
        self.from_model = True
        if self._accepting:
            self._accepting = False
            try:
                self._write(self._accept_rules)
            except SamusaError as error:
                self.told.emit(str(error))
        self.changed.emit()

    def _failed(self, error: SamusaError) -> None:
        self._accepting = False
        self.told.emit(f"{error} What you see is the curve through your clicks.")
        self.changed.emit()
