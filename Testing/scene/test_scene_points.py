"""Clicks, point lists and ROIs in the world become prompts on frames, and go back, unrounded."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from scene_nodes import random_matrix, random_transform  # noqa: E402

from SAMUSALib.errors import InvalidValue, SceneChanged  # noqa: E402
from SAMUSALib.prompts import FramePrompts  # noqa: E402
from SAMUSALib.scene.clip_source import SequenceSource, VolumeSource  # noqa: E402
from SAMUSALib.scene.points import (  # noqa: E402
    box_to_roi,
    frame_in_view,
    from_ras,
    points_to_markups,
    prompts_from_markups,
    slice_axis,
    to_ras,
)


def cine(working, count=4, transform=None, matrices=None):
    images = [np.zeros((20, 15, 1), np.uint8)] * count
    browser, sequence = working.sequence(images, matrices)
    if transform is not None:
        browser.GetProxyNode(sequence).SetAndObserveTransformNodeID(transform.GetID())
    return SequenceSource(browser, sequence)


def test_200_clicks_meet_the_voxel_that_slicer_says_and_come_back(working):
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(int(v) for v in rng.integers(2, 40, 3))
        axis = int(rng.integers(3))
        volume = working.volume(
            np.zeros(shape, np.uint8),
            random_matrix(rng),
            transform=working.transform(random_transform(rng)),
        )
        source = VolumeSource(volume, axis)
        ijk = rng.uniform(-0.5, np.array(shape) - 0.5)
        # what Slicer's own nodes say, with no matrix of ours
        local = [*(mat @ [*ijk, 1])[:3]] if (mat := _ijk_to_ras(volume)) is not None else None
        ras = np.array(volume.GetParentTransformNode().GetTransformToParent().TransformPoint(local))
        x, y, frame = from_ras(source, ras)
        expected = np.delete(ijk, axis)
        assert np.allclose([x, y], expected, rtol=0, atol=1e-7)
        assert frame == int(np.floor(ijk[axis] + 0.5))
        on_slice = to_ras(source, [[x, y]], frame)
        assert np.allclose(from_ras(source, on_slice[0]), (x, y, frame), rtol=0, atol=1e-7)
        working.scene.Clear(True)


def _ijk_to_ras(volume):
    matrix = slicer.vtkMRMLLinearTransformNode().GetMatrixTransformToParent()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def test_a_click_on_a_cine_belongs_to_the_frame_that_is_shown(working):
    rng = np.random.default_rng(1)
    source = cine(working, transform=working.transform(random_transform(rng)))
    source.show_frame(2)
    place = to_ras(source, [[3.25, 7.75]], 2)[0]
    assert np.allclose(from_ras(source, place), (3.25, 7.75, 2))
    assert from_ras(source, place, frame=1)[2] == 1


def test_frames_of_a_tracked_probe_lie_where_their_images_are(working):
    rng = np.random.default_rng(2)
    matrices = [random_matrix(rng) for _ in range(3)]
    source = cine(working, 3, matrices=matrices)
    for frame, matrix in enumerate(matrices):
        source.show_frame(frame)
        expected = (matrix @ [4.5, 6.25, 0, 1])[:3]
        assert np.allclose(to_ras(source, [[4.5, 6.25]], frame), expected)
        assert np.allclose(from_ras(source, expected), (4.5, 6.25, frame))


def test_a_place_on_no_frame_is_refused(working):
    volume = VolumeSource(working.volume(np.zeros((4, 5, 6), np.uint8), np.eye(4)))
    with pytest.raises(InvalidValue, match="the volume has slices 0..5"):
        from_ras(volume, [1, 1, 5.6])
    assert from_ras(volume, [1, 1, 5.49])[2] == 5
    source = cine(working, matrices=[np.diag([1, 1, 2.0, 1])] * 4)
    with pytest.raises(InvalidValue, match="off the image plane"):
        from_ras(source, [1, 1, 3])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_view_looks_along_the_nearest_axis(working, axis):
    rng = np.random.default_rng(3)
    volume = working.volume(np.zeros((8, 9, 10), np.uint8), random_matrix(rng))
    source = VolumeSource(volume, axis)
    frame_to_ras = source.geometry.frame_to_ras
    view = np.eye(4)
    directions = frame_to_ras[:3, :3] / np.linalg.norm(frame_to_ras[:3, :3], axis=0)
    view[:3, :3] = directions
    view[:3, 3] = to_ras(source, [[2, 3]], 4)[0] + 0.3 * frame_to_ras[:3, 2]
    found, angle = slice_axis(volume, view)
    assert found == axis and angle < 1e-6
    assert frame_in_view(source, view) == 4
    tilt = np.radians(10)
    turned = view.copy()
    turned[:3, 1] = np.cos(tilt) * view[:3, 1] + np.sin(tilt) * view[:3, 2]
    turned[:3, 2] = np.cos(tilt) * view[:3, 2] - np.sin(tilt) * view[:3, 1]
    found, angle = slice_axis(volume, turned)
    assert found == axis and angle == pytest.approx(10)
    view[:3, 3] += 20 * frame_to_ras[:3, 2]
    assert frame_in_view(source, view) is None


def prompts():
    return {
        0: FramePrompts(boundary=[[1.5, 2.25], [9.125, 3]], include=[[4, 4.75]]),
        3: FramePrompts(boundary=[[0, 0]], exclude=[[11.5, 9]]),
    }


@pytest.mark.parametrize("kind", ["volume", "cine"])
def test_prompts_become_control_points_and_come_back(working, kind):
    rng = np.random.default_rng(4)
    transform = working.transform(random_transform(rng))
    if kind == "volume":
        voxels = np.zeros((20, 15, 4), np.uint8)
        source = VolumeSource(working.volume(voxels, random_matrix(rng), transform=transform))
    else:
        source = cine(working, transform=transform)
        source.show_frame(1)
    markups = working.add("vtkMRMLMarkupsFiducialNode", "Prompts")
    markups.SetAndObserveTransformNodeID(working.transform(random_transform(rng)).GetID())
    points_to_markups(source, prompts(), markups)
    assert markups.GetNumberOfControlPoints() == 5
    back = prompts_from_markups(source, markups)
    assert back.keys() == {0, 3}
    for frame, expected in prompts().items():
        for name in ("boundary", "include", "exclude"):
            points = getattr(back[frame], name)
            assert np.allclose(points, getattr(expected, name), rtol=0, atol=1e-6)
    points_to_markups(source, prompts(), markups, only=3)
    assert markups.GetNumberOfControlPoints() == 2


def test_a_plain_control_point_is_a_boundary_point_on_the_frame_that_is_shown(working):
    source = cine(working)
    source.show_frame(2)
    markups = working.add("vtkMRMLMarkupsClosedCurveNode", "Border")
    for place in to_ras(source, [[2, 3], [8, 3], [5, 9]], 2):
        markups.AddControlPointWorld(*place)
    markups.UnsetNthControlPointPosition(1)
    (frame,) = back = prompts_from_markups(source, markups)
    assert frame == 2 and np.allclose(back[2].boundary, [[2, 3], [5, 9]])


def test_points_beside_the_image_are_refused_by_name(working):
    source = cine(working)
    markups = working.add("vtkMRMLMarkupsFiducialNode", "F")
    markups.AddControlPointWorld(*to_ras(source, [[100, 3]], 0)[0])
    with pytest.raises(InvalidValue, match=r"boundary point \(100, 3\) is outside the frame"):
        prompts_from_markups(source, markups)
    markups.SetNthControlPointPositionWorld(0, [0, 0, 50])
    with pytest.raises(InvalidValue, match=r"'F'.controlPoints\[0\] lies"):
        prompts_from_markups(source, markups)
    working.scene.RemoveNode(markups)
    with pytest.raises(SceneChanged, match="markup 'F'"):
        prompts_from_markups(source, markups)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_becomes_an_roi_and_comes_back(working, axis):
    rng = np.random.default_rng(5)
    volume = working.volume(np.zeros((20, 21, 22), np.uint8), random_matrix(rng))
    volume.SetAndObserveTransformNodeID(working.transform(random_matrix(rng, True, 1)).GetID())
    source = VolumeSource(volume, axis)
    roi = working.add("vtkMRMLMarkupsROINode", "Box")
    box = [2.25, 3.5, 12, 9.75]
    box_to_roi(source, box, 7, roi)
    back = prompts_from_markups(source, roi)
    assert back.keys() == {7}
    assert np.allclose(back[7].box, box, rtol=0, atol=1e-4)  # Slicer's ROI goes through float32
    skewed = np.eye(4)
    skewed[0, 1] = 0.5
    volume.SetAndObserveTransformNodeID(working.transform(skewed).GetID())
    volume.SetIJKToRASMatrix(slicer.vtkMRMLLinearTransformNode().GetMatrixTransformToParent())
    if axis != 0:
        with pytest.raises(InvalidValue, match="not at right angles"):
            box_to_roi(VolumeSource(volume, axis), box, 7, roi)
