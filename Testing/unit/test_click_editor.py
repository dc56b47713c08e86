"""Clicks as they are made: points, drags, boxes, steps back and forth."""

import numpy as np
import pytest

from SAMUSALib.app.click_editor import ClickEditor, Point
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts

SIZE = (40, 60)


@pytest.fixture
def editor():
    return ClickEditor(SIZE)


def places(editor):
    return [(p.kind, p.x, p.y) for p in editor.clicks.points]


def test_points_keep_their_kind_and_are_not_rounded(editor):
    editor.add("boundary", 1.25, 2.5)
    editor.add("include", 3.1, 4)
    editor.add("exclude", 5, 6)
    prompts = editor.steps[-1]
    assert prompts.boundary.tolist() == [[1.25, 2.5]]
    assert prompts.include.tolist() == [[3.1, 4.0]] and prompts.exclude.tolist() == [[5, 6]]
    assert [len(step.boundary) + len(step.include) for step in editor.steps] == [1, 2, 2]


@pytest.mark.parametrize("x, y", [(-0.6, 3), (59.6, 3), (3, 39.6), (float("nan"), 0)])
def test_a_click_beside_the_frame_is_refused_and_changes_nothing(editor, x, y):
    editor.add("boundary", 1, 1)
    with pytest.raises(InvalidValue):
        editor.add("boundary", x, y)
    assert places(editor) == [("boundary", 1, 1)] and len(editor.steps) == 1


def test_steps_go_back_and_forth_and_a_new_click_ends_what_was_undone(editor):
    for x in (1, 2, 3):
        editor.add("boundary", x, 0)
    assert editor.can_undo and not editor.can_redo
    assert editor.undo() and editor.undo() and len(editor.steps) == 1
    assert editor.can_redo and editor.redo() and len(editor.steps) == 2
    editor.add("include", 9, 9)
    assert not editor.can_redo and not editor.redo()
    assert places(editor) == [("boundary", 1, 0), ("boundary", 2, 0), ("include", 9, 9)]
    while editor.undo():
        pass
    assert editor.clicks.is_empty and not editor.is_changed


def test_a_drag_is_seen_at_once_and_is_one_step(editor):
    editor.add("boundary", 10, 10)
    editor.add("boundary", 20, 20)
    editor.grab(0)
    for x in (11, 12, 13):
        editor.drag(x, 10.5)
    assert places(editor)[0] == ("boundary", 13, 10.5)
    assert len(editor.steps) == 3 and editor.is_busy
    assert editor.finish() and not editor.is_busy and len(editor.steps) == 3
    editor.undo()
    assert places(editor)[0] == ("boundary", 10, 10)


def test_a_point_cannot_be_dragged_off_the_frame(editor):
    editor.add("boundary", 10, 10)
    editor.grab(0)
    editor.drag(-100, 1000)
    editor.finish()
    assert editor.clicks.points == (Point("boundary", -0.5, 39.5),)


def test_a_press_without_a_move_makes_no_step(editor):
    editor.add("boundary", 10, 10)
    editor.grab(0)
    assert not editor.finish() and len(editor.steps) == 1
    editor.begin_box(5, 5)
    editor.drag(5.4, 30)  # narrower than a pixel
    assert not editor.finish() and editor.clicks.box is None


def test_a_box_may_be_drawn_from_any_corner_and_deleted(editor):
    editor.begin_box(30, 20)
    editor.drag(10, 35)
    assert editor.finish() and editor.clicks.box == (10, 20, 30, 35)
    editor.delete_box()
    assert editor.clicks.box is None
    editor.undo()
    assert editor.clicks.box == (10, 20, 30, 35)


def test_deleting_is_a_step(editor):
    for x in (1, 2, 3):
        editor.add("boundary", x, 0)
    editor.delete(1)
    assert [p.x for p in editor.clicks.points] == [1, 3]
    editor.undo()
    assert [p.x for p in editor.clicks.points] == [1, 2, 3]


def test_what_was_accepted_is_where_undo_ends(editor):
    editor.load([FramePrompts(boundary=[[1, 1]]), FramePrompts(boundary=[[1, 1], [9, 9]])])
    assert not editor.is_changed and not editor.can_undo and not editor.undo()
    editor.add("exclude", 4, 4)
    assert editor.is_changed and len(editor.steps) == 3
    editor.clear()
    assert not editor.is_changed and len(editor.clicks.points) == 2
    editor.add("exclude", 4, 4)
    editor.accepted()
    assert not editor.is_changed and not editor.undo() and len(editor.steps) == 3


def test_clicks_may_start_from_a_mask(editor):
    mask = np.zeros(SIZE, bool)
    mask[3:9, 3:9] = True
    editor.load([], mask)
    assert editor.clicks.is_empty and not editor.is_changed
    editor.add("boundary", 5, 5)
    editor.add("boundary", 9, 5)
    assert all(np.array_equal(step.mask, mask) for step in editor.steps)


def test_the_nearest_point_within_reach_is_found_in_millimetres(editor):
    editor.add("boundary", 10, 10)
    editor.add("boundary", 20, 10)
    assert editor.nearest(18, 10, 3) == 1 and editor.nearest(15, 30, 3) is None
    assert editor.nearest(10, 14, 5) == 0 and editor.nearest(10, 14, 5, aspect=2) is None
