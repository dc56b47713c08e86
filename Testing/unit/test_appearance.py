"""Brightness inside and around a structure, and what it does to tracked frames."""

import numpy as np
import pytest
import torch

from SAMUSALib.engine.appearance import FARTHEST, LARGEST, WEIGHT, Appearance
from SAMUSALib.engine.network import Decoded

G = 64
Y, X = np.mgrid[:G, :G]
DISC = (X - 30) ** 2 + (Y - 32) ** 2 < 14**2
MOVED = (X - 38) ** 2 + (Y - 32) ** 2 < 14**2


def image(mask, inside, outside):
    speckle = np.random.default_rng(0).normal(0, 0.3, mask.shape)
    return torch.from_numpy(np.where(mask, inside, outside) + speckle).float()[None, None]


def decoded(logits):
    one = torch.ones(1)
    return Decoded(torch.as_tensor(logits)[None, None].float(), None, one, one, torch.zeros(1, 4))


@pytest.mark.parametrize("inside, outside", [(-1.0, 0.5), (1.0, -0.5)])
def test_logits_rise_where_it_looks_like_the_structure(inside, outside):
    seen = Appearance.seen(image(DISC, inside, outside), DISC)
    flat = decoded(np.zeros((G, G)))
    change = seen.weigh(flat, seen.likeness(image(MOVED, inside, outside))).logits[0, 0].numpy()
    distance = np.hypot(X - 38, Y - 32)
    assert change[distance < 9].min() > 0.5
    assert change[distance > 20].max() < -0.5
    assert np.abs(change).max() <= WEIGHT * LARGEST + 1e-6


def test_a_mask_that_lags_behind_is_pulled_along():
    seen = Appearance.seen(image(DISC, -1.0, 0.5), DISC)
    unsure = decoded(np.where(DISC, 0.4, -0.4))  # the mask of the frame before
    mask = seen.weigh(unsure, seen.likeness(image(MOVED, -1.0, 0.5))).logits[0, 0].numpy() > 0
    assert (mask & MOVED).sum() > 0.9 * MOVED.sum() > (DISC & MOVED).sum()


def test_what_looks_like_its_surroundings_is_left_alone():
    same = image(DISC, 0.0, 0.0)
    seen = Appearance.seen(same, DISC)
    change = seen.weigh(decoded(np.zeros((G, G))), seen.likeness(same)).logits
    assert change.abs().max() < 0.25


def prior_of(mask):
    return torch.from_numpy(np.where(mask, 5.0, -5.0)).float()[None, None]


@pytest.mark.parametrize("inside, outside", [(-1.0, 0.5), (1.0, -0.5)])
@pytest.mark.parametrize("dy, dx", [(0, 4), (-5, 0), (3, -3)])
def test_a_prior_follows_the_structure(inside, outside, dy, dx):
    seen = Appearance.seen(image(DISC, inside, outside), DISC)
    there = (X - 30 - dx) ** 2 + (Y - 32 - dy) ** 2 < 14**2
    followed = seen.follow(prior_of(DISC), seen.likeness(image(there, inside, outside)))
    assert followed.shape == (1, 1, G, G)
    mask = followed[0, 0].numpy() > 0
    moved = [np.mean(c[mask]) - np.mean(c[DISC]) for c in (Y, X)]
    assert np.allclose(moved, (dy, dx), atol=1.01)  # it would rather stay
    assert (mask & there).sum() > 0.93 * there.sum() > (DISC & there).sum()


def test_a_prior_stays_where_all_looks_alike_and_goes_no_farther_than_a_structure_moves():
    same = image(DISC, 0.0, 0.0)
    prior = prior_of(DISC)
    blank = Appearance.seen(same, np.zeros((G, G), bool))
    assert torch.equal(blank.follow(prior, blank.likeness(same)), prior)
    seen = Appearance.seen(image(DISC, -1.0, 0.5), DISC)
    away = seen.likeness(image(np.roll(DISC, 24, axis=1), -1.0, 0.5))
    far = seen.follow(prior, away)[0, 0].numpy() > 0
    assert np.hypot(*[np.mean(c[far]) - np.mean(c[DISC]) for c in (Y, X)]) <= FARTHEST * 14 + 1


def test_a_prior_at_the_rim_goes_on_beyond_it():
    """What comes in at the rim is not cut off where it was."""
    half = (X - G) ** 2 + (Y - 32) ** 2 < 14**2
    seen = Appearance.seen(image(half, -1.0, 0.5), half)
    there = (X - G + 4) ** 2 + (Y - 32) ** 2 < 14**2
    mask = seen.follow(prior_of(half), seen.likeness(image(there, -1.0, 0.5)))[0, 0].numpy() > 0
    assert mask[32, -1] and mask.sum() > half.sum()


@pytest.mark.parametrize("mask", [np.zeros((G, G), bool), np.ones((G, G), bool)])
def test_a_prior_of_nothing_or_everything_stays(mask):
    seen = Appearance.seen(image(DISC, -1.0, 0.5), DISC)
    likeness = seen.likeness(image(DISC, -1.0, 0.5))
    assert torch.equal(seen.follow(prior_of(mask), likeness), prior_of(mask))


@pytest.mark.parametrize("mask", [np.zeros((G, G), bool), np.ones((G, G), bool)])
def test_nothing_or_everything_says_nothing(mask):
    assert not Appearance.seen(image(DISC, -1.0, 0.5), mask).log_ratio.any()


def test_frames_that_contradict_each_other_cancel():
    dark, bright = (Appearance.seen(image(DISC, inside, -inside), DISC) for inside in (-1.0, 1.0))
    alone = np.abs(dark.log_ratio).mean()
    assert np.abs(Appearance.mean([dark, bright]).log_ratio).mean() < 0.2 * alone


def test_confidence_follows_the_changed_logits():
    seen = Appearance.seen(image(DISC, -1.0, 0.5), DISC)
    sure = decoded(np.where(MOVED, 3.0, -3.0))
    there, elsewhere = (
        float(seen.weigh(sure, seen.likeness(image(mask, -1.0, 0.5))).iou[0])
        for mask in (MOVED, ~MOVED)
    )
    assert there > elsewhere + 0.02
