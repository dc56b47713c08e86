"""The module SAMUSA clicked through: set-up, worker, models, unfinished work, training."""

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.app.service import local_command, worker_command
from SAMUSALib.app.settings import PLACES
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine import registry
from SAMUSALib.masks import EncodedMask
from SAMUSALib.places import data_folder, journals_folder
from SAMUSALib.prompts import FramePrompts
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.journal import list_journals
from SAMUSALib.worker.journal_records import SUFFIX
from slicer_python import Setup

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "SAMUSA" / "SAMUSA.py"
SECTIONS = ("setupButton", "workerButton", "modelsButton", "recoveryButton", "trainingButton")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's folder of SAMUSA, empty."""
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def empty_python(tmp_path, monkeypatch, running, home):
    """Slicer's Python without what the worker needs, and a pip that is quick."""
    from SAMUSALib.app.home import setup_panel

    folder = tmp_path / "python"
    folder.mkdir()
    setup = Setup(folder)
    slow = {}
    monkeypatch.setattr(
        setup_panel,
        "Installation",
        lambda command, transports: setup.installation(transports, **slow),
    )
    monkeypatch.setattr(setup_panel, "pytorch_extension_is_here", lambda: True)
    setup.slow = slow
    return setup


@pytest.fixture
def widget(running, home):
    return running.load_module(MODULE)


@pytest.fixture
def pictures(tmp_path_factory):
    """Where pictures of the panels go; SAMUSA_PICTURES keeps them."""
    kept = os.environ.get("SAMUSA_PICTURES")
    return Path(kept) if kept else tmp_path_factory.mktemp("pictures")


def show(widget, *sections) -> None:
    for name in SECTIONS:
        getattr(widget.ui, name).collapsed = name not in sections


def lines(tree) -> list[list[str]]:
    items = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount)]
    return [[item.text(column) for column in range(tree.columnCount)] for item in items]


def choose(tree, text: str) -> None:
    row = next(row for row, cells in enumerate(lines(tree)) if cells[0] == text)
    tree.setCurrentItem(tree.topLevelItem(row))


def python_job(monkeypatch, module, code: str) -> list[tuple[str, ...]]:
    """Let a panel's command be Python code; returns what it was asked for."""
    asked = []

    def command(_local, *arguments):
        asked.append(arguments)
        return WorkerCommand(sys.executable, ("-c", code), dict(os.environ))

    monkeypatch.setattr(module, "samusa_command", command)
    return asked


# The panel -----------------------------------------------------------------------------------


def test_nothing_is_started_or_written_by_looking_at_the_panel(widget, home, running):
    running.process_events(0.2)
    assert not widget.service.session.running and not home.exists()
    assert "samusa-small" in widget.ui.statusLabel.text


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_fits_a_narrow_module_panel(widget, running, section):
    show(widget, section)
    running.process_events(0.1)
    assert widget.parent.minimumSizeHint.width() <= 360


def test_the_sample_clip_is_loaded_and_shown(widget):
    import slicer

    widget.ui.sampleButton.click()
    (sequence,) = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert sequence.GetNumberOfDataNodes() == 24 and sequence.GetName() == "SAMUSA phantom"
    assert sequence.GetStorageNode() is None  # nothing is saved over the extension's own file
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetBackgroundLayer()
    assert shown.GetVolumeNode().GetImageData().GetDimensions() == (256, 256, 1)


def test_a_sample_that_cannot_be_read_is_told_with_what_to_do(widget, running, monkeypatch):
    module = sys.modules["SAMUSA"]
    monkeypatch.setattr(module, "sample_file", lambda: Path("gone.seq.nrrd"))
    running.dialogs.answer("OK", "install the extension SAMUSA again")
    widget.ui.sampleButton.click()


def test_the_sample_clip_is_that_of_the_tutorial():
    """`samusa phantom --seed 10 --geometry sector`."""
    from SAMUSALib.cli.phantom import spec_for
    from SAMUSALib.io.read_clip import read_clip
    from SAMUSALib.phantom import simulate

    shipped = read_clip(MODULE.parent / "Resources" / "SampleData" / "phantom.seq.nrrd")
    simulated = simulate(spec_for(10, 24, 256, "sector")).frames
    difference = np.abs(shipped.frames.astype(int) - simulated)
    assert (difference > 1).mean() < 1e-3  # rounding differs between processors


def test_sample_data_offers_the_clips(widget):
    import SampleData
    import slicer

    slicer.app.startupCompleted.emit()
    slicer.app.startupCompleted.emit()  # a module that is loaded again registers again
    phantom, prostate = slicer.modules.sampleDataSources["SAMUSA"]
    assert Path(phantom.thumbnailFileName).is_file()
    sequence = SampleData.SampleDataLogic().downloadSample(phantom.sampleName)
    assert sequence.GetName() == "SAMUSA phantom" and sequence.GetNumberOfDataNodes() == 24
    assert prostate.uris[0].endswith(prostate.checksums[0].replace(":", "/"))


def test_the_older_sample_data_knows_no_titles(widget, monkeypatch):
    """Slicer 5.10."""
    import SampleData
    import slicer

    monkeypatch.delattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory")
    slicer.app.startupCompleted.emit()
    assert len(slicer.modules.sampleDataSources["SAMUSA"]) == 2


def test_the_panel_can_be_reloaded_and_left(widget):
    import slicer

    widget.onReload()
    new = slicer.modules.SAMUSAWidget
    assert new is not widget and new.ui.modelList.topLevelItemCount >= 10
    new.exit()
    new.enter()


def test_the_module_s_own_test_passes(widget):
    import slicer

    slicer.selfTests["SAMUSA"](msec=10)


def test_annotate_opens_the_segment_editor_with_the_effect(widget, running, monkeypatch):
    import slicer

    running.load_module(
        REPOSITORY / "SegmentEditorBoundaryPoints" / "SegmentEditorBoundaryPoints.py"
    )
    slicer.app.startupCompleted.emit()
    case = sys.modules["SegmentEditorBoundaryPoints"].SegmentEditorBoundaryPointsTest()
    volume = slicer.util.addVolumeFromArray(np.zeros((3, 40, 40), np.uint8), name="Box")
    editor = case.editor_on(volume)
    editor.setActiveEffect(None)
    module, chosen = types.SimpleNamespace(editor=editor), []
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", module, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", chosen.append)
    widget.ui.annotateButton.click()
    assert chosen == ["SegmentEditor"]
    assert editor.activeEffect().name == "SAMUSA"
    editor.setActiveEffect(None)
    case.doCleanups()


def test_windows_opens_samusa_temporal(widget, running):
    import slicer

    running.load_module(REPOSITORY / "SAMUSATemporal" / "SAMUSATemporal.py")
    slicer.util.selectModule("SAMUSA")
    widget.ui.timelineButton.click()
    assert slicer.util.selectedModule() == "SAMUSATemporal"


# Set-up --------------------------------------------------------------------------------------


def test_set_up_from_the_first_look_to_removal(empty_python, widget, running, pictures):
    ui = widget.ui
    assert not ui.setupButton.collapsed and "set up once" in ui.statusLabel.text
    assert [row[0] for row in lines(ui.setupList)] == [
        "PyTorch, which runs the model",
        "Python packages: 13",
        "SAM 2, the model's network",
    ]
    assert "safetensors>=0.4" in ui.setupList.toolTip
    assert "by Slicer's PyTorch extension" in ui.setupLabel.text
    show(widget, "setupButton")
    running.grab(widget.parent, pictures / "setup-needed.png", (520, 700))

    ui.installButton.click()
    running.wait_until(lambda: not widget.set_up.installation.running, what="the set-up")
    assert ui.setupStepLabel.text == "Everything is installed and works."
    assert "has all that the model needs" in ui.setupLabel.text and not ui.setupList.visible
    assert not ui.installButton.enabled and ui.uninstallButton.enabled
    assert "Collecting accelerate" in ui.setupLog.plainText
    running.grab(widget.parent, pictures / "setup-done.png", (520, 700))

    running.dialogs.answer("OK", "packages that the set-up has added will be removed")
    ui.uninstallButton.click()
    running.wait_until(lambda: ui.setupStepLabel.text == "Removed.", what="the removal")
    assert ui.installButton.enabled
    assert "torch" not in empty_python.names


@pytest.mark.parametrize(("place", "goes_on"), [("slicer", False), ("python", True)])
def test_a_worker_in_slicer_s_python_ends_before_packages_change_and_another_takes_over(
    empty_python, widget, running, place, goes_on
):
    service = widget.service
    service.session.set_model("spline")
    service.session.start()
    running.wait_until(lambda: service.session.loaded, 60, "the worker")
    service.settings.place = place
    first = service._transport.process
    widget.ui.installButton.click()
    running.process_events(0.5)
    assert (service._transport.process == first) == goes_on
    running.wait_until(lambda: not widget.set_up.installation.running, what="the set-up")
    running.wait_until(lambda: service.session.loaded, 60, "the worker")
    assert (service._transport.process == first) == goes_on


def test_set_up_can_be_stopped_and_gone_on_with(empty_python, widget, running, pictures):
    ui = widget.ui
    widget.onReload()  # with a slow pip
    import slicer

    empty_python.slow["SLOW"] = "download"
    widget.onReload()
    widget = slicer.modules.SAMUSAWidget
    ui = widget.ui
    ui.installButton.click()
    running.wait_until(lambda: "Collecting" in ui.setupLog.plainText, what="pip")
    assert ui.setupStepLabel.text.startswith("Step 2 of 4: Python packages: 13")
    assert not ui.installButton.enabled and ui.setupCancelButton.enabled
    show(widget, "setupButton")
    running.grab(widget.parent, pictures / "setup-running.png", (520, 700))
    ui.setupCancelButton.click()
    running.wait_until(lambda: not widget.set_up.installation.running, what="the end")
    assert "go on at any time" in ui.setupStepLabel.text and ui.installButton.enabled
    assert lines(ui.setupList)[0][0] == "Python packages: 13"


def test_without_internet_a_folder_of_wheels_is_asked_for(empty_python, widget, running, tmp_path):
    wheels = tmp_path / "my wheels"
    wheels.mkdir()
    running.dialogs.answer(str(wheels))
    widget.ui.wheelsButton.click()
    assert "holds no wheels" in widget.ui.setupStepLabel.text
    (wheels / "a.whl").touch()
    running.dialogs.answer(str(wheels))
    widget.ui.wheelsButton.click()
    running.wait_until(lambda: not widget.set_up.installation.running, what="the set-up")
    assert widget.ui.setupStepLabel.text == "Everything is installed and works."
    assert empty_python.extension_called == 0


def test_a_missing_pytorch_extension_is_explained(empty_python, running, monkeypatch):
    from SAMUSALib.app.home import setup_panel

    monkeypatch.setattr(setup_panel, "pytorch_extension_is_here", lambda: False)
    widget = running.load_module(MODULE)
    assert "install the extension PyTorch in the Extensions Manager" in widget.ui.setupLabel.text


def test_the_extension_installs_pytorch_by_its_own_logic(running, monkeypatch):
    import slicer

    from SAMUSALib.app.install import CannotInstall, install_pytorch

    with pytest.raises(CannotInstall, match="PyTorch extension is missing"):
        install_pytorch()
    asked, answers = [], [object(), None]

    class PyTorchUtilsLogic:
        def installTorch(self, **arguments):
            asked.append(arguments)
            return answers.pop(0)

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    monkeypatch.setattr(slicer.modules, "pytorchutils", object(), raising=False)
    install_pytorch()
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.5"}]
    with pytest.raises(CannotInstall, match="was not installed"):
        install_pytorch()


# Worker --------------------------------------------------------------------------------------


def test_the_worker_runs_in_another_python_and_tells_its_memory(widget, running, pictures):
    ui, session = widget.ui, widget.service.session
    widget.service.settings.model = "spline"
    show(widget, "workerButton")
    ui.placeBox.currentIndex = 1
    assert ui.pythonEdit.visible and not ui.hostEdit.visible
    ui.pythonEdit.setCurrentPath(sys.executable)
    ui.workerApplyButton.click()
    running.wait_until(lambda: session.state.value == "ready", 60, "the worker")
    assert "spline is ready on this computer" in ui.workerLabel.text
    widget.worker._ask()
    running.wait_until(lambda: "MB of memory" in ui.workerLabel.text, 20, "its status")
    assert "spline" in ui.statusLabel.text and ui.restartButton.enabled
    running.grab(widget.parent, pictures / "worker.png", (520, 700))
    ui.stopWorkerButton.click()
    running.wait_until(lambda: not ui.stopWorkerButton.enabled, 20, "its end")
    assert "stopped" in ui.workerLabel.text and not session.running
    assert widget.service.settings.python == sys.executable


@pytest.mark.parametrize(
    ("place", "fields", "message"),
    [
        (1, {}, "there is no program (nothing chosen); choose the python"),
        (2, {"hostEdit": "-evil"}, "HOST or USER@HOST is needed"),
        (2, {"hostEdit": "gpu", "optionsEdit": "-o 'open"}, "cannot be read"),
    ],
)
def test_a_place_that_is_none_is_refused_and_nothing_changes(widget, place, fields, message):
    ui = widget.ui
    ui.placeBox.currentIndex = place
    for name, text in fields.items():
        getattr(ui, name).text = text
    ui.workerApplyButton.click()
    assert message in ui.workerLabel.text
    assert widget.service.settings.place == "slicer" and not widget.service.session.running


@pytest.mark.parametrize("place", PLACES)
def test_other_programs_get_the_environment_from_before_slicer_s(widget, monkeypatch, place):
    """With Slicer's libraries the system's ssh does not even start."""
    import slicer

    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/Slicer/lib")
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: {"PATH": "/before/slicer"})
    settings = widget.service.settings
    settings.place, settings.ssh_host, settings.python = place, "gpu", "/env/bin/python"
    for command in (worker_command(settings), local_command(settings)):
        assert command.environment["PATH"] == "/before/slicer"
        assert "LD_LIBRARY_PATH" not in command.environment
    installer = widget.set_up.installation._command
    assert "LD_LIBRARY_PATH" not in installer.environment


def test_a_module_that_slicer_opens_with_takes_no_second_slicer_for_python(
    running, home, tmp_path, monkeypatch
):
    """sys.executable is set when the event loop runs, the first module's panel is made before."""
    python = tmp_path / "bin" / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    python.parent.mkdir()
    python.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "Slicer"))
    widget = running.load_module(MODULE)
    assert widget.service.session.command.program == str(python)
    assert widget.set_up.installation._command.program == str(python)


def test_settings_are_there_again_when_slicer_starts_anew(widget):
    import slicer

    settings = widget.service.settings
    settings.place, settings.ssh_host, settings.ssh_options = "ssh", "me@gpu", "-p 2222"
    settings.device = "cpu"
    widget.onReload()
    ui = slicer.modules.SAMUSAWidget.ui
    assert ui.placeBox.currentText.startswith("Another computer")
    assert ui.hostEdit.text == "me@gpu"
    assert ui.optionsEdit.text == "-p 2222" and ui.deviceBox.currentText == "Processor (cpu)"


# Models --------------------------------------------------------------------------------------


def test_models_are_listed_with_state_size_and_licence(widget, running, pictures):
    ui = widget.ui
    rows = {row[0]: row[1:] for row in lines(ui.modelList)}
    assert rows["samusa-small"] == ["in use", "11 MB", "Apache-2.0"]
    assert rows["sam2.1-tiny"][0] == "to download"
    choose(ui.modelList, "sam2.1-tiny")
    assert "Licence: Apache-2.0" in ui.modelLabel.text
    assert ui.downloadButton.enabled and not ui.useModelButton.enabled
    choose(ui.modelList, "samusa-small")
    assert not ui.downloadButton.enabled and not ui.removeModelButton.enabled
    show(widget, "modelsButton")
    running.grab(widget.parent, pictures / "models.png", (520, 700))


def test_a_download_shows_progress_stops_and_goes_on(widget, running, monkeypatch, pictures):
    from SAMUSALib.app.home import models_panel

    slow = (
        "import time; print('samusa-progress|34000000|156000000|61|', flush=True); time.sleep(60)"
    )
    asked = python_job(monkeypatch, models_panel, slow)
    ui = widget.ui
    choose(ui.modelList, "sam2.1-tiny")
    ui.downloadButton.click()
    assert asked == [("models", "download", "sam2.1-tiny")]
    running.wait_until(lambda: "34 of 156 MB" in ui.modelProgress.format, what="progress")
    assert "61 s left" in ui.modelProgress.format and ui.modelCancelButton.enabled
    show(widget, "modelsButton")
    running.grab(widget.parent, pictures / "models-download.png", (520, 700))
    ui.modelCancelButton.click()
    running.wait_until(lambda: not ui.modelCancelButton.enabled, what="the end")
    assert "goes on from there" in ui.modelLabel.text and not ui.modelProgress.visible

    python_job(monkeypatch, models_panel, "import sys; sys.exit('samusa: the disk is full')")
    ui.downloadButton.click()
    running.wait_until(lambda: not ui.modelCancelButton.enabled, what="the end")
    assert "the disk is full. Press Download to try again" in ui.modelLabel.text
    assert "/sam2.1_hiera_tiny.pt elsewhere and import it." in ui.modelLabel.text


def test_an_imported_model_is_used_and_removed(widget, running, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"x" * 2_000_000)
    info = types.SimpleNamespace(architecture="tiny", prompts=("box",), licence="CC BY 4.0")
    registry.import_model(file, "mine", lambda path: info)
    ui = widget.ui
    widget.models.refresh()
    assert ["mine", "your own", "2 MB", "CC BY 4.0"] in lines(ui.modelList)
    choose(ui.modelList, "mine")
    widget.service.settings.model = "mine"
    widget.models.refresh()
    running.dialogs.answer("OK", "will be deleted")
    ui.removeModelButton.click()
    assert "mine" not in [row[0] for row in lines(ui.modelList)]
    assert widget.service.settings.model == "samusa-small"


def test_a_file_that_is_no_model_is_refused_in_words(widget, running, tmp_path):
    file = tmp_path / "my notes.pt"
    file.write_text("no model")
    running.dialogs.answer(str(file))
    widget.ui.importButton.click()
    running.wait_until(lambda: not widget.ui.modelCancelButton.enabled, 60, "the import")
    assert "my-notes" not in [row[0] for row in lines(widget.ui.modelList)]
    assert "Traceback" not in widget.ui.modelLabel.text
    assert "my notes" in widget.ui.modelLabel.text or "checkpoint" in widget.ui.modelLabel.text


# Unfinished work -----------------------------------------------------------------------------


def write_journal(frames: int = 4) -> Path:
    clip = Clip(
        np.zeros((frames, 32, 32), np.uint8),
        Geometry.for_cine(frames, 32, 32, np.diag([-0.2, -0.2, 1, 1])),
        name="carotid",
    )
    return clip


@pytest.fixture
def journal(home):
    """A journal that a killed Slicer has left."""
    from SAMUSALib.worker.session import Session
    from SAMUSALib.worker.transport import SubprocessTransport

    session = Session(
        SubprocessTransport(), WorkerCommand.this_python(), "spline", journals_folder()
    )
    clip = session.open_clip(write_journal())
    clip.set_segment("Segment_1", "lumen")
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    for frame in range(3):
        assert clip.accept("Segment_1", frame, EncodedMask.encode(mask), FrameState.PROPAGATED, 0.9)
    clip.close()
    (summary,) = list_journals(journals_folder())
    return summary.path


def test_unfinished_work_is_listed_saved_and_deleted(journal, widget, running, tmp_path, pictures):
    ui = widget.ui
    running.wait_until(lambda: ui.journalList.topLevelItemCount == 1, what="the list")
    (row,) = lines(ui.journalList)
    assert row[0] == "carotid" and row[2:] == ["1", "3", "whole"]
    assert ui.recoveryButton.text == "Unfinished work (1)"
    choose(ui.journalList, "carotid")
    show(widget, "recoveryButton")
    running.grab(widget.parent, pictures / "recovery.png", (520, 700))

    ui.recoverLoadButton.click()
    running.wait_until(lambda: "open it in SAMUSA Temporal" in ui.recoveryLabel.text, what="text")
    choose(ui.journalList, "carotid")
    running.dialogs.answer(str(tmp_path))
    ui.recoverSaveButton.click()
    running.wait_until(lambda: "table are in" in ui.recoveryLabel.text, 60, "the export")
    assert (tmp_path / journal.stem / "masks.seg.nrrd").is_file()

    choose(ui.journalList, "carotid")
    running.dialogs.answer("OK", "3 masks that were not saved elsewhere will be gone")
    ui.recoverRemoveButton.click()
    running.wait_until(lambda: "It is deleted" in ui.recoveryLabel.text, what="the list")
    assert not journal.exists() and ui.recoveryButton.text == "Unfinished work"


def opened_sample(service, running, window=None):
    """The workspace of the sample clip, loaded into an empty scene. window: of its display, (width,
    level)."""
    import slicer

    sequence = sys.modules["SAMUSA"].load_sample()
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    volume = browser.GetProxyNode(sequence)
    if window is not None:
        volume.GetDisplayNode().SetWindowLevel(*window)
    workspace = service.workspaces.open(volume)
    running.wait_until(lambda: workspace.is_open, 60, "the workspace")
    return workspace


@pytest.mark.parametrize("window", [None, (100, 80)], ids=["same", "other window and level"])
def test_unfinished_work_is_put_back_into_the_scene(widget, running, tmp_path, home, window):
    import slicer

    ui, service = widget.ui, widget.service
    widget.service.settings.model = "spline"
    service.apply_settings()
    before = opened_sample(service, running)
    segment = before.masks.add_segment("lesion")
    mask = np.zeros((256, 256), bool)
    mask[100:140, 90:150] = True
    prompts = FramePrompts(boundary=[[90, 100], [149, 100], [149, 139], [90, 139]])
    before.accept(segment, 5, [prompts], mask, 0.9)
    (journal,) = journals_folder().glob(f"*{SUFFIX}")
    left = journal.read_bytes()
    slicer.mrmlScene.Clear()
    running.wait_until(lambda: not len(service.workspaces), what="the end of the workspace")
    journal.write_bytes(left)  # as a Slicer leaves it that is killed

    if window is not None:
        running.dialogs.answer("Cancel", "Put the masks into SAMUSA phantom?")
        running.dialogs.answer("OK", "They do when window/level was changed")
    workspace = opened_sample(service, running, window)
    widget.recovery.refresh()
    running.wait_until(lambda: ui.journalList.topLevelItemCount == 1, what="the list")
    ui.journalList.setCurrentItem(ui.journalList.topLevelItem(0))
    ui.recoverLoadButton.click()
    if window is not None:
        assert not workspace.masks.segments(), "cancelled"
        ui.recoverLoadButton.click()
    running.wait_until(lambda: "1 frame is back" in ui.recoveryLabel.text, 30, "the masks")
    (found,) = workspace.masks.segments()
    assert found.name == "lesion"
    assert np.array_equal(workspace.masks.mask(found.id, 5), mask)
    assert np.array_equal(workspace.steps(found.id, 5)[-1].boundary, prompts.boundary)
    running.wait_until(lambda: not ui.journalList.topLevelItemCount, 30, "the journal's end")
    assert not journal.exists() and ui.recoveryButton.text == "Unfinished work"


def test_a_damaged_journal_says_so(journal, widget, running):
    data = bytearray(journal.read_bytes())
    data[-5] ^= 1
    journal.write_bytes(data)
    ui = widget.ui
    widget.recovery.refresh()
    running.wait_until(
        lambda: [row[-1] for row in lines(ui.journalList)] == ["damaged"], what="the list"
    )
    choose(ui.journalList, "carotid")
    assert "damaged after" in ui.recoveryLabel.text


# Training ------------------------------------------------------------------------------------


@pytest.fixture
def annotated_set(tmp_path):
    folder = tmp_path / "my set"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    return folder


def test_training_begins_shows_its_curve_and_imports_the_model(
    widget, running, monkeypatch, annotated_set, pictures
):
    from SAMUSALib.app.home import models_panel, training_panel

    curve = data_folder() / "training" / "my-model" / "my-model.png"
    code = (
        "import shutil, sys\n"
        f"shutil.copy({str(MODULE.parent / 'Resources/Icons/SAMUSA.png')!r}, {str(curve)!r})\n"
        "print('samusa-progress|40|300|500|loss 0.412, dice 0.120', flush=True)\n"
        "sys.stdin.readline()\n"
        "print('wrote it')\n"
    )
    asked = python_job(monkeypatch, training_panel, code)
    imported = python_job(monkeypatch, models_panel, "print('imported')")
    ui = widget.ui
    show(widget, "trainingButton")
    assert not ui.trainButton.enabled
    running.dialogs.answer(str(annotated_set))
    ui.addFolderButton.click()
    ui.stepsBox.value = 300
    ui.trainButton.click()
    running.wait_until(lambda: "loss 0.412" in ui.trainingLabel.text, what="progress")
    assert "step 40 of 300, 8 min left" in ui.trainingProgress.format
    assert ui.curveLabel.visible and not ui.trainButton.enabled and not ui.nameEdit.enabled
    words = asked[0]
    assert words[:2] == ("train", "fine-tune") and "--resume" not in words
    assert words[words.index("--data") + 1] == str(annotated_set)
    assert {"steps=300", "model.name=my-model", "--end-with-input"} <= set(words)
    running.grab(widget.parent, pictures / "training.png", (520, 800))
    ui.trainStopButton.click()
    running.wait_until(lambda: "in the list of models" in ui.trainingLabel.text, what="import")
    assert imported[0][:2] == ("models", "import") and imported[0][-2:] == ("--name", "my-model")


def test_a_run_that_is_stopped_is_gone_on_with(widget, running, monkeypatch, annotated_set):
    from SAMUSALib.app.home import training_panel

    code = "import sys; print('begun', flush=True); sys.stdin.readline(); sys.exit(130)"
    asked = python_job(monkeypatch, training_panel, code)
    ui = widget.ui
    widget.training.add([annotated_set, annotated_set])
    assert widget.training.data == [annotated_set]
    ui.trainButton.click()
    running.wait_until(lambda: "begun" in ui.trainingLog.plainText, what="the run")
    (data_folder() / "training" / "my-model" / "my-model.state.safetensors").touch()
    ui.trainStopButton.click()
    running.wait_until(lambda: ui.trainButton.enabled, what="the end")
    assert "goes on there" in ui.trainingLabel.text
    ui.trainButton.click()
    assert "--resume" in asked[1]
    ui.trainStopButton.click()
    running.wait_until(lambda: ui.trainButton.enabled, what="the end")


def test_training_that_cannot_begin_says_why(widget, running, annotated_set, tmp_path):
    ui = widget.ui
    widget.training.add([annotated_set])
    for name, message in (("a/b", "letters, digits"), ("spline", "choose another name")):
        ui.nameEdit.text = name
        ui.trainButton.click()
        assert message in ui.trainingLabel.text
    ui.nameEdit.text = "good"
    widget.training.add([tmp_path / "gone.mrb"])
    ui.trainButton.click()
    assert "gone.mrb is no longer there" in ui.trainingLabel.text
    running.dialogs.answer(str(tmp_path))
    ui.addFolderButton.click()
    assert "has no manifest.json" in ui.trainingLabel.text
    ui.dataList.topLevelItem(1).setSelected(True)
    ui.removeDataButton.click()
    assert widget.training.data == [annotated_set]


@pytest.mark.heavy
def test_a_real_run_from_files_to_a_model_in_the_list(widget, running, tmp_path, pictures):
    from SAMUSALib.cli.main import main

    clip, truth = tmp_path / "clip.seq.nrrd", tmp_path / "clip.seg.nrrd"
    assert main(
        ["phantom", "--seed", "10", "--frames", "6", "--out", str(clip), "--truth", str(truth)]
    ) == 0  # fmt: skip
    ui = widget.ui
    running.dialogs.answer([str(clip), str(truth)])
    ui.addFilesButton.click()
    ui.stepsBox.value = 4
    ui.trainButton.click()
    running.wait_until(lambda: "in the list of models" in ui.trainingLabel.text, 600, "the model")
    assert ["my-model", "your own"] in [row[:2] for row in lines(ui.modelList)]
    show(widget, "trainingButton")
    assert ui.curveLabel.visible
    running.grab(widget.parent, pictures / "trained.png", (520, 900))


def test_quitting_ends_all_that_runs(home, monkeypatch, annotated_set, tmp_path):
    import host

    if host.missing():
        pytest.skip(host.missing())
    process = tmp_path / "process"
    code = (
        "import os, pathlib, time; print('begun', flush=True)\n"
        f"pathlib.Path({str(process)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    with host.running():
        from SAMUSALib.app.home import training_panel

        python_job(monkeypatch, training_panel, code)
        widget = host.load_module(MODULE)
        widget.training.add([annotated_set])
        widget.ui.trainButton.click()
        host.wait_until(lambda: process.exists() and process.read_text(), what="the run")
    assert host.errors.uncaught() == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(process.read_text()), 0)
