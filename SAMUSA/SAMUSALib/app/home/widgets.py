"""What the panels share: progress, logs, lists, questions."""

from __future__ import annotations

from collections.abc import Sequence

import qt
import slicer

from ..jobs import Progress

STEPS = 1000  # of a progress bar; bytes would not fit its range


def show_progress(bar, progress: Progress | None, text: str = "") -> None:
    """progress: None hides the bar; without a total it shows that something is going on. text:
    in front of the seconds left."""
    bar.visible = progress is not None
    if progress is None:
        return
    known = progress.total is not None and progress.total > 0
    bar.maximum = STEPS if known else 0
    if known:
        bar.value = int(STEPS * min(1.0, progress.done / progress.total))
    left = progress.seconds_left
    bar.format = text if left is None else f"{text}, {duration(left)} left".lstrip(", ")


def megabytes(progress: Progress) -> str:
    """34 of 184 MB."""
    if progress.total is None:
        return f"{progress.done / 1e6:.0f} MB"
    return f"{progress.done / 1e6:.0f} of {progress.total / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def fill(
    tree, rows: Sequence[Sequence[str]], keys: Sequence[str] | None = None, chosen: str = ""
) -> None:
    """Replace the lines of a list; the line whose key (or first cell) was current stays so.
    chosen: the key that is current at first."""
    keys = [row[0] for row in rows] if keys is None else keys
    before = current_key(tree) or chosen
    tree.clear()
    for row, key in zip(rows, keys, strict=True):
        item = qt.QTreeWidgetItem(tree)
        for column, text in enumerate(row):
            item.setText(column, text)
        item.setData(0, qt.Qt.UserRole, key)
        if key == before:
            tree.setCurrentItem(item)
    for column in range(tree.columnCount):
        tree.resizeColumnToContents(column)


def current_key(tree) -> str | None:
    item = tree.currentItem()
    return None if item is None else item.data(0, qt.Qt.UserRole)


def confirmed(text: str, title: str) -> bool:
    return slicer.util.confirmOkCancelDisplay(text, windowTitle=title)


class Log:
    """Pieces of text of any size, shown line by line."""

    def __init__(self, edit):
        self._edit, self._half = edit, ""

    def add(self, text: str) -> None:
        *lines, self._half = (self._half + text).split("\n")
        if lines:
            self._edit.appendPlainText("\n".join(lines))

    def line(self, text: str) -> None:
        self._edit.appendPlainText(text)
