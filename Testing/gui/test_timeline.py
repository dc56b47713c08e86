"""The timeline strip in Qt: it is painted, clicked and dragged, and tells of the frame below."""

import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.prompts import Window


@pytest.fixture
def strip(running):
    from SAMUSALib.app.timeline import Timeline

    chosen = []
    made = Timeline(chosen.append)
    made.resize(400, 64)
    made.show()
    yield made, chosen
    made.hide()


def shown_clip(length, current=None):
    from SAMUSALib.app.timeline_layout import Shown

    states = {n: FrameState.PROPAGATED for n in range(length // 4, length // 2)}
    states[length // 4] = FrameState.PROMPTED
    states[length // 2] = FrameState.REVIEWED
    confidence = {n: 0.95 - 0.5 * (n % 7 == 3) for n in states}
    window = Window(length // 4, length // 2)
    prompted = frozenset({length // 4})
    return Shown(length, (window,), states, confidence, prompted, current)


def color_at(widget, x, y):
    color = widget.grab().toImage().pixelColor(x, y)
    return color.red(), color.green(), color.blue()


def test_states_are_painted_in_their_colours(strip, tmp_path, running):
    from SAMUSALib.app import timeline_layout as lay
    from SAMUSALib.app.timeline import COLORS

    made, _ = strip
    made.show_segment(shown_clip(40))
    middle = lay.STATE_TOP + 7
    assert color_at(made, 105, middle) == COLORS["prompted"]
    assert color_at(made, 150, middle) == COLORS["propagated"]
    assert color_at(made, 205, middle) == COLORS["reviewed"]
    assert color_at(made, 150, lay.WINDOW_TOP + 2) == COLORS["window"]
    assert color_at(made, 105, lay.PROMPT_TOP + 1) == COLORS["prompted"]
    assert color_at(made, 300, middle) not in COLORS.values()
    running.grab(made, tmp_path / "strip.png")


def test_a_strip_without_a_segment_is_empty_and_cannot_be_clicked(strip):
    import qt
    from PySide6.QtTest import QTest

    made, chosen = strip
    made.show_segment(None)
    QTest.mouseClick(made, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(10, 20))
    assert chosen == [] and made.grab().width() == 400


def test_a_click_and_a_drag_choose_frames(strip):
    import qt
    from PySide6.QtTest import QTest

    made, chosen = strip
    made.show_segment(shown_clip(40))
    QTest.mousePress(made, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(105, 20))
    QTest.mouseMove(made, qt.QPoint(251, 20))
    QTest.mouseRelease(made, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(251, 20))
    assert chosen[0] == 10 and chosen[-1] in (10, 25)
    QTest.mouseClick(made, qt.Qt.RightButton, qt.Qt.NoModifier, qt.QPoint(5, 20))
    assert 0 not in chosen


def test_the_frame_under_the_mouse_is_described(strip, running):
    from SAMUSALib.app.timeline import describe

    clip = shown_clip(40)
    assert describe(10, clip) == "Frame 10: prompted, confidence 0.45, in window 10 to 20"
    assert describe(20, clip) == "Frame 20: reviewed, locked, confidence 0.95, in window 10 to 20"
    assert describe(0, clip) == "Frame 0: no mask, outside the windows"


def test_700_frames_are_painted_with_and_without_light(strip, running, tmp_path):
    made, _ = strip
    made.show_segment(shown_clip(700, current=300))
    light = made.grab().toImage()
    running.set_palette("dark")
    running.process_events()
    try:
        assert made.grab().toImage() != light
    finally:
        running.set_palette("light")
