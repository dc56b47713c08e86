"""A Segment Editor effect that fills a square of 5 x 5 pixels where the view is clicked."""

import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from vtk.util.numpy_support import vtk_to_numpy


class SampleEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Sample"
        scriptedEffect.title = "Sample square"
        super().__init__(scriptedEffect)
        self.events = []

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__)
        return cloned

    def helpText(self):
        return "Click to fill a square."

    def setupOptionsFrame(self):
        self.half_width = qt.QSpinBox()
        self.half_width.maximum = 9
        self.half_width.objectName = "HalfWidth"
        self.scriptedEffect.addLabeledOptionsWidget("Half width:", self.half_width)
        self.half_width.connect("valueChanged(int)", self.updateMRMLFromGUI)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("HalfWidth", 2)

    def updateGUIFromMRML(self):
        self.half_width.value = self.scriptedEffect.integerParameter("HalfWidth")

    def updateMRMLFromGUI(self):
        self.scriptedEffect.setParameter("HalfWidth", self.half_width.value)

    def activate(self):
        self.events.append("activate")

    def deactivate(self):
        self.events.append("deactivate")

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        if eventId != vtk.vtkCommand.LeftButtonPressEvent:
            return False
        xy = callerInteractor.GetEventPosition()
        labelmap = self.scriptedEffect.defaultModifierLabelmap()
        ijk = self.xyToIjk(xy, viewWidget, labelmap)
        half = self.scriptedEffect.integerParameter("HalfWidth")
        voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(
            labelmap.GetDimensions()[::-1]
        )
        i, j, k = (a - b for a, b in zip(ijk, labelmap.GetExtent()[::2], strict=True))
        voxels[k, j - half : j + half + 1, i - half : i + half + 1] = 1
        labelmap.Modified()
        self.scriptedEffect.saveStateForUndo()
        self.scriptedEffect.modifySelectedSegmentByLabelmap(
            labelmap, slicer.qSlicerSegmentEditorScriptedEffect.ModificationModeAdd
        )
        return True
