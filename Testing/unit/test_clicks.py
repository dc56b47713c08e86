"""Simulated clicks land where an annotator would click."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from SAMUSALib.errors import InvalidValue
from SAMUSALib.training.clicks import (
    border,
    farthest_from_border,
    farthest_from_point,
    first_boundary_click,
    jitter,
    next_boundary_click,
    next_region_click,
    simulated_box,
)

SMALL_MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def rng(seed=0):
    return np.random.default_rng(seed)


def disc(size=64, centre=(32.0, 32.0), radius=15.0):
    y, x = np.mgrid[:size, :size]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def rectangle(shape, x0, y0, x1, y1):
    mask = np.zeros(shape, bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def as_set(points):
    return {tuple(point) for point in np.asarray(points).tolist()}


# --- border


def test_border_of_one_pixel_is_its_four_edges():
    points = border(rectangle((7, 9), 4, 2, 4, 2))
    assert points.dtype == np.float64
    assert as_set(points) == {(3.5, 2), (4.5, 2), (4, 1.5), (4, 2.5)}


@given(SMALL_MASKS)
def test_border_is_midway_between_inside_and_outside_neighbours(mask):
    expected = set()
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < height and u < width and mask[y, x] != mask[v, u]:
                    expected.add(((x + u) / 2, (y + v) / 2))
    points = border(mask)
    if expected:
        assert as_set(points) == expected and len(points) == len(expected)


@given(SMALL_MASKS)
def test_border_is_empty_only_for_an_empty_mask(mask):
    assert (len(border(mask)) == 0) == (not mask.any())


def test_border_of_a_disc_lies_on_its_circle():
    radius = np.linalg.norm(border(disc(radius=15)) - 32, axis=1)
    assert radius.min() > 14 and radius.max() < 16


def test_border_includes_holes_and_every_part():
    mask = rectangle((20, 30), 2, 2, 10, 10) & ~rectangle((20, 30), 5, 5, 7, 7)
    mask |= rectangle((20, 30), 20, 12, 20, 12)
    points = as_set(border(mask))
    assert (4.5, 6.0) in points and (1.5, 2.0) in points and (20.5, 12.0) in points


def test_border_along_the_image_edge_does_not_count():
    points = border(rectangle((10, 10), 0, 0, 3, 9))
    assert as_set(points) == {(3.5, y) for y in range(10)}


def test_a_mask_that_fills_the_image_has_the_image_edge_as_border():
    points = as_set(border(np.ones((2, 3), bool)))
    assert points == {(x, y) for x in range(3) for y in (-0.5, 1.5)} | {
        (x, y) for x in (-0.5, 2.5) for y in range(2)
    }


def test_border_refuses_what_is_not_an_image():
    with pytest.raises(InvalidValue, match="shape"):
        border(np.zeros((2, 3, 4)))


# --- boundary clicks


def test_first_click_is_random_on_the_border_and_repeats_with_its_seed():
    edge = border(disc())
    clicks = [next_boundary_click(edge, [], None, rng(seed)) for seed in range(30)]
    assert as_set(clicks) <= as_set(edge)
    assert len(as_set(clicks)) > 20
    again = [first_boundary_click(edge, rng(seed)) for seed in range(30)]
    assert np.array_equal(clicks, again)


def test_every_border_point_can_be_the_first_click():
    edge = border(rectangle((7, 9), 4, 2, 4, 2))
    generator = rng()
    seen = as_set([first_boundary_click(edge, generator) for _ in range(200)])
    assert seen == as_set(edge)


def test_second_click_is_opposite_whatever_is_predicted():
    edge = border(disc())
    first = np.array([17.0, 32.0])
    for predicted in (None, disc(), disc(centre=(10, 10), radius=3)):
        click = next_boundary_click(edge, [first], predicted, rng())
        assert np.allclose(click, farthest_from_point(edge, first))
        assert click[0] > 46


def test_third_click_is_where_the_prediction_is_farthest_off():
    truth = rectangle((60, 60), 10, 20, 50, 40)
    predicted = rectangle((60, 60), 10, 20, 35, 40)  # right part missed
    clicks = [[9.5, 30.0], [20.0, 19.5]]
    click = next_boundary_click(border(truth), clicks, predicted, rng())
    distances = np.linalg.norm(border(predicted)[:, None] - border(truth)[None], axis=2).min(axis=0)
    at = np.flatnonzero((border(truth) == click).all(axis=1))
    assert len(at) == 1 and distances[at[0]] == distances.max()
    assert click[0] == 50.5


@given(SMALL_MASKS, SMALL_MASKS, st.integers(0, 50))
def test_clicks_lie_on_the_true_border_and_are_new_while_any_is_left(truth, predicted, seed):
    if not truth.any():
        return
    edge, clicks, generator = border(truth), np.zeros((0, 2)), rng(seed)
    for _ in range(5):
        click = next_boundary_click(edge, clicks, predicted, generator)
        assert tuple(click) in as_set(edge)
        if len(clicks):
            near = np.linalg.norm(edge[:, None] - clicks[None], axis=2).min(axis=1) <= 1
            if not near.all():
                assert np.linalg.norm(clicks - click, axis=1).min() > 1
        clicks = np.vstack([clicks, click])


def test_the_worst_point_is_not_clicked_twice():
    edge, predicted = border(disc()), disc(radius=5, centre=(25, 32))
    worst = farthest_from_border(edge, border(predicted))
    click = next_boundary_click(edge, [[17.0, 32.0], worst], predicted, rng())
    assert np.linalg.norm(click - worst) > 1


@pytest.mark.parametrize("predicted", [None, np.zeros((64, 64), bool)])
def test_without_a_prediction_clicks_spread_over_the_border(predicted):
    edge, clicks = border(disc()), np.zeros((0, 2))
    for _ in range(4):
        click = next_boundary_click(edge, clicks, predicted, rng(1))
        clicks = np.vstack([clicks, click])
    gaps = np.linalg.norm(clicks[:, None] - clicks[None], axis=2) + 100 * np.eye(4)
    assert gaps.min() > 15  # four points on a circle of radius 15: 21 if ideal


def test_a_right_prediction_is_clicked_away_from_earlier_clicks():
    edge = border(disc())
    click = next_boundary_click(edge, [[17.0, 31.5], [47.0, 32.0]], disc(), rng())
    assert abs(click[0] - 32) < 2


def test_an_empty_structure_cannot_be_clicked():
    with pytest.raises(InvalidValue, match="empty"):
        next_boundary_click(np.zeros((0, 2)), [], None, rng())
    with pytest.raises(InvalidValue, match="empty"):
        next_region_click(np.zeros((5, 5), bool), None, rng())
    with pytest.raises(InvalidValue, match="empty"):
        simulated_box(np.zeros((5, 5), bool), rng())


# --- region clicks


def test_first_region_click_is_the_centre():
    xy, include = next_region_click(rectangle((40, 60), 10, 5, 50, 15), None, rng())
    assert include and xy.tolist() == [30, 10]


def test_first_region_click_lies_inside_even_a_ring():
    ring = disc(radius=20) & ~disc(radius=12)
    xy, include = next_region_click(ring, None, rng())
    assert include and ring[int(xy[1]), int(xy[0])]


def test_next_region_click_includes_the_largest_missed_part():
    truth = rectangle((40, 80), 5, 5, 60, 30)
    predicted = truth & ~rectangle((40, 80), 40, 5, 60, 30)
    predicted[35:38, 70:75] = True  # a smaller wrong part
    xy, include = next_region_click(truth, predicted, rng())
    assert include and 40 <= xy[0] <= 60 and 5 <= xy[1] <= 30


def test_next_region_click_excludes_the_largest_wrong_part():
    truth = rectangle((40, 80), 5, 5, 30, 30)
    predicted = truth | rectangle((40, 80), 50, 10, 70, 30)
    predicted[5:8, 5:8] = False
    xy, include = next_region_click(truth, predicted, rng())
    assert not include and xy.tolist() == [60, 20]


def test_region_click_is_at_the_centre_where_nothing_is_wrong():
    truth = disc()
    xy, include = next_region_click(truth, truth, rng())
    assert include and xy.tolist() == [32, 32]


# --- box, jitter, structures


def test_box_without_noise_is_the_pixel_edge_of_the_structure():
    box = simulated_box(rectangle((20, 30), 3, 4, 10, 12), rng(), noise=0)
    assert box.tolist() == [2.5, 3.5, 10.5, 12.5]


@given(SMALL_MASKS, st.integers(0, 100), st.floats(0, 0.49))
def test_noisy_boxes_stay_near_and_in_the_frame(mask, seed, noise):
    if not mask.any():
        return
    exact = simulated_box(mask, rng(), noise=0)
    box = simulated_box(mask, rng(seed), noise=noise)
    sides = np.tile(exact[2:] - exact[:2], 2)
    assert (np.abs(box - exact) <= noise * sides + 1e-9).all()
    height, width = mask.shape
    assert box[0] < box[2] and box[1] < box[3] and box.min() >= -0.5
    assert box[2] <= width - 0.5 and box[3] <= height - 0.5


def test_box_noise_moves_every_side():
    mask = rectangle((50, 50), 10, 10, 40, 40)
    boxes = np.array([simulated_box(mask, rng(seed)) for seed in range(20)])
    assert (boxes.std(axis=0) > 0.3).all()


def test_jitter_has_the_asked_spread_and_stays_in_the_frame():
    points = np.tile([50.0, 20.0], (4000, 1))
    moved = jitter(points, rng(), 3.0, (200, 300))
    assert np.allclose(moved.std(axis=0), 3.0, atol=0.15)
    assert np.allclose(moved.mean(axis=0), [50, 20], atol=0.2)
    far = jitter(points, rng(), 1000.0, (200, 300))
    assert far.min() == -0.5 and far[:, 0].max() == 299.5 and far[:, 1].max() == 199.5
    assert np.array_equal(jitter([3.0, 4.0], rng(), 0.0, (9, 9)), [3, 4])
