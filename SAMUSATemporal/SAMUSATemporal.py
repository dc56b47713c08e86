"""SAMUSATemporal: a segment along its clip - windows, propagation, review, measures, export."""

from pathlib import Path

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
        self.updating = False
        self.importing = False  # a scene is being added
        self.plotting = False
        self.views = slicer.mrmlScene.GetSingletonNode("vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
        self.plot_views = (0, 0)  # Slicer's numbers of their arrangement before and with the plot
        self.told = ""  # the last thing said to the user
        self.shown_segments = []
        self.shown_range = None  # last frame, first and last of the window
        self.read_frame = None  # the frame that the readout tells of
        self.keys = None
        self.in_front = False  # the module is selected, so its keys count
        self.disconnect = []

    def setup(self):
        super().setup()
        from SAMUSALib.app.charts import QUANTITIES
        from SAMUSALib.app.export import FORMATS
        from SAMUSALib.app.timeline import Timeline, legend

        self.panel = slicer.util.loadUI(self.resourcePath("UI/SAMUSATemporal.ui"))
        self.layout.addWidget(self.panel)
        self.ui = slicer.util.childWidgetVariables(self.panel)
        self.panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SAMUSATemporalLogic()
        self.temporal = self.logic.temporal
        self.keys = self.make_keys()
        self.timeline = Timeline(lambda frame: self.do(self.temporal.show_frame, frame))
        self.ui.timelinePlace.layout().addWidget(self.timeline)
        self.ui.legendLabel.text = legend()
        for each in QUANTITIES:
            self.ui.quantitySelector.addItem(each.label, each.key)
        for each in FORMATS:
            self.ui.formatSelector.addItem(each.label, each.key)
        last_format = self.ui.formatSelector.findData(self.logic.service.settings.export_format)
        self.ui.formatSelector.setCurrentIndex(max(0, last_format))
        self.refresh_timer = qt.QTimer()
        self.refresh_timer.setSingleShot(True)
        self.refresh_timer.setInterval(self.REFRESH_MS)
        self.refresh_timer.connect("timeout()", self.refresh)
        self.connect_widgets()
        self.connect_logic()
        slicer.app.aboutToQuit.connect(self.cleanup)  # the panel goes before `cleanup` is called
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.on_scene_loading)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.on_scene_loaded)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(selection, vtk.vtkCommand.ModifiedEvent, self.on_images_loaded)
        if self.views is not None:  # there is a main window
            self.addObserver(self.views, vtk.vtkCommand.ModifiedEvent, self.on_layout_changed)
        self.keys_changed()
        self.on_working(1.0, "")
        self.on_inputs_chosen()

    def connect_widgets(self):
        ui, temporal = self.ui, self.temporal
        # From Slicer 5.12 on a node that is called like the one before is not told of as changed.
        for change in ("currentNodeChanged(vtkMRMLNode*)", "nodeActivated(vtkMRMLNode*)"):
            ui.volumeSelector.connect(change, self.on_volume_chosen)
            ui.segmentationSelector.connect(change, self.on_inputs_chosen)
        ui.axisSelector.connect("currentIndexChanged(int)", self.on_inputs_chosen)
        ui.segmentSelector.connect("currentIndexChanged(int)", self.on_segment_chosen)
        ui.windowSelector.connect("currentIndexChanged(int)", self.on_window_chosen)
        ui.frameSlider.connect("valueChanged(double)", self.on_frame_chosen)
        # The window is changed when the handle is let go: on the way it would swallow others.
        ui.windowRange.connect("valuesChanged(double,double)", self.on_range_chosen)
        ui.windowRange.connect("minimumValueIsChanging(double)", self.on_frame_chosen)
        ui.windowRange.connect("maximumValueIsChanging(double)", self.on_frame_chosen)
        ui.quantitySelector.connect("currentIndexChanged(int)", self.on_measured)
        ui.ventricleBox.connect("toggled(bool)", self.show_readout)
        for button, action in (
            (ui.openButton, self.open),
            (ui.addSegmentButton, temporal.add_segment),
            (ui.clickButton, self.open_segment_editor),
            (ui.previousButton, lambda: temporal.step(-1)),
            (ui.nextButton, lambda: temporal.step(1)),
            (ui.addWindowButton, temporal.add_window),
            (ui.removeWindowButton, temporal.remove_window),
            (ui.startHereButton, temporal.start_here),
            (ui.endHereButton, temporal.end_here),
            (ui.backwardButton, lambda: self.propagate("backward")),
            (ui.bothButton, lambda: self.propagate("both")),
            (ui.forwardButton, lambda: self.propagate("forward")),
            (ui.nextPromptButton, lambda: self.propagate("next")),
            (ui.checkButton, temporal.next_to_check),
            (ui.approveButton, temporal.approve),
            (ui.approveAllButton, temporal.approve_all),
            (ui.undoButton, temporal.undo),
            (ui.redoButton, temporal.redo),
            (ui.plotButton, self.plot),
            (ui.exportButton, self.export),
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
            (temporal.measured, self.on_measured),
            (temporal.working, self.on_working),
            (temporal.notice, self.tell),
            (service.notice, self.tell),
            (service.settings.shortcuts_changed, self.keys_changed),
        ):
            self.disconnect.append(signal.connect(listener))

    def cleanup(self):
        self.exit()
        self.removeObservers()
        if self.logic is not None:
            self.logic = None
            slicer.app.aboutToQuit.disconnect(self.cleanup)
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

    # Choosing -----------------------------------------------------------------------------------

    def on_volume_chosen(self, *_args):
        """The segmentation of these images comes with them, that of others is not for them."""
        if self.updating or self.importing:
            return
        volume = self.ui.volumeSelector.currentNode()
        if volume is None or not self.temporal.is_of(volume):
            self.do(self.select_what_belongs, volume)
            self.on_inputs_chosen()

    def select_what_belongs(self, volume):
        from SAMUSALib.app.images import segmentation_for

        if volume is None:
            return
        selector = self.ui.segmentationSelector
        segmentation, axis = segmentation_for(volume, selector.currentNode())
        self.updating = True
        selector.setCurrentNode(segmentation)
        self.updating = False
        self.fill_axes(volume, axis)

    def on_inputs_chosen(self, *_args):
        """Images and segmentation are opened at once; without a segmentation a button asks."""
        if not (self.updating or self.importing or self.is_in_hand()):
            self.do(self.take_inputs)

    def is_in_hand(self):
        """Whether what is chosen is open already; Slicer also tells of a node that is renamed."""
        segmentation = self.ui.segmentationSelector.currentNode()
        axis = self.axis() if self.ui.axisSelector.count else None
        return segmentation is not None and self.temporal.is_of(
            self.ui.volumeSelector.currentNode(), segmentation, axis
        )

    def take_inputs(self):
        from SAMUSALib.errors import SamusaError

        volume = self.ui.volumeSelector.currentNode()
        self.fill_axes(volume)
        if volume is None or self.ui.segmentationSelector.currentNode() is None:
            self.temporal.let_go()
            return
        try:
            self.open()
        except SamusaError:
            self.temporal.let_go()
            raise

    def axis(self):
        return self.ui.axisSelector.currentIndex if self.ui.axisSelector.count else 2

    def fill_axes(self, volume, axis=None):
        """axis: the one to choose; None: the one that is chosen, of other images the last."""
        from SAMUSALib.app.temporal import axis_labels
        from SAMUSALib.scene.clip_source import sequence_of

        if volume is None:
            labels = []
        elif sequence_of(volume) is not None:
            labels = []
        else:
            labels = axis_labels(volume)
        selector = self.ui.axisSelector
        self.updating = True
        if [selector.itemText(row) for row in range(selector.count)] != labels:
            selector.clear()
            selector.addItems(labels)
            selector.setCurrentIndex(len(labels) - 1)
        if axis is not None and labels:
            selector.setCurrentIndex(axis)
        self.updating = False

    def open(self):
        volume = self.ui.volumeSelector.currentNode()
        segmentation = self.ui.segmentationSelector.currentNode()
        workspace = self.temporal.open(volume, segmentation, self.axis())
        self.show_images(workspace)
        self.show_choice(volume, workspace)

    def show_images(self, workspace):
        """Let slice views show the images, and at least one of them in the plane of a frame."""
        from SAMUSALib.app.images import images_in_view, views_along

        volume = workspace.source.shown_volume
        shown = volume in images_in_view(slicer.mrmlScene)
        turned = not views_along(workspace.source)
        if turned:
            for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
                view.RotateToVolumePlane(volume)
        if turned or not shown:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def adopt_open_work(self):
        """Go on with what the Segment Editor has opened."""
        for workspace in self.logic.service.workspaces:
            if not workspace.is_closed:
                self.take_in_hand(workspace)

    def take_in_hand(self, workspace, segment=""):
        """Go on with what is open, and with one of its segments."""
        volume = workspace.source.shown_volume
        if volume is None:
            return
        if workspace is not self.temporal.workspace:
            self.temporal.adopt(workspace)
            self.show_choice(volume, workspace)
        if workspace.masks.has_segment(segment):
            self.do(self.temporal.choose_segment, segment)

    def on_images_loaded(self, _caller=None, _event=None):
        """Slicer names what it has loaded first and then lets the views show it."""
        qt.QTimer.singleShot(0, self.take_images_in_view)

    def take_images_in_view(self):
        """Where nothing is chosen yet: what the slice views show, so that Open is all to press."""
        from SAMUSALib.app.images import images_in_view

        if self.logic is None or not self.in_front:
            return
        shown = images_in_view(slicer.mrmlScene)
        if self.ui.volumeSelector.currentNode() is None and shown:
            self.updating = True
            self.ui.volumeSelector.setCurrentNode(shown[0])
            self.updating = False
            self.do(self.select_what_belongs, shown[0])

    def show_choice(self, volume, workspace):
        """The selectors and the parameter node say what is in hand."""
        self.updating = True
        self.ui.volumeSelector.setCurrentNode(volume)
        self.ui.segmentationSelector.setCurrentNode(workspace.masks.shown_node)
        self.updating = False
        self.fill_axes(volume, workspace.source.axis)
        parameters = self.logic.parameters()
        parameters.volume = volume
        parameters.segmentation = workspace.masks.shown_node
        parameters.axis = workspace.source.axis
        self.refresh_soon()

    def on_scene_closed(self, _caller=None, _event=None):
        self.plotting = False
        self.temporal.let_go()
        self.tell("")
        self.refresh_soon()

    def on_scene_loading(self, _caller=None, _event=None):
        self.importing = True

    def on_scene_loaded(self, _caller=None, _event=None):
        """Go on where the scene was saved, or with what was in hand before it was added."""
        self.importing = False
        workspace = self.temporal.workspace
        if workspace is not None:  # the selectors forget what was chosen
            self.show_choice(workspace.source.shown_volume, workspace)
            return
        parameters = self.logic.parameters()
        if parameters.volume is None or parameters.segmentation is None:
            self.take_images_in_view()
            return
        self.do(self.open_parameters, parameters)

    def open_parameters(self, parameters):
        segment = parameters.segment
        workspace = self.temporal.open(parameters.volume, parameters.segmentation, parameters.axis)
        self.show_choice(parameters.volume, workspace)
        if workspace.masks.has_segment(segment):
            self.temporal.choose_segment(segment)

    def on_segment_chosen(self, row):
        if not self.updating and row >= 0:
            segment = self.ui.segmentSelector.itemData(row)
            self.do(self.temporal.choose_segment, segment)
            self.logic.parameters().segment = segment

    def on_window_chosen(self, row):
        if not self.updating:
            self.do(self.temporal.choose_window, row)

    def on_frame_chosen(self, value):
        if not self.updating:
            self.do(self.temporal.show_frame, int(value))

    def on_range_chosen(self, start, end):
        if not self.updating:
            self.shown_range = None
            self.do(self.temporal.set_window, start, end)

    def open_segment_editor(self):
        """Where the border is clicked: the Segment Editor, with the effect on this segment."""
        temporal = self.temporal
        segmentation = temporal.workspace.masks.shown_node
        volume = temporal.workspace.source.shown_volume
        segment = temporal.segment_id
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(segment)
        editor.setActiveEffectByName("SAMUSA")

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

    def on_measured(self, *_args):
        self.show_readout()
        if self.plotting and self.temporal.measurements is not None:
            self.make_chart()

    def show_readout(self, *_args):
        self.read_frame = self.temporal.frame
        rows = "".join(
            f"<tr><td>{what}&nbsp;&nbsp;</td><td><b>{value}</b></td></tr>"
            for what, value in self.temporal.readout(self.ui.ventricleBox.checked)
        )
        self.ui.readoutLabel.text = f"<table>{rows}</table>" if rows else ""
        self.ui.readoutLabel.visible = bool(rows)

    def plot(self):
        """Show the plot beside the images; where it is shown, the views as they were before."""
        from SAMUSALib.errors import InvalidValue

        self.plotting = not self.is_plot_shown()
        if not self.plotting:
            self.views.SetViewArrangement(self.plot_views[0])
            return
        if self.temporal.measurements is None:
            raise InvalidValue(_("there is nothing to plot yet; wait for the measurements"))
        before = self.views.GetViewArrangement()
        slicer.modules.plots.logic().ShowChartInLayout(self.make_chart())
        self.plot_views = before, self.views.GetViewArrangement()

    def is_plot_shown(self):
        """Whether the views are still those that `plot` has made of others."""
        before, with_plot = self.plot_views
        return before != with_plot and self.views.GetViewArrangement() == with_plot

    def make_chart(self):
        from SAMUSALib.app.charts import QUANTITIES, show_measurements

        temporal = self.temporal
        info = temporal.workspace.masks.segment(temporal.segment_id)
        return show_measurements(
            slicer.mrmlScene,
            info.name,
            info.color,
            temporal.measurements,
            temporal.workspace.source.times,
            QUANTITIES[max(0, self.ui.quantitySelector.currentIndex)],
        )

    def export(self):
        from SAMUSALib.app.export import FORMATS

        chosen = FORMATS[max(0, self.ui.formatSelector.currentIndex)]
        workspace = self.temporal.workspace
        if workspace is None:
            self.tell(_("Choose images and a segmentation first."))
            return
        path = self.ask_path(workspace.source.name, chosen)
        if path:
            settings = self.logic.service.settings
            settings.export_folder, settings.export_format = str(Path(path).parent), chosen.key
            self.temporal.export(chosen.key, path)

    def ask_path(self, name, chosen):
        """Where to write a format, beside the last export; empty where the user thinks again."""
        from SAMUSALib.app.export import completed, file_name, free_path

        folder = self.logic.service.settings.export_folder
        if not chosen.suffix:
            folder = qt.QFileDialog.getExistingDirectory(
                self.parent, _("Export into a new folder inside this one"), folder
            )
            return folder and free_path(folder, f"{name}-{chosen.key}")
        given = qt.QFileDialog.getSaveFileName(
            self.parent,
            _("Export"),
            str(Path(folder, file_name(name) + chosen.suffix)),
            f"{chosen.label} (*{chosen.suffix})",
        )
        if not given:
            return ""
        path = completed(given, chosen.suffix)
        # The dialog has asked about the name that was given to it, not about this one.
        if path != given and Path(path).exists():
            question = _("{path} exists already. Replace it?").format(path=path)
            if not slicer.util.confirmYesNoDisplay(question):
                return ""
        return path

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

        self.updating = True
        try:
            self.show_state()
        except SceneChanged as error:
            self.tell(str(error))
        finally:
            self.updating = False

    def show_state(self):
        ui, temporal = self.ui, self.temporal
        ready, propagating = temporal.is_ready, temporal.is_propagating
        ui.openButton.visible = temporal.workspace is None
        ui.openButton.enabled = ui.volumeSelector.currentNode() is not None
        for part in (ui.axisLabel, ui.axisSelector):  # a sequence has but one
            part.visible = ui.axisSelector.count > 0
        for part in (ui.segmentSelector, ui.addSegmentButton, ui.clickButton):
            part.enabled = temporal.workspace is not None
        for part in (ui.timeSection, ui.propagateSection, ui.reviewSection, ui.measureSection):
            part.enabled = ready
        self.show_segments()
        self.show_time()
        for button in (
            ui.backwardButton,
            ui.bothButton,
            ui.forwardButton,
            ui.nextPromptButton,
            ui.undoButton,
            ui.redoButton,
        ):
            button.enabled = not propagating
        ui.plotButton.text = _("Hide plot") if self.is_plot_shown() else _("Show plot")
        ui.cancelButton.visible = temporal.is_busy
        ui.resumeButton.visible = temporal.is_interrupted
        self.show_review()
        self.tell(self.told)

    def show_segments(self):
        selector, infos = self.ui.segmentSelector, self.temporal.segments()
        wanted = [(info.id, info.name, info.color) for info in infos]
        if wanted != self.shown_segments:
            self.shown_segments = wanted
            selector.clear()
            for identity, name, color in wanted:
                picture = qt.QPixmap(12, 12)
                picture.fill(qt.QColor(*color))
                selector.addItem(qt.QIcon(picture), name, identity)
        selector.setCurrentIndex(selector.findData(self.temporal.segment_id))

    def show_time(self):
        ui, temporal = self.ui, self.temporal
        last = max(0, temporal.length - 1)
        ui.frameSlider.maximum = last
        ui.frameSlider.value = temporal.frame or 0
        self.timeline.show_segment(temporal.shown())
        edits = temporal.edits
        chosen = edits.chosen
        wanted = (last, *((chosen.start, chosen.end) if chosen else (0, last)))
        if wanted != self.shown_range:  # else it may be in the user's hand
            self.shown_range = wanted
            ui.windowRange.setRange(0, last)
            ui.windowRange.setValues(*wanted[1:])
        labels = [f"{window.start} – {window.end}" for window in edits.windows]
        labels = labels or [_("Whole clip")]
        if [ui.windowSelector.itemText(n) for n in range(ui.windowSelector.count)] != labels:
            ui.windowSelector.clear()
            ui.windowSelector.addItems(labels)
        row = edits.windows.index(chosen) if chosen in edits.windows else 0
        ui.windowSelector.setCurrentIndex(row)
        ui.removeWindowButton.enabled = chosen is not None

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
        if temporal.frame != self.read_frame:
            self.show_readout()


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
