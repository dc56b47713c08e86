"""The panel of SAMUSATemporal, clicked through with a real worker on simulated clips."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "SAMUSATemporal" / "SAMUSATemporal.py"
PANEL = (460, 900)


@pytest.fixture
def panel(running, tmp_path, monkeypatch):
    """The module's Python widget, with the spline as its model."""
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(MODULE.parents[1] / "SAMUSA"))
    widget = running.load_module(MODULE)
    widget.logic.service.session.set_model("spline")
    return widget


@pytest.fixture
def case(panel):
    """The module's own self-test, for its helpers."""
    import SAMUSATemporal

    return SAMUSATemporal.SAMUSATemporalTest("test_from_one_click_to_approved_masks")


@pytest.fixture
def opened(panel, case, running):
    """(panel, truth) of an open phantom cine; its lesion is clicked on one frame."""
    volume, truth = case.add_phantom()
    panel.ui.volumeSelector.setCurrentNode(volume)
    panel.ui.openButton.click()
    case.wait(lambda: panel.temporal.is_ready, "the clip")
    middle = int(np.argmax(truth.sum(axis=(1, 2))))
    draw(panel, truth, [middle])
    panel.temporal.show_frame(middle)
    case.wait(lambda: panel.ui.frameSlider.value == middle, "the panel")
    assert panel.ui.timeSection.enabled
    return panel, truth


def draw(panel, truth, frames):
    """Accept true masks with clicks around them, as if a model had answered so."""
    from SAMUSALib.prompts import FramePrompts

    for frame in frames:
        y, x = np.nonzero(truth[frame])
        corners = [(x.min(), y[x.argmin()]), (x[y.argmin()], y.min()), (x.max(), y[x.argmax()])]
        corners.append((x[y.argmax()], y.max()))
        steps = [FramePrompts(boundary=np.array(corners, float))]
        temporal = panel.temporal
        temporal.workspace.accept(temporal.segment_id, frame, steps, truth[frame], 0.9)


def choose(selector, node):
    """Choose a node as a person does, with the mouse."""
    selector.setCurrentNode(node)
    selector.nodeActivated.emit(node)


def masks(panel):
    workspace = panel.temporal.workspace
    found = (
        workspace.masks.mask(panel.temporal.segment_id, n) for n in range(panel.temporal.length)
    )
    return np.array(list(found))


def run(panel, button, case):
    case.wait(lambda: button.isEnabled() and button.visible, "the button")
    button.click()
    case.wait(lambda: not panel.temporal.is_propagating, "the propagation")
    case.wait(lambda: panel.ui.bothButton.enabled, "the panel")


def test_the_module_s_self_test_runs(panel):
    import slicer

    slicer.selfTests["SAMUSATemporal"](msec=1)


def test_an_empty_panel_says_what_to_do(panel, running, tmp_path):
    assert panel.ui.openButton.visible and not panel.ui.openButton.enabled
    assert not panel.ui.propagateSection.enabled
    assert not panel.ui.cancelButton.visible and not panel.ui.resumeButton.visible
    assert panel.ui.statusLabel.text.startswith("Choose images, a volume or a sequence")
    assert not panel.ui.axisSelector.visible
    panel.do(panel.temporal.approve)
    assert panel.ui.statusLabel.text == "Choose images and a segmentation first"
    running.grab(panel.parent, tmp_path / "empty.png", PANEL)


def test_clicked_propagated_and_approved(opened, case, running, tmp_path):
    panel, truth = opened
    ui = panel.ui
    visible = np.flatnonzero(truth.any(axis=(1, 2)))
    panel.temporal.show_frame(int(visible[0]))
    ui.startHereButton.click()
    panel.temporal.show_frame(int(visible[-1]))
    ui.endHereButton.click()
    (window,) = panel.temporal.workspace.windows(panel.temporal.segment_id)
    assert (window.start, window.end) == (visible[0], visible[-1])
    run(panel, ui.bothButton, case)
    assert np.flatnonzero(masks(panel).any(axis=(1, 2))).tolist() == visible.tolist()
    assert ui.statusLabel.text.startswith(f"Propagated: {len(visible) - 1} frames")
    assert ui.toComputeLabel.text == ""
    ui.checkButton.click()
    frame = panel.temporal.frame
    ui.approveButton.click()
    running.process_events(0.1)
    assert panel.time.timeline.shown.states[frame].value == "reviewed"
    assert ui.approveButton.text == "Unlock" and ui.undoButton.text == "Undo: approve"
    case.wait(lambda: "Fractional area change" in ui.readoutLabel.text, "the measurements")
    running.grab(panel.parent, tmp_path / "propagated.png", PANEL)


def test_the_keys_set_the_window_and_step_through_the_frames(opened, running):
    import slicer
    from host import events

    panel, _ = opened
    window = slicer.util.mainWindow()
    panel.temporal.show_frame(3)
    events.keys(window, "[")
    panel.temporal.show_frame(8)
    events.keys(window, "]")
    events.keys(window, "D")
    assert panel.temporal.frame == 9
    events.keys(window, "A")
    running.process_events(0.1)
    assert [(w.start, w.end) for w in panel.temporal.edits.windows] == [(3, 8)]
    assert (panel.ui.windowRange.minimumValue, panel.ui.windowRange.maximumValue) == (3, 8)
    assert panel.ui.frameSlider.value == 8
    slicer.util.selectModule("SAMUSATemporal")  # leaving the module frees the keys
    panel.exit()
    events.keys(window, "A")
    assert panel.temporal.frame == 8


def test_keys_count_where_a_view_of_the_layout_has_no_widget(opened, monkeypatch):
    import slicer
    from host import events

    panel, _ = opened
    layout_manager = type(slicer.app.layoutManager())
    real = layout_manager.sliceWidget
    monkeypatch.setattr(
        layout_manager,
        "sliceWidget",
        lambda self, name: None if name == "Yellow" else real(self, name),
    )
    panel.exit()
    panel.enter()
    panel.temporal.show_frame(3)
    events.keys(slicer.util.mainWindow(), "D")
    assert panel.temporal.frame == 4


def test_another_module_s_shortcut_on_the_same_key_rests_meanwhile(opened):
    """Qt would drop a key that two claim."""
    import qt
    import slicer
    from host import events

    panel, _ = opened
    window, pressed = slicer.util.mainWindow(), []
    theirs = qt.QShortcut(qt.QKeySequence("D"), window)
    theirs.connect("activated()", lambda: pressed.append("D"))
    panel.exit()
    panel.enter()
    panel.temporal.show_frame(3)
    events.keys(window, "D")
    assert panel.temporal.frame == 4 and pressed == []
    panel.exit()
    events.keys(window, "D")
    assert panel.temporal.frame == 4 and pressed == ["D"]


def test_keys_count_again_when_a_number_was_typed(opened, running):
    import qt
    import slicer
    from PySide6.QtTest import QTest

    panel, _ = opened
    slicer.util.mainWindow().activateWindow()
    (box,) = panel.ui.frameSlider.findChildren(qt.QDoubleSpinBox)
    box.setFocus()
    running.process_events(0.1)
    assert box.hasFocus()
    box.selectAll()
    QTest.keyClicks(box, "7D")
    QTest.keyClick(box, qt.Qt.Key_Return)
    assert panel.temporal.frame == 7 and not box.hasFocus()
    QTest.keyClick(slicer.util.mainWindow(), qt.Qt.Key_D)
    assert panel.temporal.frame == 8


def test_keys_are_changed_in_a_window_and_count_at_once(opened, running, tmp_path):
    import slicer
    from host import events

    panel, _ = opened
    assert "A\u00a0D\u00a0frame" in panel.ui.keysLabel.text
    panel.ui.keysButton.click()
    dialog = panel.keys.dialog
    assert dialog.dialog.visible
    panel.temporal.show_frame(3)
    dialog.put("next_frame", "F")
    dialog.put("window_start", "")
    window = slicer.util.mainWindow()
    events.keys(window, "D")
    assert panel.temporal.frame == 3
    events.keys(window, "F")
    assert panel.temporal.frame == 4
    assert "A\u00a0F\u00a0frame" in panel.ui.keysLabel.text
    assert panel.ui.startHereButton.text == "Start here"
    dialog.put("next_frame", "P")
    assert "is the key of" in dialog.message.text
    running.process_events(0.1)
    running.grab(panel.parent, tmp_path / "keys.png", PANEL)
    panel.exit()
    assert not dialog.dialog.visible
    panel.logic.service.settings.reset_shortcuts()
    events.keys(window, "D")
    assert panel.temporal.frame == 4, "keys count while the module is in front"


def test_several_windows_are_kept_apart_and_one_is_in_hand(opened, running):
    panel, _ = opened
    ui, temporal = panel.ui, panel.temporal
    ui.windowRange.setValues(1, 3)
    running.process_events(0.1)
    temporal.show_frame(7)
    ui.addWindowButton.click()
    temporal.show_frame(9)
    ui.endHereButton.click()
    running.process_events(0.1)
    labels = [ui.windowSelector.itemText(n) for n in range(ui.windowSelector.count)]
    assert labels == ["1 – 3", "7 – 9"] and ui.windowSelector.currentIndex == 1
    ui.windowSelector.setCurrentIndex(0)
    assert ui.windowRange.maximumValue == 3
    ui.removeWindowButton.click()
    assert [(w.start, w.end) for w in temporal.workspace.windows(temporal.segment_id)] == [(7, 9)]


def test_a_handle_is_dragged_over_another_window_and_back(opened, running):
    """The view follows it; what counts is where it is let go."""
    import qt
    from PySide6.QtTest import QTest

    panel, _ = opened
    temporal, bar = panel.temporal, panel.ui.windowRange._bar
    for frame, action in ((1, "start_here"), (3, "end_here"), (7, "add_window"), (9, "end_here")):
        temporal.show_frame(frame)
        getattr(temporal, action)()
    temporal.choose_window(0)
    panel.refresh()

    def place(frame):
        return qt.QPoint(round(bar._pixel(frame)), bar.height // 2)

    QTest.mousePress(bar, qt.Qt.LeftButton, qt.Qt.NoModifier, place(3))
    for frame in (6, 8, 5):
        QTest.mouseMove(bar, place(frame))
        running.process_events(0.1)
        assert temporal.frame == frame and panel.ui.frameSlider.value == frame
        panel.refresh()
    QTest.mouseRelease(bar, qt.Qt.LeftButton, qt.Qt.NoModifier, place(5))
    assert [(w.start, w.end) for w in temporal.edits.windows] == [(1, 5), (7, 9)]


def test_a_click_on_the_timeline_shows_its_frame(opened, running):
    import qt
    from PySide6.QtTest import QTest

    panel, _ = opened
    place = qt.QPoint(panel.time.timeline.width * 10 // 12 + 3, 20)
    QTest.mouseClick(panel.time.timeline, qt.Qt.LeftButton, qt.Qt.NoModifier, place)
    assert panel.temporal.frame == 10
    assert panel.temporal.workspace.source.browser.GetSelectedItemNumber() == 10
    panel.temporal.workspace.source.browser.SetSelectedItemNumber(4)  # by Slicer's own toolbar
    running.process_events(0.1)
    assert panel.ui.frameSlider.value == 4 and panel.time.timeline.shown.current == 4


def test_a_correction_computes_only_what_follows_from_it(opened, case, running):
    panel, truth = opened
    temporal, ui = panel.temporal, panel.ui
    first = temporal.frame
    draw(panel, truth, [first + 3])
    run(panel, ui.nextPromptButton, case)
    drawn = [first, first + 1, first + 2, first + 3]
    assert np.flatnonzero(masks(panel).any(axis=(1, 2))).tolist() == drawn
    temporal.show_frame(first + 3)
    run(panel, ui.nextPromptButton, case)
    assert "click the border there first" in ui.statusLabel.text
    run(panel, ui.bothButton, case)
    before = masks(panel)
    draw(panel, np.roll(truth, 4, axis=2), [first + 3])
    wanted = f"{12 - first - 2} to compute"
    case.wait(lambda: ui.toComputeLabel.text == wanted, wanted)
    run(panel, ui.bothButton, case)
    after = masks(panel)
    assert np.array_equal(after[: first + 1], before[: first + 1])
    assert not np.array_equal(after[first + 3 :], before[first + 3 :])


def test_slices_of_a_volume_along_each_axis(panel, case, running, tmp_path):
    import slicer

    voxels = np.random.default_rng(0).integers(0, 255, (10, 20, 30), np.uint8)
    volume = slicer.util.addVolumeFromArray(voxels, name="Sweep")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    ui = panel.ui
    ui.volumeSelector.setCurrentNode(volume)
    assert ui.axisSelector.visible and ui.statusLabel.text == "Press Open to annotate Sweep."
    labels = [ui.axisSelector.itemText(n) for n in range(3)]
    assert labels == ["Sagittal slices (i, 30)", "Coronal slices (j, 20)", "Axial slices (k, 10)"]
    ui.openButton.click()
    case.wait(lambda: panel.temporal.is_ready, "the volume")
    assert panel.temporal.length == 10
    ui.frameSlider.value = 7
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceOffset() == pytest.approx(7)
    red.SetSliceOffset(2)
    running.process_events(0.1)
    assert ui.frameSlider.value == 2
    segmentation = ui.segmentationSelector.currentNode()
    ui.axisSelector.setCurrentIndex(0)
    case.wait(lambda: panel.temporal.is_ready, "the other axis")
    assert panel.temporal.length == 30 and ui.segmentationSelector.currentNode() is segmentation
    running.grab(panel.parent, tmp_path / "volume.png", PANEL)


def sequences():
    import slicer

    return {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")}


def test_the_next_clip_gets_a_segmentation_of_its_own(opened, case):
    """Both clips have the same name and size; the masks of one must not get into the other."""
    panel, _ = opened
    ui, temporal = panel.ui, panel.temporal
    first, before = temporal.workspace, masks(panel)
    volume, _ = case.add_phantom()
    known = sequences()
    choose(ui.volumeSelector, volume)
    assert temporal.workspace is None and ui.segmentationSelector.currentNode() is None
    assert ui.openButton.visible and ui.openButton.enabled and sequences() == known
    ui.openButton.click()
    case.wait(lambda: temporal.is_ready, "the second clip")
    assert temporal.workspace is not first and not masks(panel).any()
    choose(ui.volumeSelector, first.source.shown_volume)
    assert temporal.workspace is first and np.array_equal(masks(panel), before)
    assert ui.segmentationSelector.currentNode() is first.masks.shown_node


def test_masks_of_another_clip_are_refused_in_words(opened, case):
    panel, _ = opened
    ui, first = panel.ui, panel.temporal.workspace
    volume, _ = case.add_phantom()
    known = sequences()
    choose(ui.volumeSelector, volume)
    choose(ui.segmentationSelector, first.masks.shown_node)
    assert "has the masks of other images" in ui.statusLabel.text
    assert panel.temporal.workspace is None and sequences() == known


def test_images_that_cannot_be_used_are_refused_in_words(opened):
    import slicer

    panel, _ = opened
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    choose(panel.ui.volumeSelector, empty)
    assert panel.temporal.workspace is None
    panel.ui.openButton.click()
    assert panel.ui.statusLabel.text == "Volume 'Empty' holds no image; load it again"


def test_a_scene_that_is_added_takes_nothing_out_of_hand(opened, case, running, tmp_path):
    import slicer

    panel, _ = opened
    workspace, volume = panel.temporal.workspace, panel.ui.volumeSelector.currentNode()
    panel.temporal.add_segment()
    segment = panel.temporal.segment_id
    other = slicer.vtkMRMLScene()
    other.AddNode(slicer.vtkMRMLTextNode())
    other.SetURL(str(tmp_path / "other.mrml"))
    other.Commit()
    slicer.mrmlScene.SetURL(str(tmp_path / "other.mrml"))
    slicer.mrmlScene.Import()
    assert panel.temporal.workspace is workspace and panel.temporal.segment_id == segment
    assert panel.ui.volumeSelector.currentNode() is volume
    assert panel.ui.segmentationSelector.currentNode() is workspace.masks.shown_node


def test_renaming_what_is_open_changes_nothing_else(opened, running):
    import slicer

    panel, _ = opened
    workspace, volume = panel.temporal.workspace, panel.ui.volumeSelector.currentNode()
    slicer.util.setSliceViewerLayers(background=None, foreground=volume)
    panel.tell("Something to read.")
    volume.SetName("Another name")
    panel.ui.segmentationSelector.currentNode().SetName("Other masks")
    running.process_events(0.1)
    assert panel.temporal.workspace is workspace
    assert panel.ui.statusLabel.text == "Something to read."
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() is None


def test_label_maps_are_no_images(panel):
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Sweep")
    assert panel.ui.volumeSelector.nodeCount() == 1


def test_what_the_views_show_is_chosen_already(panel, case, running):
    import slicer

    selection = slicer.app.applicationLogic().GetSelectionNode()
    for name in ("Sweep", "Next sweep"):
        voxels = np.zeros((4, 20, 30), np.uint8)
        volume = slicer.util.addVolumeFromArray(voxels, name=name)
        selection.SetActiveVolumeID(volume.GetID())  # as all of Slicer's readers do
        slicer.app.applicationLogic().PropagateVolumeSelection()
        running.process_events(0.1)
        assert panel.ui.volumeSelector.currentNode() is volume
        assert panel.temporal.workspace is None and panel.ui.openButton.enabled
        slicer.mrmlScene.Clear()
        running.process_events(0.1)
        assert panel.ui.volumeSelector.currentNode() is None


def test_opening_shows_the_images_in_the_plane_of_their_frames(panel, case, running):
    """Tracked images lie askew in the world; a slice view has to be turned to show one."""
    import slicer

    volume = case.add_cine(np.zeros((4, 20, 30), np.uint8))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turned = np.eye(4)
    turned[:3, :3] = [[0.8, 0.0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.volumeSelector.setCurrentNode(volume)
    panel.ui.openButton.click()
    case.wait(lambda: panel.temporal.is_ready, "the cine")
    red = slicer.app.layoutManager().sliceWidget("Red")
    normal = slicer.util.arrayFromVTKMatrix(red.mrmlSliceNode().GetSliceToRAS())[:3, 2]
    assert abs(normal @ turned[:3, 2]) == pytest.approx(1.0)
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


def test_a_view_that_a_layout_adds_is_followed_and_let_go(panel, case, running):
    import slicer

    voxels = np.random.default_rng(0).integers(0, 255, (10, 20, 30), np.uint8)
    volume = slicer.util.addVolumeFromArray(voxels, name="Sweep")
    panel.ui.volumeSelector.setCurrentNode(volume)
    panel.ui.openButton.click()
    case.wait(lambda: panel.temporal.is_ready, "the volume")
    for name in ("Red", "Yellow", "Green"):
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().SetOrientationToCoronal()
    added = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Slice4")
    added.SetOrientationToAxial()
    for offset in (4, 6):
        added.SetSliceOffset(offset)
        case.wait(lambda offset=offset: panel.ui.frameSlider.value == offset, "the new view")
    panel.temporal.let_go()
    added.SetSliceOffset(2)
    running.process_events(0.1)
    assert panel.temporal.frame is None


def test_measures_are_plotted_and_exported(opened, case, running, tmp_path):
    import slicer

    panel, truth = opened
    ui = panel.ui
    draw(panel, truth, np.flatnonzero(truth.any(axis=(1, 2))).tolist())
    case.wait(lambda: "Fractional" in ui.readoutLabel.text, "the measurements")
    views = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    before = views.GetViewArrangement()
    ui.plotButton.click()
    chart = slicer.mrmlScene.GetFirstNodeByName("SAMUSA chart")
    series = chart.GetNthPlotSeriesNode(0)
    table = series.GetTableNode().GetTable()
    areas = [table.GetColumnByName("Area (mm²)").GetTuple1(n) for n in range(12)]
    assert areas == pytest.approx(panel.temporal.measurements.area.tolist())
    times = [table.GetColumnByName("Time (s)").GetTuple1(n) for n in range(12)]
    assert times == pytest.approx([n / 10 for n in range(12)])
    ui.quantitySelector.setCurrentIndex(1)
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    assert chart.GetNthPlotSeriesNode(0).GetYColumnName() == "Confidence"
    with_plot = views.GetViewArrangement()
    assert with_plot != before
    ui.plotButton.click()
    assert views.GetViewArrangement() == before
    ui.plotButton.click()
    assert views.GetViewArrangement() == with_plot and ui.plotButton.text == "Hide plot"
    views.SetViewArrangement(views.SlicerLayoutOneUpRedSliceView)  # by Slicer's own menu
    case.wait(lambda: ui.plotButton.text == "Show plot", "the button")
    assert "Ejection" not in ui.readoutLabel.text
    ui.ventricleBox.checked = True
    assert "Ejection fraction" in ui.readoutLabel.text
    for row, given, written in (
        (0, tmp_path / "masks", tmp_path / "masks.seg.nrrd"),
        (1, tmp_path / "table.csv", tmp_path / "table.csv"),
        (2, tmp_path, tmp_path / "Cine-masks"),
        (3, tmp_path, tmp_path / "Cine-coco"),
    ):
        ui.formatSelector.setCurrentIndex(row)
        running.dialogs.answer(given, "Export")
        ui.exportButton.click()
        case.wait(lambda: not panel.temporal.is_busy, "the export")
        assert written.exists() and ui.statusLabel.text == f"Written: {written}"
    ui.formatSelector.setCurrentIndex(4)
    running.dialogs.answer(tmp_path / "a.dcm", "Export")
    ui.exportButton.click()
    case.wait(lambda: not panel.temporal.is_busy, "the export")
    assert "this is a cine; export as .seg.nrrd" in ui.statusLabel.text
    running.dialogs.answer(None, "Export")
    ui.exportButton.click()
    assert not (tmp_path / "a.dcm").exists()


def test_an_export_replaces_nothing_that_was_not_asked_about(opened, case, running, tmp_path):
    panel, _ = opened
    ui, settings = panel.ui, panel.logic.service.settings
    there = tmp_path / "masks.seg.nrrd"
    there.write_bytes(b"precious")
    for given in ("masks", "masks.nrrd"):
        running.dialogs.answer(tmp_path / given, "Export")
        running.dialogs.answer("No", f"{there} exists already. Replace it?")
        ui.exportButton.click()
        assert there.read_bytes() == b"precious" and not panel.temporal.is_busy
    running.dialogs.answer(there, "Export")  # Qt's dialog has asked about this one
    ui.exportButton.click()
    case.wait(lambda: not panel.temporal.is_busy, "the export")
    assert there.read_bytes().startswith(b"NRRD")
    assert (settings.export_folder, settings.export_format) == (str(tmp_path), "seg")


def test_the_next_clip_gets_the_segments_of_the_last_one(opened, case, running):
    panel, _ = opened
    temporal = panel.temporal
    shown = temporal.workspace.masks.shown_node.GetSegmentation()
    shown.GetSegment(temporal.segment_id).SetName("Cavity")
    temporal.add_segment()
    shown.GetSegment(temporal.segment_id).SetName("Wall")
    settings = panel.logic.service.settings
    case.wait(lambda: [n for n, _ in settings.segments] == ["Cavity", "Wall"], "the names")
    wanted = [(info.name, info.color) for info in temporal.segments()]
    volume, _ = case.add_phantom()
    choose(panel.ui.volumeSelector, volume)
    panel.ui.openButton.click()
    case.wait(lambda: len(temporal.segments()) == 2, "the segments")
    assert [(info.name, info.color) for info in temporal.segments()] == wanted
    case.wait(lambda: panel.ui.segmentSelector.currentText == "Cavity", "the panel")


def test_an_export_is_cancelled_and_nothing_is_written(opened, running, tmp_path):
    panel, _ = opened
    panel.ui.formatSelector.setCurrentIndex(3)
    running.dialogs.answer(tmp_path, "Export")
    panel.ui.exportButton.click()
    assert panel.ui.cancelButton.visible
    panel.ui.cancelButton.click()
    running.process_events(0.1)
    assert panel.ui.statusLabel.text == "The export was cancelled; nothing was written."
    assert [p.name for p in tmp_path.iterdir() if "coco" in p.name or "tmp" in p.name] == []


def test_scene_and_panel_go_on_after_saving_and_loading(opened, case, running, tmp_path):
    import slicer

    from SAMUSALib.annotation import FrameState

    panel, truth = opened
    panel.ui.windowRange.setValues(2, 8)
    draw(panel, truth, [3, 4, 6])
    run(panel, panel.ui.forwardButton, case)
    panel.temporal.show_frame(6)
    panel.ui.approveButton.click()
    before, shown = masks(panel), panel.temporal.shown()
    wanted = panel.temporal.to_compute()
    assert 0 < wanted < 7 and set(shown.states.values()) > {FrameState.PROPAGATED}
    workspace, corner = panel.temporal.workspace, np.zeros(truth[6].shape, bool)
    corner[:20, :20] = True
    workspace.accept(workspace.masks.add_segment("corner"), 6, [], corner)
    case.wait(lambda: not workspace.is_journaling, "the journal")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    case.wait(lambda: workspace.annotated.journal is None, "the end of the journal")
    slicer.mrmlScene.Clear()
    running.process_events(0.1)
    assert panel.temporal.workspace is None and not panel.ui.timeSection.enabled
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    case.wait(lambda: panel.temporal.is_ready, "the loaded clip")
    assert np.array_equal(masks(panel), before)
    assert panel.temporal.shown() == shown and panel.temporal.to_compute() == wanted
    case.wait(lambda: panel.time.timeline.shown == shown, "the strip")
    assert [(w.start, w.end) for w in panel.temporal.edits.windows] == [(2, 8)]


@pytest.mark.parametrize(
    "what", ["segment", "segmentation", "masks", "images", "shown", "browser", "scene", "reload"]
)
def test_what_is_deleted_while_masks_come_ends_it_without_an_exception(opened, case, running, what):
    import slicer

    panel, _ = opened
    temporal = panel.temporal
    panel.ui.bothButton.click()
    assert temporal.is_propagating
    if what == "segment":
        temporal.workspace.masks.shown_node.GetSegmentation().RemoveSegment(temporal.segment_id)
    elif what == "segmentation":
        slicer.mrmlScene.RemoveNode(temporal.workspace.masks.shown_node)
    elif what == "masks":
        slicer.mrmlScene.RemoveNode(temporal.workspace.masks.stored_node)
    elif what == "images":
        slicer.mrmlScene.RemoveNode(temporal.workspace.source.node)
    elif what == "shown":
        slicer.mrmlScene.RemoveNode(temporal.workspace.source.shown_volume)
    elif what == "browser":
        slicer.mrmlScene.RemoveNode(temporal.workspace.source.browser)
    elif what == "scene":
        slicer.mrmlScene.Clear()
    else:
        slicer.util.reloadScriptedModule("SAMUSATemporal")
    case.wait(lambda: not temporal.is_propagating, "its end")
    running.process_events(0.3)


def test_what_is_renamed_while_masks_come_goes_on(opened, case, running):
    panel, _ = opened
    temporal = panel.temporal
    workspace, segment = temporal.workspace, temporal.segment_id
    panel.ui.bothButton.click()
    shown = workspace.masks.shown_node
    shown.GetSegmentation().GetSegment(segment).SetName("Cavity")
    for node in (shown, workspace.masks.stored_node, workspace.source.node, workspace.state.node):
        node.SetName("Another name")
    case.wait(lambda: not temporal.is_propagating, "its end")
    assert temporal.workspace is workspace and temporal.to_compute() == 0
    case.wait(lambda: panel.ui.segmentSelector.currentText == "Cavity", "the new name")
    assert masks(panel).any(axis=(1, 2)).all()


def test_the_application_quits_while_masks_come(opened):
    """Its modules are unloaded before others hear of it; what is left over fails the fixture."""
    import slicer

    panel, _ = opened
    session = panel.logic.service.session
    panel.ui.bothButton.click()
    assert panel.temporal.is_propagating and session.running
    slicer.app.aboutToQuit.emit()
    assert panel.temporal.workspace is None and not session.running


def workers():
    """Processes that a worker runs in, started by this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid() and b"worker" in command:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker in /proc")
def test_a_killed_worker_is_said_and_one_click_goes_on(panel, case, running, tmp_path):
    frames, size, ui, temporal = 400, (240, 320), panel.ui, panel.temporal
    volume = case.add_cine(np.zeros((frames, *size), np.uint8))
    ui.volumeSelector.setCurrentNode(volume)
    ui.openButton.click()
    case.wait(lambda: temporal.is_ready, "the clip")
    truth = np.zeros((1, *size), bool)
    truth[0, 50:150, 100:200] = True
    draw(panel, truth, [0])
    session = panel.logic.service.session
    case.wait(lambda: session.state.value == "ready", "the worker")
    (process,) = workers()

    def kill(_progress):
        forget()
        os.kill(process, signal.SIGKILL)

    forget = temporal.progress.connect(kill)
    run(panel, ui.forwardButton, case)
    finished = masks(panel)
    some = int(finished.any(axis=(1, 2)).sum())
    assert 1 < some < frames, "the worker was killed in the middle"
    assert "The propagation was interrupted" in ui.statusLabel.text
    assert f"{some - 1} frames were finished and are kept" in ui.statusLabel.text
    assert ui.resumeButton.visible
    running.grab(panel.parent, tmp_path / "interrupted.png", PANEL)
    run(panel, ui.resumeButton, case)
    assert not ui.resumeButton.visible and temporal.to_compute() == 0
    after = masks(panel)
    assert after.any(axis=(1, 2)).all()
    assert np.array_equal(after[:some], finished[:some])


def test_clicking_leads_to_the_segment_editor(opened, running):
    import slicer

    running.load_segment_editor()
    slicer.util.selectModule("SAMUSATemporal")
    panel, _ = opened
    panel.ui.clickButton.click()
    editor = slicer.modules.SegmentEditorWidget.editor
    assert editor.segmentationNode() is panel.temporal.workspace.masks.shown_node
    assert editor.sourceVolumeNode() is panel.temporal.workspace.source.shown_volume
    assert editor.currentSegmentID() == panel.temporal.segment_id
    assert slicer.app.layoutManager() and slicer.util.selectedModule() == "SegmentEditor"


def test_the_effect_leads_back_to_its_clip_and_segment(opened, case, running):
    import slicer

    effect = MODULE.parents[1] / "SegmentEditorBoundaryPoints" / "SegmentEditorBoundaryPoints.py"
    slicer.app.moduleManager()._load(effect)
    slicer.app.startupCompleted.emit()
    running.load_segment_editor()
    slicer.util.selectModule("SAMUSATemporal")
    panel, _ = opened
    workspace, first = panel.temporal.workspace, panel.temporal.segment_id
    panel.temporal.add_segment()
    second = panel.temporal.segment_id
    panel.ui.clickButton.click()
    panel.temporal.let_go()
    editor = slicer.modules.SegmentEditorWidget.editor
    running.process_events(0.2)
    editor.activeEffect().self().options.timeline_button.click()
    assert slicer.util.selectedModule() == "SAMUSATemporal" and editor.activeEffect() is None
    assert panel.temporal.workspace is workspace and panel.temporal.segment_id == second != first
    assert panel.ui.volumeSelector.currentNode() is workspace.source.shown_volume


@pytest.mark.heavy
def test_a_long_cine_never_holds_the_panel_up(panel, case, running, tmp_path):
    """700 frames of 640 x 480: opened, propagated, measured, exported. 50 ms are allowed; here
    processor time of this thread is counted, so that other programs do not."""
    import time

    import slicer

    ui, temporal = panel.ui, panel.temporal
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 255, (480, 640), np.uint8)
    volume = case.add_cine(np.stack([np.roll(tile, t, axis=1) for t in range(700)]))
    longest = {}

    def work(condition, what):
        end = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < end, what
            start = time.thread_time()
            slicer.app.processEvents()
            longest[what] = max(longest.get(what, 0.0), time.thread_time() - start)
            time.sleep(0.001)

    running.process_events(0.5)
    ui.volumeSelector.setCurrentNode(volume)
    ui.openButton.click()
    work(lambda: temporal.is_ready and ui.propagateSection.enabled, "opening")
    truth = np.zeros((1, 480, 640), bool)
    truth[0, 150:330, 200:400] = True
    draw(panel, truth, [0])
    work(lambda: temporal.to_compute() == 699 and ui.forwardButton.isEnabled(), "clicking")
    ui.forwardButton.click()
    work(lambda: not temporal.is_propagating, "propagating")
    work(lambda: "Fractional" in ui.readoutLabel.text, "measuring")
    for key in ("seg", "csv", "masks", "coco"):
        temporal.export(key, tmp_path / f"{key}.seg.nrrd")
        work(lambda: not temporal.is_busy, key)
    assert max(longest.values()) < 0.05, longest
