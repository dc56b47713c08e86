"""The effect SAMUSA in the Segment Editor: a real phantom cine is clicked with mouse and keys, with
a real worker. Pictures go into the test's temporary folder."""

import sys
from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "SegmentEditorBoundaryPoints"
FRAMES, SIZE, SPACING = 8, (120, 160), 0.25


def phantom():
    from SAMUSALib.phantom import random_spec, simulate

    made = simulate(random_spec(np.random.default_rng(2), FRAMES, SIZE))
    return made.frames, made.labels == 2


def add_cine(frames):
    """(browser, volume that shows it) of a cine as the self-tests make it."""
    import slicer

    slicer.app.moduleManager()._load(MODULE.parent / "SAMUSATemporal" / "SAMUSATemporal.py")
    from SAMUSATemporal import SAMUSATemporalTest

    from SAMUSALib.scene.clip_source import sequence_of

    volume = SAMUSATemporalTest.add_cine(frames, SPACING)
    return sequence_of(volume)[0], volume


class Bench:
    """The Segment Editor with the effect, a clip, and the hand that clicks it."""

    def __init__(self, host, volume):
        import slicer
        from host import events

        self.host, self.events, self.volume = host, events, volume
        slicer.app.moduleManager()._load(MODULE / "SegmentEditorBoundaryPoints.py")
        slicer.app.startupCompleted.emit()
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "Editor")
        self.node.SetOverwriteMode(self.node.OverwriteNone)
        self.editor.setMRMLSegmentEditorNode(self.node)
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Masks")
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        self.segment = self.segmentation.GetSegmentation().AddEmptySegment("lesion", "lesion")
        self.editor.setSegmentationNode(self.segmentation)
        self.editor.setSourceVolumeNode(volume)
        self.editor.setCurrentSegmentID(self.segment)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        self.red = slicer.app.layoutManager().sliceWidget("Red")
        self.editor.setActiveEffectByName("SAMUSA")
        self.effect = self.editor.activeEffect().self()
        self.effect.service.session.set_model("spline")

    def close(self):
        self.editor.setActiveEffect(None)
        self.editor.removeViewObservations()

    @property
    def space(self):
        return next(iter(self.effect.service.workspaces))

    @property
    def clicks(self):
        return self.effect.current_clicks()

    def xy(self, pixel, frame=0):
        """Display pixels of a frame pixel in the red view."""
        return self.events.ras_to_xy(self.red, self.ras((*pixel, frame)))

    def ras(self, ijk):
        import vtk

        matrix = vtk.vtkMatrix4x4()
        self.volume.GetIJKToRASMatrix(matrix)
        return matrix.MultiplyPoint((*ijk, 1.0))[:3]

    def click(self, pixel, frame=0, **kwargs):
        self.events.click(self.red, self.xy(pixel, frame), **kwargs)

    def key(self, text):
        self.events.keys(self.red.sliceView().VTKWidget(), text)

    def enter(self):
        """The mouse comes into the view."""
        self.red.sliceView().interactor().InvokeEvent("EnterEvent")

    def actors(self):
        """How many things the effect has put into the red view."""
        props = self.red.sliceView().renderWindow().GetRenderers().GetItemAsObject(0).GetViewProps()
        return sum(
            prop.IsA("vtkActor2D") and prop.GetMapper().IsA("vtkPolyDataMapper2D")
            for prop in (props.GetItemAsObject(n) for n in range(props.GetNumberOfItems()))
        )

    def voxels(self):
        """The segment on the grid of the volume, a copy."""
        import slicer

        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.segmentation, self.segment, self.volume
        ).copy()

    def settle(self):
        self.host.wait_until(
            lambda: self.clicks is not None and not self.clicks.is_waiting, 90, "the model's mask"
        )
        self.host.process_events(0.02)

    def mask(self, frame=0):
        return self.space.masks.mask(self.segment, frame)

    @property
    def status(self):
        options = self.effect.options
        return f"{options.message_label.text}\n{options.worker_label.text}"


def border(truth, count=5):
    """Points on the border of a mask, (count, 2) x and y."""
    y, x = np.nonzero(truth)
    centre = np.array([x.mean(), y.mean()])
    points = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        way = np.array([np.cos(angle), np.sin(angle)])
        reach = 0.0
        while truth[tuple(np.round(centre + reach * way)[::-1].astype(int))]:
            reach += 0.25
        points.append(centre + (reach - 0.5) * way)
    return np.array(points)


def dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.fixture
def effect_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(MODULE.parent / "SAMUSA"))
    yield
    sys.modules.pop("SegmentEditorBoundaryPointsLib", None)


@pytest.fixture
def bench(running, effect_home):
    frames, truth = phantom()
    browser, volume = add_cine(frames)
    made = Bench(running, volume)
    made.browser, made.truth = browser, truth
    made.start = int(np.argmax(truth.sum(axis=(1, 2))))
    browser.SetSelectedItemNumber(made.start)
    running.process_events()
    yield made
    made.close()


@pytest.fixture
def in_volume(running, effect_home):
    """The same hand on a volume with three different spacings."""
    import slicer

    voxels = np.random.default_rng(1).integers(0, 255, (30, 40, 50)).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(voxels, name="Volume")
    volume.SetSpacing(0.5, 0.7, 1.3)
    volume.SetOrigin(-7, 11, 3)
    made = Bench(running, volume)
    yield made
    made.close()


def test_the_module_s_self_test_runs(running, effect_home):
    import slicer

    slicer.app.moduleManager()._load(MODULE / "SegmentEditorBoundaryPoints.py")
    slicer.app.startupCompleted.emit()
    case = sys.modules["SegmentEditorBoundaryPoints"].SegmentEditorBoundaryPointsTest()
    case.runTest()
    case.doCleanups()


def test_five_clicks_accept_undo_and_redo(bench, running, tmp_path):
    frame = bench.start
    points = border(bench.truth[frame])
    for pixel in points:
        bench.click(pixel)
    clicks = bench.clicks
    spread = np.abs(clicks.editor.steps[-1].boundary - points).max()
    assert spread < 0.5 and not np.allclose(points, np.round(points))
    assert clicks.mask.any(), "the curve is there before the worker is"
    running.grab(bench.red, tmp_path / "preview.png", (500, 420))
    bench.settle()
    assert clicks.from_model and "spline on cpu" in bench.status
    assert not bench.mask(frame).any()
    running.grab(bench.red, tmp_path / "model.png", (500, 420))
    bench.key("Return")
    accepted = bench.mask(frame)
    assert dice(accepted, bench.truth[frame]) > 0.85
    running.grab(bench.editor, tmp_path / "panel.png", (420, 640))
    running.grab(bench.red, tmp_path / "accepted.png", (500, 420))
    bench.key("Ctrl+Z")
    assert not bench.mask(frame).any()
    bench.key("Ctrl+Y")
    assert np.array_equal(bench.mask(frame), accepted)


def test_steps_back_take_clicks_first(bench):
    points = border(bench.truth[bench.start])
    for pixel in points[:3]:
        bench.click(pixel)
    bench.key("Ctrl+Z")
    assert len(bench.clicks.editor.clicks.points) == 2
    bench.key("Ctrl+Y")
    assert len(bench.clicks.editor.clicks.points) == 3
    bench.key("Escape")
    assert bench.clicks.editor.clicks.is_empty and bench.editor.activeEffect() is not None
    bench.key("Escape")
    assert bench.editor.activeEffect() is None, "nothing to clear: as of other effects"


def test_modifiers_keys_drag_delete_and_box(bench):
    points = border(bench.truth[bench.start], 4)
    bench.click(points[0])
    bench.click(points[1], modifiers=("Shift",))
    bench.click(points[2], modifiers=("Control",))
    bench.key("3")
    bench.click(points[3])
    clicks = bench.clicks
    kinds = [point.kind for point in clicks.editor.clicks.points]
    assert kinds == ["boundary", "include", "exclude", "exclude"]
    start, end = bench.xy(points[0]), bench.xy(points[0] + 8)
    bench.events.drag(bench.red, start, end)
    assert np.allclose(clicks.editor.steps[-1].boundary, points[0] + 8, atol=0.5)
    bench.events.move(bench.red, end)
    bench.key("Delete")
    assert len(clicks.editor.clicks.points) == 3
    bench.key("4")
    bench.events.drag(bench.red, bench.xy((40, 30)), bench.xy((90, 80)))
    assert np.allclose(clicks.editor.clicks.box, (40, 30, 90, 80), atol=0.5)


def test_keys_go_through_the_frames_and_clicks_wait_on_theirs(bench, running):
    bench.browser.SetSelectedItemNumber(2)
    running.process_events()
    bench.click((60, 60))
    bench.click((80, 60))
    bench.key("D")
    running.process_events()
    assert bench.browser.GetSelectedItemNumber() == 3 and bench.clicks is None
    bench.key("A")
    running.process_events()
    assert bench.browser.GetSelectedItemNumber() == 2
    assert len(bench.clicks.editor.clicks.points) == 2


def test_a_click_beside_the_image_is_told_in_words(bench, running):
    bench.events.click(bench.red, (2, 2))
    assert "outside the frame" in bench.status
    bench.editor.setCurrentSegmentID("")
    bench.click((60, 60))
    assert "segment" in bench.status


@pytest.mark.parametrize("way", ["left", "deleted"])
def test_keys_buttons_and_views_are_free_again_when_the_effect_is(bench, running, way):
    """An editor that is deleted cleans its effects up before."""
    import qt
    import slicer

    window = slicer.util.mainWindow()
    other = qt.QShortcut(qt.QKeySequence("Ctrl+Z"), window)
    bench.editor.setActiveEffect(None)
    bench.editor.setActiveEffectByName("SAMUSA")
    bench.click((60, 60))
    running.process_events()
    assert not other.enabled and bench.actors() > 0
    if way == "left":
        bench.editor.setActiveEffect(None)
    else:
        bench.editor.activeEffect().cleanup()
    assert other.enabled
    assert bench.actors() == 0
    assert not bench.editor.findChild(qt.QToolButton, "UndoButton").isHidden()


def test_the_editor_s_own_keys_do_not_cancel_ours(bench):
    """Qt drops a key that two shortcuts claim; the editor may install its keys at any time."""
    bench.editor.installKeyboardShortcuts()
    bench.enter()
    for pixel in border(bench.truth[bench.start])[:3]:
        bench.click(pixel)
    for key, count in (("Ctrl+Z", 2), ("Z", 1), ("Y", 2), ("Ctrl+Shift+Z", 3), ("Escape", 0)):
        bench.key(key)
        assert len(bench.clicks.editor.clicks.points) == count, key
    bench.key("3")
    assert bench.effect.options.kind_buttons["exclude"].checked
    assert bench.editor.activeEffect() is not None
    bench.editor.setActiveEffect(None)
    bench.key("1")
    assert bench.editor.activeEffect() is not None, "the editor's key chooses the effect again"


def test_of_two_editors_the_one_used_last_has_the_keys(bench):
    """Another module has a Segment Editor of its own, and the effect is active in both."""
    import slicer

    other = slicer.qMRMLSegmentEditorWidget()
    other.setMRMLScene(slicer.mrmlScene)
    other.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    other.setSegmentationNode(bench.segmentation)
    other.setSourceVolumeNode(bench.volume)
    other.setCurrentSegmentID(bench.segment)
    other.setActiveEffectByName("SAMUSA")
    bench.key("3")
    assert other.activeEffect().self().options.kind_buttons["exclude"].checked
    assert not bench.effect.options.kind_buttons["exclude"].checked
    other.setActiveEffect(None)
    bench.key("2")
    assert bench.effect.options.kind_buttons["include"].checked
    other.removeViewObservations()


def test_another_layout_neither_doubles_the_keys_nor_loses_the_drawing(bench, running):
    import slicer

    bench.click((60, 60))
    running.process_events()
    actors = bench.actors()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    running.process_events()
    bench.click((80, 60))
    bench.key("Ctrl+Z")
    running.process_events()
    assert len(bench.clicks.editor.clicks.points) == 1
    assert bench.actors() == actors > 0


def test_a_hidden_segment_is_asked_about_before_it_is_clicked(bench, running):
    display = bench.segmentation.GetDisplayNode()
    display.SetSegmentVisibility(bench.segment, False)
    running.dialogs.answer("Cancel", "hidden")
    bench.click((60, 60))
    assert bench.clicks is None and not display.GetSegmentVisibility(bench.segment)
    running.dialogs.answer("Yes", "hidden")
    bench.click((60, 60))
    assert display.GetSegmentVisibility(bench.segment)
    bench.click((60, 60))
    assert len(bench.clicks.editor.clicks.points) == 1


def test_the_view_keeps_other_buttons_the_wheel_and_what_goes_with_alt(bench):
    """Pan and zoom go on, and on a touch pad Alt + Shift + drag pans."""
    from PySide6.QtCore import Qt

    seen = []
    interactor = bench.red.sliceView().interactor()
    names = ("LeftButtonPressEvent", "RightButtonPressEvent", "MiddleButtonPressEvent")
    names += ("MouseWheelForwardEvent", "LeftButtonReleaseEvent")
    tags = [interactor.AddObserver(name, lambda _, event: seen.append(event)) for name in names]
    bench.click((60, 60), button=Qt.RightButton)
    bench.click((60, 60), button=Qt.MiddleButton)
    interactor.InvokeEvent("MouseWheelForwardEvent")
    bench.click((60, 60), modifiers=("Alt", "Shift"))
    assert sorted(seen) == sorted(names) and bench.clicks is None
    bench.click((60, 60))
    assert len(seen) == len(names) and len(bench.clicks.editor.clicks.points) == 1
    for tag in tags:
        interactor.RemoveObserver(tag)


def test_the_view_s_own_keys_count_as_soon_as_the_mouse_is_there(bench):
    """Arrows show the next slice: VTK's widget hears them, not the view around it."""
    from PySide6 import QtCore, QtTest

    seen = []
    interactor = bench.red.sliceView().interactor()
    tag = interactor.AddObserver("KeyPressEvent", lambda caller, _: seen.append(caller.GetKeySym()))
    window = bench.red.window()
    window.show()
    window.activateWindow()
    QtCore.QCoreApplication.processEvents()
    bench.enter()
    QtTest.QTest.keyClick(window.focusWidget(), QtCore.Qt.Key_Up)
    assert seen == ["Up"]
    interactor.RemoveObserver(tag)


@pytest.mark.parametrize("kind, gives_up", [("list", True), ("help", True), ("name", False)])
def test_the_mouse_takes_the_keys_from_all_but_somebody_who_types(bench, kind, gives_up):
    import qt
    import slicer

    widget = {"list": qt.QComboBox, "help": qt.QTextBrowser, "name": qt.QLineEdit}[kind]()
    window = slicer.util.mainWindow()
    widget.setParent(window)
    widget.show()
    bench.click((60, 60))
    bench.events.keys(widget, "Z")
    if kind == "name":
        assert widget.text == "z" and len(bench.clicks.editor.clicks.points) == 1
    bench.enter()
    inside = bench.red.sliceView().isAncestorOf(slicer.app.focusWidget())
    assert inside == gives_up
    widget.delete()


def test_undo_counts_in_a_view_on_a_second_monitor(bench, running):
    bench.red.setParent(None)
    bench.red.show()
    bench.effect.layoutChanged()
    running.process_events()
    bench.click((60, 60))
    bench.click((80, 60))
    bench.key("Ctrl+Z")
    assert len(bench.clicks.editor.clicks.points) == 1


def test_a_point_is_as_easy_to_grab_on_a_dense_screen(bench, monkeypatch):
    monkeypatch.setattr(type(bench.red), "devicePixelRatioF", lambda view: 2.0)
    bench.click((60, 60))
    start = bench.xy((60, 60))
    bench.events.drag(bench.red, (start[0] + 15, start[1]), bench.xy((80, 60)))
    (point,) = bench.clicks.editor.clicks.points
    assert abs(point.x - 80) < 0.5


def test_points_lie_on_the_masks_of_segments_added_since(bench, running, tmp_path):
    import qt
    import slicer

    bench.click((60, 60))
    running.grab(bench.red, tmp_path / "before.png", (400, 400))
    other = bench.segmentation.GetSegmentation().AddEmptySegment("other", "other", (0, 0, 1))
    bench.segmentation.GetDisplayNode().SetSegmentOpacity2DFill(other, 1.0)
    bench.segmentation.GetDisplayNode().SetOpacity2DFill(1.0)
    voxels = np.zeros_like(bench.voxels())
    voxels[:, 40:80, 40:80] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels, bench.segmentation, other, bench.volume
    )
    bench.effect.views.draw_soon()
    running.process_events()
    view = bench.red.sliceView()
    image = qt.QImage(str(running.grab(view, tmp_path / "after.png", (400, 400))))

    def color(pixel):
        x, y = bench.xy(pixel)
        return image.pixelColor(round(x), image.height() - 1 - round(y))

    assert color((70, 70)).blue() > 200 and color((70, 70)).red() < 50, "the other's mask"
    assert color((60, 60)).red() > 150, "the point"


def test_a_step_back_during_a_drag_ends_it(bench):
    bench.click((60, 60))
    bench.click((80, 60))
    bench.events.move(bench.red, bench.xy((80, 60)))
    interactor = bench.red.sliceView().interactor()
    interactor.InvokeEvent("LeftButtonPressEvent")
    bench.key("Ctrl+Z")
    bench.events.move(bench.red, bench.xy((90, 90)))
    interactor.InvokeEvent("LeftButtonReleaseEvent")
    (point,) = bench.clicks.editor.clicks.points
    assert abs(point.x - 60) < 0.5


def test_leaving_while_the_model_computes_leaves_nothing(bench, running):
    for pixel in border(bench.truth[bench.start])[:3]:
        bench.click(pixel)
    assert bench.clicks.is_waiting
    session = bench.effect.service.session
    bench.editor.setActiveEffect(None)
    running.wait_until(lambda: session.loaded is not None, 90, "the worker")
    running.process_events(0.3)
    bench.editor.setActiveEffectByName("SAMUSA")
    assert bench.clicks is None and not bench.mask(bench.start).any()


def test_a_volume_without_an_image_is_told_in_words(bench, running):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    bench.editor.setSourceVolumeNode(empty)
    running.process_events(0.5)
    bench.key("Return")
    bench.events.click(bench.red, (150, 150))
    assert "'Empty'" in bench.status
    bench.editor.setSourceVolumeNode(bench.volume)
    running.process_events()
    bench.click((60, 60))
    assert len(bench.clicks.editor.clicks.points) == 1


def paint(bench, box):
    """What another effect does: the state is saved, then voxels are set."""
    import slicer

    bench.editor.saveStateForUndo()
    voxels = bench.voxels()
    voxels[box] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels, bench.segmentation, bench.segment, bench.volume
    )


def accept_on(bench, k=9):
    bench.red.mrmlSliceNode().JumpSliceByOffsetting(*bench.ras((0, 0, k)))
    for ijk in ((12, 10, k), (35, 12, k), (30, 30, k), (14, 28, k)):
        bench.events.click(bench.red, bench.events.ras_to_xy(bench.red, bench.ras(ijk)))
    bench.settle()
    bench.key("Return")


PAINTED = np.s_[3, 4:8, 5:9]


def painted_elsewhere(bench):
    """Paint without the effect and choose it again: the voxels."""
    bench.editor.setActiveEffect(None)
    paint(bench, PAINTED)
    voxels = bench.voxels()
    bench.editor.setActiveEffectByName("SAMUSA")
    return voxels


def test_the_editor_s_undo_takes_back_a_stay_in_the_effect_and_then_what_was_before(in_volume):
    bench = in_volume
    painted = painted_elsewhere(bench)
    accept_on(bench, 9)
    accept_on(bench, 12)
    accepted = bench.voxels()
    assert accepted[9].any() and accepted[12].any() and accepted[PAINTED].all()
    bench.editor.setActiveEffect(None)
    for step, expected in (
        (bench.editor.undo, painted),
        (bench.editor.undo, np.zeros_like(painted)),
        (bench.editor.redo, painted),
        (bench.editor.redo, accepted),
    ):
        step()
        np.testing.assert_array_equal(bench.voxels(), expected)


def test_steps_back_in_the_effect_leave_what_others_painted(in_volume):
    bench = in_volume
    painted = painted_elsewhere(bench)
    accept_on(bench)
    bench.key("Ctrl+Z")
    np.testing.assert_array_equal(bench.voxels(), painted)
    bench.key("Ctrl+Z")
    assert "nothing more" in bench.status
    np.testing.assert_array_equal(bench.voxels(), painted)


def test_before_anything_was_accepted_steps_back_are_the_editor_s(in_volume):
    bench = in_volume
    bench.editor.setActiveEffect(None)
    paint(bench, PAINTED)
    bench.editor.setActiveEffectByName("SAMUSA")
    bench.key("Ctrl+Z")
    assert not bench.voxels().any() and "another effect" in bench.status
    bench.key("Ctrl+Y")
    assert bench.voxels()[PAINTED].all()


def test_the_panel_s_undo_and_redo_do_what_the_keys_do_while_the_effect_is_active(in_volume):
    import qt

    bench = in_volume
    theirs = bench.editor.findChild(qt.QToolButton, "UndoButton")
    undo = bench.editor.findChild(qt.QToolButton, "SAMUSAUndoButton")
    redo = bench.editor.findChild(qt.QToolButton, "SAMUSARedoButton")
    bench.effect.show_status()
    assert theirs.isHidden() and not undo.enabled and not redo.enabled
    accept_on(bench)
    bench.effect.show_status()
    accepted = bench.voxels()
    assert undo.enabled and "Ctrl+Z" in undo.toolTip
    undo.click()
    assert not bench.voxels().any()
    bench.effect.show_status()
    redo.click()
    np.testing.assert_array_equal(bench.voxels(), accepted)
    bench.editor.setActiveEffect(None)
    assert not theirs.isHidden() and undo.isHidden() and theirs.enabled


def test_the_editor_s_undo_never_puts_a_mask_of_one_frame_into_another(bench, running):
    frame = bench.start
    for pixel in border(bench.truth[frame]):
        bench.click(pixel)
    bench.settle()
    bench.key("Return")
    other = (frame + 1) % FRAMES
    bench.browser.SetSelectedItemNumber(other)
    running.process_events()
    bench.editor.setActiveEffect(None)
    bench.editor.undo()
    running.process_events()
    assert bench.mask(frame).any() and not bench.mask(other).any()


def test_an_approved_frame_says_so_and_is_unlocked_right_there(bench, running, tmp_path):
    frame, points = bench.start, border(bench.truth[bench.start])
    for pixel in points:
        bench.click(pixel)
    bench.key("R")
    assert "ccept or clear your clicks first" in bench.status
    bench.settle()
    bench.key("Return")
    accepted = bench.mask(frame)
    bench.key("R")
    bench.effect.show_status()
    options = bench.effect.options
    assert f"Frame {frame} is approved" in options.lock_label.text
    assert not options.lock_row.isHidden() and options.message_label.isHidden(), "said once"
    bench.click((80, 60))
    bench.events.drag(bench.red, bench.xy(points[0]), bench.xy(points[0] + 8))
    bench.events.move(bench.red, bench.xy(points[0]))
    bench.key("Delete")
    assert f"Frame {frame} is approved" in bench.status
    assert len(bench.clicks.editor.clicks.points) == len(points)
    assert np.array_equal(bench.mask(frame), accepted)
    running.set_palette("dark")
    running.grab(bench.editor, tmp_path / "locked.png", (420, 640))
    running.set_palette("light")
    bench.effect.options.unlock_button.click()
    bench.effect.show_status()
    assert bench.effect.options.lock_row.isHidden() and "unlocked" in bench.status
    bench.click((80, 60))
    assert len(bench.clicks.editor.clicks.points) == len(points) + 1


def test_what_is_said_fits_into_a_narrow_panel(bench, running, tmp_path):
    import qt

    area = qt.QScrollArea()
    area.widgetResizable = True
    area.setWidget(bench.editor)
    area.resize(370, 640)
    area.show()
    bench.click((60, 60))
    label = bench.effect.options.message_label
    for sentence, lines in (("short", 1), ("the clip of this volume is being read, " * 4, 3)):
        bench.effect.tell(sentence)
        running.wait_until(
            lambda lines=lines: (
                label.height
                >= max(label.heightForWidth(label.width), lines * label.fontMetrics().height())
            ),
            10,
            "the whole sentence",
        )
        assert bench.editor.width <= area.viewport().width
    running.grab(area, tmp_path / "narrow.png")
    area.takeWidget()
    area.delete()


def test_keys_are_chosen_in_a_window_and_count_at_once(bench, running, tmp_path):
    import qt

    settings = bench.effect.service.settings
    keys = bench.editor.findChild(qt.QToolButton, "KeysButton")
    keys.click()
    dialog = bench.effect.keys.dialog
    running.grab(dialog.dialog, tmp_path / "keys.png")
    field = dialog.fields["next_frame"]
    bench.events.keys(field, "W")
    running.wait_until(lambda: settings.shortcut("next_frame") == "W", 10, "the new key")
    bench.browser.SetSelectedItemNumber(2)
    running.process_events()
    bench.key("W")
    assert bench.browser.GetSelectedItemNumber() == 3
    bench.key("D")
    assert bench.browser.GetSelectedItemNumber() == 3
    assert "(W)" in bench.effect.options.next_button.toolTip
    dialog.put("accept", "W")
    assert "'Next frame' already" in dialog.message.text
    assert dialog.fields["accept"].keySequence.toString() == "Return"
    dialog.dialog.findChild(qt.QToolButton, "clearNoKeyButton").click()
    assert settings.shortcut("clear") == ""
    dialog.dialog.findChild(qt.QPushButton, "RestoreButton").click()
    assert (settings.shortcut("next_frame"), settings.shortcut("clear")) == ("D", "Escape")
    bench.editor.setActiveEffect(None)
    assert not dialog.dialog.visible


def test_the_help_shows_one_sentence_then_pictures_that_are_there(bench, running, tmp_path):
    import re

    import ctk
    import qt

    browser = bench.editor.findChild(ctk.ctkFittedTextBrowser, "EffectHelpBrowser")
    assert "press Return to accept" in browser.plainText and "Shift" not in browser.plainText
    browser.collapsed = False
    assert "Shift + click" in browser.plainText
    source = re.search(r"src='([^']+)'", bench.effect.helpText()).group(1)
    assert source.startswith("file:///") and Path(qt.QUrl(source).toLocalFile()).exists()
    for palette in ("light", "dark"):
        running.set_palette(palette)
        running.grab(bench.editor, tmp_path / f"help_{palette}.png", (420, 900))
    running.set_palette("light")


def test_the_scene_may_be_closed_with_clicks_on_it(bench, running):
    import slicer

    bench.click((60, 60))
    bench.click((80, 70))
    slicer.mrmlScene.Clear()
    running.process_events(0.6)  # the status line is shown again
    bench.events.click(bench.red, (150, 150))
    assert "volume" in bench.status
    assert len(bench.effect.service.workspaces) == 0


def test_a_colour_volume_under_a_transform_is_clicked_as_any_other(running, effect_home):
    import slicer
    import vtk

    voxels = np.random.default_rng(3).integers(0, 255, (6, 50, 60, 3)).astype(np.uint8)
    volume = slicer.util.addVolumeFromArray(voxels, nodeClassName="vtkMRMLVectorVolumeNode")
    turn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turned = vtk.vtkTransform()
    turned.Translate(4, -7, 9)
    turned.RotateX(20)
    turn.SetMatrixTransformToParent(turned.GetMatrix())
    bench = Bench(running, volume)
    for node in (volume, bench.segmentation):
        node.SetAndObserveTransformNodeID(turn.GetID())
    ras = turned.TransformPoint(bench.ras((22.0, 20.0, 4.0)))
    bench.red.mrmlSliceNode().JumpSliceByOffsetting(*ras)
    bench.events.click(bench.red, bench.events.ras_to_xy(bench.red, ras))
    assert "turned by 20°" in bench.status and bench.clicks.frame == 4
    assert np.allclose(bench.clicks.editor.steps[-1].boundary, [[22, 20]], atol=0.5)
    bench.close()


def test_a_segment_that_is_removed_takes_its_clicks_and_the_effect_along(bench, running):
    bench.click((60, 60))
    bench.click((80, 70))
    segmentation = bench.segmentation.GetSegmentation()
    segmentation.RemoveSegment(bench.segment)
    running.process_events(0.6)
    assert bench.editor.activeEffect() is None, "as all effects that need a segment"
    bench.editor.setCurrentSegmentID(segmentation.AddEmptySegment("next", "next"))
    bench.editor.setActiveEffectByName("SAMUSA")
    bench.node.DisableModifiedEventOn()  # a frame that lacks the segment; the editor keeps its name
    bench.node.SetSelectedSegmentID("lesion")
    bench.click((60, 60))
    bench.node.DisableModifiedEventOff()
    assert "choose a segment" in bench.status and bench.clicks is None


@pytest.mark.parametrize("gone", ["segmentation", "volume"])
def test_what_is_clicked_may_be_deleted(bench, running, gone):
    import slicer

    bench.click((60, 60))
    bench.click((80, 70))
    slicer.mrmlScene.RemoveNode(getattr(bench, gone))
    running.process_events(0.6)
    bench.key("Return")
    bench.key("Ctrl+Z")
    bench.key("D")
    bench.events.move(bench.red, (150, 150))
    bench.events.click(bench.red, (150, 150))
    running.process_events(0.6)
    assert bench.clicks is None and "hoose a" in bench.status


@pytest.mark.parametrize("name, axis", [("Red", 2), ("Green", 1), ("Yellow", 0)])
def test_clicks_in_any_view_land_on_the_slices_it_shows(in_volume, name, axis, running):
    import slicer

    view = slicer.app.layoutManager().sliceWidget(name)
    in_volume.effect.views.current = view
    places = [(14.3, 10.6, 8.2), (30.2, 15.1, 13.7), (19.4, 25.7, 20.1)]
    for ijk in places:
        ijk = np.array(ijk)
        ijk[axis] = 12
        ras = in_volume.ras(ijk)
        view.mrmlSliceNode().JumpSliceByOffsetting(*ras)
        in_volume.events.click(view, in_volume.events.ras_to_xy(view, ras))
    clicks = in_volume.clicks
    assert clicks.frame == 12 and clicks.workspace.source.axis == axis
    kept = [other for other in range(3) if other != axis]
    expected = np.array([np.array(ijk)[kept] for ijk in places])
    assert np.allclose(clicks.editor.steps[-1].boundary, expected, atol=0.35)
    in_volume.settle()
    in_volume.effect.options.accept_button.click()
    assert in_volume.space.masks.mask(in_volume.segment, 12).sum() > 10


def test_an_oblique_view_is_turned_onto_the_slices_and_says_so(in_volume, running):
    import vtk

    node = in_volume.red.mrmlSliceNode()
    turn = vtk.vtkTransform()
    turn.SetMatrix(node.GetSliceToRAS())
    turn.RotateX(20)
    node.GetSliceToRAS().DeepCopy(turn.GetMatrix())
    node.UpdateMatrices()
    ras = in_volume.ras((22.0, 20.0, 14.0))
    node.JumpSliceByOffsetting(*ras)
    in_volume.events.click(in_volume.red, in_volume.events.ras_to_xy(in_volume.red, ras))
    assert "turned by 20°" in in_volume.status
    clicks = in_volume.clicks
    assert clicks.frame == 14
    assert np.allclose(clicks.editor.steps[-1].boundary, [[22, 20]], atol=0.5)


def test_accepting_obeys_the_masking_of_the_segment_editor(in_volume, running):
    in_volume.node.SetSourceVolumeIntensityMask(True)
    in_volume.node.SetSourceVolumeIntensityMaskRange(100, 200)
    in_volume.red.mrmlSliceNode().JumpSliceByOffsetting(*in_volume.ras((0, 0, 9)))
    for ijk in ((12, 10, 9), (35, 12, 9), (30, 30, 9), (14, 28, 9)):
        xy = in_volume.events.ras_to_xy(in_volume.red, in_volume.ras(ijk))
        in_volume.events.click(in_volume.red, xy)
    in_volume.settle()
    in_volume.key("Return")
    mask = in_volume.mask(9)
    values = in_volume.space.source.values(9)
    assert mask.sum() > 50 and values[mask].min() >= 100 and values[mask].max() <= 200
