"""Simulated ultrasound: repeatable, physically plausible, with exact masks."""

from dataclasses import replace

import numpy as np
import pytest

from SAMUSALib.phantom import (
    GEOMETRIES,
    LOOKS,
    Motion,
    PhantomSpec,
    Structure,
    demo_spec,
    random_spec,
    simulate,
)
from SAMUSALib.phantom.geometry import make_beams
from SAMUSALib.phantom.speckle import Speckle

LESION = Structure("hypo", (64, 64), (20, 14))
PLAIN = PhantomSpec(
    seed=3, frames=4, size=(128, 128), geometry="linear", layers=1, fibres=0.0, streak_db=0.0
)


def centroid(mask):
    return np.argwhere(mask).mean(axis=0)[::-1]


def speckle(frames=20, life=10.0):
    return Speckle(np.random.default_rng(0), (256, 256), (1.0, 1.6), life, frames, 1)


def envelope(field, frame):
    still = np.zeros((1, 1), np.float32)
    parts = [w * field.field(number, 0, still, still) for w, number, _ in field.parts(frame)]
    return np.abs(sum(parts))


def test_the_same_seed_gives_the_same_arrays():
    spec = random_spec(np.random.default_rng(5), frames=3, size=(96, 128))
    assert spec == random_spec(np.random.default_rng(5), frames=3, size=(96, 128))
    one, two = simulate(spec), simulate(spec)
    assert np.array_equal(one.frames, two.frames)
    assert np.array_equal(one.labels, two.labels)


def test_another_seed_gives_another_clip():
    assert not np.array_equal(simulate(PLAIN).frames, simulate(replace(PLAIN, seed=4)).frames)


def test_a_clip_has_the_stated_shapes_and_types():
    clip = simulate(replace(PLAIN, size=(100, 140), structures=(LESION,)))
    assert clip.frames.shape == clip.labels.shape == (4, 100, 140)
    assert clip.frames.dtype == clip.labels.dtype == np.uint8
    assert clip.windows == (((0, 3),),)
    assert clip.pixel_spacing_mm == PLAIN.pixel_spacing_mm


@pytest.mark.parametrize("frame", [0, 4, 10])
def test_speckle_has_rayleigh_statistics_before_compression(frame):
    echo = envelope(speckle(), frame)
    assert echo.mean() / echo.std() == pytest.approx(1.91, abs=0.08)
    assert (echo**2).mean() == pytest.approx(1, abs=0.1)


def test_speckle_grain_has_the_width_of_the_point_spread():
    echo = envelope(speckle(), 0)
    echo = echo - echo.mean()
    down = (echo * np.roll(echo, 2, axis=0)).mean() / echo.var()
    right = (echo * np.roll(echo, 2, axis=1)).mean() / echo.var()
    assert 0.1 < down < right < 0.9


def test_speckle_becomes_new_gradually():
    field = speckle()
    first = envelope(field, 0).ravel()
    alike = [np.corrcoef(first, envelope(field, frame).ravel())[0, 1] for frame in (1, 5, 10)]
    assert alike[0] > 0.9 > alike[1] > 0.2 > abs(alike[2])


def test_speckle_of_a_sector_widens_with_depth():
    beams = make_beams(replace(PLAIN, geometry="sector"))
    assert beams.spacing[-1, 0] > 2 * beams.spacing[0, 0]


def test_speckle_moves_with_the_tissue():
    frames = simulate(replace(PLAIN, motion=Motion(drift=(3.0, 0.0)), speckle_life=1e6)).frames
    still = frames[0, 20:100, 20:100].astype(float)
    moved = frames[2, 20:100, 26:106].astype(float)
    assert np.corrcoef(still.ravel(), moved.ravel())[0, 1] > 0.7
    same_place = frames[2, 20:100, 20:100].astype(float)
    assert np.corrcoef(still.ravel(), same_place.ravel())[0, 1] < 0.5


def test_attenuation_darkens_the_deep_part():
    weak = simulate(replace(PLAIN, attenuation_db=0.0)).frames[:, 80:120, 10:-10]
    strong = simulate(replace(PLAIN, attenuation_db=40.0, tgc=0.3)).frames[:, 80:120, 10:-10]
    assert strong.mean() < weak.mean() - 30


def test_gain_compensation_restores_what_attenuation_took():
    plain = simulate(replace(PLAIN, attenuation_db=0.0)).frames[:, 80:120, 10:-10]
    restored = simulate(replace(PLAIN, attenuation_db=20.0, tgc=1.0)).frames[:, 80:120, 10:-10]
    assert restored.mean() == pytest.approx(plain.mean(), abs=4)


def test_a_strong_reflector_casts_a_shadow():
    stone = Structure("hyper", (64, 40), (12, 10), shadow_db=30.0)
    plain, shadowed = simulate(PLAIN), simulate(replace(PLAIN, structures=(stone,)))
    behind = np.s_[:, 60:100, 58:70]
    beside = np.s_[:, 60:100, 100:115]
    assert shadowed.frames[behind].mean() < plain.frames[behind].mean() - 40
    assert shadowed.frames[beside].mean() == pytest.approx(plain.frames[beside].mean(), abs=3)


def test_tissue_behind_a_cyst_is_brighter():
    cyst = Structure("cyst", (64, 45), (16, 14), wall_db=0.0)
    plain, enhanced = simulate(PLAIN), simulate(replace(PLAIN, structures=(cyst,)))
    behind = np.s_[:, 68:100, 58:70]
    assert enhanced.frames[behind].mean() > plain.frames[behind].mean() + 10


def test_a_vague_border_has_less_contrast_than_a_crisp_one():
    def contrast(vagueness):
        lesion = replace(LESION, echo_db=-14.0, wall_db=0.0, vagueness=vagueness, dropout=0.0)
        clip = simulate(replace(PLAIN, structures=(lesion,), compounding=4, gain_db=12.0))
        y, x = np.mgrid[:128, :128]
        share = np.hypot((x - 64) / 20, (y - 64) / 14)
        within, beyond = (share > 0.8) & (share < 1), (share > 1) & (share < 1.2)
        return clip.frames[:, beyond].mean() - clip.frames[:, within].mean()

    assert 0 < contrast(1.0) < 0.6 * contrast(0.0)


@pytest.mark.parametrize("kind", LOOKS)
def test_every_kind_changes_the_image_where_its_mask_is(kind):
    structure = Structure(kind, (64, 64), (24, 18), dropout=0.0)
    plain, drawn = simulate(PLAIN), simulate(replace(PLAIN, structures=(structure,)))
    change = np.abs(plain.frames.astype(int) - drawn.frames).mean(axis=0)
    inside = drawn.labels[0] == 1
    assert change[inside].mean() > change[:30].mean() + 5


def test_masks_are_the_analytic_shape_at_pixel_centres():
    mask = simulate(replace(PLAIN, structures=(LESION,))).labels[0] == 1
    y, x = np.mgrid[:128, :128]
    assert np.array_equal(mask, ((x - 64) / 20) ** 2 + ((y - 64) / 14) ** 2 <= 1)


def test_masks_do_not_depend_on_the_image_settings():
    lesion = replace(LESION, irregularity=0.8)
    spec = replace(PLAIN, structures=(lesion,))
    other = replace(spec, noise_db=-20.0, gain_db=9.0, speckle_px=(2.0, 4.0), compounding=1)
    assert np.array_equal(simulate(spec).labels, simulate(other).labels)


def test_a_structure_is_seen_only_in_its_windows_and_grows_into_them():
    lesion = replace(LESION, visible=((3, 9), (14, 18)), growth=3)
    clip = simulate(replace(PLAIN, frames=22, structures=(lesion,)))
    assert clip.windows == (((3, 9), (14, 18)),)
    area = (clip.labels == 1).sum(axis=(1, 2))
    assert not area[:3].any() and not area[10:14].any() and not area[19:].any()
    assert area[3] < area[4] < area[6] and area[6] > area[8] > area[9] > 0


def test_a_structure_that_was_there_before_the_clip_only_leaves():
    lesion = replace(LESION, visible=((-20, 2),), growth=2)
    assert simulate(replace(PLAIN, frames=6, structures=(lesion,))).windows == (((0, 2),),)


def test_a_sliding_probe_brings_a_structure_into_the_field_of_view():
    outside = replace(LESION, centre=(-30.0, 64.0))
    spec = replace(PLAIN, frames=12, motion=Motion(drift=(6.0, 0.0)), structures=(outside,))
    (window,) = simulate(spec).windows[0]
    assert 0 < window[0] < window[1] == 11


def test_masks_move_with_the_tissue_and_on_their_own():
    drift = simulate(replace(PLAIN, motion=Motion(drift=(2.0, 1.0)), structures=(LESION,)))
    own = simulate(replace(PLAIN, structures=(replace(LESION, velocity=(2.0, 1.0)),)))
    for labels in (drift.labels, own.labels):
        assert centroid(labels[3]) - centroid(labels[0]) == pytest.approx([6, 3], abs=0.1)


def test_masks_pulse_breathe_and_deform():
    still = simulate(replace(PLAIN, frames=8, structures=(LESION,))).labels
    assert (still == still[0]).all()
    beating = simulate(replace(PLAIN, frames=8, structures=(replace(LESION, pulse=0.4),))).labels
    assert np.ptp((beating == 1).sum(axis=(1, 2))) > 50
    breathing = Motion(breathing=(0.0, 8.0), breathing_period=8.0)
    labels = simulate(replace(PLAIN, frames=8, structures=(LESION,), motion=breathing)).labels
    assert np.ptp([centroid(frame)[1] for frame in labels]) > 5
    labels = simulate(
        replace(PLAIN, frames=8, structures=(LESION,), motion=Motion(deformation=4.0))
    ).labels
    assert (labels[0] != labels[-1]).any()


def test_a_later_structure_covers_an_earlier_one_and_distractors_have_no_label():
    inner = Structure("hyper", (64, 64), (6, 5))
    spec = replace(PLAIN, structures=(LESION, inner), distractors=(replace(LESION, kind="cyst"),))
    labels = simulate(spec).labels
    assert labels[0, 64, 64] == 2 and labels[0, 64, 78] == 1
    assert set(np.unique(labels)) == {0, 1, 2}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_outside_the_field_of_view_is_black_and_without_mask(geometry):
    big = Structure("hyper", (64, 64), (200, 200), wall_db=0.0)
    spec = replace(PLAIN, geometry=geometry, structures=(big,), zoom=0.8, gain_db=30.0)
    clip = simulate(spec)
    inside = make_beams(spec).inside
    assert 0.15 < inside.mean() < 0.85
    assert not clip.frames[:, ~inside].any() and not clip.labels[:, ~inside].any()
    assert (clip.labels[:, inside] == 1).all()
    assert (clip.frames[:, inside] > 0).mean() > 0.95


def test_radial_images_have_no_seam():
    spec = replace(PLAIN, geometry="radial", frames=1, size=(200, 200), compounding=4)
    image = simulate(spec).frames[0].astype(float)
    # the first and last scan line meet straight above the centre
    rows = np.s_[10:60]
    across = np.abs(image[rows, 100] - image[rows, 99]).mean()
    elsewhere = np.abs(np.diff(image[rows, 85:115], axis=1)).mean()
    assert across < 3 * elsewhere + 2


def test_random_specs_are_varied_and_simulate():
    rng = np.random.default_rng(0)
    specs = [random_spec(rng, frames=8, size=(64, 80)) for _ in range(150)]
    assert {spec.geometry for spec in specs} == set(GEOMETRIES)
    assert {s.kind for spec in specs for s in spec.structures} == set(LOOKS)
    assert {len(spec.structures) for spec in specs} >= {1, 2, 3}
    visits = [bool(s.visible) for spec in specs for s in spec.structures]
    assert 0.2 < np.mean(visits) < 0.8
    for spec in specs[:8]:
        clip = simulate(spec)
        assert clip.frames.shape == (8, 64, 80) and len(clip.windows) == len(spec.structures)


def test_the_demo_lesion_enters_and_leaves():
    spec = demo_spec()
    clip = simulate(spec)
    assert clip.windows == (((8, spec.frames - 9),),)
    assert 0.01 < (clip.labels == 1).mean(axis=(1, 2)).max() < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames is 0; it must be a whole number of at least 1"),
        ({"size": (8, 8)}, "size is .*32 to 2048"),
        ({"geometry": "cone"}, "geometry is 'cone'; it must be one of sector, linear, radial"),
        ({"tgc": float("nan")}, "tgc is nan; it must be a number between 0 and 1.5"),
        ({"speckle_px": (0.1, 1.0)}, "speckle_px"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"structures": ("hypo",)}, "structures is .*tuple of Structure"),
        ({"layers": 1.5}, "layers is 1.5; it must be a whole number from 1 to 20"),
        ({"pixel_spacing_mm": 0}, "pixel_spacing_mm is 0; it must be a number at least"),
    ],
)
def test_bad_clip_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PhantomSpec(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "bone"}, "kind is 'bone'; it must be one of cyst"),
        ({"axes": (0.0, 5.0)}, "axes are .*at least 1 px"),
        ({"centre": (1.0,)}, "centre is .*two numbers"),
        ({"vagueness": 2}, "vagueness is 2; it must be a number between 0 and 1"),
        ({"visible": ((5, 2),)}, "start <= end"),
        ({"growth": -1}, "growth is -1; it must be a whole number of at least 0"),
    ],
)
def test_bad_structure_values_are_refused(change, message):
    values = {"kind": "hypo", "centre": (9.0, 9.0), "axes": (5.0, 4.0)}
    with pytest.raises(ValueError, match=message):
        Structure(**{**values, **change})


def test_bad_motion_is_refused():
    with pytest.raises(ValueError, match="breathing_period is 0"):
        Motion(breathing_period=0)
