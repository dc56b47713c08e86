"""Registers the Segment Editor effect "SAMUSA"; the module itself is hidden."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest


class SegmentEditorBoundaryPoints(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "SegmentEditorBoundaryPoints"
        parent.categories = ["Segmentation"]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["SAMUSA contributors"]
        parent.hidden = True
        parent.helpText = _(
            "Adds the effect SAMUSA to the Segment Editor: masks from clicks on the border."
        )
        parent.acknowledgementText = _("After the SAMUSA paper by Podvin et al.")
        if slicer.util.mainWindow() is None:  # Slicer is starting; effects are not known yet
            slicer.app.connect("startupCompleted()", self.register_effect)
        else:  # the module was added to a Slicer that runs
            self.register_effect()

    def register_effect(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        source = Path(__file__).parent / f"{type(self).__name__}Lib" / "SegmentEditorEffect.py"
        effect.setPythonSource(source.as_posix())
        effect.self().register()


class SegmentEditorBoundaryPointsTest(ScriptedLoadableModuleTest):
    """Runs in Slicer and in the tests' host. Needs no model: without a worker the curve counts."""

    PATIENCE = 120.0  # s; a worker may take a while to start

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_the_effect_is_offered()
        self.setUp()
        self.test_clicks_become_a_mask_and_undo_takes_it_back()

    def test_the_effect_is_offered(self):
        factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        self.assertIn("SAMUSA", [effect.name for effect in factory.registeredEffects()])

    def test_clicks_become_a_mask_and_undo_takes_it_back(self):
        import numpy as np

        if slicer.app.layoutManager() is None:
            self.skipTest("needs slice views; run it with a main window")
        voxels = np.zeros((6, 60, 80), np.uint8)
        voxels[:, 20:40, 25:55] = 200
        volume = slicer.util.addVolumeFromArray(voxels, name="Box")
        editor = self.editor_on(volume)
        effect = editor.activeEffect().self()
        effect.service.session.set_model("spline")
        self.addCleanup(effect.service.apply_settings)
        view = slicer.app.layoutManager().sliceWidget("Red")
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        view.mrmlSliceNode().JumpSliceByOffsetting(*self.place(volume, (40, 30, 3)))
        for ijk in ((25, 30, 3), (54, 30, 3), (40, 20, 3), (40, 39, 3)):
            self.click(view, self.place(volume, ijk))
        clicks = effect.current_clicks()
        self.assertEqual(len(clicks.editor.clicks.points), 4)
        self.assertTrue(clicks.mask[30, 40])
        self.wait(lambda: not clicks.is_waiting)
        effect.accept()
        accepted = self.mask(editor, volume)
        self.assertTrue(accepted[3, 30, 40] and not accepted[3, 5, 5] and not accepted[2].any())
        effect.undo()
        self.assertFalse(self.mask(editor, volume).any())
        effect.redo()
        np.testing.assert_array_equal(self.mask(editor, volume), accepted)
        editor.setActiveEffect(None)
        editor.undo()  # the Segment Editor's own takes back the stay in the effect
        self.assertFalse(self.mask(editor, volume).any())
        editor.redo()
        np.testing.assert_array_equal(self.mask(editor, volume), accepted)
        for workspace in effect.service.workspaces:
            workspace.close(saved=True)  # a test leaves no unfinished work

    @staticmethod
    def mask(editor, volume):
        """The chosen segment on the grid of the volume, a copy."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(
            editor.segmentationNode(), editor.currentSegmentID(), volume
        ).copy()

    def editor_on(self, volume):
        """A Segment Editor of its own, with a segment chosen and the effect active."""
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.setMRMLSegmentEditorNode(node)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = segmentation.GetSegmentation().AddEmptySegment("box", "box")
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(segment)
        editor.setActiveEffectByName("SAMUSA")
        self.addCleanup(editor.removeViewObservations)
        return editor

    @staticmethod
    def place(volume, ijk):
        """World coordinates of a voxel."""
        import vtk

        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        return list(matrix.MultiplyPoint([*ijk, 1.0])[:3])

    @staticmethod
    def click(view, ras):
        """Press and release the left button in a slice view."""
        xy = [round(value) for value in view.sliceView().convertRASToXYZ(ras)[:2]]
        interactor = view.sliceView().interactor()
        interactor.SetEventInformation(*xy, 0, 0)
        interactor.InvokeEvent("LeftButtonPressEvent")
        interactor.InvokeEvent("LeftButtonReleaseEvent")

    def wait(self, condition):
        import time

        end = time.monotonic() + self.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, "waited in vain for the mask")
            slicer.app.processEvents()
            time.sleep(0.002)
