"""What the annotator says: where the border is, what is inside, when the structure is visible.

Coordinates are frame pixels (x = column, y = row), floats, pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .errors import InvalidValue


def _points(kind: str, value) -> np.ndarray:
    try:
        points = np.array([] if value is None else value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidValue(
            f"{kind} points are {value!r}; a list of [x, y] numbers is needed"
        ) from None
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InvalidValue(f"{kind} points have shape {points.shape}; a list of [x, y] is needed")
    if not np.isfinite(points).all():
        raise InvalidValue(f"{kind} points hold a value that is not a finite number")
    points.setflags(write=False)
    return points


@dataclass(frozen=True, order=True)
class Window:
    """Inclusive range of frames [start, end] in which a structure is visible."""

    start: int
    end: int

    def __post_init__(self):
        for name in ("start", "end"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise InvalidValue(f"window {name} is {value!r}; a whole frame number is needed")
            object.__setattr__(self, name, int(value))
        if self.start < 0 or self.end < self.start:
            raise InvalidValue(
                f"window [{self.start}, {self.end}] is turned round or negative; "
                "0 <= start <= end is needed"
            )

    def __contains__(self, frame: int) -> bool:
        return self.start <= frame <= self.end

    def __len__(self) -> int:
        return self.end - self.start + 1


def merge_windows(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Sorted windows; those that overlap or touch become one."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end + 1:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return tuple(merged)


@dataclass(frozen=True, eq=False)
class FramePrompts:
    """Prompts of one segment on one frame.

    boundary, include, exclude: (N, 2) float64, x and y in frame pixels.
    box: (4,) float64 x0, y0, x1, y1 with x0 < x1 and y0 < y1, or None.
    mask: (H, W) bool, or None.
    """

    boundary: np.ndarray = None
    include: np.ndarray = None
    exclude: np.ndarray = None
    box: np.ndarray | None = None
    mask: np.ndarray | None = None

    def __post_init__(self):
        for kind in ("boundary", "include", "exclude"):
            object.__setattr__(self, kind, _points(kind, getattr(self, kind)))
        if self.box is not None:
            try:
                box = np.array(self.box, dtype=np.float64)
            except (TypeError, ValueError):
                raise InvalidValue(f"box is {self.box!r}; [x0, y0, x1, y1] is needed") from None
            if box.shape != (4,) or not np.isfinite(box).all():
                raise InvalidValue(f"box is {box.tolist()}; four finite numbers are needed")
            if box[0] >= box[2] or box[1] >= box[3]:
                raise InvalidValue(f"box is {box.tolist()}; x0 < x1 and y0 < y1 is needed")
            box.setflags(write=False)
            object.__setattr__(self, "box", box)
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.ndim != 2:
                raise InvalidValue(f"mask prompt has shape {mask.shape}; (H, W) is needed")
            object.__setattr__(self, "mask", mask.astype(bool))

    @property
    def is_empty(self) -> bool:
        points = len(self.boundary) + len(self.include) + len(self.exclude)
        return points == 0 and self.box is None and self.mask is None

    def check(self, frame_size: tuple[int, int]) -> None:
        """Raise InvalidValue unless everything lies on a frame of (H, W) pixels.

        The frame reaches from -0.5 to W - 0.5 and H - 0.5: half a pixel beyond the centres.
        """
        height, width = frame_size
        for kind in ("boundary", "include", "exclude"):
            points = getattr(self, kind)
            outside = (
                (points < -0.5).any(axis=1)
                | (points[:, 0] > width - 0.5)
                | (points[:, 1] > height - 0.5)
            )
            if outside.any():
                x, y = points[np.argmax(outside)]
                raise InvalidValue(
                    f"{kind} point ({x:g}, {y:g}) is outside the frame of {width} x {height} pixels"
                )
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if x0 < -0.5 or y0 < -0.5 or x1 > width - 0.5 or y1 > height - 0.5:
                raise InvalidValue(
                    f"box {self.box.tolist()} reaches outside the frame of {width} x {height} px"
                )
        if self.mask is not None and self.mask.shape != (height, width):
            raise InvalidValue(
                f"mask prompt is {self.mask.shape[1]} x {self.mask.shape[0]} pixels; "
                f"the frame is {width} x {height}"
            )


@dataclass(frozen=True, eq=False)
class SegmentPrompts:
    """All prompts of one segment: its frames and the windows in which it is visible.

    windows: None or empty means "not stated": the whole clip, and the network decides where the
    structure is present. frames: frame index -> FramePrompts.
    """

    name: str
    frames: Mapping[int, FramePrompts] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    color: tuple[int, int, int] = (255, 0, 0)

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidValue(f"segment name is {self.name!r}; a name is needed")
        color = tuple(self.color)
        if len(color) != 3 or not all(
            isinstance(c, (int, np.integer)) and not isinstance(c, bool) and 0 <= c <= 255
            for c in color
        ):
            raise InvalidValue(f"color of {self.name!r} is {color}; three whole numbers 0..255")
        object.__setattr__(self, "color", tuple(int(c) for c in color))
        object.__setattr__(self, "windows", merge_windows(self.windows or ()))
        frames = {}
        for index, prompts in sorted(self.frames.items()):
            if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or index < 0:
                raise InvalidValue(f"frame {index!r} of {self.name!r} is not a frame number >= 0")
            if not isinstance(prompts, FramePrompts):
                raise InvalidValue(
                    f"prompts on frame {index} of {self.name!r} are not FramePrompts"
                )
            frames[int(index)] = prompts
        object.__setattr__(self, "frames", frames)

    def windows_within(self, clip_length: int) -> tuple[Window, ...]:
        """The windows, or the whole clip where none is stated."""
        return self.windows or (Window(0, clip_length - 1),)

    def check(self, clip_length: int, frame_size: tuple[int, int], reviewed: bool = False) -> None:
        """Raise InvalidValue unless the prompts fit a clip of that length and frame size.
        reviewed: the segment has reviewed masks to start from, so it needs no prompt."""
        if not reviewed and all(prompts.is_empty for prompts in self.frames.values()):
            raise InvalidValue(
                f"segment {self.name!r} has no prompt; give one on at least one frame"
            )
        for window in self.windows:
            if window.end >= clip_length:
                raise InvalidValue(
                    f"window [{window.start}, {window.end}] of {self.name!r} reaches beyond the "
                    f"clip, whose last frame is {clip_length - 1}"
                )
        for index, prompts in self.frames.items():
            if index >= clip_length:
                raise InvalidValue(
                    f"frame {index} of {self.name!r} does not exist; "
                    f"the clip's last frame is {clip_length - 1}"
                )
            if self.windows and not any(index in window for window in self.windows):
                raise InvalidValue(
                    f"frame {index} of {self.name!r} has prompts but lies outside its windows; "
                    "widen a window or remove the prompts"
                )
            prompts.check(frame_size)
