"""Masks in little memory, and the states and locks of frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.annotation import Annotation, FrameAnnotation, FrameState, SegmentAnnotation
from SAMUSALib.errors import InvalidValue
from SAMUSALib.masks import EncodedMask, MaskDelta, bounding_box

masks = st.builds(
    lambda height, width, density, seed: (
        np.random.default_rng(seed).random((height, width)) < density
    ),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=150, deadline=None)
@given(masks)
def test_encoding_is_lossless(mask):
    encoded = EncodedMask.encode(mask)
    assert encoded.shape == mask.shape
    assert encoded.is_empty == (not mask.any())
    assert np.array_equal(encoded.decode(), mask)


@settings(max_examples=80, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_a_delta_swaps_before_and_after(before, seed):
    after = np.random.default_rng(seed).random(before.shape) < 0.2
    delta = MaskDelta.between(before, after)
    assert np.array_equal(delta.apply(before), after)
    assert np.array_equal(delta.revert(after), before)
    assert delta.is_empty == np.array_equal(before, after)


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_two_changes_make_one(before, seed):
    rng = np.random.default_rng(seed)
    between, after = rng.random(before.shape) < 0.5, rng.random(before.shape) < 0.5
    both = MaskDelta.between(before, between).then(MaskDelta.between(between, after))
    assert both == MaskDelta.between(before, after)


def test_going_back_leaves_alone_what_was_changed_elsewhere_meanwhile():
    before, after = np.zeros((2, 4, 4), bool)
    after[0] = True
    delta = MaskDelta.between(before, after)
    meanwhile = after.copy()
    meanwhile[0, 0], meanwhile[3, 3] = False, True
    expected = np.zeros((4, 4), bool)
    expected[3, 3] = True
    assert np.array_equal(delta.revert(meanwhile), expected)


def test_a_typical_structure_takes_about_half_a_kilobyte():
    y, x = np.mgrid[:480, :640]
    mask = (x - 300) ** 2 + (y - 200) ** 2 < 100**2
    assert len(EncodedMask.encode(mask).data) < 1000


@pytest.mark.parametrize(
    "damaged",
    [
        EncodedMask((4, 4), (0, 0, 3, 3), b"rubbish"),
        EncodedMask((4, 4), (0, 0, 9, 9), b""),
        EncodedMask((4, 4), (2, 0, 1, 3), b""),
    ],
)
def test_damaged_masks_are_refused(damaged):
    with pytest.raises(InvalidValue, match="damaged"):
        damaged.decode()


def test_a_mask_that_inflates_beyond_its_box_is_refused():
    bomb = EncodedMask((4, 4), (0, 0, 3, 3), EncodedMask.encode(np.ones((2000, 2000))).data)
    with pytest.raises(InvalidValue, match="damaged"):
        bomb.decode()


def test_shapes_must_agree():
    with pytest.raises(InvalidValue):
        EncodedMask.encode(np.zeros((2, 3, 4)))
    with pytest.raises(InvalidValue):
        MaskDelta.between(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(InvalidValue):
        MaskDelta.between(np.zeros((2, 3)), np.ones((2, 3))).apply(np.zeros((3, 2)))


def test_bounding_box_is_inclusive():
    mask = np.zeros((5, 6), bool)
    assert bounding_box(mask) is None
    mask[1, 2] = mask[3, 5] = True
    assert bounding_box(mask) == (2, 1, 5, 3)


def test_frames_start_empty_and_undo_puts_back():
    segment = SegmentAnnotation("a", 4, (3, 5))
    mask = np.eye(3, 5, dtype=bool)
    before = segment.set(2, mask, FrameState.PROPAGATED, 0.7)
    assert before.state is FrameState.EMPTY and not segment.mask(1).any()
    assert np.array_equal(segment.mask(2), mask) and segment.frame(2).confidence == 0.7
    segment.restore(2, before)
    assert segment.frame(2) == before
    assert [m.shape for m in segment.masks()] == [(3, 5)] * 4


def test_a_locked_frame_is_not_overwritten():
    segment = SegmentAnnotation("a", 4, (3, 5))
    mask = np.eye(3, 5, dtype=bool)
    segment.set(1, mask, FrameState.PROPAGATED)
    segment.lock(1)
    segment.lock(3)
    assert segment.locked == {1, 3}
    with pytest.raises(InvalidValue, match="locked"):
        segment.set(1, ~mask, FrameState.PROPAGATED)
    segment.set(1, ~mask, FrameState.REVIEWED)  # the reviewer may correct it
    segment.unlock(1)
    segment.unlock(3)
    assert segment.frame(1).state is FrameState.PROPAGATED
    assert segment.frame(3).state is FrameState.EMPTY and not segment.locked


def test_impossible_frames_masks_and_confidences_are_refused():
    segment = SegmentAnnotation("a", 4, (3, 5))
    for index in (-1, 4, True):
        with pytest.raises(InvalidValue):
            segment.frame(index)
    with pytest.raises(InvalidValue, match="shape"):
        segment.set(0, np.zeros((5, 3)), FrameState.PROMPTED)
    for confidence in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidValue, match="confidence"):
            FrameAnnotation(EncodedMask((3, 5), None, b""), FrameState.EMPTY, confidence)
    with pytest.raises(InvalidValue):
        SegmentAnnotation("a", 0, (3, 5))


def test_segment_names_are_unique():
    annotation = Annotation(4, (3, 5))
    first = annotation.add("lumen", (0, 255, 0))
    assert annotation.segment("lumen") is first
    with pytest.raises(InvalidValue, match="exists already"):
        annotation.add("lumen")
    with pytest.raises(InvalidValue, match="no segment"):
        annotation.segment("wall")
