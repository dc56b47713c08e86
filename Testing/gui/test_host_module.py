"""A small scripted module with a .ui file runs in the host as it would in the application."""

from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).parent / "sample" / "HostSample" / "HostSample.py"


@pytest.fixture
def widget(running):
    return running.load_module(SAMPLE)


@pytest.fixture
def volume(running):
    import slicer

    voxels = np.arange(1000, dtype=np.int16).reshape(10, 10, 10) % 200
    return slicer.util.addVolumeFromArray(voxels, name="Volume")


def test_the_panel_is_shown_and_entered(widget):
    import slicer

    assert slicer.modules.HostSampleWidget is widget and widget.entered == 1
    assert slicer.util.getModuleWidget("HostSample") is widget
    assert slicer.modules.hostsample.title == "Host sample"
    assert widget.ui.applyButton.text == "Count" and widget.ui.applyButton.visible


def test_clicking_through_counts_voxels(widget, volume):
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.thresholdSlider.value = 149
    widget.ui.applyButton.click()
    assert widget.ui.resultLabel.text == "250 voxels"
    widget.ui.invertCheckBox.click()
    widget.ui.applyButton.click()
    assert widget.ui.resultLabel.text == "750 voxels"


def test_widgets_and_parameters_follow_each_other(widget, volume):
    widget.parameters.threshold = 12.0
    assert widget.ui.thresholdSlider.value == 12.0
    widget.ui.thresholdSlider.value = 13.0
    assert widget.parameters.threshold == 13.0
    widget.parameters.volume = volume
    assert widget.ui.volumeSelector.currentNode() is volume
    with pytest.raises(ValueError, match="within range"):
        widget.parameters.threshold = 500


def test_an_error_is_shown_in_words(widget, running):
    running.dialogs.answer("OK", "Choose a volume first.")
    widget.ui.applyButton.click()
    assert "Choose a volume first." in running.errors.uncaught()[0]
    running.errors.forget()


def test_an_exception_in_an_observer_is_noticed(running):
    import slicer

    def fail(caller, event):
        raise ValueError("in an observer")

    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert "in an observer" in running.errors.uncaught()[0]
    running.errors.forget()


def test_closing_the_scene_starts_again_from_defaults(widget, volume):
    import slicer

    widget.parameters.volume = volume
    widget.parameters.threshold = 99.0
    slicer.mrmlScene.Clear()
    assert widget.parameters.volume is None and widget.parameters.threshold == 50.0
    assert widget.ui.volumeSelector.currentNode() is None
    assert widget.ui.thresholdSlider.value == 50.0


def test_parameters_survive_saving_and_loading_the_scene(widget, volume, tmp_path):
    import slicer

    widget.parameters.volume = volume
    widget.parameters.threshold = 77.0
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert widget.parameters.volume.GetName() == "Volume" and widget.parameters.threshold == 77.0


def test_reloading_makes_a_new_panel_and_cleans_the_old_one_up(widget, running):
    import slicer

    widget.onReload()
    running.process_events()
    new = slicer.modules.HostSampleWidget
    assert widget.cleaned and new is not widget and new.ui.applyButton.visible
    new.ui.thresholdSlider.value = 20
    assert new.parameters.threshold == 20.0


def test_the_module_s_self_test_runs(widget):
    import slicer

    slicer.selfTests["HostSample"](msec=50)


def test_quitting_cleans_modules_up_and_takes_the_application_away():
    import host
    import slicer

    reason = host.missing()
    if reason:
        pytest.skip(reason)
    with host.running():
        widget = host.load_module(SAMPLE)
        quitting = []
        slicer.app.connect(
            "aboutToQuit()",
            lambda: quitting.append((widget.cleaned, hasattr(slicer.modules, "sequences"))),
        )
    assert quitting == [(True, False)], "Slicer unloads its modules before it tells anybody else"
    assert not hasattr(slicer, "app") and not hasattr(slicer, "qMRMLWidget")
    with pytest.raises(ImportError):
        import ctk  # noqa: F401


def test_pictures_show_the_panel_in_light_and_dark(widget, running, tmp_path):
    import qt

    light = qt.QImage(str(running.grab(widget.parent, tmp_path / "light.png", (320, 240))))
    running.set_palette("dark")
    dark = qt.QImage(str(running.grab(widget.parent, tmp_path / "dark.png")))
    running.set_palette("light")
    corner = (2, light.height() - 3)
    assert light.pixelColor(*corner).lightness() > 200 > 80 > dark.pixelColor(*corner).lightness()


def test_text_is_drawn_with_a_real_font(running, tmp_path):
    import qt

    label = qt.QLabel("mmmm")
    other = qt.QLabel("iiii")
    assert label.sizeHint.width() > other.sizeHint.width() + 10
    image = qt.QImage(str(running.grab(label, tmp_path / "text.png")))
    shades = {
        image.pixelColor(x, y).lightness() // 32
        for x in range(image.width())
        for y in range(image.height())
    }
    assert len(shades) > 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('class="ctkSliderWidget"', 'class="ctkSliderWidgets"', "no such widget"),
        ('name="noneEnabled"', 'name="nonesEnabled"', "has no property 'nonesEnabled'"),
        ("<slot>setMRMLScene(", "<slot>setScene(", "has no slot 'setScene"),
        ("<signal>mrmlSceneChanged(", "<signal>sceneChanged(", "has no signal 'sceneChanged"),
        ("Qt::AlignRight", "Qt::AlignmentFlag::AlignRight", "Qt 5 cannot read"),
        ("<receiver>volumeSelector", "<receiver>volumesSelector", "not in the file"),
    ],
)
def test_a_ui_file_with_a_mistake_is_an_error(running, tmp_path, old, new, message):
    import slicer

    text = (SAMPLE.parent / "Resources/UI/HostSample.ui").read_text()
    assert old in text
    wrong = tmp_path / "Wrong.ui"
    wrong.write_text(text.replace(old, new, 1))
    with pytest.raises((RuntimeError, AttributeError), match=message):
        slicer.util.loadUI(str(wrong))


def test_slicer_refuses_names_that_it_lacks(running):
    import slicer

    with pytest.raises(AttributeError, match="no slicer.qMRMLNodeCombo"):
        slicer.qMRMLNodeCombo  # noqa: B018
    with pytest.raises(AttributeError, match="does not provide slicer.qMRMLTreeView"):
        slicer.qMRMLTreeView  # noqa: B018
    with pytest.raises(AttributeError, match="slicer.app.*'processEvent'"):
        slicer.app.processEvent()
    with pytest.raises(AttributeError, match="no module 'welcome'"):
        slicer.modules.welcome  # noqa: B018


def test_slicer_util_is_the_application_s_own(running):
    import slicer

    known = set(running.table.whole("slicer.util"))
    have = {name for name in vars(slicer.util) if not name.startswith("_")}
    assert have - known <= {"annotations"} and len(known & have) > 150
