"""Windows as they are changed by keys, by the range slider and by buttons."""

from SAMUSALib.app.window_edits import WindowEdits
from SAMUSALib.prompts import Window


def edits(*windows, chosen=None, length=100):
    made = tuple(Window(*w) for w in windows)
    return WindowEdits(length, made, None if chosen is None else made[chosen])


def test_the_first_start_reaches_to_the_end_and_an_end_then_shortens_it():
    after = edits().start_at(20)
    assert after.windows == (Window(20, 99),)
    after = after.end_at(30)
    assert after.windows == (Window(20, 30),) and after.chosen == Window(20, 30)


def test_the_first_end_reaches_from_the_beginning():
    assert edits().end_at(30).windows == (Window(0, 30),)


def test_a_start_after_the_end_takes_the_end_along():
    assert edits((10, 20), chosen=0).start_at(40).windows == (Window(40, 40),)
    assert edits((10, 20), chosen=0).end_at(5).windows == (Window(5, 5),)


def test_one_more_window_is_in_hand_and_the_others_stay():
    after = edits((10, 20), chosen=0).add(50)
    assert after.windows == (Window(10, 20), Window(50, 50)) and after.chosen == Window(50, 50)
    after = after.end_at(60)
    assert after.windows == (Window(10, 20), Window(50, 60))


def test_windows_that_come_to_touch_become_one_that_is_in_hand():
    after = edits((10, 20), (30, 40), chosen=1).start_at(21)
    assert after.windows == (Window(10, 40),) and after.chosen == Window(10, 40)


def test_adding_inside_a_window_takes_that_one_in_hand():
    after = edits((10, 20), (30, 40), chosen=1).add(15)
    assert after.windows == (Window(10, 20), Window(30, 40)) and after.chosen == Window(10, 20)


def test_removing_leaves_the_nearest_in_hand():
    after = edits((0, 5), (30, 40), (50, 60), chosen=1).remove()
    assert after.windows == (Window(0, 5), Window(50, 60)) and after.chosen == Window(50, 60)
    assert after.remove().remove().remove().windows == ()
    assert edits().remove() == edits()


def test_the_window_at_a_frame_is_taken_in_hand():
    both = edits((0, 5), (30, 40), chosen=0)
    assert both.choose(35).chosen == Window(30, 40)
    assert both.choose(20).chosen == Window(0, 5)


def test_windows_changed_elsewhere_keep_the_one_in_hand_where_it_is_still_there():
    both = edits((0, 5), (30, 40), chosen=1)
    assert both.now([Window(30, 40)]).chosen == Window(30, 40)
    assert both.now([Window(0, 5), Window(20, 45)]).chosen == Window(20, 45)
    assert both.now([Window(0, 5)]).chosen == Window(0, 5)
    assert both.now([]).chosen is None
