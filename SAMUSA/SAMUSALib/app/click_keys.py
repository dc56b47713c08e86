"""The keys of the effect SAMUSA: which action each has, and that they count where the mouse is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping

import qt
import slicer
from slicer.i18n import tr as _

from .settings import SHORTCUTS, Settings
from .shortcut_dialog import ShortcutDialog
from .shortcuts import Shortcuts

CTRL = "Cmd" if sys.platform == "darwin" else "Ctrl"  # the key that Qt calls Ctrl
IN_WINDOW = ("undo", "redo")  # the other actions count in the slice views
# Keys that the Segment Editor has for its own undo besides; here they do the same as ours.
MORE_KEYS = {"undo": ("Z",), "redo": ("Y", "Ctrl+Shift+Z"), "accept": ("Enter",)}
TYPED_INTO = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox")


class ClickKeys:
    """The keys while the effect is active; `remove` gives them back to others."""

    def __init__(self, settings: Settings, actions: Mapping[str, Callable[[], None]]):
        """actions: names of settings.SHORTCUTS, and what they do."""
        self.shortcuts = Shortcuts()
        self.dialog: ShortcutDialog | None = None
        self._settings, self._actions = settings, actions

    def install(self, views: Collection) -> None:
        """views: qMRMLSliceWidgets. Replaces what was installed."""
        in_window, in_views = {}, {}
        for name, action in self._actions.items():
            keys = in_window if name in IN_WINDOW else in_views
            chosen = self._settings.shortcut(name)
            if chosen:
                keys[chosen] = action
            for key in MORE_KEYS.get(name, ()):
                if self._settings.action_on(key) not in self._actions:
                    keys[key] = action
        parts = [view.sliceView() for view in views]
        self.shortcuts.install(slicer.util.mainWindow(), in_window, parts, in_views)

    def remove(self) -> None:
        self.shortcuts.remove()
        if self.dialog is not None:
            self.dialog.close()

    def take_focus(self, view) -> None:
        """The mouse has come into a view: keys count there now; not from under somebody who
        types."""
        focused = slicer.app.focusWidget()
        if focused is None or not _is_typed_into(focused):
            # not the view around it: that has no keys of its own, as arrows for the next slice
            view.sliceView().VTKWidget().setFocus(qt.Qt.MouseFocusReason)
        self.shortcuts.silence()

    def choose(self) -> None:
        """Open the window in which keys are chosen."""
        if self.dialog is None:
            self.dialog = ShortcutDialog(self._settings, slicer.util.mainWindow())
        self.dialog.open()


def key_names(settings: Settings) -> dict[str, str]:
    """By action: the key as it is shown to the user."""
    keys = {name: settings.shortcut(name).replace("Ctrl", CTRL) for name in SHORTCUTS}
    return {name: key or _("no key") for name, key in keys.items()}


def _is_typed_into(widget) -> bool:
    if widget.inherits("QComboBox"):
        return widget.editable
    return any(widget.inherits(name) for name in TYPED_INTO) and not widget.readOnly
