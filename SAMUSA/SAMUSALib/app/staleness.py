"""Which frames a propagation still has to compute, after clicks, locks, windows and cancels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..prompts import Window


@dataclass(frozen=True)
class Stale:
    """The frames of one segment, of a clip of `length`, whose masks do not follow from what is
    said now; the scene keeps them (`SceneState.stale`). Each edit gives what is stale after it.

    A finished frame is `done`; a conditioning frame that is set, altered or removed makes the
    frames up to the next conditioning frames stale (as `engine.plan` computes them), and those of
    windows that have no conditioning frame of their own.
    """

    length: int
    frames: frozenset[int]

    def all(self) -> Stale:
        return replace(self, frames=frozenset(range(self.length)))

    def done(self, frames: Iterable[int]) -> Stale:
        return replace(self, frames=self.frames.difference(frames))

    def changed(
        self, frames: Collection[int], conditioning: Collection[int], windows: Collection[Window]
    ) -> Stale:
        """conditioning: all such frames of the segment as they are now; windows: none means the
        whole clip."""
        found = set(self.frames)
        for window in windows or [Window(0, self.length - 1)]:
            inside = sorted(n for n in conditioning if n in window)
            for frame in frames:
                if frame in window:
                    before, after = bisect_left(inside, frame), bisect_right(inside, frame)
                    first = inside[before - 1] + 1 if before else window.start
                    last = inside[after] - 1 if after < len(inside) else window.end
                    found.update(range(first, last + 1))
                elif not inside:
                    found.update(range(window.start, window.end + 1))
        return replace(self, frames=frozenset(found))

    def windows_changed(self, before: Collection[Window], after: Collection[Window]) -> Stale:
        """Frames that have become visible are stale; where windows are stated for the first time,
        or no longer, all are: the network is asked differently then."""
        if bool(before) != bool(after):
            return self.all()
        fresh = {n for w in after for n in range(w.start, w.end + 1)}
        fresh.difference_update(n for w in before for n in range(w.start, w.end + 1))
        return replace(self, frames=self.frames | fresh)

    def within(self, windows: Collection[Window], kept: Collection[int] = ()) -> set[int]:
        """Stale frames inside the windows (none: the whole clip), without those that are kept."""
        found = self.frames.difference(kept)
        if not windows:
            return set(found)
        return {n for n in found if any(n in window for window in windows)}
