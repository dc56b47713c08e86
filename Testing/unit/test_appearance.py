"""Brightness inside and around a structure, and what it does to tracked frames."""

import numpy as np
import pytest
import torch

from SAMUSALib.engine.appearance import LARGEST, WEIGHT, Appearance
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
    change = seen.weigh(flat, image(MOVED, inside, outside)).logits[0, 0].numpy()
    distance = np.hypot(X - 38, Y - 32)
    assert change[distance < 9].min() > 0.5
    assert change[distance > 20].max() < -0.5
    assert np.abs(change).max() <= WEIGHT * LARGEST + 1e-6


def test_a_mask_that_lags_behind_is_pulled_along():
    seen = Appearance.seen(image(DISC, -1.0, 0.5), DISC)
    unsure = decoded(np.where(DISC, 0.4, -0.4))  # the mask of the frame before
    mask = seen.weigh(unsure, image(MOVED, -1.0, 0.5)).logits[0, 0].numpy() > 0
    assert (mask & MOVED).sum() > 0.9 * MOVED.sum() > (DISC & MOVED).sum()


def test_what_looks_like_its_surroundings_is_left_alone():
    same = image(DISC, 0.0, 0.0)
    change = Appearance.seen(same, DISC).weigh(decoded(np.zeros((G, G))), same).logits
    assert change.abs().max() < 0.25


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
        float(seen.weigh(sure, image(mask, -1.0, 0.5)).iou[0]) for mask in (MOVED, ~MOVED)
    )
    assert there > elsewhere + 0.02
