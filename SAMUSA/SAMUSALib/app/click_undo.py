"""Undo and redo in the effect SAMUSA, beside those of the Segment Editor that it is in."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from .click_session import ClickSession
from .undo_buttons import UndoButtons
from .workspace import Workspace


class ClickUndo:
    """One step is a click; where there is none, what SAMUSA has written; where it has written
    nothing, what other effects did before, by the Segment Editor's own undo."""

    def __init__(self, scripted_effect, editor, undo: Callable[[], None], redo: Callable[[], None]):
        """editor: the qMRMLSegmentEditorWidget; undo, redo: of the buttons in its panel."""
        self._effect, self._editor = scripted_effect, editor
        self._buttons = UndoButtons(editor, undo, redo)
        self._saved = None  # the vtkSegmentation whose state was saved for the editor's undo

    def release(self) -> None:
        """The editor has its own buttons again."""
        self._buttons.release()

    def before_writing(self) -> None:
        """So that the editor's own undo, when the effect is left, takes back all that SAMUSA has
        written since it was chosen as one step, and no more."""
        node = self._effect.parameterSetNode().GetSegmentationNode()
        segmentation = node.GetSegmentation()
        if self._saved is not segmentation:  # each image of a sequence has its own
            self._effect.saveStateForUndo()
            self._saved = segmentation

    def step(self, direction: str, clicks: ClickSession | None, workspace: Workspace | None) -> str:
        """direction: "undo" or "redo". What was done, in words; none for a click: it is seen."""
        done = _("Undone") if direction == "undo" else _("Redone")
        if clicks is not None and getattr(clicks, direction)():
            return ""
        if workspace is not None and getattr(workspace.history, f"{direction}_name"):
            self.before_writing()
            return f"{done}: {getattr(workspace, direction)()}."
        if self._editor_can(direction):
            getattr(self._editor, direction)()
            return _("{done}: what another effect had done.").format(done=done)
        return _("There is nothing more to {direction}.").format(direction=direction)

    def show(
        self, clicks: ClickSession | None, workspace: Workspace | None, keys: dict[str, str]
    ) -> None:
        """On the buttons: whether there is a step, and its key."""
        for name, direction, tip in (
            ("Undo", "undo", _("Take back the last click or accepted mask")),
            ("Redo", "redo", _("Do it again")),
        ):
            possible = self._can(direction, clicks, workspace)
            self._buttons.show(name, possible, f"{tip} ({keys[direction]})")

    def _can(self, direction: str, clicks, workspace) -> bool:
        return bool(
            (clicks is not None and getattr(clicks.editor, f"can_{direction}"))
            or (workspace is not None and getattr(workspace.history, f"{direction}_name"))
            or self._editor_can(direction)
        )

    def _editor_can(self, direction: str) -> bool:
        """Not any more when SAMUSA has written since: the editor would take that back with it."""
        return self._saved is None and self._buttons.editor_can(direction.title())


def editor_of(scripted_effect):
    """The qMRMLSegmentEditorWidget that an effect is in, None where it is in none."""
    widget = scripted_effect.optionsFrame()
    while widget is not None and widget.className() != "qMRMLSegmentEditorWidget":
        widget = widget.parentWidget()
    return widget
