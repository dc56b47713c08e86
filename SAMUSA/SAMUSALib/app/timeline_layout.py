"""Where the things of a timeline strip lie, in pixels: drawn by `timeline`, plain Python here.

From top to bottom: prompts, windows, frame states, confidence, frame numbers. Where a column of
pixels stands for several frames it shows the state that is rarest in the clip among them, and
their lowest confidence, so that exceptions stay visible: one prompted frame of 700 on 400 pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..annotation import FrameState
from ..prompts import Window

PROMPT_TOP, PROMPT_HEIGHT = 1, 7
WINDOW_TOP, WINDOW_HEIGHT = 9, 5
STATE_TOP, STATE_HEIGHT = 15, 14
CONFIDENCE_TOP, CONFIDENCE_HEIGHT = 31, 18
NUMBERS_TOP, NUMBERS_HEIGHT = 51, 13
HEIGHT = NUMBERS_TOP + NUMBERS_HEIGHT

LOW_CONFIDENCE = 0.7  # predicted IoU below which a frame is drawn as doubtful
_LEAST_WINDOW = 3  # pixels, so that a window of one frame can be seen
_LABEL_PIXELS = 56  # room for a frame number with its neighbours' distance


@dataclass(frozen=True)
class Shown:
    """What a strip shows of one segment. length: frames of the clip; current: None where no view
    shows the clip. confidence: predicted IoU, 0..1, of the frames that have a mask. stale: frames
    that the next propagation computes, or empties."""

    length: int
    windows: tuple[Window, ...] = ()
    states: Mapping[int, FrameState] = field(default_factory=dict)
    confidence: Mapping[int, float] = field(default_factory=dict)
    prompted: frozenset[int] = frozenset()
    current: int | None = None
    stale: frozenset[int] = frozenset()

    def roles(self) -> dict[int, str]:
        """How each frame that has a state is drawn: by it, or as "stale" where what was propagated
        does not follow any more from what is said."""
        old = {f for f in self.stale if self.states.get(f) is FrameState.PROPAGATED}
        shown = {f: s.value for f, s in self.states.items() if s is not FrameState.EMPTY}
        return {f: "stale" if f in old else role for f, role in shown.items()}


@dataclass(frozen=True)
class Box:
    """A filled rectangle, pixels. role: "window", "prompted", "propagated", "stale", "reviewed",
    "confident" or "doubtful"."""

    x: int
    y: int
    width: int
    height: int
    role: str


@dataclass(frozen=True)
class Layout:
    """boxes: to be filled in their order. prompts: centres of the marks of prompted frames.
    current: (x, width) of the current frame. numbers: (x of the frame's centre, frame)."""

    width: int
    boxes: tuple[Box, ...]
    prompts: tuple[int, ...]
    current: tuple[int, int] | None
    numbers: tuple[tuple[int, int], ...]


def frames_of(x: int, width: int, length: int) -> range:
    """The frames that column x of a strip stands for; every frame has a column."""
    x = min(max(x, 0), width - 1)
    first = x * length // width
    return range(first, max(first + 1, (x + 1) * length // width))


def span_of(frame: int, width: int, length: int) -> tuple[int, int]:
    """(first column, columns) of a frame; the inverse of `frames_of`."""
    if length >= width:
        return ((frame + 1) * width - 1) // length, 1
    first = -(-frame * width // length)
    return first, -(-(frame + 1) * width // length) - first


def frame_at(x: float, width: int, shown: Shown) -> int:
    """The frame that a click at x means: where a column stands for several, the one whose state
    (or prompt) it shows."""
    frames = frames_of(int(x), max(1, width), shown.length)
    for frame in frames:
        if frame in shown.prompted:
            return frame
    roles = shown.roles()
    role = _rarest(frames, roles, Counter(roles.values()))
    return next((frame for frame in frames if roles.get(frame) == role), frames[0])


def layout(width: int, shown: Shown) -> Layout:
    """Everything that a strip of `width` pixels shows."""
    width = max(1, width)
    boxes = [
        *_window_boxes(width, shown),
        *_state_boxes(width, shown),
        *_confidence_boxes(width, shown),
    ]
    current = None
    if shown.current is not None and 0 <= shown.current < shown.length:
        current = span_of(shown.current, width, shown.length)
    return Layout(
        width,
        tuple(boxes),
        tuple(sorted({_centre(f, width, shown) for f in shown.prompted if f < shown.length})),
        current,
        tuple((_centre(f, width, shown), f) for f in _numbered(width, shown.length)),
    )


def _centre(frame: int, width: int, shown: Shown) -> int:
    first, columns = span_of(frame, width, shown.length)
    return first + columns // 2


def _window_boxes(width: int, shown: Shown) -> list[Box]:
    boxes = []
    for window in shown.windows:
        first = span_of(window.start, width, shown.length)[0]
        last, columns = span_of(min(window.end, shown.length - 1), width, shown.length)
        extent = max(_LEAST_WINDOW, last + columns - first)
        first = max(0, min(first, width - extent))
        boxes.append(Box(first, WINDOW_TOP, extent, WINDOW_HEIGHT, "window"))
    return boxes


def _rarest(frames: range, roles: Mapping[int, str], counts: Counter) -> str | None:
    present = {roles[f] for f in frames if f in roles}
    return min(present, key=lambda role: (counts[role], role), default=None)


def _state_boxes(width: int, shown: Shown) -> list[Box]:
    roles = shown.roles()
    counts = Counter(roles.values())
    columns = [_rarest(frames_of(x, width, shown.length), roles, counts) for x in range(width)]
    return [
        Box(x, STATE_TOP, count, STATE_HEIGHT, role)
        for x, count, role in _runs(columns)
        if role is not None
    ]


def _confidence_boxes(width: int, shown: Shown) -> list[Box]:
    columns = []
    for x in range(width):
        known = [
            shown.confidence[f] for f in frames_of(x, width, shown.length) if f in shown.confidence
        ]
        columns.append(None if not known else min(known))
    levels = [
        None
        if value is None
        else (max(1, round(value * CONFIDENCE_HEIGHT)), value < LOW_CONFIDENCE)
        for value in columns
    ]
    return [
        Box(
            x,
            CONFIDENCE_TOP + CONFIDENCE_HEIGHT - level[0],
            count,
            level[0],
            "doubtful" if level[1] else "confident",
        )
        for x, count, level in _runs(levels)
        if level is not None
    ]


def _runs(columns: list) -> list[tuple[int, int, object]]:
    """(first column, columns, value) of neighbours that are alike: few rectangles to fill."""
    runs = []
    for x, value in enumerate(columns):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, value)
        else:
            runs.append((x, 1, value))
    return runs


def _numbered(width: int, length: int) -> range:
    """Frames whose numbers are written: every 1, 2, 5, 10, 20, 50 ... as there is room."""
    room = max(1, width // _LABEL_PIXELS)
    step, factors = 1, (2, 2.5, 2)
    turn = 0
    while length / step > room:
        step = int(step * factors[turn % 3])
        turn += 1
    return range(0, length, step)
