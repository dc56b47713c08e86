"""Keys that count while a tool is active, though Slicer has shortcuts of its own on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import qt

Actions = Mapping[str, Callable[[], None]]  # by key, in Qt's words


class Shortcuts:
    """Shortcuts of a window and of some of its views, until they are removed.

    Qt drops a key that two enabled shortcuts claim. So what others have on the same keys in that
    window rests meanwhile.
    """

    def __init__(self):
        self.installed: list = []
        self._resting: list = []
        self._window = None

    def install(self, window, in_window: Actions, views: Collection, in_views: Actions) -> None:
        """window: None where there is none. Its keys count in views of other windows, too, as those
        of a layout for two monitors. A key that both mappings have counts in the views alone.
        Replaces what was installed."""
        self.remove()
        self._window = window
        outside = [view for view in views if view.window() != window]
        for key, action in in_window.items():
            if key not in in_views:
                if window is not None:
                    self._add(window, key, action, views_only=False)
                for view in outside:
                    self._add(view, key, action, views_only=True)
        for key, action in in_views.items():
            for view in views:
                self._add(view, key, action, views_only=True)
        self.silence()

    def _add(self, owner, key: str, action: Callable[[], None], views_only: bool) -> None:
        shortcut = qt.QShortcut(qt.QKeySequence(key), owner)
        if views_only:
            shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", action)
        self.installed.append(shortcut)

    def silence(self) -> None:
        """Let shortcuts that others have made since rest too."""
        if self._window is None:
            return
        ours = {_key_of(shortcut) for shortcut in self.installed}
        for other in self._window.findChildren(qt.QShortcut):
            if other not in self.installed and other.isEnabled() and _key_of(other) in ours:
                other.setEnabled(False)
                self._resting.append(other)

    def remove(self) -> None:
        """The keys are again those of others."""
        for shortcut in self.installed:
            _if_alive(shortcut.setEnabled, False)  # deleteLater keeps the key for a while
            _if_alive(shortcut.deleteLater)
        self.installed = []
        for other in self._resting:
            _if_alive(other.setEnabled, True)
        self._resting = []


def _key_of(shortcut) -> str:
    key = shortcut.key() if callable(shortcut.key) else shortcut.key  # a property in some builds
    return key.toString()


def _if_alive(method: Callable, *arguments) -> None:
    """Call a method of an object that its owner may have deleted."""
    try:
        method(*arguments)
    except (ValueError, RuntimeError):
        return
