"""A stand-in for Slicer's module Segment Editor: its editor widget, its parameter node, and what it
does when the module is entered and left."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentEditor(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Segment Editor"


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        super().setup()
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        self.put_node()

    def put_node(self):
        """The scene's node of the editor; a closed scene has lost it."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
            node.SetOverwriteMode(node.OverwriteNone)
        self.editor.setMRMLSegmentEditorNode(node)

    def enter(self):
        self.put_node()
        self.editor.installKeyboardShortcuts()
        self.editor.updateWidgetFromMRML()

    def exit(self):
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def cleanup(self):
        self.exit()
