"""The complete workflow, by mouse and keys, with the real worker and the embedded model: images are
loaded, clicked, propagated, corrected, approved, saved, and there again in a new scene."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotator import Annotator

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.manifest import read_manifest, sweeps
from SAMUSALib.evaluation.metrics import dice
from SAMUSALib.io.write_clip import write_clip

REPOSITORY = Path(__file__).resolve().parents[2]
CLICKS = 5


@pytest.fixture
def annotator(running, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(REPOSITORY / "SAMUSA"))
    return Annotator(running)


def carotid_sweep(folder):
    """(24, H, W) uint8 frames of a sweep and the lumen on each, bool."""
    images = [
        item
        for item in read_manifest(folder / "carotid", "val")
        if "32VAS_01563" <= item.frames[0].stem <= "32VAS_02301"
    ]
    (sweep,) = sweeps(images)
    labelled = sweep.load()
    return labelled.frames, labelled.layers[0] == 1


def load_cine(path, frames, ijk_to_ras):
    """Written as .seq.nrrd and loaded as the application does; the volume that shows it."""
    import slicer

    geometry = Geometry.for_cine(*frames.shape[:3], ijk_to_ras)
    times = np.arange(len(frames)) / 10
    write_clip(path, Clip(frames, geometry, "Sweep", times=times))
    sequence = slicer.util.loadSequence(str(path))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Sweep browser")
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    volume = browser.GetProxyNode(sequence)
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    return volume


def flat(spacing=0.1):
    return np.diag([-spacing, -spacing, 1.0, 1.0])


def oblique():
    """Turned about all axes, mirrored, with pixels higher than wide."""
    x, y, z = np.deg2rad([25.0, -40.0, 70.0])
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(about_x) @ about_y @ about_z @ np.diag([-0.1, 0.13, 1.0])
    matrix[:3, 3] = -31.0, 12.5, 77.0
    return matrix


def coloured(frames):
    """Tinted grey with a colour bar at the edge, as scanners add one; (T, H, W, 3)."""
    colours = (frames[..., None] * np.array([1.0, 0.85, 0.6])).astype(np.uint8)
    colours[:, 20:220, 10:22] = [230, 40, 40]
    return colours


def frame_dices(masks, truth):
    return np.array([dice(mask, wanted) for mask, wanted in zip(masks, truth, strict=True)])


def work(annotator, truth, start, end, clicked):
    """From the first click to approval on what is open, in the window from start to end.

    Returns the masks, (T, H, W) bool, and the frame that was corrected and approved.
    """
    temporal, ui = annotator.temporal, annotator.ui
    annotator.annotate(clicked, truth[clicked], CLICKS)
    accepted = annotator.masks()
    assert np.flatnonzero(accepted.any(axis=(1, 2))).tolist() == [clicked]
    annotator.set_window(start, end)
    (window,) = annotator.workspace.windows(temporal.segment_id)
    assert (window.start, window.end) == (start, end)
    annotator.propagate(ui.bothButton)
    before = annotator.masks()
    assert not before[:start].any() and not before[end + 1 :].any()
    assert np.array_equal(before[clicked], accepted[clicked])
    found = frame_dices(before, truth)
    worst = min(set(range(start, end + 1)) - {clicked}, key=lambda frame: found[frame])
    annotator.annotate(worst, truth[worst], CLICKS)
    assert frame_dices(annotator.masks(), truth)[worst] > found[worst]
    annotator.propagate(ui.bothButton)
    after = annotator.masks()
    beyond = np.s_[clicked:] if worst < clicked else np.s_[: clicked + 1]
    assert np.array_equal(after[beyond], before[beyond]), "only what follows is computed anew"
    temporal.show_frame(worst)
    annotator.press("R")
    assert annotator.workspace.state.locked(temporal.segment_id) == {worst}
    return after, worst


def said(annotator):
    """What was said about the segment in hand, to be compared: prompts, windows, states, locks."""
    segment, state = annotator.temporal.segment_id, annotator.workspace.state
    prompts = state.prompts(segment)
    points = {
        frame: [getattr(each, kind).tolist() for kind in ("boundary", "include", "exclude")]
        for frame, each in prompts.frames.items()
    }
    states = {frame: mark.state for frame, mark in state.marks(segment).items()}
    return points, prompts.windows, states, set(state.locked(segment))


def save_bundle(folder):
    import slicer

    path = folder / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    return path


def save_files(folder):
    """Every node into a file of its own, then the scene, as the dialog Save does."""
    import slicer

    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None or not node.GetSaveWithScene():
            continue
        path = folder / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"
        assert slicer.util.saveNode(node, str(path)), node.GetName()
    path = folder / "scene.mrml"
    assert slicer.util.saveScene(str(path))
    return path


def reload(annotator, path):
    import slicer

    slicer.mrmlScene.Clear()
    annotator.host.process_events(0.1)
    assert annotator.workspace is None
    slicer.util.loadScene(str(path))
    annotator.wait(lambda: annotator.temporal.is_ready, "the loaded clip")


def check_saved_and_loaded(annotator, masks, folder):
    """Bundle and files give all back, one after the other; then what is open goes on."""
    words = said(annotator)
    for save in (save_bundle, save_files):
        reload(annotator, save(folder))
        assert np.array_equal(annotator.masks(), masks)
        assert said(annotator) == words


def test_a_carotid_sweep_from_the_first_click_to_the_loaded_scene(
    annotator, ultrasound_data, tmp_path
):
    frames, truth = carotid_sweep(ultrasound_data)
    assert len(frames) == 24
    annotator.open(load_cine(tmp_path / "sweep.seq.nrrd", frames, flat()))
    masks, _ = work(annotator, truth, 0, 23, 12)
    assert frame_dices(masks, truth).mean() >= 0.85
    check_saved_and_loaded(annotator, masks, tmp_path)


@pytest.mark.parametrize("colour, matrix", [(True, flat()), (False, oblique())])
def test_a_part_of_the_sweep_in_colour_and_in_oblique_planes(
    annotator, ultrasound_data, tmp_path, colour, matrix
):
    frames, truth = (part[:7] for part in carotid_sweep(ultrasound_data))
    frames = coloured(frames) if colour else frames
    annotator.open(load_cine(tmp_path / "sweep.seq.nrrd", frames, matrix))
    masks, _ = work(annotator, truth, 0, 6, 3)
    assert frame_dices(masks, truth).mean() >= 0.85
    check_saved_and_loaded(annotator, masks, tmp_path)


def test_slices_of_a_prostate(annotator, ultrasound_data, tmp_path):
    """44 x 59 voxels a slice: too few for the model to carry a mask far, so Dice counts where it
    was clicked; what is accepted must be kept as exactly as on a cine."""
    import SimpleITK
    import slicer

    folder = ultrasound_data / "prostate_3d"
    labels = SimpleITK.ReadImage(str(folder / "labels" / "case000000.nii.gz"))
    truth = SimpleITK.GetArrayFromImage(labels)[0] > 0
    volume = slicer.util.loadVolume(str(folder / "images" / "case000000.nii.gz"))
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    annotator.open(volume)
    middle = int(np.argmax(truth.sum(axis=(1, 2))))
    masks, corrected = work(annotator, truth, middle - 4, middle + 4, middle)
    assert frame_dices(masks, truth)[[middle, corrected]].min() >= 0.85
    check_saved_and_loaded(annotator, masks, tmp_path)


def discs():
    """(6, 120, 160) bool: a disc that moves to the right."""
    y, x = np.mgrid[:120, :160]
    return np.array([np.hypot(x - 60 - 4 * t, y - 60) < 30 for t in range(6)])


@pytest.fixture
def open_discs(annotator, tmp_path):
    """(annotator, truth) of an open cine of discs."""
    truth = discs()
    frames = (40 + 120 * truth).astype(np.uint8)
    annotator.open(load_cine(tmp_path / "discs.seq.nrrd", frames, flat()))
    return annotator, truth


def test_on_a_full_disk_masks_stay_and_it_is_said(open_discs, monkeypatch):
    from SAMUSALib.worker import journal

    def no_room(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    annotator, truth = open_discs
    annotator.session.set_model("spline")
    annotator.annotate(1, truth[1])
    heard = []
    annotator.panel.logic.service.notice.connect(heard.append)
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", no_room)
        annotator.edit(4)
        list(annotator.click_border(truth[4], CLICKS))
        annotator.accept()
        annotator.wait(lambda: heard, "what is said")
        assert "the disk is full" in heard[0]
        assert heard[0][1:] in annotator.effect.options.message_label.text
        annotator.leave_editor()
        annotator.propagate(annotator.ui.bothButton)
        assert annotator.masks().any(axis=(1, 2)).all()
        assert [text for text in heard if "disk" in text] == heard[:1], "it is said once"
    annotator.wait(lambda: len(heard) > 1, "the disk that has room again")
    assert heard[-1] == "The journal is written again; all that was accepted is in it."


def test_without_the_model_s_packages_the_curve_counts_and_it_is_said_what_to_install(
    open_discs, tmp_path, running
):
    annotator, truth = open_discs
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")")
    command = annotator.session.command
    library = command.environment["PYTHONPATH"]
    path = os.pathsep.join([str(tmp_path / "bare"), library])
    annotator.session.set_command(
        replace(command, environment={**command.environment, "PYTHONPATH": path})
    )
    annotator.edit(2)
    list(annotator.click_border(truth[2], CLICKS))
    options = annotator.effect.options
    said = options.message_label.text + options.worker_label.text
    assert "No module named 'torch'" in said and "press Install in the module SAMUSA" in said
    annotator.accept()
    assert dice(annotator.masks()[2], truth[2]) > 0.9, "the curve was accepted"
    annotator.leave_editor()
    annotator.propagate(annotator.ui.bothButton)
    said = annotator.ui.statusLabel.text
    assert "press Install in the module SAMUSA" in said
    assert annotator.ui.resumeButton.visible
    annotator.session.set_model("spline")  # needs no packages
    annotator.propagate(annotator.ui.resumeButton)
    assert annotator.masks().any(axis=(1, 2)).all()
