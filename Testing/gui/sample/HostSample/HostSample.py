"""A small scripted module, as modules for 3D Slicer are written: it counts a volume's voxels."""

from typing import Annotated

import ctk  # noqa: F401
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


@parameterNodeWrapper
class HostSampleParameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 200)] = 50.0
    invert: bool = False


class HostSample(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Host sample")
        parent.categories = ["Testing"]


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = None
        self.gui_tag = None
        self.entered = 0
        self.cleaned = False

    def setup(self):
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self.ui.applyButton.connect("clicked(bool)", self.on_apply)
        self.timer = qt.QTimer()
        self.timer.setInterval(10)
        self.on_scene_closed()

    def on_scene_closed(self, caller=None, event=None):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.gui_tag)
        self.parameters = HostSampleParameters(self.logic.getParameterNode())
        self.gui_tag = self.parameters.connectGui(self.ui)

    def enter(self):
        self.entered += 1

    def cleanup(self):
        self.cleaned = True
        self.removeObservers()
        self.parameters.disconnectGui(self.gui_tag)
        self.parameters = None

    def on_apply(self, checked):
        with slicer.util.tryWithErrorDisplay(_("Counting failed."), waitCursor=True):
            count = self.logic.count(self.parameters)
            self.ui.resultLabel.text = _("{count} voxels").format(count=count)


class HostSampleLogic(ScriptedLoadableModuleLogic):
    def count(self, parameters):
        if parameters.volume is None:
            raise ValueError("Choose a volume first.")
        voxels = slicer.util.arrayFromVolume(parameters.volume)
        above = int((voxels > parameters.threshold).sum())
        return voxels.size - above if parameters.invert else above


class HostSampleTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_counts(self):
        image = vtk.vtkImageData()
        image.SetDimensions(2, 3, 4)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(100)
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        volume.SetAndObserveImageData(image)
        logic = HostSampleLogic()
        parameters = HostSampleParameters(logic.getParameterNode())
        parameters.volume = volume
        self.assertEqual(logic.count(parameters), 24)
        self.delayDisplay("Test passed")
