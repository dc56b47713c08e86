"""Which frames a propagation still has to compute, after clicks, locks, windows and cancels."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..prompts import Window


class Stale:
    """The frames of one segment whose masks do not follow from what is said now.

    At first all of them. A finished frame is `done`; a conditioning frame that is set, altered or
    removed makes the frames up to the next conditioning frames stale (as `engine.plan` computes
    them), and those of windows that have no conditioning frame of their own.
    """

    def __init__(self, length: int):
        self._length = length
        self._frames = set(range(length))

    def all(self) -> None:
        self._frames = set(range(self._length))

    def done(self, frames: Iterable[int]) -> None:
        self._frames.difference_update(frames)

    def changed(
        self, frame: int, conditioning: Collection[int], windows: Collection[Window]
    ) -> None:
        """conditioning: the segment's other conditioning frames; windows: none means all frames."""
        windows = windows or [Window(0, self._length - 1)]
        for window in windows:
            inside = [n for n in conditioning if n in window]
            if frame in window:
                before = max((n for n in inside if n < frame), default=window.start - 1)
                after = min((n for n in inside if n > frame), default=window.end + 1)
                self._frames.update(range(before + 1, after))
            elif not inside:
                self._frames.update(range(window.start, window.end + 1))

    def windows_changed(self, before: Collection[Window], after: Collection[Window]) -> None:
        """Frames that have become visible are stale; where windows are stated for the first time,
        or no longer, all are: the network is asked differently then."""
        if bool(before) != bool(after):
            self.all()
            return
        fresh = {n for w in after for n in range(w.start, w.end + 1)}
        self._frames |= fresh - {n for w in before for n in range(w.start, w.end + 1)}

    def within(self, windows: Collection[Window], kept: Collection[int] = ()) -> set[int]:
        """Stale frames inside the windows (none: the whole clip), without those that are kept."""
        found = self._frames - set(kept)
        if not windows:
            return found
        return {n for n in found if any(n in window for window in windows)}
