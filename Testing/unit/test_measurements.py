"""What masks measure, against shapes whose measures are known."""

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState, SegmentAnnotation
from SAMUSALib.clip import Geometry
from SAMUSALib.errors import InvalidValue
from SAMUSALib.masks import EncodedMask
from SAMUSALib.measurements import (
    area_range,
    in_words,
    longest_diameter,
    measure,
    pixel_area,
    volume_range,
)

SIZE = (120, 160)


def cine(frames, spacing=(0.5, 0.25), calibrated=True):
    matrix = np.diag([-spacing[0], -spacing[1], 1.0, 1.0]) if calibrated else None
    return Geometry.for_cine(frames, *SIZE, matrix)


def ellipse(half_width, half_height, centre=(80.0, 60.0)):
    """Half axes in pixels."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((x - centre[0]) / half_width) ** 2 + ((y - centre[1]) / half_height) ** 2 <= 1


def segment_of(*masks, confidence=0.9):
    segment = SegmentAnnotation("cavity", len(masks), SIZE)
    for index, mask in enumerate(masks):
        if mask is not None:
            segment.set(index, mask, FrameState.PROPAGATED, confidence)
    return segment


def test_area_is_of_pixels_of_their_own_size():
    measured = measure(segment_of(ellipse(40, 40), None), cine(2))
    assert measured.unit == "mm2"
    assert measured.area[0] == pytest.approx(np.pi * 20 * 10, rel=0.01)
    assert measured.area[1] == 0 and np.isnan(measured.confidence[1])
    assert measured.confidence[0] == 0.9


def test_without_a_pixel_size_areas_are_pixels_and_there_is_no_volume():
    geometry = cine(2, calibrated=False)
    measured = measure(segment_of(ellipse(10, 10), ellipse(5, 5)), geometry)
    assert measured.unit == "px" and measured.area[0] == np.count_nonzero(ellipse(10, 10))
    assert volume_range(measured, geometry) is None
    assert area_range(measured, geometry).unit == "px"


def test_pixels_with_skewed_axes_have_the_area_of_a_parallelogram():
    matrix = np.eye(4)
    matrix[:3, 1] = [1.0, 2.0, 0.0]
    geometry = Geometry.for_cine(1, *SIZE, matrix)
    assert pixel_area(geometry) == pytest.approx(2.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_volume_of_slices_is_the_same_along_each_axis(axis):
    shape = (40, 50, 60)
    grid = np.stack(np.mgrid[:40, :50, :60], axis=-1) - [20, 25, 30]
    ball = (grid**2).sum(axis=-1) <= 15**2
    geometry = Geometry.for_volume(shape, np.diag([0.5, 1.0, 2.0, 1.0]), axis)
    frames = geometry.from_source(ball)
    segment = SegmentAnnotation("ball", len(frames), frames.shape[1:])
    for index, mask in enumerate(frames):
        segment.set(index, mask, FrameState.PROPAGATED)
    measured = measure(segment, geometry)
    assert measured.volume == pytest.approx(np.count_nonzero(ball) * 1.0)
    assert measured.volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)
    assert area_range(measured, geometry) is None and volume_range(measured, geometry) is None


def test_change_is_what_two_neighbours_do_not_share():
    left, right = ellipse(10, 10, (40, 60)), ellipse(10, 10, (120, 60))
    measured = measure(segment_of(left, left, right, None, None), cine(5))
    assert np.isnan(measured.change[[0, 4]]).all()
    assert measured.change[1:4].tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("turn", [0, 17, 45, 90, 133])
def test_the_longest_diameter_is_found_in_any_direction(turn):
    angle = np.deg2rad(turn)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] - np.array([60, 80])[:, None, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mask = (along / 50) ** 2 + (across / 20) ** 2 <= 1
    found = longest_diameter(EncodedMask.encode(mask), cine(1, calibrated=False))
    assert found == pytest.approx(100, abs=1.5)


def test_the_longest_diameter_is_in_millimetres():
    mask = EncodedMask.encode(ellipse(30, 50))
    assert longest_diameter(mask, cine(1, spacing=(1.0, 0.2))) == pytest.approx(60, abs=1)


def test_a_single_pixel_has_the_length_of_its_diagonal():
    mask = np.zeros(SIZE, bool)
    mask[3, 4] = True
    found = longest_diameter(EncodedMask.encode(mask), cine(1, spacing=(3.0, 4.0)))
    assert found == pytest.approx(5.0, rel=1e-3)


def test_the_fraction_of_a_beating_ellipsoid_is_its_ejection_fraction():
    """A prolate ellipsoid with half axes a (long) and b has 4/3 pi a b^2."""
    geometry = cine(4, spacing=(0.5, 0.5))
    halves = [(50, 20), (48, 15), (46, 12), (50, 20)]
    measured = measure(segment_of(*(ellipse(a, b) for a, b in halves)), geometry)
    volumes = [4 / 3 * np.pi * a * b**2 / 8 for a, b in halves]
    beat = volume_range(measured, geometry)
    assert beat.largest == pytest.approx(volumes[0], rel=0.03)
    assert beat.smallest == pytest.approx(volumes[2], rel=0.03)
    assert (beat.frame_of_largest, beat.frame_of_smallest) == (0, 2)
    assert beat.fraction == pytest.approx(1 - volumes[2] / volumes[0], abs=0.03)
    flat = area_range(measured, geometry)
    assert flat.fraction == pytest.approx(1 - 46 * 12 / (50 * 20), abs=0.01)


def test_a_frame_without_a_mask_is_not_the_smallest():
    geometry = cine(3)
    measured = measure(segment_of(ellipse(10, 10), None, ellipse(9, 9)), geometry)
    assert area_range(measured, geometry).frame_of_smallest == 2


def test_one_mask_alone_has_no_range():
    assert area_range(measure(segment_of(ellipse(5, 5), None), cine(2)), cine(2)) is None


def test_masks_of_another_clip_are_refused():
    with pytest.raises(InvalidValue, match="has 2 frames .* the clip has 3"):
        measure(segment_of(None, None), cine(3))


@pytest.mark.parametrize(
    "value, unit, words",
    [
        (87.31, "mm2", "87.3 mm²"),
        (1240, "mm2", "12.40 cm²"),
        (512, "mm3", "512.0 mm³"),
        (51200, "mm3", "51.20 ml"),
        (5120, "px", "5120 px"),
    ],
)
def test_measures_in_words(value, unit, words):
    assert in_words(value, unit) == words
