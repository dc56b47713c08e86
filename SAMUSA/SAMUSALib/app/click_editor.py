"""The clicks of one segment on one frame while they are being made: points, a box, steps back and
forth. Plain values, frame coordinates (pixels, floats); knows no view, no worker and no scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InvalidValue
from ..prompts import FramePrompts

KINDS = ("boundary", "include", "exclude")
LEAST_BOX = 1.0  # pixels; a smaller one was a slip of the hand


@dataclass(frozen=True)
class Point:
    """kind: one of KINDS; x, y: frame pixels, not rounded."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True, eq=False)
class Clicks:
    """Everything that is said at a moment. box: x0, y0, x1, y1. mask: (H, W) bool to start from."""

    points: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None

    @classmethod
    def of(cls, prompts: FramePrompts) -> Clicks:
        points = tuple(
            Point(kind, float(x), float(y)) for kind in KINDS for x, y in getattr(prompts, kind)
        )
        box = None if prompts.box is None else tuple(float(v) for v in prompts.box)
        return cls(points, box, prompts.mask)

    @property
    def prompts(self) -> FramePrompts:
        by_kind = {kind: [(p.x, p.y) for p in self.points if p.kind == kind] for kind in KINDS}
        return FramePrompts(**by_kind, box=self.box, mask=self.mask)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was clicked; a mask to start from does not count."""
        return not self.points and self.box is None


class ClickEditor:
    """Steps of clicks; the last that is not undone is in force.

    Adding, moving, deleting a point and drawing a box are one step each. While a point is dragged
    or a box is drawn `clicks` shows it at once, and the step is made by `finish`. Every method
    raises InvalidValue for what lies off the frame, and then nothing has changed.
    """

    def __init__(self, frame_size: tuple[int, int]):
        self._frame_size = frame_size
        self._steps: list[Clicks] = []
        self._count = 0  # steps that are in force; what follows can be redone
        self._start = Clicks()  # before the first step
        self._loaded = 0  # steps that were accepted before
        self._unfinished: Clicks | None = None
        self._dragged: int | None = None
        self._corner: tuple[float, float] | None = None

    def load(self, steps: Sequence[FramePrompts], mask: np.ndarray | None = None) -> None:
        """Begin with what was accepted on the frame. mask: what clicks are to start from where
        nothing was accepted."""
        self._steps = [Clicks.of(step) for step in steps]
        self._count = self._loaded = len(self._steps)
        self._start = Clicks(mask=mask)
        self._drop()

    @property
    def clicks(self) -> Clicks:
        if self._unfinished is not None:
            return self._unfinished
        return self._steps[self._count - 1] if self._count else self._start

    @property
    def steps(self) -> tuple[FramePrompts, ...]:
        """The prompts after each step in force, oldest first, and the one that is being made."""
        made = [each.prompts for each in self._steps[: self._count]]
        if self._unfinished is not None:
            made.append(self._unfinished.prompts)
        return tuple(made)

    @property
    def is_changed(self) -> bool:
        """Whether there is something that is not accepted yet."""
        return self._unfinished is not None or self._count != self._loaded

    @property
    def is_busy(self) -> bool:
        """Whether a point is dragged or a box is drawn."""
        return self._dragged is not None or self._corner is not None

    @property
    def can_undo(self) -> bool:
        """Whether a step can be taken back; what was accepted is not."""
        return self._count > self._loaded

    @property
    def can_redo(self) -> bool:
        return self._count < len(self._steps)

    # One step each ------------------------------------------------------------------------------

    def add(self, kind: str, x: float, y: float) -> None:
        if kind not in KINDS:
            raise InvalidValue(f"{kind!r} is no kind of point; one of {', '.join(KINDS)} is needed")
        now = self.clicks
        self._make(replace(now, points=(*now.points, Point(kind, float(x), float(y)))))

    def delete(self, index: int) -> None:
        now = self.clicks
        self._make(replace(now, points=now.points[:index] + now.points[index + 1 :]))

    def delete_box(self) -> None:
        if self.clicks.box is not None:
            self._make(replace(self.clicks, box=None))

    # Drags --------------------------------------------------------------------------------------

    def grab(self, index: int) -> None:
        """Begin to drag a point; `drag` moves it."""
        if not 0 <= index < len(self.clicks.points):
            raise InvalidValue(f"there is no point {index}")
        self._dragged = index

    def begin_box(self, x: float, y: float) -> None:
        """Begin a box at a corner; `drag` gives the opposite one."""
        self._corner = (float(x), float(y))

    def drag(self, x: float, y: float) -> None:
        """To a place on the frame, or the nearest one to it."""
        height, width = self._frame_size
        x = float(np.clip(x, -0.5, width - 0.5))
        y = float(np.clip(y, -0.5, height - 0.5))
        now = self.clicks
        if self._dragged is not None:
            points = list(now.points)
            points[self._dragged] = replace(points[self._dragged], x=x, y=y)
            self._unfinished = replace(now, points=tuple(points))
        elif self._corner is not None:
            (left, right), (top, bottom) = (
                sorted((self._corner[0], x)),
                sorted((self._corner[1], y)),
            )
            if min(right - left, bottom - top) >= LEAST_BOX:
                self._unfinished = replace(now, box=(left, top, right, bottom))

    def finish(self) -> bool:
        """The button was released. Whether that made a step."""
        unfinished = self._unfinished
        self._drop()
        if unfinished is None:
            return False
        self._make(unfinished)
        return True

    # Back and forth -----------------------------------------------------------------------------

    def undo(self) -> bool:
        """One step back, not beyond what was accepted. Whether there was one."""
        self._drop()
        if not self.can_undo:
            return False
        self._count -= 1
        return True

    def redo(self) -> bool:
        self._drop()
        if not self.can_redo:
            return False
        self._count += 1
        return True

    def clear(self) -> None:
        """Forget what was not accepted."""
        del self._steps[self._loaded :]
        self._count = self._loaded
        self._drop()

    def accepted(self) -> None:
        """The steps in force were accepted."""
        self._drop()
        del self._steps[self._count :]
        self._loaded = self._count

    # Finding ------------------------------------------------------------------------------------

    def nearest(self, x: float, y: float, reach: float, aspect: float = 1.0) -> int | None:
        """Index of the point nearest to a place, None where none is within `reach`: pixels along
        x. aspect: height of a pixel over its width."""
        points = self.clicks.points
        distances = [float(np.hypot(p.x - x, (p.y - y) * aspect)) for p in points]
        if not distances or min(distances) > reach:
            return None
        return int(np.argmin(distances))

    def _make(self, clicks: Clicks) -> None:
        clicks.prompts.check(self._frame_size)
        self._drop()
        del self._steps[self._count :]
        self._loaded = min(self._loaded, self._count)
        self._steps.append(clicks)
        self._count += 1

    def _drop(self) -> None:
        self._unfinished = self._dragged = self._corner = None
