"""The keys of SAMUSA Temporal: which action each has, and how the panel tells of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import slicer
from slicer.i18n import tr as _

from .images import slice_widgets
from .settings import Settings
from .shortcut_dialog import ShortcutDialog
from .shortcuts import Shortcuts

HINTS = (
    (("window_start", "window_end"), _("window")),
    (("previous_frame", "next_frame"), _("frame")),
    (("propagate",), _("propagate")),
    (("next_to_check",), _("check")),
    (("approve",), _("approve")),
)


class TemporalKeys:
    """Keys count in Slicer's window, and in slice views of other windows, from `install` to
    `remove`."""

    def __init__(self, settings: Settings, actions: Mapping[str, Callable[[], None]]):
        """actions: names of settings.SHORTCUTS, and what they do."""
        self.shortcuts = Shortcuts()
        self.dialog: ShortcutDialog | None = None
        self._settings, self._actions = settings, actions

    def install(self) -> None:
        """Replaces what was installed."""
        keys = {self._settings.shortcut(name): action for name, action in self._actions.items()}
        keys.pop("", None)
        views = [widget.sliceView() for widget in slice_widgets()]
        self.shortcuts.install(slicer.util.mainWindow(), keys, views, {})

    def remove(self) -> None:
        self.shortcuts.remove()
        if self.dialog is not None:
            self.dialog.close()

    def choose(self) -> None:
        """Open the window in which keys are chosen."""
        if self.dialog is None:
            self.dialog = ShortcutDialog(self._settings, slicer.util.mainWindow())
        self.dialog.open()

    def hints(self) -> str:
        """Which keys do what, in one line that breaks between actions only."""
        found = []
        for names, words in HINTS:
            keys = [key for key in map(self._settings.shortcut, names) if key]
            if keys:
                found.append(f"{' '.join(keys)} {words}".replace(" ", "\u00a0"))
        return "  ".join(found)
