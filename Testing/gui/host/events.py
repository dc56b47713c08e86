"""Mouse and keys for slice views and widgets, sent the way a person's reach them.

Positions in slice views are VTK's: the screen's pixels, the origin at the lower left.
"""

from PySide6 import QtCore, QtGui
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

_MODIFIERS = {
    "Shift": Qt.ShiftModifier,
    "Control": Qt.ControlModifier,
    "Alt": Qt.AltModifier,
}


def _modifiers(names):
    result = Qt.NoModifier
    for name in names:
        result |= _MODIFIERS[name]
    return result


def _point(slice_widget, xy) -> QtCore.QPoint:
    view = slice_widget.sliceView()
    ratio = view.devicePixelRatioF()
    below = view.interactor().GetSize()[1] - 1 - xy[1]
    return QtCore.QPoint(round(xy[0] / ratio), round(below / ratio))


def ras_to_xy(slice_widget, ras) -> tuple[float, float]:
    """Where a point in RAS (mm) lies in a slice view, in pixels."""
    return slice_widget.sliceView().convertRASToXYZ(ras)[:2]


def click(slice_widget, xy, button=Qt.LeftButton, modifiers=()) -> None:
    """Press and release a mouse button in a slice view."""
    view = slice_widget.sliceView().VTKWidget()
    QTest.mouseClick(view, button, _modifiers(modifiers), _point(slice_widget, xy))


def drag(slice_widget, start, end, steps: int = 5, button=Qt.LeftButton, modifiers=()) -> None:
    """Press at start, move to end, release."""
    view = slice_widget.sliceView().VTKWidget()
    held = _modifiers(modifiers)
    QTest.mousePress(view, button, held, _point(slice_widget, start))
    for step in range(1, steps + 1):
        part = step / steps
        xy = [a + (b - a) * part for a, b in zip(start, end, strict=True)]
        move(slice_widget, xy, button, modifiers)
    QTest.mouseRelease(view, button, held, _point(slice_widget, end))


def move(slice_widget, xy, button=Qt.NoButton, modifiers=()) -> None:
    """Move the mouse over a slice view."""
    view = slice_widget.sliceView().VTKWidget()
    point = QtCore.QPointF(_point(slice_widget, xy))
    place = QtCore.QPointF(view.mapToGlobal(point.toPoint()))
    event = QtGui.QMouseEvent(
        QtCore.QEvent.MouseMove, point, place, Qt.NoButton, button, _modifiers(modifiers)
    )
    QtCore.QCoreApplication.sendEvent(view, event)


def keys(widget, text: str) -> None:
    """Press keys, "Ctrl+Z" or "[", with the widget in front; shortcuts of its window fire."""
    window = widget.window()
    window.show()
    window.activateWindow()
    widget.setFocus()
    QtCore.QCoreApplication.processEvents()
    QTest.keySequence(widget, QtGui.QKeySequence(text))
