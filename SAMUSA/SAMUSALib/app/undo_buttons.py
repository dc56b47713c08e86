"""The buttons Undo and Redo of a Segment Editor's panel, while an effect has an undo of its own."""

from __future__ import annotations

from collections.abc import Callable

import qt

NAMES = ("Undo", "Redo")


class UndoButtons:
    """In the place of the editor's own two buttons, which are hidden until `release`.

    The editor's go back to whole saved states, which would take back more than the last click.
    """

    def __init__(self, editor, undo: Callable[[], None], redo: Callable[[], None]):
        """editor: a qMRMLSegmentEditorWidget, or None: then there is nothing to replace."""
        self._replaced: dict[str, tuple] = {}  # name -> (the editor's, ours)
        if editor is None:
            return
        for column, (name, action) in enumerate(zip(NAMES, (undo, redo), strict=True)):
            theirs = editor.findChild(qt.QToolButton, f"{name}Button")
            if theirs is None:
                continue
            ours = qt.QToolButton()
            ours.objectName = f"SAMUSA{name}Button"
            ours.text = theirs.text
            ours.icon = theirs.icon
            ours.setToolButtonStyle(theirs.toolButtonStyle)
            ours.setSizePolicy(qt.QSizePolicy.Minimum, qt.QSizePolicy.Fixed)
            ours.connect("clicked()", action)
            theirs.parentWidget().layout().addWidget(ours, 1, column)
            theirs.hide()
            self._replaced[name] = (theirs, ours)

    def show(self, name: str, enabled: bool, tip: str) -> None:
        if name in self._replaced:
            ours = self._replaced[name][1]
            ours.enabled = enabled
            ours.toolTip = tip

    def editor_can(self, name: str) -> bool:
        """Whether the editor itself has something to undo or redo."""
        return name in self._replaced and self._replaced[name][0].enabled

    def release(self) -> None:
        for theirs, ours in self._replaced.values():
            ours.hide()
            ours.deleteLater()
            theirs.show()
        self._replaced = {}
