"""The strip below the frame slider: a segment along its clip, painted, to be clicked."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..annotation import FrameState
from . import timeline_layout as lay
from .timeline_layout import Layout, Shown

# Okabe and Ito's colours, which the colour-blind tell apart; prompts have a shape of their own too,
# doubtful frames are low as well as red.
COLORS = {
    "window": (0, 114, 178),
    "prompted": (230, 159, 0),
    "propagated": (86, 180, 233),
    "stale": (173, 206, 224),  # propagated, paler
    "reviewed": (0, 158, 115),
    "confident": (150, 150, 150),
    "doubtful": (213, 94, 0),
}
WORDS = {
    FrameState.PROMPTED: "prompted",
    FrameState.PROPAGATED: "propagated",
    FrameState.REVIEWED: "reviewed, locked",
}
LEGEND = (
    ("prompted", "prompted"),
    ("propagated", "propagated"),
    ("stale", "out of date"),
    ("reviewed", "reviewed"),
    ("window", "window"),
    ("doubtful", "low confidence"),
)


class Timeline(qt.QWidget):
    """Shows what `show_segment` is given. on_chosen(frame) is called when a frame is clicked, and
    while the mouse is dragged along the strip."""

    def __init__(self, on_chosen: Callable[[int], None]):
        super().__init__()
        self._on_chosen = on_chosen
        self._shown: Shown | None = None
        self._layout: Layout | None = None
        self.setFixedHeight(lay.HEIGHT)
        self.setMinimumWidth(120)
        self.setMouseTracking(True)

    def show_segment(self, shown: Shown | None) -> None:
        """None: there is nothing to show."""
        if shown == self._shown:
            return
        self._shown, self._layout = shown, None
        self.update()

    @property
    def shown(self) -> Shown | None:
        return self._shown

    def paintEvent(self, event):
        painter = qt.QPainter(self)
        try:
            self._paint(painter)
        finally:
            painter.end()  # a painter that lives on would paint outside of this event

    def mousePressEvent(self, event):
        self._choose(event)

    def mouseMoveEvent(self, event):
        if self._shown is not None:
            self.toolTip = describe(self._frame_under(event), self._shown)
        self._choose(event)

    def _choose(self, event) -> None:
        if self._shown is not None and event.buttons() & qt.Qt.LeftButton:
            self._on_chosen(self._frame_under(event))

    def _frame_under(self, event) -> int:
        return lay.frame_at(event.pos().x(), self.width, self._shown)

    def _paint(self, painter) -> None:
        width, palette = self.width, self.palette
        text = palette.color(qt.QPalette.WindowText)
        base = palette.color(qt.QPalette.Base)
        painter.fillRect(0, lay.STATE_TOP, width, lay.STATE_HEIGHT, base)
        painter.fillRect(0, lay.CONFIDENCE_TOP, width, lay.CONFIDENCE_HEIGHT, base)
        if self._shown is None:
            return
        if self._layout is None or self._layout.width != width:
            self._layout = lay.layout(width, self._shown)
        made = self._layout
        for box in made.boxes:
            painter.fillRect(box.x, box.y, box.width, box.height, qt.QColor(*COLORS[box.role]))
        self._paint_prompts(painter, made)
        self._paint_numbers(painter, made, text)
        if made.current is not None:
            first, columns = made.current
            last = max(first + 1, first + columns - 1)
            bottom = lay.CONFIDENCE_TOP + lay.CONFIDENCE_HEIGHT
            for x in {first, last}:
                painter.fillRect(x, lay.WINDOW_TOP, 1, bottom - lay.WINDOW_TOP, text)
            for y in (lay.WINDOW_TOP, bottom - 1):
                painter.fillRect(first, y, last - first + 1, 1, text)

    def _paint_prompts(self, painter, made: Layout) -> None:
        color = qt.QColor(*COLORS["prompted"])
        for x in made.prompts:
            for row in range(4):  # a triangle that points at its frame
                painter.fillRect(x - 3 + row, lay.PROMPT_TOP + 2 * row, 7 - 2 * row, 2, color)

    def _paint_numbers(self, painter, made: Layout, color) -> None:
        painter.setPen(color)
        font = self.font
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.8))
        painter.setFont(font)
        for x, frame in made.numbers:
            painter.fillRect(x, lay.NUMBERS_TOP - 2, 1, 3, color)
            painter.drawText(x + 3, lay.NUMBERS_TOP + lay.NUMBERS_HEIGHT - 3, str(frame))


def describe(frame: int, shown: Shown) -> str:
    """A frame in words: "Frame 12: propagated, confidence 0.87, in window 3 to 20"."""
    parts = [WORDS.get(shown.states.get(frame), "no mask")]
    if shown.roles().get(frame) == "stale":
        parts.append("out of date")
    if frame in shown.prompted and shown.states.get(frame) is not FrameState.PROMPTED:
        parts.append("has prompts")
    if frame in shown.confidence:
        parts.append(f"confidence {shown.confidence[frame]:.2f}")
    around = [window for window in shown.windows if frame in window]
    if around:
        parts.append(f"in window {around[0].start} to {around[0].end}")
    elif shown.windows:
        parts.append("outside the windows")
    return f"Frame {frame}: " + ", ".join(parts)


def legend() -> str:
    """The colours in words, as rich text of two lines. (A label that breaks lines by itself is
    cut off in CTK's collapsible sections, which do not ask it for its height.)"""
    entries = [
        f'<span style="color:rgb{COLORS[role]}">■</span>&nbsp;{words}' for role, words in LEGEND
    ]
    return "<br>".join(" &nbsp; ".join(entries[first : first + 3]) for first in (0, 3))
