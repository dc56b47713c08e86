"""Clip and geometry: where pixels are, and how values become 8 bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.clip import Clip, Geometry, to_8bit
from SAMUSALib.errors import InvalidValue


def random_matrix(seed: int) -> np.ndarray:
    """A rotated, maybe mirrored, anisotropic, shifted IJK to RAS matrix."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * rng.uniform(0.05, 3.0, 3)
    matrix[:3, 3] = rng.uniform(-200, 200, 3)
    return matrix


geometries = st.builds(
    lambda shape, seed, axis: Geometry.for_volume(shape, random_matrix(seed), axis),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2),
)


@settings(max_examples=60, deadline=None)
@given(geometries, st.integers(0, 2**32 - 1))
def test_masks_come_back_on_the_source_grid(geometry, seed):
    masks = np.random.default_rng(seed).integers(0, 2, geometry.frame_shape, dtype=np.uint8)
    voxels = geometry.to_source(masks)
    assert voxels.shape == geometry.source_shape
    assert np.array_equal(geometry.from_source(voxels), masks)


@settings(max_examples=60, deadline=None)
@given(geometries, st.integers(0, 2**32 - 1))
def test_to_source_agrees_with_the_matrices(geometry, seed):
    rng = np.random.default_rng(seed)
    t, y, x = (int(rng.integers(n)) for n in geometry.frame_shape)
    masks = np.zeros(geometry.frame_shape, bool)
    masks[t, y, x] = True
    ijk = np.argwhere(geometry.to_source(masks))[0]
    assert np.allclose(geometry.frame_to_ijk @ [x, y, t, 1], [*ijk, 1])
    ras = geometry.points_to_ras([[x, y]], t)[0]
    assert np.allclose(ras, (geometry.ijk_to_ras @ [*ijk, 1])[:3])


@settings(max_examples=60, deadline=None)
@given(geometries, st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), max_size=5), st.floats(-5, 50))
def test_points_survive_the_way_to_ras_and_back(geometry, points, frame):
    ras = geometry.points_to_ras(points, frame)
    back = geometry.points_from_ras(ras)
    assert back.shape == (len(points), 3)
    expected = np.column_stack([np.reshape(points, (-1, 2)), np.full(len(points), frame)])
    assert np.allclose(back, expected, atol=1e-6)


def test_rgb_voxels_keep_their_components():
    geometry = Geometry.for_volume((4, 3, 2), np.eye(4), axis=0)
    voxels = np.random.default_rng(0).integers(0, 255, (4, 3, 2, 3), dtype=np.uint8)
    frames = geometry.from_source(voxels)
    assert frames.shape == (4, 2, 3, 3)
    assert np.array_equal(frames[3, 1, 2], voxels[3, 2, 1])


def test_pixel_spacing_is_that_of_the_frame_axes():
    geometry = Geometry.for_volume((5, 6, 7), np.diag([0.2, 0.3, 0.5, 1]), axis=1)
    assert geometry.pixel_spacing == pytest.approx((0.2, 0.5))
    assert geometry.frame_shape == (6, 7, 5)
    assert geometry.axis == 1


def test_a_cine_has_no_space_between_frames():
    matrix = np.diag([-0.1, -0.2, 1.0, 1.0])
    geometry = Geometry.for_cine(9, 4, 5, matrix)
    assert geometry.calibrated and geometry.kind == "cine"
    assert np.array_equal(geometry.points_to_ras([[1, 2]], 0), geometry.points_to_ras([[1, 2]], 7))
    assert np.allclose(geometry.points_from_ras([[-0.1, -0.4, 0]]), [[1, 2, 0]])
    assert not Geometry.for_cine(9, 4, 5).calibrated


def test_a_tilted_plane_of_a_cine_maps_back():
    matrix = random_matrix(5)
    geometry = Geometry.for_cine(3, 8, 9, matrix)
    points = np.array([[0.5, 7.25], [8.0, 0.0]])
    assert np.allclose(geometry.points_from_ras(geometry.points_to_ras(points, 2))[:, :2], points)


@pytest.mark.parametrize(
    "change",
    [
        {"ijk_to_ras": np.diag([1.0, 1, 0, 1])},
        {"ijk_to_ras": np.full((4, 4), np.nan)},
        {"ijk_to_ras": np.eye(3)},
        {"frame_to_ijk": np.diag([2.0, 1, 1, 1])},
        {"frame_to_ijk": np.diag([-1.0, 1, 1, 1])},
        {"frame_to_ijk": np.eye(4) + np.eye(4, k=3)},
        {"source_shape": (0, 2, 3)},
        {"source_shape": (2, 3)},
        {"kind": "movie"},
    ],
)
def test_impossible_geometry_is_refused(change):
    values = {"frame_to_ijk": np.eye(4), "ijk_to_ras": np.eye(4), "source_shape": (2, 3, 4)}
    with pytest.raises(InvalidValue):
        Geometry(**(values | change))


def test_wrong_axis_and_wrong_shapes_are_refused():
    with pytest.raises(InvalidValue, match="axis is 3"):
        Geometry.for_volume((2, 3, 4), np.eye(4), axis=3)
    geometry = Geometry.for_volume((2, 3, 4), np.eye(4))
    with pytest.raises(InvalidValue, match="masks have shape"):
        geometry.to_source(np.zeros((4, 2, 3)))
    with pytest.raises(InvalidValue, match="source is"):
        geometry.from_source(np.zeros((4, 3, 2)))


def test_matrices_of_a_geometry_cannot_be_changed():
    matrix = np.eye(4)
    geometry = Geometry.for_volume((2, 3, 4), matrix)
    matrix[0, 0] = 5
    assert geometry.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError):
        geometry.ijk_to_ras[0, 0] = 5


def clip(frames, **values) -> Clip:
    return Clip(frames, Geometry.for_cine(*frames.shape[:3]), **values)


def test_clip_checks_its_frames():
    with pytest.raises(InvalidValue, match="8-bit"):
        clip(np.zeros((2, 3, 4)))
    with pytest.raises(InvalidValue, match="geometry says"):
        Clip(np.zeros((2, 3, 4), np.uint8), Geometry.for_cine(2, 4, 3))
    with pytest.raises(InvalidValue, match="shape"):
        Clip(np.zeros((2, 3, 4, 2), np.uint8), Geometry.for_cine(2, 3, 4))
    with pytest.raises(InvalidValue, match="times"):
        clip(np.zeros((2, 3, 4), np.uint8), times=[0.0])
    assert len(clip(np.zeros((2, 3, 4), np.uint8), times=[0.0, 0.1])) == 2


def test_grey_and_colour_frames_both_give_rgb():
    grey = clip(np.full((2, 3, 4), 7, np.uint8))
    assert grey.frame_rgb(1).shape == (3, 4, 3) and grey.frame_size == (3, 4)
    colour = clip(np.zeros((2, 3, 4, 3), np.uint8))
    assert colour.frame_rgb(0).shape == (3, 4, 3)
    with pytest.raises(InvalidValue, match="frame 2 does not exist"):
        grey.frame_rgb(2)


def test_8_bit_values_stay_as_they_are():
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    frames, rule = to_8bit(values)
    assert np.array_equal(frames, values) and rule == ""


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_other_values_are_stretched_by_one_rule_for_all_frames(dtype):
    values = np.linspace(0, 30000, 4 * 50 * 50).reshape(4, 50, 50).astype(dtype)
    frames, rule = to_8bit(values)
    assert frames.dtype == np.uint8 and "percentiles" in rule
    assert frames[0].max() < 70 and frames[3].min() > 185
    assert frames.min() == 0 and frames.max() == 255
    assert (np.diff(frames.ravel().astype(int)) >= 0).all()


def test_window_is_what_is_shown():
    frames, rule = to_8bit(np.array([[[-5.0, 0, 50, 100, 200]]]), window=(0, 100))
    assert frames.ravel().tolist() == [0, 0, 128, 255, 255]
    assert "window" in rule
    with pytest.raises(InvalidValue, match="window"):
        to_8bit(np.zeros((1, 2, 2)), window=(5, 5))


def test_odd_values_do_not_break_the_rule():
    values = np.array([[[np.nan, np.inf, -np.inf, 0.0, 1.0]]])
    frames, _ = to_8bit(values)
    assert frames.ravel().tolist()[3:] == [0, 255] and frames.ravel()[0] == 0
    with pytest.raises(InvalidValue, match="finite"):
        to_8bit(np.full((1, 2, 2), np.nan))
    with pytest.raises(InvalidValue, match="numbers"):
        to_8bit(np.array([[["a"]]]))
    flat, rule = to_8bit(np.full((1, 2, 2), 3.0))
    assert (flat == 0).all() and "3..3" in rule


def test_a_few_bright_pixels_on_black_stay_visible():
    values = np.zeros((1, 100, 100), np.uint16)
    values[0, 0, :3] = 4000
    frames, rule = to_8bit(values)
    assert frames[0, 0, 0] == 255 and "0..4000" in rule
