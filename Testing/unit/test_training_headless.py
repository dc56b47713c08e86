"""Training as Slicer's own Python starts it: no display, no installed package, no Slicer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from SAMUSALib.cli.main import main
from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.engine.checkpoints import write_checkpoint
from SAMUSALib.engine.models import load_model
from SAMUSALib.training.data import choose_workers
from tiny import tiny_checkpoint

LIBRARY = Path(__file__).resolve().parents[2] / "SAMUSA"

PROGRAM = """
import sys
from SAMUSALib.cli.main import main
status = main(sys.argv[1:])
print("loaded:", [name for name in ("slicer", "vtk", "qt", "ctk", "mrml") if name in sys.modules])
sys.exit(status)
"""


@pytest.fixture
def pair(tmp_path):
    """A cine and its segmentation, as Slicer saves them."""
    cine, masks = tmp_path / "cine.seq.nrrd", tmp_path / "cine.seg.nrrd"
    command = ["phantom", "--seed", "10", "--frames", "6", "--size", "96"]
    assert main([*command, "--out", str(cine), "--truth", str(masks)]) == 0
    return [str(cine), str(masks)]


@pytest.fixture
def command(tmp_path, pair):
    start = tmp_path / "start.safetensors"
    write_checkpoint(start, tiny_checkpoint())
    return [
        "train", "fine-tune", "--data", *pair, "--out", str(tmp_path / "mine.safetensors"),
        "--set", f"model.checkpoint={start}", "--set", "steps=1",
        "--set", "outputs.picture_every=0",
    ]  # fmt: skip


def test_a_cine_annotated_in_slicer_trains_without_display_and_slicer(command, tmp_path):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH")
    }
    environment |= {"PYTHONPATH": str(LIBRARY), "SLICER_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
    assert load_model(tmp_path / "mine.safetensors", "cpu").info.provenance["steps"] == 1
    (item,) = read_manifest(tmp_path / "mine-data")
    assert item.kind == "clip" and item.split == "train"


def test_slicers_python_prepares_samples_itself(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert choose_workers(None) == 8 and choose_workers(None, processes=4) == 2
    monkeypatch.setenv("SLICER_HOME", "/opt/Slicer")
    assert choose_workers(None) == 0 and choose_workers(3) == 3


def test_the_imported_set_is_not_overwritten_but_taken_up_again(command, tmp_path, capsys):
    assert main(command) == 0
    (tmp_path / "mine.state.safetensors").unlink()
    assert main(command) == 2
    assert "mine-data" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0


def test_what_is_no_scene_and_no_pair_is_refused(command, tmp_path, capsys, monkeypatch):
    at = command.index("--data")
    alone = [*command[: at + 1], command[at + 1], *command[at + 3 :]]
    assert main(alone) == 2
    assert "segmentation must follow" in capsys.readouterr().err
    missing = [*command[: at + 1], "none.mrb", *command[at + 3 :]]
    assert main(missing) == 2
    assert "no set or file none.mrb" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command) == 2
    assert "samusa data import slicer" in capsys.readouterr().err
