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
        slicer.app.connect("startupCompleted()", self.register_effect)

    def register_effect(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        source = Path(__file__).parent / f"{type(self).__name__}Lib" / "SegmentEditorEffect.py"
        effect.setPythonSource(source.as_posix())
        effect.self().register()


class SegmentEditorBoundaryPointsTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_the_effect_is_offered()

    def test_the_effect_is_offered(self):
        factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        names = [effect.name for effect in factory.registeredEffects()]
        self.assertIn("SAMUSA", names)
