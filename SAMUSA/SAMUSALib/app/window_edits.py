"""Edits of a segment's windows: each gives the windows after it and which one is then in hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..prompts import Window, merge_windows


@dataclass(frozen=True)
class WindowEdits:
    """The windows of a segment on a clip of `length` frames, and the one that `[`, `]` and the
    range slider change; None where there is none yet."""

    length: int
    windows: tuple[Window, ...] = ()
    chosen: Window | None = None

    def start_at(self, frame: int) -> WindowEdits:
        """The chosen window starts here; a new one reaches from here to the end of the clip."""
        end = self.length - 1 if self.chosen is None else max(frame, self.chosen.end)
        return self.replace(Window(frame, end))

    def end_at(self, frame: int) -> WindowEdits:
        """The chosen window ends here; a new one reaches from the first frame to here."""
        start = 0 if self.chosen is None else min(frame, self.chosen.start)
        return self.replace(Window(start, frame))

    def replace(self, window: Window) -> WindowEdits:
        """The chosen window becomes this one; what it touches is merged with it."""
        return self._with([*(w for w in self.windows if w != self.chosen), window], window)

    def add(self, frame: int) -> WindowEdits:
        """One more window: of one frame, to be widened. On a frame of a window: that one."""
        return self._with([*self.windows, Window(frame, frame)], Window(frame, frame))

    def remove(self) -> WindowEdits:
        """Without the chosen window; the nearest one is then in hand."""
        if self.chosen is None:
            return self
        left = tuple(w for w in self.windows if w != self.chosen)
        middle = self.chosen.start + self.chosen.end
        nearest = min(left, key=lambda w: abs(w.start + w.end - middle), default=None)
        return WindowEdits(self.length, left, nearest)

    def choose(self, frame: int) -> WindowEdits:
        """Take the window at a frame in hand; where there is none, what was in hand stays."""
        found = next((w for w in self.windows if frame in w), self.chosen)
        return WindowEdits(self.length, self.windows, found)

    def now(self, windows: Iterable[Window]) -> WindowEdits:
        """The windows were changed elsewhere (undo, another view)."""
        windows = tuple(windows)
        if self.chosen in windows:
            return WindowEdits(self.length, windows, self.chosen)
        like = None if self.chosen is None else self.chosen.start
        found = next((w for w in windows if like is not None and like in w), None)
        return WindowEdits(self.length, windows, found or (windows[0] if windows else None))

    def _with(self, windows: Iterable[Window], chosen: Window) -> WindowEdits:
        merged = merge_windows(windows)
        found = next(w for w in merged if chosen.start in w)
        return WindowEdits(self.length, merged, found)
