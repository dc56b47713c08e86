"""Volumes and sequences in a scene become clips, wherever they lie and whatever they hold."""

import subprocess
import sys

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from scene_nodes import random_matrix, random_transform  # noqa: E402

from SAMUSALib.clip import to_8bit  # noqa: E402
from SAMUSALib.errors import InvalidValue, SceneChanged  # noqa: E402
from SAMUSALib.scene.clip_source import (  # noqa: E402
    SequenceSource,
    VolumeSource,
    clip_from_sequence,
    clip_from_volume,
    open_clip,
)

TYPES = (np.uint8, np.int16, np.uint16, np.float32, np.float64, "rgb", "rgba")


def pixels(rng, shape, type_):
    """(i, j, k) or (i, j, k, components) of a type."""
    if type_ == "rgb" or type_ == "rgba":
        return rng.integers(0, 256, (*shape, len(type_)), dtype=np.uint8)
    if np.issubdtype(type_, np.floating):
        return (rng.normal(size=shape) * 1000).astype(type_)
    info = np.iinfo(type_)
    return rng.integers(info.min, info.max, shape, dtype=type_, endpoint=True)


def as_frames(voxels, axis):
    """What frames of a volume are: of the other two axes the lower one is x."""
    return np.moveaxis(voxels, axis, 0).swapaxes(1, 2)


def test_200_volumes_are_cut_exactly_along_their_own_axes(working):
    rng = np.random.default_rng(0)
    for n in range(200):
        shape = tuple(int(v) for v in rng.integers(1, 9, 3))
        axis, type_ = int(rng.integers(3)), TYPES[n % len(TYPES)]
        matrix = random_matrix(rng)
        voxels = pixels(rng, shape, type_)
        placed = random_transform(rng) if rng.integers(2) else np.eye(4)
        transform = working.transform(placed) if not np.array_equal(placed, np.eye(4)) else None
        volume = working.volume(voxels, matrix, transform=transform)
        clip = clip_from_volume(volume, axis)
        frames = as_frames(voxels, axis)
        expected = frames[..., :3] if frames.ndim == 4 else to_8bit(frames)[0]
        assert np.array_equal(clip.frames, expected), (shape, axis, type_)
        assert np.allclose(clip.geometry.ijk_to_ras, placed @ matrix, rtol=0, atol=1e-9)
        assert clip.geometry.axis == axis and clip.geometry.source_shape == shape
        working.scene.Clear(True)


def test_200_sequences_are_read_exactly(working):
    rng = np.random.default_rng(1)
    for n in range(200):
        count, type_ = int(rng.integers(1, 6)), TYPES[n % len(TYPES)]
        shape = [int(v) for v in rng.integers(2, 9, 3)]
        axis = 2 if n % 4 else int(rng.integers(3))
        shape[axis] = 1
        images = [pixels(rng, shape, type_) for _ in range(count)]
        times = np.cumsum(rng.uniform(0.001, 3.0, count))
        matrix = random_matrix(rng)
        values = [repr(float(t)) for t in times]
        browser, sequence = working.sequence(images, [matrix] * count, values, proxy=bool(n % 3))
        clip = clip_from_sequence(browser, sequence)
        frames = np.stack([as_frames(image, axis)[0] for image in images])
        expected = frames[..., :3] if frames.ndim == 4 else to_8bit(frames)[0]
        assert np.array_equal(clip.frames, expected), (shape, axis, type_)
        assert clip.geometry.kind == "cine" and clip.geometry.axis == axis
        assert np.allclose(clip.times, times - times[0])
        assert np.allclose(clip.geometry.ijk_to_ras, matrix, rtol=0, atol=1e-9)
        working.scene.Clear(True)


def test_the_8_bit_rule_is_that_of_files(working):
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 4000, (70, 50, 1)).astype(np.int16) for _ in range(700)]
    source = SequenceSource(*working.sequence(images))
    frames = np.stack([image[:, :, 0].T for image in images])
    expected, rule = to_8bit(frames)
    assert list(source.survey())[-1] == 1.0
    assert source.intensity_rule == rule and "percentiles" in rule
    for frame in (0, 3, 699):
        assert np.array_equal(source.frame(frame), expected[frame])


def test_the_display_counts_if_somebody_has_set_it(working):
    voxels = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    volume = working.volume(voxels)
    volume.CreateDefaultDisplayNodes()
    assert clip_from_volume(volume).intensity_rule == ""
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(20, 30)
    clip = clip_from_volume(volume)
    assert clip.intensity_rule == "display window 20..40 -> 0..255"
    assert np.array_equal(clip.frames, to_8bit(as_frames(voxels, 2), (20, 40))[0])
    assert clip_from_volume(volume, use_display=False).intensity_rule == ""


def test_the_display_that_slicer_gives_the_proxy_of_a_sequence_is_not_a_choice(working):
    images = [np.full((4, 4, 1), 100 + t, np.uint8) for t in range(3)]
    images[0][0, 0] = 30
    browser, sequence = working.sequence(images)
    display = browser.GetProxyNode(sequence).GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    browser.SetSelectedItemNumber(2)
    assert clip_from_sequence(browser, sequence).intensity_rule == ""
    display.SetWindowLevel(60, 100)
    assert clip_from_sequence(browser, sequence).intensity_rule.startswith("display window 70..130")


def test_a_grey_image_in_rgb_is_grey_unless_any_frame_has_a_colour(working):
    grey = np.repeat(np.arange(20, dtype=np.uint8).reshape(5, 4, 1, 1), 3, axis=3)
    coloured = grey.copy()
    coloured[2, 2, 0, 0] = 200
    assert clip_from_sequence(*working.sequence([grey, grey])).frames.shape == (2, 4, 5)
    assert clip_from_sequence(*working.sequence([grey, coloured])).frames.shape == (2, 4, 5, 3)


def test_a_constant_image_is_no_error(working):
    clip = clip_from_volume(working.volume(np.full((3, 3, 3), 700, np.int16)))
    assert not clip.frames.any()


def test_reading_does_not_copy_or_change_the_voxels(working):
    volume = working.volume(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    source = VolumeSource(volume)
    before = volume.GetImageData().GetMTime()
    values = source.values(1)
    assert values.base is not None
    assert volume.GetImageData().GetMTime() == before
    source.frame(1)[:] = 0
    assert source.values(1).any()


def test_a_proxy_stands_for_its_sequence(working):
    images = [np.full((4, 3, 1), t, np.uint8) for t in range(5)]
    browser, sequence = working.sequence(images)
    source = open_clip(browser.GetProxyNode(sequence))
    assert isinstance(source, SequenceSource) and len(source) == 5
    assert isinstance(open_clip(working.volume(images[0])), VolumeSource)
    for frame in (3, 0, 4):
        source.show_frame(frame)
        assert source.shown_frame() == frame
        assert source.shown_volume.GetImageData().GetScalarComponentAsDouble(0, 0, 0, 0) == frame


def test_frames_are_found_under_another_master_by_their_times(working):
    images = [np.full((4, 3, 1), t, np.uint8) for t in range(3)]
    browser, master = working.sequence(images * 2, values=["0", "0.5", "1", "1.5", "2", "2.5"])
    _, other = working.sequence(images, values=["0.5", "1.5", "2.5"], name="Other")
    browser.AddSynchronizedSequenceNode(other)
    source = SequenceSource(browser, other)
    source.show_frame(1)
    assert browser.GetSelectedItemNumber() == 3 and source.shown_frame() == 1
    browser.SetSelectedItemNumber(4)  # between two frames Slicer shows the earlier one
    assert source.shown_frame() == 1


@pytest.mark.parametrize(
    ("unit", "values", "times"),
    [
        ("s", ["2", "2.5", "7"], [0, 0.5, 5]),
        ("ms", ["0", "40", "90"], [0, 0.04, 0.09]),
        ("", ["0", "1", "2"], None),
        ("mm", ["0", "1", "2"], None),
    ],
)
def test_times_are_known_only_where_the_sequence_counts_in_time(working, unit, values, times):
    images = [np.zeros((4, 3, 1), np.uint8)] * 3
    found = SequenceSource(*working.sequence(images, values=values, unit=unit)).times
    assert found is None if times is None else np.allclose(found, times)


def test_a_pixel_size_of_exactly_one_is_taken_for_unknown_in_a_cine(working):
    image = np.zeros((4, 3, 1), np.uint8)
    assert not SequenceSource(*working.sequence([image])).geometry.calibrated
    assert not VolumeSource(working.volume(image)).geometry.calibrated
    assert VolumeSource(working.volume(np.zeros((4, 3, 2), np.uint8))).geometry.calibrated
    scaled = SequenceSource(*working.sequence([image], [np.diag([0.2, 0.2, 1, 1])]))
    assert scaled.geometry.calibrated and scaled.geometry.pixel_spacing == (0.2, 0.2)


def test_nonlinear_transforms_are_refused_with_a_way_out(working):
    volume = working.volume(np.zeros((4, 3, 2), np.uint8), transform=working.bend())
    with pytest.raises(InvalidValue, match="harden it in the Transforms module"):
        clip_from_volume(volume)


def test_what_is_no_clip_is_refused_in_words(working):
    empty = working.add("vtkMRMLScalarVolumeNode", "Empty")
    with pytest.raises(InvalidValue, match="'Empty' holds no image"):
        VolumeSource(empty)
    with pytest.raises(InvalidValue, match="axis is 3"):
        VolumeSource(working.volume(np.zeros((4, 3, 2), np.uint8)), 3)
    with pytest.raises(InvalidValue, match="'Flow' has 2 values a voxel"):
        VolumeSource(working.volume(np.zeros((4, 3, 2, 2), np.float32), name="Flow"))
    with pytest.raises(InvalidValue, match="is no volume"):
        VolumeSource(working.add("vtkMRMLSegmentationNode", "S"))
    whole = [np.zeros((4, 3, 2), np.uint8)] * 2
    with pytest.raises(InvalidValue, match="clone the item"):
        SequenceSource(*working.sequence(whole))
    browser, sequence = working.sequence(
        [np.zeros((4, 3, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)]
    )
    with pytest.raises(InvalidValue, match="item 1 .* must have one size"):
        clip_from_sequence(browser, sequence)
    images = [np.zeros((4, 3, 1), np.uint8), np.zeros((4, 3, 1), np.int16)]
    with pytest.raises(InvalidValue, match="item 1 .* int16 values, the first one uint8"):
        clip_from_sequence(*working.sequence(images))
    other, _ = working.sequence([np.zeros((4, 3, 1), np.uint8)], name="Other")
    with pytest.raises(InvalidValue, match="is not in the browser"):
        SequenceSource(other, sequence)
    blank = working.add("vtkMRMLSequenceNode", "Blank")
    other.AddSynchronizedSequenceNode(blank)
    with pytest.raises(InvalidValue, match="'Blank' is empty"):
        SequenceSource(other, blank)
    shifted = working.volume(np.zeros((4, 3, 2), np.uint8), name="Shifted")
    shifted.GetImageData().SetExtent(1, 4, 0, 2, 0, 1)
    with pytest.raises(InvalidValue, match="starts at voxel"):
        VolumeSource(shifted)


def test_a_clip_whose_node_is_deleted_says_so(working):
    image = np.zeros((4, 3, 1), np.uint8)
    volume = VolumeSource(working.volume(image, name="Gone"))
    browser, sequence = working.sequence([image, image])
    cine = SequenceSource(browser, sequence)
    volume.node.SetName("Renamed")
    assert volume.name == "Renamed"
    working.scene.RemoveNode(volume.node)
    with pytest.raises(SceneChanged, match="volume 'Renamed' is no longer in the scene"):
        volume.frame(0)
    cine.frame(0)
    working.scene.RemoveNode(browser)
    assert cine.frame(1).shape == (3, 4)  # the images are still there
    with pytest.raises(SceneChanged, match="sequence browser"):
        cine.shown_frame()
    working.scene.Clear(True)
    with pytest.raises(SceneChanged, match="sequence 'Cine'"):
        cine.frame(1)


def test_importing_the_room_needs_nothing_but_numpy_and_vtk():
    code = (
        "import sys; before = set(sys.modules)\n"
        "from SAMUSALib.scene import clip_source, points, segments, state, undo\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(tops - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"SAMUSALib", "numpy", "vtk", "vtkmodules"}
