"""The window in which the keys are chosen."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..errors import InvalidValue
from .settings import ACTION_WORDS, Settings

GROUPS = {
    "In the Segment Editor, effect SAMUSA": (
        "accept",
        "clear",
        "delete_point",
        "boundary_points",
        "include_points",
        "exclude_points",
        "box",
    ),
    "In both": ("undo", "redo", "next_frame", "previous_frame", "approve"),
    "In SAMUSA Temporal": ("window_start", "window_end", "propagate", "next_to_check"),
}


class ShortcutDialog:
    """Each action with its key; a new key is stored and counts as soon as it was pressed.

    A key that another action has is refused in words, and the field shows the old one again.
    """

    def __init__(self, settings: Settings, parent=None):
        self.settings = settings
        self.dialog = qt.QDialog(parent)
        self.dialog.objectName = "SAMUSAShortcutDialog"
        self.dialog.windowTitle = _("Keys of SAMUSA")
        self.fields: dict[str, object] = {}
        rows = qt.QVBoxLayout(self.dialog)
        hint = qt.QLabel(_("Click a field and press the new key."))
        rows.addWidget(hint)
        for title, names in GROUPS.items():
            rows.addWidget(self._group(title, names))
        self.message = qt.QLabel()
        self.message.objectName = "MessageLabel"
        self.message.wordWrap = True
        rows.addWidget(self.message)
        buttons = qt.QHBoxLayout()
        restore = qt.QPushButton(_("Restore defaults"))
        restore.objectName = "RestoreButton"
        close = qt.QPushButton(_("Close"))
        close.objectName = "CloseButton"
        for button in (restore, close):
            button.autoDefault = False  # Return belongs to the field that is being filled
        restore.connect("clicked()", self.restore)
        close.connect("clicked()", self.dialog.close)
        buttons.addWidget(restore)
        buttons.addStretch(1)
        buttons.addWidget(close)
        rows.addLayout(buttons)
        self.show_keys()

    def _group(self, title: str, names: tuple[str, ...]):
        box = qt.QGroupBox(_(title))
        grid = qt.QGridLayout(box)
        grid.setColumnStretch(0, 1)
        for row, name in enumerate(names):
            field = qt.QKeySequenceEdit()
            field.objectName = f"{name}KeyEdit"
            field.connect("editingFinished()", lambda name=name: self.take(name))
            none = qt.QToolButton()
            none.objectName = f"{name}NoKeyButton"
            none.text = "✕"
            none.toolTip = _("No key for this action")
            none.connect("clicked()", lambda name=name: self.put(name, ""))
            grid.addWidget(qt.QLabel(_(ACTION_WORDS[name])), row, 0)
            grid.addWidget(field, row, 1)
            grid.addWidget(none, row, 2)
            self.fields[name] = field
        return box

    def open(self) -> None:
        self.message.text = ""
        self.show_keys()
        self.dialog.show()
        self.dialog.activateWindow()

    def close(self) -> None:
        try:
            self.dialog.close()
        except (ValueError, RuntimeError):  # deleted, with the main window
            return

    def show_keys(self) -> None:
        for name, field in self.fields.items():
            field.setKeySequence(qt.QKeySequence(self.settings.shortcut(name)))

    def take(self, name: str) -> None:
        """The field of an action was filled. Of several keys pressed in a row the first counts."""
        self.put(name, self.fields[name].keySequence.toString().split(", ")[0])

    def put(self, name: str, key: str) -> None:
        try:
            self.settings.set_shortcut(name, key)
            self.message.text = ""
        except InvalidValue as error:
            self.message.text = f"{error}."
        self.show_keys()

    def restore(self) -> None:
        self.settings.reset_shortcuts()
        self.message.text = _("All keys are as at first.")
        self.show_keys()
