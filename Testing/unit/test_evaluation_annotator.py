"""The simulated annotator clicks any structure, always alike, and against the method's own mask."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from SAMUSALib.engine.spline import spline_mask
from SAMUSALib.errors import InvalidValue
from SAMUSALib.evaluation.annotator import CLICK_KINDS, simulate_clicks
from SAMUSALib.training.clicks import border, next_boundary_click, next_region_click

SHAPE = (48, 64)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SHAPE, bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


STRUCTURES = {
    "with a hole": rectangle(10, 10, 40, 35) & ~rectangle(20, 18, 30, 26),
    "of several parts": rectangle(5, 5, 15, 15) | rectangle(40, 30, 55, 40),
    "at the edge of the image": rectangle(0, 0, 20, 20),
    "over the whole image": np.ones(SHAPE, bool),
    "two pixels thin": rectangle(5, 20, 58, 21),
    "one pixel thin and slanted": np.eye(*SHAPE, dtype=bool),
    "of one pixel": rectangle(30, 20, 30, 20),
    "of one pixel in the corner": rectangle(0, 0, 0, 0),
}


def spline(frame, prompts, previous=None):
    return SimpleNamespace(mask=spline_mask(prompts.boundary, frame.shape[:2]))


def always(mask):
    return lambda frame, prompts, previous=None: SimpleNamespace(mask=mask)


def clicks_of(truth, kind, count=6, segment=spline, seed=0, **options):
    frame, rng = np.zeros(SHAPE, np.uint8), np.random.default_rng(seed)
    return list(islice(simulate_clicks(segment, frame, truth, kind, rng, **options), count))


def as_lists(prompts):
    box = None if prompts.box is None else prompts.box.tolist()
    points = prompts.boundary, prompts.include, prompts.exclude
    return [*(xy.tolist() for xy in points), box]


@pytest.mark.parametrize("error", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("kind", CLICK_KINDS)
@pytest.mark.parametrize("truth", STRUCTURES.values(), ids=list(STRUCTURES))
def test_any_structure_can_be_clicked_within_the_frame(truth, kind, error):
    made = clicks_of(truth, kind, error=error)
    for count, clicked in enumerate(made, start=1):
        prompts = clicked.prompts
        prompts.check(SHAPE)
        points = len(prompts.boundary) + len(prompts.include) + len(prompts.exclude)
        assert points + (prompts.box is not None) == count
        assert (prompts.box is not None) == (kind == "box")
    again = clicks_of(truth, kind, error=error)
    assert [as_lists(c.prompts) for c in made] == [as_lists(c.prompts) for c in again]


@pytest.mark.parametrize("truth", STRUCTURES.values(), ids=list(STRUCTURES))
def test_exact_boundary_clicks_lie_on_the_border_of_any_structure(truth):
    edge = {tuple(point) for point in border(truth).tolist()}
    clicks = clicks_of(truth, "boundary")[-1].prompts.boundary
    assert {tuple(point) for point in clicks.tolist()} <= edge
    assert len({tuple(point) for point in clicks.tolist()}) == min(6, len(edge))


@pytest.mark.parametrize("truth", STRUCTURES.values(), ids=list(STRUCTURES))
def test_exact_region_clicks_lie_inside_or_outside_as_they_say(truth):
    prompts = clicks_of(truth, "region", segment=always(~truth))[-1].prompts
    rows, columns = np.round(prompts.include).astype(int).T[::-1]
    assert truth[rows, columns].all()
    rows, columns = np.round(prompts.exclude).astype(int).T[::-1]
    assert not truth[rows, columns].any()


def test_holes_and_far_parts_are_clicked_when_the_mask_misses_them():
    ring = STRUCTURES["with a hole"]
    filled = clicks_of(ring, "boundary", 3, always(rectangle(10, 10, 40, 35)))
    x, y = filled[2].prompts.boundary[2]
    assert 19 <= x <= 31 and 17 <= y <= 27  # on the hole's border
    parts = STRUCTURES["of several parts"]
    one = clicks_of(parts, "region", 2, always(rectangle(40, 30, 55, 40)))
    assert 5 <= one[1].prompts.include[-1][0] <= 15


@pytest.mark.parametrize("seed", range(5))
def test_clicks_are_those_of_the_paper_one_by_one(seed):
    truth, rng, clicks, mask = rectangle(10, 10, 40, 35), np.random.default_rng(seed), [], None
    for _ in range(6):
        made = np.array(clicks).reshape(-1, 2)
        clicks.append(next_boundary_click(border(truth), made, mask, rng))
        mask = spline_mask(np.array(clicks), SHAPE)
    assert np.array_equal(clicks_of(truth, "boundary", seed=seed)[-1].prompts.boundary, clicks)
    rng, predicted = np.random.default_rng(seed), rectangle(20, 5, 60, 30)
    first, _ = next_region_click(truth, None, rng)
    second, include = next_region_click(truth, predicted, rng)
    made = clicks_of(truth, "region", 2, always(predicted), seed)[1].prompts
    assert not include and made.include.tolist() == [first.tolist()]
    assert made.exclude.tolist() == [second.tolist()]


def test_a_box_is_one_click_and_corrections_follow():
    truth = rectangle(10, 10, 40, 35)
    box, corrected = clicks_of(truth, "box", 2, always(rectangle(10, 10, 40, 20)))
    assert np.abs(box.prompts.box - [9.5, 9.5, 40.5, 35.5]).max() <= 0.05 * 31
    assert len(box.prompts.include) == len(box.prompts.exclude) == 0
    assert np.array_equal(corrected.prompts.box, box.prompts.box)
    assert len(corrected.prompts.include) == 1 and corrected.prompts.include[0][1] > 20


@pytest.mark.parametrize("kind", CLICK_KINDS)
def test_a_mask_to_correct_is_clicked_where_it_is_worst_and_goes_along(kind):
    truth, start = rectangle(10, 10, 40, 35), rectangle(10, 10, 25, 35)
    first = clicks_of(truth, kind, 1, start=start)[0].prompts
    assert first.box is None and np.array_equal(first.mask, start)
    (click,) = first.boundary if kind == "boundary" else first.include
    assert click[0] > 25


def test_an_empty_mask_to_correct_is_clicked_like_none():
    truth, nothing = rectangle(10, 10, 40, 35), np.zeros(SHAPE, bool)
    with_mask = clicks_of(truth, "boundary", 1, start=nothing)[0].prompts.boundary
    assert np.array_equal(with_mask, clicks_of(truth, "boundary", 1)[0].prompts.boundary)


def test_the_method_gets_its_own_answer_back():
    seen = []

    def segment(frame, prompts, previous):
        seen.append(previous)
        return SimpleNamespace(mask=rectangle(1, 1, 5, 5), number=len(seen))

    clicks_of(rectangle(10, 10, 40, 35), "boundary", 3, segment)
    assert seen[0] is None and [previous.number for previous in seen[1:]] == [1, 2]


def test_the_error_of_a_hand_is_a_share_of_the_structures_size():
    small, large = rectangle(28, 20, 31, 23), rectangle(12, 8, 43, 39)  # 8 times the side

    def spread(truth):
        pairs = []
        for seed in range(150):
            exact, moved = (clicks_of(truth, "region", 1, seed=seed, error=e) for e in (0, 0.1))
            pairs.append(moved[0].prompts.include[0] - exact[0].prompts.include[0])
        return np.std(pairs)

    assert spread(small) == pytest.approx(0.4, rel=0.15)
    assert spread(large) == pytest.approx(3.2, rel=0.15)


def test_what_cannot_be_clicked_is_refused_at_once():
    frame, truth, rng = np.zeros(SHAPE, np.uint8), rectangle(1, 1, 9, 9), np.random.default_rng(0)
    with pytest.raises(InvalidValue, match="'middle'"):
        simulate_clicks(spline, frame, truth, "middle", rng)
    with pytest.raises(InvalidValue, match="empty"):
        simulate_clicks(spline, frame, truth & False, "region", rng)
    with pytest.raises(InvalidValue, match="error"):
        simulate_clicks(spline, frame, truth, "box", rng, error=-0.1)
    with pytest.raises(InvalidValue, match="start mask has shape"):
        simulate_clicks(spline, frame, truth, "box", rng, start=np.ones((2, 2), bool))
    with pytest.raises(InvalidValue, match="mask of shape"):
        next(simulate_clicks(always(np.ones((2, 2), bool)), frame, truth, "box", rng))
