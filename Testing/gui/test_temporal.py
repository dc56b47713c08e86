"""The panel of SAMUSATemporal, clicked through with a real worker on simulated clips."""

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
    case.click(panel.temporal.workspace, panel.temporal.segment_id, middle, truth[middle])
    panel.temporal.show_frame(middle)
    running.process_events(0.1)
    return panel, truth


def masks(panel):
    workspace = panel.temporal.workspace
    found = (
        workspace.masks.mask(panel.temporal.segment_id, n) for n in range(panel.temporal.length)
    )
    return np.array(list(found))


def run(panel, button, case):
    button.click()
    case.wait(lambda: not panel.temporal.is_propagating, "the propagation")


def test_the_module_s_self_test_runs(panel):
    import slicer

    slicer.selfTests["SAMUSATemporal"](msec=1)


def test_an_empty_panel_says_what_to_do(panel, running, tmp_path):
    assert panel.ui.openButton.visible and not panel.ui.openButton.enabled
    assert not panel.ui.propagateSection.enabled
    assert not panel.ui.cancelButton.visible and not panel.ui.resumeButton.visible
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
    run(panel, ui.bothButton, case)
    running.process_events(0.2)
    assert np.flatnonzero(masks(panel).any(axis=(1, 2))).tolist() == visible.tolist()
    assert ui.statusLabel.text.startswith(f"Propagated: {len(visible) - 1} frames")
    assert ui.toComputeLabel.text == ""
    ui.checkButton.click()
    frame = panel.temporal.frame
    ui.approveButton.click()
    running.process_events(0.1)
    assert panel.timeline.shown.states[frame].value == "reviewed"
    assert ui.approveButton.text == "Unlock" and ui.undoButton.text == "Undo: approve"
    case.wait(lambda: ui.readoutLabel.text, "the measurements")
    assert "Fractional area change" in ui.readoutLabel.text
    running.grab(panel.parent, tmp_path / "propagated.png", PANEL)
