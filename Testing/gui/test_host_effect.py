"""Slice views, the Segment Editor and a scripted effect: Slicer's logics, the test's clicks."""

import sys
from pathlib import Path

import numpy as np
import pytest

EFFECT = Path(__file__).parent / "sample" / "HostSample" / "SampleEffect" / "SampleEffect.py"


@pytest.fixture
def volume(running):
    import slicer

    voxels = np.zeros((8, 40, 50), dtype=np.uint8)
    voxels[4, 20, 10] = 200
    node = slicer.util.addVolumeFromArray(voxels, name="Volume")
    node.SetSpacing(0.5, 0.7, 2.0)
    node.SetOrigin(3.0, -4.0, 5.0)
    return node


@pytest.fixture
def editor(running, volume):
    import qSlicerSegmentationsEditorEffectsPythonQt as effects
    import slicer

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    assert effect.setPythonSource(str(EFFECT))
    effect.self().register()
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setMRMLSegmentEditorNode(
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "Editor")
    )
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("vessel", "vessel")
    widget.setSegmentationNode(segmentation)
    widget.setSourceVolumeNode(volume)
    widget.setCurrentSegmentID("vessel")
    yield widget
    widget.setActiveEffect(None)
    widget.removeViewObservations()
    sys.modules.pop("SampleEffect", None)


@pytest.fixture
def red(running, volume):
    import slicer

    widget = slicer.app.layoutManager().sliceWidget("Red")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    centre = volume_point(volume, (25, 20, 4))
    widget.mrmlSliceNode().SetSliceOffset(centre[2])
    return widget


def volume_point(volume, ijk) -> list[float]:
    """RAS of a voxel's centre."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return list(matrix.MultiplyPoint([*ijk, 1.0])[:3])


def mask(editor, volume) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentationNode(), "vessel", volume)


def test_a_slice_view_converts_between_pixels_and_ras(red, volume):
    from host import events

    ras = volume_point(volume, (10, 20, 4))
    xy = events.ras_to_xy(red, ras)
    back = red.sliceView().convertXYZToRAS([*xy, 0.0])
    assert back == pytest.approx(ras)
    whole = red.sliceView().convertDeviceToXYZ([3, 4])
    assert whole == (3.0, 4.0, 0.0)


def test_a_slice_view_shows_the_volume(red, volume, running, tmp_path):
    import qt
    from host import events

    image = qt.QImage(str(running.grab(red.sliceView(), tmp_path / "red.png", (300, 300))))
    x, y = events.ras_to_xy(red, volume_point(volume, (10, 20, 4)))
    assert image.pixelColor(round(x), image.height() - 1 - round(y)).lightness() > 150
    assert image.pixelColor(2, 2).lightness() == 0


def test_the_effect_is_offered_with_its_options_and_help(editor):
    import qt

    assert "Sample" in editor.availableEffectNames()
    editor.findChild(qt.QToolButton, "Sample").click()
    effect = editor.activeEffect()
    assert effect.title == "Sample square" and effect.self().events == ["activate"]
    assert editor.findChild(qt.QSpinBox, "HalfWidth").value == 2
    assert editor.findChild(qt.QWidget, "EffectHelpBrowser").plainText == "Click to fill a square."
    editor.setActiveEffect(None)
    assert effect.self().events == ["activate", "deactivate"] and editor.activeEffect() is None


def test_effect_parameters_live_in_the_editor_node(editor):
    editor.setActiveEffectByName("Sample")
    effect = editor.activeEffect()
    effect.self().half_width.value = 4
    node = editor.mrmlSegmentEditorNode()
    assert node.GetAttribute("Sample.HalfWidth") == "4"
    effect.setParameter("HalfWidth", 3)
    assert effect.self().half_width.value == 3 and effect.integerParameter("HalfWidth") == 3


def test_a_click_edits_the_segment_where_it_lands(editor, red, volume):
    from host import events

    editor.setActiveEffectByName("Sample")
    events.click(red, events.ras_to_xy(red, volume_point(volume, (30, 15, 4))))
    expected = np.zeros((8, 40, 50), dtype=bool)
    expected[4, 13:18, 28:33] = True
    np.testing.assert_array_equal(mask(editor, volume) > 0, expected)


def test_editing_goes_through_slicer_s_undo(editor, red, volume):
    from host import events

    editor.setActiveEffectByName("Sample")
    events.click(red, events.ras_to_xy(red, volume_point(volume, (30, 15, 4))))
    events.click(red, events.ras_to_xy(red, volume_point(volume, (10, 15, 4))))
    assert mask(editor, volume).sum() == 50
    editor.undo()
    assert mask(editor, volume).sum() == 25
    editor.redo()
    assert mask(editor, volume).sum() == 50


def test_editing_obeys_the_editor_s_masking(editor, red, volume):
    import slicer
    from host import events

    node = editor.mrmlSegmentEditorNode()
    node.SetSourceVolumeIntensityMask(True)
    node.SetSourceVolumeIntensityMaskRange(100, 255)
    editor.setActiveEffectByName("Sample")
    events.click(red, events.ras_to_xy(red, volume_point(volume, (11, 20, 4))))
    filled = np.argwhere(mask(editor, volume))
    assert filled.tolist() == [[4, 20, 10]]
    assert isinstance(node, slicer.vtkMRMLSegmentEditorNode)


def test_a_handled_event_does_not_reach_the_view(editor, red):
    import vtk
    from host import events

    seen = []
    interactor = red.sliceView().interactor()
    tag = interactor.AddObserver(vtk.vtkCommand.LeftButtonPressEvent, lambda *_: seen.append(1))
    editor.setActiveEffectByName("Sample")
    events.click(red, (150, 150))
    assert seen == []
    editor.setActiveEffect(None)
    events.click(red, (150, 150))
    assert seen == [1]
    interactor.RemoveObserver(tag)


def test_keys_and_modifiers_reach_the_interactor(red):
    from host import events

    seen = []
    interactor = red.sliceView().interactor()
    tags = [
        interactor.AddObserver("KeyPressEvent", lambda caller, _: seen.append(caller.GetKeySym())),
        interactor.AddObserver(
            "LeftButtonPressEvent", lambda caller, _: seen.append(caller.GetShiftKey())
        ),
    ]
    events.keys(red.sliceView().VTKWidget(), "Return")
    events.click(red, (20, 30), modifiers=("Shift",))
    assert seen == ["Return", 1] and interactor.GetEventPosition() == (20, 30)
    for tag in tags:
        interactor.RemoveObserver(tag)


def test_deleting_the_segmentation_leaves_the_editor_usable(editor):
    import slicer

    editor.setActiveEffectByName("Sample")
    slicer.mrmlScene.RemoveNode(editor.segmentationNode())
    assert editor.segmentationNode() is None
    slicer.mrmlScene.Clear()
    assert editor.sourceVolumeNode() is None
