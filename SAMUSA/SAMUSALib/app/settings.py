"""What the user has chosen once for this computer, kept in Slicer's settings under "SAMUSA/"."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Protocol

from ..errors import InvalidValue
from .signals import Signal

PLACES = ("slicer", "python", "ssh")  # where the worker runs
DEVICES = ("auto", "cpu", "cuda", "mps")
# Qt's names of keys; only in force while SAMUSA's effect or module is in front. The name of an
# action is for the settings, ACTION_WORDS say it to the user.
SHORTCUTS: Mapping[str, str] = {
    "accept": "Return",
    "clear": "Escape",
    "delete_point": "Delete",
    "undo": "Ctrl+Z",
    "redo": "Ctrl+Y",
    "next_frame": "D",
    "previous_frame": "A",
    "boundary_points": "1",
    "include_points": "2",
    "exclude_points": "3",
    "box": "4",
    "window_start": "[",
    "window_end": "]",
    "propagate": "P",
    "approve": "R",
    "next_to_check": "N",
}
ACTION_WORDS: Mapping[str, str] = {
    "accept": "Accept the mask",
    "clear": "Forget the clicks",
    "delete_point": "Delete the point under the mouse",
    "undo": "Undo",
    "redo": "Redo",
    "next_frame": "Next frame",
    "previous_frame": "Previous frame",
    "boundary_points": "Click the border",
    "include_points": "Click inside",
    "exclude_points": "Click outside",
    "box": "Draw a box",
    "window_start": "Window starts here",
    "window_end": "Window ends here",
    "propagate": "Propagate in both directions",
    "approve": "Approve or unlock the frame",
    "next_to_check": "Next frame to check",
}


class Store(Protocol):
    """QSettings, as far as it is used."""

    def value(self, key: str, default=None): ...

    def setValue(self, key: str, value) -> None: ...

    def remove(self, key: str) -> None: ...


def _text(key: str, default: str, choices: tuple[str, ...] = ()) -> property:
    def get(self) -> str:
        value = self._store.value(f"SAMUSA/{key}", default)
        return value if isinstance(value, str) and (not choices or value in choices) else default

    def put(self, value: str) -> None:
        if not isinstance(value, str) or (choices and value not in choices):
            wanted = f"one of {', '.join(choices)}" if choices else "a text"
            raise InvalidValue(f"the setting {key} is {value!r}; {wanted} is needed")
        self._store.setValue(f"SAMUSA/{key}", value)

    return property(get, put)


def _number(key: str, default: int, least: int) -> property:
    def get(self) -> int:
        try:  # an ini file gives back text
            value = int(self._store.value(f"SAMUSA/{key}", default))
        except (TypeError, ValueError):
            return default
        return value if value >= least else default

    def put(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidValue(f"the setting {key} is {value!r}; at least {least} is needed")
        self._store.setValue(f"SAMUSA/{key}", value)

    return property(get, put)


class Settings:
    """Typed access to a store. What is damaged there reads as the default; what is set is checked
    (InvalidValue).

    place: where the worker runs, one of PLACES. python: path of another interpreter. ssh_host,
    ssh_program, ssh_options: of another computer, options as one would type them.
    cache_mb: embeddings in the worker's memory. clips_mb: clips that come over a line.
    undo_mb: what undo may keep, for each annotation. export_format, export_folder: of the last
    export. shortcuts_changed(): keys are others now.
    """

    model = _text("model", "samusa-small")
    device = _text("device", "auto", DEVICES)
    place = _text("worker/place", "slicer", PLACES)
    python = _text("worker/python", "")
    ssh_host = _text("worker/ssh_host", "")
    ssh_program = _text("worker/ssh_program", "samusa")
    ssh_options = _text("worker/ssh_options", "")
    export_format = _text("export/format", "seg")
    export_folder = _text("export/folder", "")
    cache_mb = _number("cache_mb", 512, least=16)
    clips_mb = _number("clips_mb", 4096, least=64)
    undo_mb = _number("undo_mb", 64, least=1)

    def __init__(self, store: Store):
        self._store = store
        self.shortcuts_changed = Signal()

    @property
    def ssh_arguments(self) -> list[str]:
        """`ssh_options` as separate words. Raises InvalidValue for an open quotation mark."""
        try:
            return shlex.split(self.ssh_options)
        except ValueError as error:
            raise InvalidValue(
                f"the ssh options {self.ssh_options!r} cannot be read ({error}); correct them"
            ) from None

    @property
    def segments(self) -> list[tuple[str, tuple[int, int, int]]]:
        """(name, RGB 0..255) of each segment of what was annotated last; none at first."""
        try:
            found = json.loads(str(self._store.value("SAMUSA/segments", "[]")))
            return [(str(name), tuple(int(c) for c in (r, g, b))) for name, (r, g, b) in found]
        except (TypeError, ValueError):
            return []

    @segments.setter
    def segments(self, segments: Iterable[tuple[str, tuple[int, int, int]]]) -> None:
        self._store.setValue("SAMUSA/segments", json.dumps(list(segments)))

    def shortcut(self, name: str) -> str:
        """The key of an action of SHORTCUTS, in Qt's words; empty: none."""
        return str(self._store.value(f"SAMUSA/shortcuts/{name}", SHORTCUTS[name]))

    def action_on(self, key: str) -> str | None:
        """The action of SHORTCUTS that has a key, None where none has it."""
        found = (name for name in SHORTCUTS if self.shortcut(name).lower() == key.lower())
        return next(found, None) if key else None

    def set_shortcut(self, name: str, key: str) -> None:
        """key: in Qt's words; empty: none. Raises InvalidValue where another action has that
        key."""
        other = self.action_on(key)
        if other not in (None, name):
            raise InvalidValue(
                f"{key} is the key of {ACTION_WORDS[other]!r} already; choose another one, or take "
                "it away there first"
            )
        if key != self.shortcut(name):
            self._store.setValue(f"SAMUSA/shortcuts/{name}", key)
            self.shortcuts_changed.emit()

    def reset_shortcuts(self) -> None:
        self._store.remove("SAMUSA/shortcuts")
        self.shortcuts_changed.emit()
