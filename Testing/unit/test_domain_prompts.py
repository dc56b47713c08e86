"""Prompts say exactly what the annotator said, or refuse it in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window, merge_windows

windows = st.builds(lambda a, n: Window(a, a + n), st.integers(0, 60), st.integers(0, 20))


@given(st.lists(windows, max_size=8))
def test_merged_windows_cover_the_same_frames_and_never_touch(listed):
    merged = merge_windows(listed)
    assert {f for w in merged for f in range(100) if f in w} == {
        f for w in listed for f in range(100) if f in w
    }
    assert all(a.end + 1 < b.start for a, b in zip(merged, merged[1:], strict=False))


@pytest.mark.parametrize("ends", [(-1, 3), (4, 3), (0.5, 3), (True, 3), ("0", 3)])
def test_impossible_windows_are_refused(ends):
    with pytest.raises(InvalidValue, match="window"):
        Window(*ends)


def test_a_window_is_inclusive():
    window = Window(2, 4)
    assert 2 in window and 4 in window and 5 not in window and len(window) == 3


def test_points_are_kept_unrounded_and_the_callers_array_stays_free():
    points = np.array([[1.25, 2.75]])
    prompts = FramePrompts(boundary=points)
    points[0, 0] = 9
    assert prompts.boundary.tolist() == [[1.25, 2.75]]
    with pytest.raises(ValueError):
        prompts.boundary[0, 0] = 3
    box = np.array([0.0, 0, 2, 2])
    FramePrompts(box=box)
    box[0] = 1


@pytest.mark.parametrize(
    "values",
    [
        {"boundary": [[1, 2, 3]]},
        {"include": [[np.nan, 1]]},
        {"exclude": "abc"},
        {"boundary": [[1, 2], [3]]},
        {"box": [0, 0, 0, 5]},
        {"box": [0, 0, 5]},
        {"box": [0, 0, np.inf, 5]},
        {"box": ["a", 0, 1, 5]},
        {"mask": np.zeros((2, 3, 4))},
    ],
)
def test_malformed_prompts_are_refused(values):
    with pytest.raises(InvalidValue):
        FramePrompts(**values)


def test_the_frame_reaches_half_a_pixel_beyond_its_centres():
    FramePrompts(boundary=[[-0.5, -0.5], [9.5, 4.5]]).check((5, 10))
    FramePrompts(box=[-0.5, -0.5, 9.5, 4.5]).check((5, 10))
    for point in ([-0.6, 0], [0, -0.6], [9.6, 0], [0, 4.6]):
        with pytest.raises(InvalidValue, match="outside the frame of 10 x 5"):
            FramePrompts(include=[point]).check((5, 10))
    with pytest.raises(InvalidValue, match="reaches outside"):
        FramePrompts(box=[0, 0, 9.6, 4]).check((5, 10))
    with pytest.raises(InvalidValue, match="mask prompt is 5 x 10"):
        FramePrompts(mask=np.ones((10, 5))).check((5, 10))


def test_empty_prompts_know_it():
    assert FramePrompts().is_empty and FramePrompts(boundary=[]).is_empty
    assert not FramePrompts(box=[0, 0, 1, 1]).is_empty
    assert not FramePrompts(mask=np.zeros((2, 2))).is_empty


def one_point(*frames):
    return {frame: FramePrompts(boundary=[[1, 1]]) for frame in frames}


def test_segments_are_checked_against_the_clip():
    good = SegmentPrompts("a", one_point(2), (Window(0, 4),))
    good.check(5, (10, 10))
    assert good.windows_within(5) == (Window(0, 4),)
    assert SegmentPrompts("a", one_point(2)).windows_within(5) == (Window(0, 4),)
    for bad, words in [
        (SegmentPrompts("a"), "no prompt"),
        (SegmentPrompts("a", {0: FramePrompts()}), "no prompt"),
        (SegmentPrompts("a", one_point(2), (Window(0, 5),)), "beyond the clip"),
        (SegmentPrompts("a", one_point(5)), "does not exist"),
        (SegmentPrompts("a", one_point(3), (Window(0, 2),)), "outside its windows"),
    ]:
        with pytest.raises(InvalidValue, match=words):
            bad.check(5, (10, 10))


@pytest.mark.parametrize(
    "values",
    [
        {"name": " "},
        {"name": 3},
        {"color": (1, 2)},
        {"color": (0, 0, 256)},
        {"color": (0.5, 0, 0)},
        {"frames": {-1: FramePrompts()}},
        {"frames": {"0": FramePrompts()}},
        {"frames": {0: "points"}},
    ],
)
def test_malformed_segments_are_refused(values):
    with pytest.raises(InvalidValue):
        SegmentPrompts(**({"name": "a"} | values))
