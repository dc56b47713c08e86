"""The smooth curve near boundary clicks, and exact distances to curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.engine.smooth import smooth_contour
from SAMUSALib.engine.spline import (
    box_ellipse,
    contour_distance,
    contour_mask,
    spline_contour,
    spline_mask,
)
from SAMUSALib.errors import InvalidValue

SIZE = (96, 120)


def ellipse_points(count, noise=0.0, seed=0, centre=(60.0, 48.0), axes=(40.0, 24.0), turn=0.4):
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.3
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * axes
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return turned + centre + rng.normal(0, noise, points.shape)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


TRUTH = contour_mask(ellipse_points(400), SIZE)


def smooth_mask(points):
    return contour_mask(smooth_contour(points), SIZE)


def test_two_points_give_the_circle_of_the_spline():
    points = [[20.0, 30.0], [40.0, 36.0]]
    assert np.allclose(smooth_contour(points), spline_contour(points))


def test_three_points_give_an_ellipse_through_them():
    outline = ellipse_points(400)
    apart = np.linalg.norm(outline - outline.mean(axis=0), axis=1)
    tip = int(apart.argmax())
    points = outline[[tip, (tip + 200) % 400, (tip + 80) % 400]]
    contour = smooth_contour(points)
    off = np.linalg.norm(contour[:, None] - points[None], axis=2).min(axis=0)
    assert off.max() < 1.0 and dice(contour_mask(contour, SIZE), TRUTH) > 0.98


def test_exact_clicks_on_an_ellipse_give_the_ellipse():
    for count in (6, 8, 10):
        assert dice(smooth_mask(ellipse_points(count)), TRUTH) > 0.985


def test_inexact_clicks_are_evened_out_where_the_spline_follows_them():
    ours, curve = [], []
    for seed in range(60):
        points = ellipse_points(10, noise=2.0, seed=seed)
        ours.append(dice(smooth_mask(points), TRUTH))
        curve.append(dice(spline_mask(points, SIZE), TRUTH))
    assert np.mean(ours) > np.mean(curve) + 0.002


def test_an_irregular_outline_is_followed():
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 30 * (1 + 0.15 * np.cos(3 * angles))
    outline = np.column_stack([60 + radius * np.cos(angles), 48 + radius * np.sin(angles)])
    assert dice(smooth_mask(outline[::40]), contour_mask(outline, SIZE)) > 0.96


def test_clicks_around_a_bent_shape_give_the_spline():
    angles = np.linspace(0.2, 2.9, 6)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    horseshoe = np.concatenate([40 * arc, 20 * arc]) + [60.0, 20.0]
    assert np.array_equal(smooth_contour(horseshoe), spline_contour(horseshoe))


def test_pixels_that_are_not_square_count_in_space():
    points = ellipse_points(7, noise=1.0)
    flat = points * [1.0, 0.5]
    assert np.allclose(smooth_contour(flat, aspect=2.0) * [1.0, 2.0], smooth_contour(points))


def test_one_place_is_no_curve():
    with pytest.raises(InvalidValue, match="2 distinct"):
        smooth_contour([[3.0, 4.0], [3.0, 4.0]])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 119, width=32), st.floats(0, 95, width=32)), min_size=2, max_size=12
    )
)
def test_any_clicks_give_a_finite_curve_near_them(points):
    points = np.array(points, dtype=np.float64)
    if len(np.unique(np.round(points, 6), axis=0)) < 2:
        return
    contour = smooth_contour(points)
    assert np.isfinite(contour).all()
    reach = np.ptp(points, axis=0).max()
    assert np.abs(contour - points.mean(axis=0)).max() <= 6 * reach + 1


@pytest.mark.parametrize("radius", [3.0, 12.0, 30.0])
def test_distance_to_a_curve_is_exact_between_pixel_centres(radius):
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) * radius + [60.3, 47.6]
    distance = contour_distance(circle, SIZE)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    truth = radius - np.hypot(x - 60.3, y - 47.6)
    assert np.abs(distance - truth)[np.abs(truth) < 3].max() < 0.1
    assert np.abs(distance - truth)[np.abs(truth) < 8].max() < 0.3
    assert np.abs(distance - truth).max() < 1.0
    assert np.array_equal(distance > 0, contour_mask(circle, SIZE))


def test_beyond_the_frame_a_curve_is_known_near_its_edge_only():
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) * 20 + [-5.0, 47.0]
    distance = contour_distance(circle, SIZE)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    truth = 20 - np.hypot(x + 5, y - 47)
    assert np.array_equal(distance > 0, truth > 0)
    assert np.abs(distance - truth)[np.abs(truth) < 7].max() < 0.3
    assert np.abs(distance)[np.abs(truth) >= 8].min() > 7


def test_the_ellipse_in_a_box_touches_its_sides():
    contour = box_ellipse([10.0, 20.0, 50.0, 30.0])
    assert np.allclose([*contour.min(axis=0), *contour.max(axis=0)], [10, 20, 50, 30])
