"""Which frames a propagation computes, from which conditioning frames."""

import numpy as np
import pytest

from SAMUSALib.engine.plan import affected_by, conditioning_frames, plan_stretches
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window

CLICK = FramePrompts(boundary=[[1.0, 1.0], [5.0, 5.0]])
FULL = np.ones((8, 8), bool)
EMPTY = np.zeros((8, 8), bool)


def segment(frames, windows=()):
    return SegmentPrompts("s", {i: CLICK for i in frames}, tuple(Window(*w) for w in windows))


def covered(stretches):
    return sorted(i for stretch in stretches for i in stretch.frames)


def test_both_directions_fill_the_whole_clip_each_frame_once():
    stretches = plan_stretches(segment([5, 10]), {}, 20)
    assert covered(stretches) == [i for i in range(20) if i not in (5, 10)]


def test_between_two_conditioning_frames_each_frame_is_tracked_from_the_nearer():
    stretches = plan_stretches(segment([4, 10]), {}, 12)
    origin = {i: s.conditioning[0] for s in stretches for i in s.frames}
    assert [origin[i] for i in range(5, 10)] == [4, 4, 4, 10, 10]


@pytest.mark.parametrize(
    "direction, frames", [("forward", range(5, 20)), ("backward", range(0, 10))]
)
def test_one_direction_starts_at_the_conditioning_frames(direction, frames):
    stretches = plan_stretches(segment([5, 10]), {}, 20, direction)
    assert covered(stretches) == [i for i in frames if i not in (5, 10)]
    assert all(s.backward == (direction == "backward") for s in stretches)


def test_nothing_outside_windows_is_planned():
    stretches = plan_stretches(segment([4], [(2, 6), (10, 12)]), {}, 20)
    assert covered(stretches) == [2, 3, 5, 6, 10, 11, 12]


def test_a_window_without_conditioning_frames_borrows_the_nearest():
    stretches = plan_stretches(segment([2, 18], [(0, 4), (7, 9), (16, 19)]), {}, 20)
    borrowed = [s for s in stretches if s.borrowed]
    assert [(list(s.frames), s.conditioning) for s in borrowed] == [([7, 8, 9], (2,))]


def test_locked_frames_condition_unless_they_are_empty():
    assert conditioning_frames(segment([4]), {6: FULL, 8: EMPTY}, 20) == [4, 6]


def test_a_lock_replaces_the_prompts_of_its_frame():
    assert conditioning_frames(segment([4, 9]), {4: EMPTY}, 20) == [9]


def test_without_any_start_the_message_names_the_segment():
    with pytest.raises(InvalidValue, match="'s' has no frame to start from"):
        plan_stretches(segment([4]), {4: EMPTY}, 20)


def test_an_unknown_direction_is_refused():
    with pytest.raises(InvalidValue, match="sideways"):
        plan_stretches(segment([4]), {}, 20, "sideways")


def test_a_new_conditioning_frame_affects_its_two_neighbourhoods_only():
    stretches = plan_stretches(segment([4, 10, 16]), {}, 20)
    assert covered(affected_by(stretches, {10})) == [5, 6, 7, 8, 9, 11, 12, 13, 14, 15]


def test_a_removed_conditioning_frame_affects_the_gap_it_leaves():
    stretches = plan_stretches(segment([4, 16]), {}, 20)
    assert covered(affected_by(stretches, {10})) == list(range(5, 16))
