"""The spline engine: curves through the clicks, and shapes between frames."""

import numpy as np
import pytest
from skimage.draw import polygon

from SAMUSALib.annotation import FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.spline import (
    between_masks,
    contour_mask,
    propagate_spline,
    signed_distance,
    spline_contour,
    spline_mask,
)
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window


def disc(centre, radius, size=(64, 80)):
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def circle_points(centre, radius, count):
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radius + centre


def test_two_points_give_the_circle_on_them():
    mask = spline_mask([[20.4, 30.2], [40.4, 30.2]], (64, 80))
    assert (mask ^ disc((30.4, 30.2), 10)).sum() <= 2


def test_pixels_that_are_not_square_give_circles_in_space():
    mask = spline_mask([[20.4, 30.2], [60.4, 30.2]], (64, 80), aspect=2.0)
    y, x = np.mgrid[:64, :80]
    truth = (x - 40.4) ** 2 + (2 * (y - 30.2)) ** 2 <= 20**2
    assert (mask ^ truth).sum() <= 2


def test_the_curve_passes_through_every_point_in_any_order():
    points = circle_points((40, 30), 17, 7) + np.random.default_rng(0).normal(0, 1, (7, 2))
    shuffled = points[np.random.default_rng(1).permutation(7)]
    contour = spline_contour(shuffled)
    distance = np.linalg.norm(contour[:, None] - points[None], axis=2).min(axis=0)
    assert distance.max() < 1e-9
    assert np.array_equal(spline_mask(points, (64, 80)), spline_mask(shuffled, (64, 80)))


def test_eight_points_on_a_circle_give_the_circle():
    mask = spline_mask(circle_points((40, 30), 20, 8), (64, 80))
    truth = disc((40, 30), 20)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.99


@pytest.mark.parametrize("points", [[], [[5.0, 5.0]], [[5.0, 5.0], [5.0, 5.0]]])
def test_fewer_than_two_distinct_points_give_no_curve(points):
    assert not spline_mask(np.array(points).reshape(-1, 2), (20, 20)).any()
    with pytest.raises(InvalidValue, match="2 distinct boundary points"):
        spline_contour(np.array(points).reshape(-1, 2))


def test_filling_agrees_with_a_library_up_to_the_pixels_on_the_edge():
    rng = np.random.default_rng(0)
    for _ in range(40):
        contour = spline_contour(rng.random((rng.integers(2, 9), 2)) * 90 - 15)
        theirs = np.zeros((50, 70), bool)
        theirs[polygon(contour[:, 1], contour[:, 0], (50, 70))] = True
        assert (contour_mask(contour, (50, 70)) ^ theirs).sum() <= 3


def test_signed_distance_has_the_sign_of_the_mask_and_grows_from_the_border():
    mask = disc((30, 30), 12)
    distance = signed_distance(mask)
    assert np.array_equal(distance > 0, mask)
    assert distance[30, 30] == pytest.approx(12, abs=1)
    assert distance[30, 60] == pytest.approx(-18, abs=1)
    assert (signed_distance(np.zeros((5, 9), bool)) == -9).all()
    assert (signed_distance(np.ones((5, 9), bool)) == 9).all()


def test_between_two_frames_the_shape_moves_and_grows_evenly():
    middle = between_masks(disc((20, 20), 8), disc((50, 40), 14), 0.5)
    truth = disc((35, 30), 11)
    assert 2 * (middle & truth).sum() / (middle.sum() + truth.sum()) > 0.97


def clip_of(frames):
    return Clip(np.zeros((frames, 64, 80), np.uint8), Geometry.for_cine(frames, 64, 80))


def test_a_clip_is_filled_within_its_windows_only():
    prompts = {
        2: FramePrompts(boundary=circle_points((20, 20), 8, 5)),
        6: FramePrompts(boundary=circle_points((40, 30), 12, 5)),
    }
    segment = SegmentPrompts("s", prompts, (Window(1, 7),))
    results = list(propagate_spline(clip_of(12), [segment]))
    assert sorted(r.frame for r in results) == list(range(1, 8))
    masks = {r.frame: r.mask for r in results}
    assert np.array_equal(masks[1], masks[2]) and np.array_equal(masks[7], masks[6])
    assert masks[2].sum() < masks[4].sum() < masks[6].sum()
    states = {r.frame: r.state for r in results}
    assert states[2] is FrameState.PROMPTED and states[4] is FrameState.PROPAGATED


def test_locked_frames_shape_the_others_and_are_not_yielded():
    segment = SegmentPrompts("s", {0: FramePrompts(boundary=circle_points((20, 20), 8, 5))})
    locked = {"s": {4: disc((60, 40), 8)}}
    results = {r.frame: r.mask for r in propagate_spline(clip_of(6), [segment], locked=locked)}
    assert sorted(results) == [0, 1, 2, 3, 5]
    assert np.array_equal(results[5], locked["s"][4])
    assert np.argwhere(results[2]).mean(axis=0)[1] == pytest.approx(40, abs=1.5)


def test_a_frame_without_outline_is_refused_with_its_number():
    segment = SegmentPrompts("wall", {3: FramePrompts(include=[[10.0, 10.0]])})
    with pytest.raises(InvalidValue, match="frame 3 of 'wall'"):
        list(propagate_spline(clip_of(6), [segment]))
