"""SAMUSATemporal: a segment along its clip - windows, propagation, review, measures, export."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class SAMUSATemporal(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("SAMUSA Temporal")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["SAMUSA", "Segmentations", "Sequences", "Plots"]
        parent.contributors = ["SAMUSA maintainers"]
        parent.helpText = _(
            "Say when a structure is visible, propagate its masks over a cine or the slices of a "
            "volume, check them and measure them. Click the border with the effect SAMUSA of the "
            "Segment Editor first."
        )


@parameterNodeWrapper
class SAMUSATemporalParameters:
    """What was chosen, so that it is chosen again when the scene is loaded."""

    volume: slicer.vtkMRMLVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    axis: int = 2
    segment: str = ""


class SAMUSATemporalLogic(ScriptedLoadableModuleLogic):
    """The parameter node; what the panel does is SAMUSALib.app.temporal, in `temporal`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from SAMUSALib.app.service import service
        from SAMUSALib.app.temporal import Temporal

        self.service = service()
        self.temporal = Temporal(
            self.service.workspaces,
            lambda callback: qt.QTimer.singleShot(0, callback),
            self.service.settings,
        )

    def parameters(self):
        return SAMUSATemporalParameters(self.getParameterNode())


class SAMUSATemporalWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    REFRESH_MS = 30  # changes come frame by frame; the panel follows them together

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.told = ""  # the last thing said to the user
        self.keys = None
        self.in_front = False  # the module is selected, so its keys count
        self.disconnect = []

    def setup(self):
        super().setup()
        from SAMUSALib.app.temporal_clip import ClipPanel
        from SAMUSALib.app.temporal_measures import MeasuresPanel
        from SAMUSALib.app.temporal_time import TimePanel

        self.panel = slicer.util.loadUI(self.resourcePath("UI/SAMUSATemporal.ui"))
        self.layout.addWidget(self.panel)
        self.ui = slicer.util.childWidgetVariables(self.panel)
        self.panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SAMUSATemporalLogic()
        self.temporal = self.logic.temporal
        settings = self.logic.service.settings
        views = slicer.mrmlScene.GetSingletonNode("vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
        self.clip = ClipPanel(self.ui, self.temporal, self.logic.parameters, self.do)
        self.time = TimePanel(self.ui, self.temporal, self.do)
        self.measures = MeasuresPanel(self.ui, self.temporal, settings, views, self.do)
        self.keys = self.make_keys()
        self.refresh_timer = qt.QTimer()
        self.refresh_timer.setSingleShot(True)
        self.refresh_timer.setInterval(self.REFRESH_MS)
        self.refresh_timer.connect("timeout()", self.refresh)
        self.connect_widgets()
        self.connect_logic()
        scene, selection = slicer.mrmlScene, slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(scene, scene.EndCloseEvent, self.on_scene_closed)
        self.addObserver(scene, scene.StartImportEvent, self.on_scene_loading)
        self.addObserver(scene, scene.EndImportEvent, self.on_scene_loaded)
        self.addObserver(selection, vtk.vtkCommand.ModifiedEvent, self.on_images_loaded)
        if views is not None:  # there is a main window
            self.addObserver(views, vtk.vtkCommand.ModifiedEvent, self.on_layout_changed)
        self.keys_changed()
        self.on_working(1.0, "")
        self.clip.on_inputs_chosen()

    def connect_widgets(self):
        ui, temporal = self.ui, self.temporal
        for button, action in (
            (ui.backwardButton, lambda: self.propagate("backward")),
            (ui.bothButton, lambda: self.propagate("both")),
            (ui.forwardButton, lambda: self.propagate("forward")),
            (ui.nextPromptButton, lambda: self.propagate("next")),
            (ui.checkButton, temporal.next_to_check),
            (ui.approveButton, temporal.approve),
            (ui.approveAllButton, temporal.approve_all),
            (ui.undoButton, temporal.undo),
            (ui.redoButton, temporal.redo),
            (ui.keysButton, self.keys.choose),
            (ui.cancelButton, temporal.cancel),
            (ui.resumeButton, temporal.resume),
        ):
            button.connect("clicked()", lambda action=action: self.do(action))
        for spin_box in self.panel.findChildren(qt.QDoubleSpinBox):
            spin_box.connect("editingFinished()", lambda box=spin_box: self.leave(box))

    def leave(self, spin_box):
        """Enter ends the typing of a number: letters are keys again."""
        if spin_box.hasFocus():
            spin_box.clearFocus()

    def connect_logic(self):
        temporal, service = self.temporal, self.logic.service
        for signal, listener in (
            (temporal.changed, self.refresh_soon),
            (temporal.progress, self.on_progress),
            (temporal.propagated, lambda outcome: self.on_working(1.0, "")),
            (temporal.measured, self.measures.show),
            (temporal.working, self.on_working),
            (temporal.notice, self.tell),
            (service.notice, self.tell),
            (service.settings.shortcuts_changed, self.keys_changed),
        ):
            self.disconnect.append(signal.connect(listener))

    def cleanup(self):
        """Slicer unloads the module: it is read anew, or the application quits."""
        self.exit()
        self.removeObservers()
        if self.logic is not None:
            self.logic = None
            self.refresh_timer.stop()
            for disconnect in self.disconnect:
                disconnect()
            self.temporal.let_go()

    def enter(self):
        if self.temporal.workspace is None:
            self.adopt_open_work()
        self.in_front = True
        self.take_images_in_view()
        self.keys.install()
        self.refresh()

    def exit(self):
        self.in_front = False
        if self.keys is not None:
            self.keys.remove()

    # Keys ---------------------------------------------------------------------------------------

    def make_keys(self):
        from SAMUSALib.app.temporal_keys import TemporalKeys

        temporal = self.temporal
        actions = {
            "window_start": temporal.start_here,
            "window_end": temporal.end_here,
            "next_frame": lambda: temporal.step(1),
            "previous_frame": lambda: temporal.step(-1),
            "propagate": lambda: self.propagate("both"),
            "next_to_check": temporal.next_to_check,
            "approve": temporal.approve,
            "undo": temporal.undo,
            "redo": temporal.redo,
        }
        return TemporalKeys(
            self.logic.service.settings,
            {name: lambda action=action: self.do(action) for name, action in actions.items()},
        )

    def keys_changed(self):
        """Others were chosen, or a layout has brought other views."""
        if self.in_front:
            self.keys.install()
        shortcut, ui = self.logic.service.settings.shortcut, self.ui
        ui.keysLabel.text = self.keys.hints()
        ui.startHereButton.text = f"{shortcut('window_start')} {_('Start here')}".strip()
        ui.endHereButton.text = f"{_('End here')} {shortcut('window_end')}".strip()

    def do(self, action, *arguments):
        """Run an action of the user's; what is wrong is said below, in a sentence."""
        from SAMUSALib.errors import SamusaError

        self.tell("")
        try:
            action(*arguments)
        except SamusaError as error:
            self.tell(str(error))
        self.refresh()

    def tell(self, text):
        """Say something below; without it the next step is said there."""
        self.told = text[:1].upper() + text[1:]
        self.ui.statusLabel.text = self.told or self.hint()

    def hint(self):
        volume = self.ui.volumeSelector.currentNode()
        if self.temporal.workspace is None and volume is not None:
            return _("Press Open to annotate {name}.").format(name=volume.GetName())
        return self.temporal.hint()

    # The scene ----------------------------------------------------------------------------------

    def adopt_open_work(self):
        """Go on with what the Segment Editor has opened."""
        for workspace in self.logic.service.workspaces:
            if not workspace.is_closed:
                self.take_in_hand(workspace)

    def take_in_hand(self, workspace, segment=""):
        """Go on with what is open, and with one of its segments."""
        self.clip.take_in_hand(workspace, segment)

    def on_images_loaded(self, _caller=None, _event=None):
        """Slicer names what it has loaded first and then lets the views show it."""
        qt.QTimer.singleShot(0, self.take_images_in_view)

    def take_images_in_view(self):
        if self.in_front:
            self.clip.take_images_in_view()

    def on_scene_closed(self, _caller=None, _event=None):
        self.measures.plotting = False
        self.temporal.let_go()
        self.tell("")
        self.refresh_soon()

    def on_scene_loading(self, _caller=None, _event=None):
        self.clip.importing = True

    def on_scene_loaded(self, _caller=None, _event=None):
        """Go on where the scene was saved, or with what was in hand before it was added."""
        self.clip.importing = False
        workspace, parameters = self.temporal.workspace, self.logic.parameters()
        if workspace is not None:  # the selectors forget what was chosen
            self.clip.show_choice(workspace.source.shown_volume, workspace)
            self.refresh_soon()
        elif parameters.volume is None or parameters.segmentation is None:
            self.take_images_in_view()
        else:
            self.do(self.clip.open_parameters)

    # Working ------------------------------------------------------------------------------------

    def propagate(self, direction):
        self.temporal.propagate(
            direction, self.ui.allSegmentsBox.checked, self.ui.everythingBox.checked
        )
        self.on_working(0.0, _("Starting"))

    def on_progress(self, progress):
        from SAMUSALib.app.temporal import in_progress

        self.on_working(progress.done / max(1, progress.total), in_progress(progress))

    def on_working(self, fraction, text):
        self.ui.progressBar.visible = fraction < 1
        self.ui.progressBar.value = int(1000 * fraction)
        self.ui.progressBar.format = f"{text}  %p%" if text else "%p%"

    # Showing ------------------------------------------------------------------------------------

    def on_layout_changed(self, _caller=None, _event=None):
        self.keys_changed()
        self.refresh_soon()

    def refresh_soon(self):
        if not self.refresh_timer.isActive():
            self.refresh_timer.start()

    def refresh(self):
        """All that the panel shows, from what is in hand."""
        from SAMUSALib.errors import SceneChanged

        try:
            self.show_state()
        except SceneChanged as error:
            self.tell(str(error))

    def show_state(self):
        ui, temporal = self.ui, self.temporal
        for part in (ui.timeSection, ui.propagateSection, ui.reviewSection, ui.measureSection):
            part.enabled = temporal.is_ready
        self.clip.refresh()
        self.time.refresh()
        for button in (ui.backwardButton, ui.bothButton, ui.forwardButton, ui.nextPromptButton):
            button.enabled = not temporal.is_propagating
        ui.cancelButton.visible = temporal.is_busy
        ui.resumeButton.visible = temporal.is_interrupted
        self.show_review()
        self.measures.refresh()
        self.tell(self.told)

    def show_review(self):
        from SAMUSALib.annotation import FrameState

        ui, temporal = self.ui, self.temporal
        locked = temporal.state_here() is FrameState.REVIEWED
        ui.approveButton.text = _("Unlock") if locked else _("Approve")
        count = temporal.to_compute()
        ui.toComputeLabel.text = _("{count} to compute").format(count=count) if count else ""
        history = temporal.workspace.history if temporal.workspace is not None else None
        names = (history.undo_name, history.redo_name) if history is not None else (None, None)
        idle = not temporal.is_propagating
        for button, verb, name in (
            (ui.undoButton, _("Undo"), names[0]),
            (ui.redoButton, _("Redo"), names[1]),
        ):
            button.enabled = idle and name is not None
            button.text = f"{verb}: {name.lower()}" if name else verb


class SAMUSATemporalTest(ScriptedLoadableModuleTest):
    """Runs in the application and, with the same code, in the host of Testing/gui."""

    PATIENCE = 120.0  # s; a worker's first start reads much from disk

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_from_one_click_to_approved_masks(self):
        """A phantom's lesion: one clicked frame, a window, propagation, approval, undo."""
        from contextlib import ExitStack

        import numpy as np

        from SAMUSALib.annotation import FrameState
        from SAMUSALib.app.service import session

        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("SAMUSATemporal")
        widget = slicer.util.getModuleWidget("SAMUSATemporal")
        temporal, ui = widget.temporal, widget.ui
        with ExitStack() as afterwards:
            afterwards.callback(session().set_model, session().model)
            session().set_model("spline")  # needs no torch, and is quick
            volume, truth = self.add_phantom()
            ui.volumeSelector.setCurrentNode(volume)
            ui.openButton.click()
            self.wait(lambda: temporal.is_ready and ui.timeSection.enabled, "the clip")
            workspace, segment = temporal.workspace, temporal.segment_id
            afterwards.callback(workspace.close, saved=True)
            visible = [t for t in range(len(truth)) if truth[t].any()]
            middle = visible[len(visible) // 2]
            self.click(workspace, segment, middle, truth[middle])
            temporal.show_frame(visible[0])
            ui.startHereButton.click()
            temporal.show_frame(visible[-1])
            ui.endHereButton.click()
            (window,) = workspace.windows(segment)
            self.assertEqual((window.start, window.end), (visible[0], visible[-1]))
            ui.bothButton.click()
            self.wait(lambda: not temporal.is_propagating, "the propagation")
            drawn = [t for t in range(len(truth)) if workspace.masks.mask(segment, t).any()]
            self.assertEqual(drawn, visible)
            mask = workspace.masks.mask(segment, middle)
            dice = 2 * np.sum(mask & truth[middle]) / (mask.sum() + truth[middle].sum())
            self.assertGreater(dice, 0.85)
            temporal.show_frame(middle)
            ui.approveButton.click()
            self.assertEqual(temporal.state_here(), FrameState.REVIEWED)
            ui.undoButton.click()
            self.assertEqual(temporal.state_here(), FrameState.PROMPTED)
            self.wait(lambda: temporal.measurements is not None, "the measurements")

    def wait(self, condition, what):
        """Let the application work until a condition holds."""
        import time

        end = time.monotonic() + self.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited in vain for {what}")
            slicer.app.processEvents()
            time.sleep(0.002)

    @staticmethod
    def add_phantom():
        """(volume node that shows it, (12, 160, 160) bool truth) of a simulated cine in which a
        lesion comes and goes; every fourth frame of the demo's, at half its size."""
        from SAMUSALib.phantom import demo_spec, simulate

        made = simulate(demo_spec())
        frames, labels = made.frames[::4, ::2, ::2], made.labels[::4, ::2, ::2]
        return SAMUSATemporalTest.add_cine(frames, 2 * made.pixel_spacing_mm), labels == 1

    @staticmethod
    def add_cine(frames, spacing=0.2):
        """A sequence of (T, H, W) uint8 frames, 10 a second; returns the volume that shows it."""
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for t, frame in enumerate(frames):
            item = slicer.vtkMRMLScalarVolumeNode()
            item.SetName("Cine")
            slicer.util.updateVolumeFromArray(item, frame[None])
            item.SetSpacing(spacing, spacing, 1.0)
            sequence.SetDataNodeAtValue(item, f"{t / 10:.1f}")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Cine browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    def click(self, workspace, segment, frame, truth):
        """Eight clicks on the border of a (H, W) bool mask, accepted as the model answers."""
        import numpy as np

        from SAMUSALib.prompts import FramePrompts

        y, x = np.nonzero(truth)
        centre = np.array([x.mean(), y.mean()])
        outline = np.argwhere(truth & ~self.shrunk(truth))[:, ::-1]
        angles = np.arctan2(*(outline - centre).T[::-1])
        points = [
            outline[np.argmin(np.abs(np.angle(np.exp(1j * (angles - turn)))))]
            for turn in np.linspace(-np.pi, np.pi, 8, endpoint=False)
        ]
        steps = [FramePrompts(boundary=np.array(points, float))]
        pending = workspace.segment(segment, frame, steps)
        self.wait(lambda: pending.done, "the mask of a click")
        result = pending.result()
        workspace.accept(segment, frame, steps, result.mask.decode(), result.confidence)

    @staticmethod
    def shrunk(mask):
        inner = mask.copy()
        inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        return inner
