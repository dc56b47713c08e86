"""Masks go into segments and come back: on exactly the source's voxels, and nothing else moves."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")
vtk = pytest.importorskip("vtk")

from scene_nodes import random_matrix, random_transform, vtk_matrix  # noqa: E402
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402

from SAMUSALib.errors import InvalidValue, SceneChanged  # noqa: E402
from SAMUSALib.scene import segments  # noqa: E402
from SAMUSALib.scene.clip_source import SequenceSource, VolumeSource  # noqa: E402
from SAMUSALib.scene.labelmaps import LABELMAP  # noqa: E402
from SAMUSALib.scene.rules import MASKS, OVERWRITES, EditRules  # noqa: E402
from SAMUSALib.scene.segments import SequenceMasks, new_masks, open_masks  # noqa: E402


def voxels_of(node, segment, volume) -> np.ndarray:
    """(i, j, k) bool on the volume's grid as Slicer resamples it."""
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(volume.GetImageData().GetExtent())
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    reference.SetImageToWorldMatrix(matrix)
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    segment = node.GetSegmentation().GetSegment(segment)
    resampled = slicer.vtkOrientedImageData()
    assert slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        segment.GetRepresentation(LABELMAP), reference, resampled
    )
    values = vtk_to_numpy(resampled.GetPointData().GetScalars())
    values = values.reshape(resampled.GetDimensions()[::-1]).transpose(2, 1, 0)
    return values == segment.GetLabelValue()


def stack(masks, segment) -> np.ndarray:
    return np.stack([masks.mask(segment, frame) for frame in range(len(masks.source))])


def cine(working, count=5, size=(12, 9), name="Cine", **kwargs):
    rng = np.random.default_rng(count)
    images = [rng.integers(0, 256, (*size, 1), dtype=np.uint8) for _ in range(count)]
    return SequenceSource(*working.sequence(images, name=name, **kwargs))


def blob(rng, shape):
    mask = np.zeros(shape, bool)
    y, x = (int(rng.integers(n)) for n in shape)
    mask[y : y + 1 + int(rng.integers(6)), x : x + 1 + int(rng.integers(6))] = True
    return mask & (rng.random(shape) < 0.8)


def test_masks_lie_on_exactly_the_voxels_of_200_volumes(working):
    rng = np.random.default_rng(0)
    for n in range(200):
        shape = tuple(int(v) for v in rng.integers(1, 12, 3))
        axis = int(rng.integers(3))
        transform = working.transform(random_transform(rng)) if n % 2 else None
        volume = working.volume(np.zeros(shape, np.uint8), random_matrix(rng), transform=transform)
        source = VolumeSource(volume, axis)
        masks = new_masks(source, "S")
        segment = masks.add_segment("lumen")
        frames = source.geometry.frame_shape
        truth = np.stack([blob(rng, frames[1:]) for _ in range(frames[0])])
        for some in np.array_split(rng.permutation(frames[0]), 3):  # in any order
            masks.write(segment, {int(frame): truth[frame] for frame in some})
        assert np.array_equal(stack(masks, segment), truth)
        expected = source.geometry.to_source(truth)
        if truth.any():
            assert np.array_equal(voxels_of(masks.shown_node, segment, volume), expected), n
        again = blob(rng, frames[1:])
        masks.write(segment, {frames[0] - 1: again})
        assert np.array_equal(stack(masks, segment), [*truth[:-1], again])
        working.scene.Clear(True)


def test_masks_lie_on_exactly_the_voxels_of_200_sequences(working):
    rng = np.random.default_rng(1)
    for n in range(200):
        count, shape = int(rng.integers(1, 4)), [int(v) for v in rng.integers(2, 14, 3)]
        axis = 2 if n % 4 else int(rng.integers(3))
        shape[axis] = 1
        values = [repr(float(v)) for v in np.cumsum(rng.uniform(0.01, 2, count))]
        moving = bool(n % 5 == 0)
        matrices = [random_matrix(rng) for _ in range(count)]
        matrices = matrices if moving else matrices[:1] * count
        images = [np.zeros(shape, np.uint8)] * count
        browser, sequence = working.sequence(images, matrices, values, proxy=bool(n % 3))
        source = SequenceSource(browser, sequence)
        masks = new_masks(source, "S")
        segment = masks.add_segment("lumen")
        truth = np.stack([blob(rng, source.frame_size) for _ in range(count)])
        masks.write(segment, dict(enumerate(truth)))
        assert np.array_equal(stack(masks, segment), truth)
        for frame in range(count):
            node = masks.stored_node.GetDataNodeAtValue(values[frame])
            if truth[frame].any():
                found = voxels_of(node, segment, sequence.GetNthDataNode(frame))
                assert np.array_equal(np.moveaxis(found, axis, 0)[0].T, truth[frame]), n
        working.scene.Clear(True)


def test_a_segmentation_that_numbers_the_voxels_in_another_order_is_written_too(working):
    """As files from other programs do, whose axes are turned or mirrored."""
    rng = np.random.default_rng(2)
    for _ in range(30):
        shape = np.array([int(v) for v in rng.integers(2, 9, 3)])
        matrix = random_matrix(rng)
        volume = working.volume(np.zeros(shape, np.uint8), matrix)
        order = rng.permutation(3)
        turned = np.zeros((4, 4))
        for target, axis in enumerate(order):
            turned[axis, target] = rng.choice([-1, 1])
            turned[axis, 3] = shape[axis] - 1 if turned[axis, target] < 0 else 0
        turned[3, 3] = 1
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*(int(n) for n in shape[order]))
        image.SetImageToWorldMatrix(vtk_matrix(matrix @ turned))
        there = rng.random(shape[order]) < 0.4
        flat = there.T.astype(np.uint8).ravel()
        image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
        node = working.add("vtkMRMLSegmentationNode", "Imported")
        segment = node.AddSegmentFromBinaryLabelmapRepresentation(image, "a", [1.0, 0.0, 0.0], "a")
        axis = int(rng.integers(3))
        source = VolumeSource(volume, axis)
        masks = open_masks(source, node)
        assert np.array_equal(
            source.geometry.to_source(stack(masks, "a")), voxels_of(node, "a", volume)
        )
        truth = rng.random(source.geometry.frame_shape) < 0.5
        masks.write("a", {1: truth[1]})
        assert np.array_equal(masks.mask("a", 1), truth[1])
        masks.write("a", dict(enumerate(truth)))
        assert np.array_equal(stack(masks, "a"), truth)
        assert np.array_equal(voxels_of(node, "a", volume), source.geometry.to_source(truth))
        assert segment == "a"
        working.scene.Clear(True)


def test_a_segmentation_under_another_transform_than_its_volume_is_met_exactly(working):
    rng = np.random.default_rng(3)
    quarter = np.array([[0, -1, 0, 3], [1, 0, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    volume = working.volume(np.zeros((6, 7, 8), np.uint8), np.eye(4))
    volume.SetAndObserveTransformNodeID(working.transform(quarter).GetID())
    node = working.add("vtkMRMLSegmentationNode", "S")
    masks = open_masks(VolumeSource(volume), node)
    segment = masks.add_segment("a")
    truth = rng.random((8, 7, 6)) < 0.4
    masks.write(segment, dict(enumerate(truth)))
    assert np.array_equal(stack(masks, segment), truth)
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    corners = np.zeros(6)
    volume.GetRASBounds(corners)
    assert np.allclose(bounds, corners, atol=1.01)


def test_a_segmentation_on_other_voxels_is_refused_and_left_alone(working):
    coarse = VolumeSource(working.volume(np.zeros((4, 4, 4), np.uint8), np.diag([2, 2, 2, 1.0])))
    masks = new_masks(coarse, "Coarse")
    segment = masks.add_segment("a")
    masks.write(segment, {1: np.ones((4, 4), bool)})
    fine = VolumeSource(working.volume(np.zeros((8, 8, 8), np.uint8), np.eye(4), name="Fine"))
    with pytest.raises(InvalidValue, match="'a' of 'Coarse' lies on other voxels than the image"):
        open_masks(fine, masks.shown_node)
    assert stack(masks, segment).sum() == 16


def test_an_empty_segmentation_takes_the_voxels_of_the_clip(working):
    coarse = VolumeSource(working.volume(np.zeros((4, 4, 4), np.uint8), np.diag([2, 2, 2, 1.0])))
    node = new_masks(coarse, "S").shown_node
    fine = VolumeSource(working.volume(np.zeros((8, 8, 8), np.uint8), np.eye(4), name="Fine"))
    masks = open_masks(fine, node)
    segment = masks.add_segment("a")
    masks.write(segment, {7: np.ones((8, 8), bool)})
    assert stack(masks, segment).sum() == 64


def test_segments_that_share_a_labelmap_keep_their_voxels(working):
    rng = np.random.default_rng(4)
    source = VolumeSource(working.volume(np.zeros((9, 8, 6), np.uint8), random_matrix(rng)), 1)
    masks = new_masks(source, "S")
    frames = source.geometry.frame_shape
    labels = rng.integers(0, 4, frames)
    names = [masks.add_segment(name) for name in "abc"]
    for number, segment in enumerate(names, start=1):
        masks.write(segment, dict(enumerate(labels == number)))
    segmentation = masks.shown_node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 1
    for _ in range(10):  # overlaps with the others, whose voxels stay
        frame, segment = int(rng.integers(frames[0])), names[0]
        now = {name: stack(masks, name) for name in names}
        wanted = blob(rng, frames[1:])
        masks.write(segment, {frame: wanted})
        now[segment][frame] = wanted
        for name in names:
            assert np.array_equal(stack(masks, name), now[name])
    assert segmentation.GetNumberOfLayers() == 2


def editor_for(working, masks):
    editor = working.add("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(masks.shown_node)
    editor.SetAndObserveSourceVolumeNode(masks.source.node)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(working.scene)
    logic.SetSegmentEditorNode(editor)
    return editor, logic


@pytest.mark.parametrize("overwrite", range(3))
@pytest.mark.parametrize("mask_mode", range(6))
@pytest.mark.parametrize("intensity", [False, True])
def test_masking_and_overwriting_do_what_the_segment_editor_does(
    working, mask_mode, overwrite, intensity
):
    rng = np.random.default_rng(mask_mode * 10 + overwrite)
    values = rng.integers(0, 100, (9, 8, 1)).astype(np.int16)
    source = VolumeSource(working.volume(values, random_matrix(rng)))
    labels = rng.integers(0, 4, (8, 9))
    extra = rng.random((8, 9)) < 0.3

    def drawn(name):
        masks = new_masks(source, name)
        for number, segment in enumerate("abcd", start=1):
            masks.shown_node.GetSegmentation().AddEmptySegment(segment, segment, [1.0, 0.0, 0.0])
            if number < 4:
                masks.write(segment, {0: labels == number})
        masks.write("d", {0: extra})  # overlaps the others, on a layer of its own
        masks.shown_node.GetDisplayNode().SetSegmentVisibility("b", False)
        return masks

    ours, theirs = drawn("ours"), drawn("theirs")
    editor, logic = editor_for(working, theirs)
    editor.SetMaskMode(mask_mode)
    editor.SetMaskSegmentID("c")
    editor.SetOverwriteMode(overwrite)
    editor.SetSourceVolumeIntensityMask(intensity)
    editor.SetSourceVolumeIntensityMaskRange(20, 60)
    editor.SetSelectedSegmentID("a")
    assert logic.ResetModifierLabelmapToDefault()
    modifier = logic.GetModifierLabelmap()
    wanted = rng.random((8, 9)) < 0.5
    vtk_to_numpy(modifier.GetPointData().GetScalars())[:] = wanted.ravel()
    modifier.Modified()
    logic.ModifySegmentByLabelmap(
        theirs.shown_node, "a", modifier, logic.ModificationModeSet, True, False
    )
    rules = EditRules.of_editor(editor)
    assert (rules.mask, rules.overwrite) == (MASKS[mask_mode], OVERWRITES[overwrite])
    before = {segment: ours.mask(segment, 0) for segment in "abcd"}
    deltas = ours.write("a", {0: wanted}, rules)
    for segment in "abcd":
        assert np.array_equal(ours.mask(segment, 0), theirs.mask(segment, 0)), segment
    ours.apply(deltas, back=True)
    for segment in "abcd":
        assert np.array_equal(ours.mask(segment, 0), before[segment])


def test_masking_holds_on_frames_that_are_not_shown(working):
    source = cine(working)
    masks = new_masks(source, "S")
    wall, lumen = masks.add_segment("wall"), masks.add_segment("lumen")
    half = np.zeros((9, 12), bool)
    half[:, :6] = True
    masks.write(wall, {3: half})
    source.show_frame(0)
    masks.write(lumen, {3: np.ones((9, 12), bool)}, EditRules(mask="outside all"))
    assert np.array_equal(masks.mask(lumen, 3), ~half)
    masks.write(lumen, {3: np.ones((9, 12), bool)}, EditRules(overwrite="all"))
    assert not masks.mask(wall, 3).any() and masks.mask(lumen, 3).all()
    bright = source.values(2) > 100
    masks.write(lumen, {2: np.ones((9, 12), bool)}, EditRules(intensity=(101, 255)))
    assert np.array_equal(masks.mask(lumen, 2), bright)


def test_a_sequence_gets_a_segmentation_sequence_in_its_browser(working):
    source = cine(working, values=["0", "0.4", "0.5", "2", "7.25"])
    source.show_frame(2)
    masks = new_masks(source, "Masks")
    sequence, browser = masks.stored_node, source.browser
    assert isinstance(masks, SequenceMasks)
    assert browser.GetSequenceNode(masks.shown_node) is sequence
    assert browser.GetSaveChanges(sequence)
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")
    assert list(masks.make_items())[-1] == 1.0
    assert sequence.GetNumberOfDataNodes() == 5
    for frame in range(5):
        assert sequence.GetNthIndexValue(frame) == source.index_value(frame)
    assert source.shown_frame() == 2


def test_what_is_written_shows_at_once_on_the_selected_frame_and_moves_it_nowhere(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    list(masks.make_items())
    source.show_frame(1)
    proxy, image = masks.shown_node, source.shown_volume
    shown, told = image.GetImageData(), []
    proxy.AddObserver(
        slicer.vtkSegmentation.SourceRepresentationModified, lambda *_: told.append(1)
    )
    square = np.zeros((9, 12), bool)
    square[2:5, 3:7] = True
    masks.write(segment, {frame: square for frame in (0, 2, 3)})
    assert told == [] and source.shown_frame() == 1
    assert not masks.mask(segment, 1).any()
    assert source.shown_volume.GetImageData() is shown
    masks.write(segment, {1: square})
    assert len(told) == 1
    assert np.array_equal(voxels_of(proxy, segment, image)[:, :, 0].T, square)
    for frame in (0, 4, 3):
        source.show_frame(frame)
        drawn = proxy.GetSegmentation().GetSegment(segment).GetRepresentation(LABELMAP)
        assert (drawn.GetNumberOfPoints() > 0) == (frame != 4)


def test_what_other_effects_draw_on_the_proxy_is_the_frames_mask(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    list(masks.make_items())
    source.show_frame(2)
    drawn = slicer.vtkOrientedImageData()
    drawn.SetExtent(1, 3, 2, 4, 0, 0)
    drawn.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    drawn.GetPointData().GetScalars().Fill(1)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(drawn, masks.shown_node, segment)
    expected = np.zeros((9, 12), bool)
    expected[2:5, 1:4] = True
    source.show_frame(0)
    assert np.array_equal(masks.mask(segment, 2), expected)
    assert not masks.mask(segment, 0).any() and not masks.mask(segment, 3).any()


def test_looking_at_a_frame_without_a_segmentation_does_not_copy_one(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    masks.write(segment, {0: np.ones((9, 12), bool)})
    for frame in (1, 2, 4):
        source.show_frame(frame)
    assert [masks.mask(segment, frame).any() for frame in range(5)] == [True] + [False] * 4
    masks.write(segment, {4: np.ones((9, 12), bool)})  # also where Slicer made the item
    assert masks.mask(segment, 4).all()


def test_a_segmentation_that_was_drawn_on_one_frame_becomes_a_sequence(working):
    source = cine(working)
    source.show_frame(3)
    node = working.add("vtkMRMLSegmentationNode", "Drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(source.shown_volume)
    segment = node.GetSegmentation().AddEmptySegment("", "lumen", [0.0, 1.0, 0.0])
    drawn = slicer.vtkOrientedImageData()
    drawn.SetExtent(1, 3, 2, 4, 0, 0)
    drawn.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    drawn.GetPointData().GetScalars().Fill(1)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(drawn, node, segment)
    masks = open_masks(source, node)
    assert masks.shown_node is node
    assert masks.mask(segment, 3).sum() == 9
    masks.write(segment, {1: np.ones((9, 12), bool)})
    assert [info.name for info in masks.segments()] == ["lumen"]
    assert [int(masks.mask(segment, frame).sum()) for frame in range(5)] == [0, 108, 0, 9, 0]
    assert open_masks(source, node).stored_node is masks.stored_node  # not a second time


def test_names_colours_and_terminology_are_alike_on_all_frames(working):
    source = cine(working)
    masks = new_masks(source, "S")
    lumen, wall = masks.add_segment("lumen"), masks.add_segment("wall", (10, 20, 30))
    list(masks.make_items())
    masks.write(lumen, {4: np.ones((9, 12), bool)})
    source.show_frame(2)
    shown = masks.shown_node.GetSegmentation()
    shown.GetSegment(lumen).SetName("true lumen")
    shown.GetSegment(lumen).SetColor(0.0, 1.0, 0.2)
    shown.GetSegment(lumen).SetTag("TerminologyEntry", "Vessel")
    shown.SetSegmentIndex(wall, 0)
    added = shown.AddEmptySegment("", "plaque", [1.0, 1.0, 0.0])
    masks.align_segments()
    for frame in range(5):
        segmentation = masks.stored_node.GetNthDataNode(frame).GetSegmentation()
        assert segmentation.GetSegmentIDs() == (wall, lumen, added)
        assert segmentation.GetSegment(lumen).GetName() == "true lumen"
        assert np.allclose(segmentation.GetSegment(lumen).GetColor(), (0, 1, 0.2))
        assert segmentation.GetSegment(lumen).GetTerminology() == "Vessel"
    assert masks.mask(lumen, 4).all() and not masks.mask(added, 4).any()
    infos = {info.id: info for info in masks.segments()}
    assert infos[lumen].name == "true lumen" and infos[wall].color == (10, 20, 30)


@pytest.mark.parametrize("opened", [False, True])
def test_of_what_is_alike_on_all_frames_only_what_changes_is_looked_at_again(
    working, monkeypatch, opened
):
    masks = new_masks(cine(working), "S")
    for _ in masks.make_items():
        pass
    ids = [masks.add_segment(name) for name in "abc"]
    if opened:
        masks = open_masks(masks.source, masks.shown_node)
        for _ in masks.make_items():
            pass
    looked, metadata = [], segments._metadata
    monkeypatch.setattr(segments, "_metadata", lambda each: looked.append(each) or metadata(each))
    masks.align_segments()
    assert len(looked) == 3, "the segments of the shown frame"
    looked.clear()
    shown = masks.shown_node.GetSegmentation()
    shown.GetSegment(ids[1]).SetName("B")
    shown.ReorderSegments([ids[2], ids[0], ids[1]])
    masks.align_segments()
    assert len(looked) == 3 + masks.stored_node.GetNumberOfDataNodes() - 1
    for number in range(masks.stored_node.GetNumberOfDataNodes()):
        found = masks.stored_node.GetNthDataNode(number).GetSegmentation()
        assert found.GetSegmentIDs() == (ids[2], ids[0], ids[1])
        assert found.GetSegment(ids[1]).GetName() == "B"


def test_segments_that_differ_when_a_clip_is_opened_are_alike_after_the_next_change(working):
    masks = new_masks(cine(working), "S")
    for _ in masks.make_items():
        pass
    one, other = masks.add_segment("one"), masks.add_segment("other")
    masks.stored_node.GetNthDataNode(3).GetSegmentation().GetSegment(other).SetName("odd")
    again = open_masks(masks.source, masks.shown_node)
    for _ in again.make_items():
        pass
    again.shown_node.GetSegmentation().GetSegment(one).SetName("1")
    again.align_segments()
    found = masks.stored_node.GetNthDataNode(3).GetSegmentation()
    assert [found.GetSegment(each).GetName() for each in (one, other)] == ["1", "other"]


def test_a_segment_that_is_missing_on_a_frame_is_empty_there_and_can_be_written(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment, other = masks.add_segment("a", (1, 2, 3)), masks.add_segment("b")
    list(masks.make_items())
    masks.stored_node.GetNthDataNode(2).GetSegmentation().RemoveSegment(segment)
    masks.write(other, {2: np.ones((9, 12), bool)})
    assert masks.has_segment(segment) and not masks.mask(segment, 2).any()
    square = np.zeros((9, 12), bool)
    square[1:3, 1:3] = True
    masks.write(segment, {2: square})
    assert np.array_equal(masks.mask(segment, 2), square) and masks.mask(other, 2).all()
    again = masks.stored_node.GetNthDataNode(2).GetSegmentation().GetSegment(segment)
    assert again.GetName() == "a" and np.allclose(again.GetColor(), np.array([1, 2, 3]) / 255)


@pytest.mark.parametrize("kind", ["volume", "cine"])
def test_renaming_and_deleting_while_a_handle_is_held(working, kind):
    if kind == "volume":
        source = VolumeSource(working.volume(np.zeros((12, 9, 5), np.uint8), np.eye(4)))
    else:
        source = cine(working)
    masks = new_masks(source, "S")
    segment, other = masks.add_segment("a"), masks.add_segment("b")
    full = np.ones((9, 12), bool)
    masks.write(segment, {1: full})
    deltas = masks.write(other, {1: full, 2: full})
    masks.shown_node.GetSegmentation().GetSegment(segment).SetName("renamed")
    masks.stored_node.SetName("Renamed too")
    source.node.SetName("Even the images")
    masks.write(segment, {3: full})
    assert masks.mask(segment, 3).all()
    masks.remove_segment(other)
    assert not masks.has_segment(other)
    for call in (
        lambda: masks.mask(other, 1),
        lambda: masks.write(other, {1: full}),
        lambda: masks.write(segment, {1: full}, EditRules(mask="inside", mask_segment=other)),
        lambda: masks.remove_segment(other),
    ):
        with pytest.raises(SceneChanged, match="deleted|no longer in 'Renamed too'"):
            call()
    masks.apply(deltas, back=True)  # nothing is left of it: no error
    working.scene.RemoveNode(masks.stored_node)
    for call in (
        lambda: masks.mask(segment, 1),
        lambda: masks.write(segment, {1: full}),
        lambda: masks.segments(),
        lambda: masks.add_segment("c"),
    ):
        with pytest.raises(SceneChanged, match="'Renamed too' is no longer in the scene"):
            call()
    working.scene.Clear(True)
    with pytest.raises(SceneChanged):
        masks.mask(segment, 1)


def test_masks_outlive_the_deletion_of_the_proxies(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    working.scene.RemoveNode(masks.shown_node)
    working.scene.RemoveNode(source.shown_volume)
    masks.write(segment, {frame: np.ones((9, 12), bool) for frame in (0, 3)})
    assert [masks.mask(segment, frame).any() for frame in range(5)] == [
        True, False, False, True, False,
    ]  # fmt: skip


def test_bad_masks_change_nothing(working):
    source = cine(working)
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    good = np.ones((9, 12), bool)
    with pytest.raises(InvalidValue, match=r"shape \(12, 9\)"):
        masks.write(segment, {0: good, 1: good.T})
    with pytest.raises(InvalidValue, match="frame 5 .* the last one is 4"):
        masks.write(segment, {0: good, 5: good})
    assert not masks.mask(segment, 0).any()
    assert masks.write(segment, {}) == {}
    masks.write(segment, {2: good})
    masks.write(segment, {2: ~good})
    assert not masks.mask(segment, 2).any()


def test_a_closed_surface_follows_the_masks(working):
    source = VolumeSource(working.volume(np.zeros((12, 9, 5), np.uint8), np.eye(4)))
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    box = np.zeros((9, 12), bool)
    box[2:6, 2:6] = True
    masks.write(segment, {1: box, 2: box})
    segmentation = masks.shown_node.GetSegmentation()
    assert masks.shown_node.CreateClosedSurfaceRepresentation()
    before = segmentation.GetSegment(segment).GetRepresentation("Closed surface").GetBounds()
    masks.write(segment, {3: box})
    after = segmentation.GetSegment(segment).GetRepresentation("Closed surface").GetBounds()
    assert after[5] > before[5] + 0.5


def test_a_segmentation_made_of_surfaces_is_refused_with_a_way_out(working):
    source = VolumeSource(working.volume(np.zeros((12, 9, 5), np.uint8), np.eye(4)))
    node = working.add("vtkMRMLSegmentationNode", "Surfaces")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    ball = vtk.vtkSphereSource()
    ball.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1.0, 0.0, 0.0])
    with pytest.raises(InvalidValue, match="binary labelmap the source representation"):
        open_masks(source, node)


def test_700_masks_of_640_x_480_take_less_than_60_mb(working):
    source = cine(working, 35, size=(640, 480))
    masks = new_masks(source, "S")
    segment = masks.add_segment("a")
    y, x = np.mgrid[:480, :640]
    for frame in range(35):  # a ventricle in an apical view fills about a tenth of the image
        radius = 85 + 15 * np.sin(frame / 3)
        masks.write(segment, {frame: (x - 300) ** 2 + ((y - 240) * 0.8) ** 2 < radius**2})
    items = (masks.stored_node.GetNthDataNode(frame).GetSegmentation() for frame in range(35))
    kilobytes = sum(
        item.GetSegment(segment).GetRepresentation(LABELMAP).GetActualMemorySize() for item in items
    )
    assert kilobytes * 1024 / 35 * 700 <= 60e6
