"""The timeline strip: where frames lie, what a column of several shows, what a click means."""

import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.app.timeline_layout import (
    CONFIDENCE_HEIGHT,
    Shown,
    frame_at,
    frames_of,
    layout,
    span_of,
)
from SAMUSALib.prompts import Window

PROPAGATED, REVIEWED, PROMPTED = FrameState.PROPAGATED, FrameState.REVIEWED, FrameState.PROMPTED


def boxes(made, *roles):
    return [box for box in made.boxes if box.role in roles]


@pytest.mark.parametrize("width, length", [(400, 24), (400, 700), (400, 400), (7, 1), (399, 401)])
def test_columns_and_frames_are_each_other_s_inverse(width, length):
    seen = [frame for x in range(width) for frame in frames_of(x, width, length)]
    assert sorted(set(seen)) == list(range(length))
    assert seen == sorted(seen)
    for frame in range(length):
        first, columns = span_of(frame, width, length)
        assert columns >= 1
        holding = [x for x in range(width) if frame in frames_of(x, width, length)]
        assert holding == list(range(first, first + columns))


def test_a_column_beyond_the_strip_is_its_nearest():
    assert frames_of(-5, 400, 24) == range(0, 1)
    assert frames_of(900, 400, 24) == range(23, 24)


def test_frames_of_a_short_clip_lie_side_by_side_without_gaps():
    made = layout(400, Shown(10, states={2: PROPAGATED, 3: PROPAGATED, 4: REVIEWED}))
    (blue,), (green,) = boxes(made, "propagated"), boxes(made, "reviewed")
    assert (blue.x, blue.width, green.x, green.width) == (80, 80, 160, 40)


def test_one_exception_among_700_frames_is_visible_and_a_click_there_means_it():
    states = {frame: PROPAGATED for frame in range(700)} | {351: REVIEWED}
    shown = Shown(700, states=states, prompted=frozenset({100}))
    made = layout(400, shown)
    (green,) = boxes(made, "reviewed")
    assert green.width == 1
    assert frame_at(green.x, 400, shown) == 351
    assert made.prompts == (span_of(100, 400, 700)[0],)
    assert frame_at(made.prompts[0], 400, shown) == 100


def test_the_one_frame_still_to_review_is_visible_among_reviewed_ones():
    states = {frame: REVIEWED for frame in range(700)} | {350: PROPAGATED}
    made = layout(400, Shown(700, states=states))
    (left,) = boxes(made, "propagated")
    assert left.x == span_of(350, 400, 700)[0]


def test_a_column_shows_its_lowest_confidence():
    confidence = {frame: 0.95 for frame in range(700)} | {10: 0.2}
    made = layout(350, Shown(700, confidence=confidence))
    (low,) = boxes(made, "doubtful")
    assert (low.x, low.width, low.height) == (5, 1, round(0.2 * CONFIDENCE_HEIGHT))
    high = boxes(made, "confident")
    assert sum(box.width for box in high) == 349 and {box.height for box in high} == {17}


def test_frames_without_a_mask_have_no_confidence():
    made = layout(100, Shown(10, confidence={0: 1.0}))
    (box,) = boxes(made, "confident")
    assert (box.x, box.width) == (0, 10)


def test_windows_reach_over_their_frames_and_one_of_one_frame_can_be_seen():
    made = layout(400, Shown(700, windows=(Window(0, 69), Window(699, 699))))
    first, last = boxes(made, "window")
    assert (first.x, first.width) == (0, 40)
    assert last.width == 3 and last.x + last.width == 400


def test_the_current_frame_has_its_columns():
    assert layout(400, Shown(10, current=9)).current == (360, 40)
    assert layout(400, Shown(700, current=699)).current == (399, 1)
    assert layout(400, Shown(10, current=None)).current is None


@pytest.mark.parametrize("length, expected", [(5, 1), (24, 5), (700, 100), (20000, 5000)])
def test_numbers_are_round_and_have_room(length, expected):
    numbers = layout(400, Shown(length)).numbers
    assert numbers[1][1] - numbers[0][1] == expected
    gaps = [b[0] - a[0] for a, b in zip(numbers, numbers[1:], strict=False)]
    assert min(gaps) >= 50


def test_a_long_clip_takes_few_rectangles():
    states = {frame: PROPAGATED for frame in range(20000)}
    made = layout(400, Shown(20000, states=states, confidence={f: 0.9 for f in range(20000)}))
    assert len(made.boxes) == 2


def test_a_strip_without_width_is_laid_out():
    assert layout(0, Shown(700)).width == 1
    assert frame_at(0, 0, Shown(700)) == 0


def test_what_was_propagated_and_is_out_of_date_is_drawn_as_that():
    states = {2: PROPAGATED, 3: PROPAGATED, 4: REVIEWED}
    made = layout(100, Shown(10, states=states, stale=frozenset({3, 4, 7})))
    assert [(box.x, box.width, box.role) for box in made.boxes] == [
        (20, 10, "propagated"),
        (30, 10, "stale"),
        (40, 10, "reviewed"),
    ]
