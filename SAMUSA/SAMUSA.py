"""SAMUSA: set-up, worker, models, unfinished work and training."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

SAMPLE_NAME = "SAMUSA phantom"
SAMPLE_SHA256 = "f9953cfcdc84443416cfe56c1963a2e57ebb49b6513238b35f8a29a0ba2aa70a"
# Slicer's own sample of a prostate in MR and ultrasound, the ultrasound of it.
PROSTATE_NAME = "Prostate ultrasound"
PROSTATE_SHA256 = "34decf58b1e6794069acbe947b460252262fe95b6858c5e320aeab03bc82ebb2"
EFFECT = "SAMUSA"


class SAMUSA(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("SAMUSA")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["SAMUSA maintainers"]
        parent.helpText = _(
            "Annotate ultrasound with a few clicks on the boundary of a structure. Here it is set "
            "up and looked after: what has to be installed, where the model runs, which models "
            "there are, work that was not saved, and training on your own clips. You annotate "
            "with the effect SAMUSA of the Segment Editor and in the module SAMUSA Temporal."
        )
        parent.acknowledgementText = _(
            "After Podvin et al., SAMUSA: Segment Anything Model 2 for UltraSound Annotation. "
            "SAM 2 is by Meta, Apache-2.0. Sample Data: the phantom is simulated by SAMUSA, "
            "Apache-2.0; the prostate is case 10 of Fedorov et al., doi:10.5281/zenodo.16396, "
            "where its licence is stated."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """The clips to try SAMUSA on, in the module Sample Data."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # from Slicer 5.11 on
        logic.registerCustomSampleDataCategory("SAMUSA", title=_("Ultrasound (SAMUSA)"))
    logic.registerCustomSampleDataSource(
        category="SAMUSA",
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(resources() / "Icons" / "phantom.png"),
        uris=sample_file().as_uri(),
        fileNames=sample_file().name,
        nodeNames=SAMPLE_NAME,
        checksums=f"SHA256:{SAMPLE_SHA256}",
        loadFileTypes="SequenceFile",
    )
    logic.registerCustomSampleDataSource(
        category="SAMUSA",
        sampleName=PROSTATE_NAME,
        uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{PROSTATE_SHA256}",
        fileNames="case10_US_resampled.nrrd",
        nodeNames="USProstate",
        checksums=f"SHA256:{PROSTATE_SHA256}",
        loadFileTypes="VolumeFile",
    )


def load_sample():
    """Load the simulated cine that comes with SAMUSA and show it; returns its sequence node.
    Raises RuntimeError where its file cannot be read."""
    sequence = slicer.util.loadSequence(str(sample_file()), {"name": SAMPLE_NAME})
    # It is saved with the scene, not over the file that it came from.
    slicer.mrmlScene.RemoveNode(sequence.GetStorageNode())
    logic = slicer.modules.sequences.logic()
    browser = logic.GetFirstBrowserNodeForSequenceNode(sequence)
    if browser is None:
        browser = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSequenceBrowserNode", sequence.GetName() + " browser"
        )
        browser.AddSynchronizedSequenceNode(sequence)
        logic.UpdateProxyNodesFromSequences(browser)
    slicer.util.setSliceViewerLayers(background=browser.GetProxyNode(sequence), fit=True)
    return sequence


def sample_file():
    return resources() / "SampleData" / "phantom.seq.nrrd"


def resources():
    return Path(__file__).parent / "Resources"


class SAMUSAWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.panels = []
        self.disconnect = []

    def setup(self):
        super().setup()
        from SAMUSALib.app.home.models_panel import ModelsPanel
        from SAMUSALib.app.home.recovery_panel import RecoveryPanel
        from SAMUSALib.app.home.setup_panel import SetupPanel
        from SAMUSALib.app.home.training_panel import TrainingPanel
        from SAMUSALib.app.home.worker_panel import WorkerPanel
        from SAMUSALib.app.jobs import Job
        from SAMUSALib.app.service import service

        panel = slicer.util.loadUI(self.resourcePath("UI/SAMUSA.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.ui.SAMUSA = panel
        self.ui.iconLabel.setPixmap(qt.QPixmap(self.resourcePath("Icons/SAMUSA.png")))
        self.service = service()
        self.set_up = SetupPanel(self.ui, self.service)
        self.worker = WorkerPanel(self.ui, self.service)
        self.models = ModelsPanel(self.ui, self.service)
        self.recovery = RecoveryPanel(self.ui, self.service)
        self.training = TrainingPanel(self.ui, self.service, self.models)
        self.panels = [self.set_up, self.worker, self.models, self.recovery, self.training]
        slicer.app.aboutToQuit.connect(Job.end_all)
        self.ui.sampleButton.clicked.connect(lambda: self.on_sample())
        self.ui.annotateButton.clicked.connect(lambda: self.on_annotate())
        self.ui.timelineButton.clicked.connect(lambda: slicer.util.selectModule("SAMUSATemporal"))
        self.disconnect = [
            self.service.state_changed.connect(self.on_state),
            self.set_up.changed.connect(self.show_status),
        ]
        self.set_up.refresh()
        self.ui.setupButton.collapsed = self.set_up.is_complete
        self.show_status()

    def enter(self):
        self.set_up.refresh()
        self.models.refresh()
        self.recovery.refresh()
        self.worker.enter()
        self.show_status()

    def exit(self):
        self.worker.exit()

    def cleanup(self):
        for disconnect in self.disconnect:
            disconnect()
        for panel in self.panels:
            panel.close()
        self.disconnect, self.panels = [], []

    def on_state(self, state, text):
        self.models.refresh()
        self.show_status()

    def show_status(self):
        session, settings = self.service.session, self.service.settings
        if settings.place == "slicer" and not self.set_up.is_complete and session.loaded is None:
            text = _(
                "<b>SAMUSA has to be set up once.</b> Open Set-up below. The spline through your "
                "clicks already works without it."
            )
        elif session.loaded is not None:
            text = f"<b>{session.loaded.model}</b> " + _("is ready on {place} ({device}).").format(
                place=session.command.place, device=session.loaded.device
            )
        else:
            text = f"<b>{settings.model}</b>: {session.state_text}"
        self.ui.statusLabel.text = text

    def on_sample(self):
        try:
            load_sample()
        except RuntimeError as error:
            slicer.util.errorDisplay(
                _("The sample clip cannot be read; install the extension SAMUSA again."),
                detailedText=str(error),
            )

    def on_annotate(self):
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setActiveEffectByName(EFFECT)


class SAMUSALogic(ScriptedLoadableModuleLogic):
    """What can be done without a panel."""

    def load_sample(self):
        return load_sample()


class SAMUSATest(ScriptedLoadableModuleTest):
    """Runs in the application, also by "Reload and Test", and in the host of Testing/gui."""

    PATIENCE = 180.0  # s; a worker's first start reads much from disk

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_the_sample_loads(self):
        self.assert_is_the_sample(SAMUSALogic().load_sample())

    def test_sample_data_offers_the_sample(self):
        import SampleData

        register_sample_data()
        self.assert_is_the_sample(SampleData.SampleDataLogic().downloadSample(SAMPLE_NAME))

    def test_the_panel_tells_the_state(self):
        ui = slicer.util.getModuleWidget("SAMUSA").ui
        self.assertIn("samusa-small", ui.modelList.topLevelItem(0).text(0))
        self.assertTrue(ui.statusLabel.text)

    def test_the_worker_answers_a_click(self):
        """With the embedded model where Slicer is set up, else with the curve, which needs none
        of the packages."""
        import numpy as np

        from SAMUSALib.clip import Clip, Geometry
        from SAMUSALib.prompts import FramePrompts, Window

        widget = slicer.util.getModuleWidget("SAMUSA")
        session, before = widget.service.session, widget.service.session.model
        frames = np.zeros((2, 64, 64), np.uint8)
        frames[:, 16:48, 16:48] = 200
        session.set_model("samusa-small" if widget.set_up.is_complete else "spline")
        clip = session.open_clip(Clip(frames, Geometry.for_cine(2, 64, 64, np.eye(4))))
        try:
            clip.set_segment("square", "square", windows=[Window(0, 1)])
            border = FramePrompts(boundary=[[16, 16], [47, 16], [47, 47], [16, 47]])
            answer = clip.segment_frame("square", 0, [border])
            self.wait(lambda: answer.done, "the mask")
            mask = answer.result().mask.decode()
            self.assertTrue(mask[32, 32] and not mask[4, 4])
        finally:
            clip.close(saved=True)  # a test leaves no unfinished work
            session.set_model(before)
            session.stop()
            self.wait(lambda: not session.running, "the worker's end")

    def assert_is_the_sample(self, sequence):
        self.assertEqual(sequence.GetNumberOfDataNodes(), 24)
        image = sequence.GetNthDataNode(0).GetImageData()
        self.assertEqual(image.GetDimensions(), (256, 256, 1))

    def wait(self, condition, what):
        """Let the application work until a condition holds."""
        import time

        end = time.monotonic() + self.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited in vain for {what}")
            slicer.app.processEvents()
            time.sleep(0.002)
