"""Augmentation keeps image, truth and clicks together, and can be switched off."""

from dataclasses import replace

import numpy as np
import pytest

from SAMUSALib.training.augmentation import (
    Augmentation,
    augment_intensity,
    displacement,
    undisplaced,
)
from SAMUSALib.training.clicks import border
from SAMUSALib.training.samples import LabelledClip, draw_sample

ALWAYS = {
    name: 1.0 for name in Augmentation.__dataclass_fields__ if name.endswith("_share")
}  # every kind on every sample


def disc(frames=1, size=(90, 120), radius=18.0):
    y, x = np.mgrid[: size[0], : size[1]]
    mask = (x - 60) ** 2 + (y - 45) ** 2 <= radius**2
    masks = np.stack([mask] * frames)
    return LabelledClip((20 + 200 * masks).astype(np.uint8), masks)


@pytest.mark.parametrize("frames", [1, 3])
def test_elastic_deformation_moves_image_truth_and_clicks_alike(frames):
    strong = replace(Augmentation.none(), elastic=0.06, elastic_share=1.0)
    for seed in range(15):
        sample = draw_sample(disc(frames), frames, 96, np.random.default_rng(seed), strong)
        for image, truth in zip(sample.images, sample.truth, strict=True):
            bright = image > 110 / 255
            assert np.count_nonzero(bright ^ truth) <= 0.02 * np.count_nonzero(truth) + 4
        if sample.jitter == 0:
            outline = border(sample.truth[0])
            for click in sample.clicks:
                if (click > 2).all() and (click < 93).all():
                    assert np.linalg.norm(outline - click, axis=1).min() < 1.5


def test_elastic_deformation_is_smooth_and_has_no_folds():
    rng = np.random.default_rng(0)
    always = Augmentation(elastic_share=1.0)
    spreads = []
    for _ in range(50):
        moved = displacement(128, always, rng)
        spreads.append(moved.std())
        ((xy, xx), (yy, yx)) = (np.gradient(axis) for axis in moved)
        assert ((1 + xx) * (1 + yy) - xy * yx).min() > 0.1  # the area of a deformed pixel
    assert 0.3 * 0.025 * 128 < np.mean(spreads) < 0.9 * 0.025 * 128


def test_points_are_found_again_after_the_deformation():
    rng = np.random.default_rng(1)
    moved = displacement(100, Augmentation(elastic_share=1.0, elastic=0.05), rng)
    points = rng.uniform(15, 85, (40, 2))
    found = undisplaced(points, moved)
    nearest = np.rint(found).astype(int)
    back = found + moved[:, nearest[:, 1], nearest[:, 0]].T
    assert np.abs(back - points).max() < 0.4
    assert np.abs(found - points).max() > 1


def test_without_augmentation_intensities_stay():
    images = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    same = augment_intensity(images, Augmentation.none(), np.random.default_rng(1))
    assert np.allclose(same, images, atol=1e-6) and same.dtype == np.float32
    assert displacement(32, Augmentation.none(), np.random.default_rng(1)) is None


def test_attenuation_darkens_with_depth():
    even = np.full((1, 64, 64), 0.5, np.float32)
    only = replace(Augmentation.none(), attenuation=1.2, attenuation_share=1.0)
    out = augment_intensity(even, only, np.random.default_rng(3))[0]
    rows = out.mean(axis=1)
    assert np.allclose(out, rows[:, None]) and (np.diff(rows) <= 1e-6).all()
    assert rows[0] == pytest.approx(0.5) and 0.1 < rows[-1] < 0.4


def test_focus_blurs_sideways_away_from_its_depth():
    stripes = np.tile((np.arange(64) // 2 % 2).astype(np.float32), (1, 64, 1))
    only = replace(Augmentation.none(), defocus=2.0, defocus_share=1.0)
    contrast = augment_intensity(stripes, only, np.random.default_rng(0))[0].std(axis=1)
    assert contrast.max() > 0.49 and contrast.min() < 0.35


def test_every_kind_at_once_stays_in_range_and_repeats_with_its_seed():
    everything = Augmentation(**ALWAYS)
    first, again, other = (
        draw_sample(disc(4), 4, 64, np.random.default_rng(seed), everything) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.images, again.images) and np.array_equal(first.clicks, again.clicks)
    assert not np.array_equal(first.images, other.images)
    assert first.images.dtype == np.float32
    assert 0 <= first.images.min() and first.images.max() <= 1
