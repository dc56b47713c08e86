"""The other commands: help, models, phantom, demo, evaluate, doctor."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from SAMUSALib import __version__
from SAMUSALib.cli import doctor
from SAMUSALib.cli.main import build_parser, main


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))


def samusa(*args):
    return main([str(arg) for arg in args])


# The command itself -----------------------------------------------------------------------------


def test_help_and_version_need_no_slow_import():
    code = (
        "import sys; from SAMUSALib.cli.main import main; main(['--help']);"
        "slow = {'torch', 'scipy', 'matplotlib', 'PIL', 'SimpleITK', 'tqdm'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "annotate" in done.stdout


def test_version_is_the_package_version(capsys):
    assert samusa("--version") == 0
    assert capsys.readouterr().out.strip() == f"samusa {__version__}"


def test_no_command_prints_the_help(capsys):
    assert samusa() == 0
    assert "annotate" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["fly"], ["annotate"], ["models"], ["phantom", "--seed", "x"]])
def test_a_wrong_command_line_is_refused(args, capsys):
    assert samusa(*args) == 2
    assert "usage: samusa" in capsys.readouterr().err


def test_every_command_has_a_help():
    parser = build_parser()
    commands = next(a for a in parser._actions if hasattr(a, "choices") and a.choices)
    for name in commands.choices:
        assert samusa(name, "--help") == 0


# models -------------------------------------------------------------------------------------------


def test_models_are_listed(capsys):
    assert samusa("models", "list") == 0
    said = capsys.readouterr().out
    assert "samusa-small" in said and "sam2.1-base-plus" in said and "not here" in said


def test_a_model_that_is_not_here_is_described(capsys):
    assert samusa("models", "info", "sam2.1-tiny") == 0
    said = capsys.readouterr().out
    assert "Apache-2.0" in said and "7402e0d8" in said and "not here" in said


def test_models_refuse_in_one_line(tmp_path, capsys):
    text = tmp_path / "notes.pt"
    text.write_text("not a checkpoint")
    for args in (
        ("info", "samusa-smal"),
        ("remove", "samusa-small"),
        ("remove", "sam2.1-tiny"),
        ("download", "spline"),
        ("import", tmp_path / "none.pt"),
        ("import", text),
    ):
        assert samusa("models", *args) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("samusa: ") and "\n" not in said
    models = tmp_path / "home" / "models"
    assert not models.exists() or list(models.iterdir()) == []


def test_what_cannot_be_imported_or_described_names_the_file(tmp_path, capsys):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"cut")
    assert samusa("models", "import", file) == 2
    assert f"samusa: {file} is damaged" in capsys.readouterr().err
    assert samusa("models", "info", "sam2.1-tiny", "--provenance") == 2
    assert "is not on this machine" in capsys.readouterr().err


def test_verify_finds_a_missing_model(capsys):
    assert samusa("models", "verify", "sam2.1-tiny") == 1
    assert "FAIL" in capsys.readouterr().out


def test_a_trained_checkpoint_is_imported_described_and_removed(tmp_path, capsys):
    from SAMUSALib.engine.architectures import ARCHITECTURES
    from SAMUSALib.engine.checkpoints import Checkpoint, write_checkpoint
    from SAMUSALib.engine.network import SamusaNetwork

    network = SamusaNetwork(ARCHITECTURES["samusa_small"])
    provenance = {
        "earlier": {"data": ["a", "b"], "steps": 30},
        "data": "c",
        "recipe": {"seed": 3},
        "steps": 40,
    }
    file = tmp_path / "mine.safetensors"
    write_checkpoint(
        file,
        Checkpoint(
            "mine",
            network.architecture,
            ("boundary", "region"),
            "Apache-2.0",
            provenance,
            network.state_dict(),
        ),
    )
    assert samusa("models", "import", file, "--name", "ours") == 0
    assert samusa("models", "info", "ours") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "samusa_small" in said and "million" in said
    assert "in 2 runs, 70 steps" in said
    assert "run 1: 30 steps on a; b run 2: 40 steps on c" in said
    assert samusa("models", "info", "ours", "--provenance") == 0
    assert json.loads(capsys.readouterr().out) == provenance
    assert samusa("models", "verify") in (0, 1)
    assert "ok    ours" in capsys.readouterr().out
    assert samusa("models", "remove", "ours") == 0


# phantom ------------------------------------------------------------------------------------------


def test_a_phantom_is_the_same_for_the_same_seed(tmp_path, capsys):
    from SAMUSALib.io.read_clip import read_clip

    options = ("--seed", 4, "--frames", 5, "--size", 64, "--geometry", "linear")
    for name in ("a", "b"):
        assert samusa("phantom", "--out", tmp_path / f"{name}.nrrd", *options) == 0
    first, second = (read_clip(tmp_path / f"{name}.nrrd") for name in "ab")
    assert first.frames.shape == (5, 64, 64) and np.array_equal(first.frames, second.frames)
    assert first.geometry.kind == "cine" and first.times is not None
    assert "visible in frames" in capsys.readouterr().out


def test_a_phantom_comes_with_its_truth(tmp_path):
    import nrrd

    from SAMUSALib.cli.phantom import spec_for
    from SAMUSALib.phantom import simulate

    truth = tmp_path / "truth.seg.nrrd"
    options = ("--seed", 1, "--frames", 4, "--size", 64)
    assert samusa("phantom", "--out", tmp_path / "a.nrrd", "--truth", truth, *options) == 0
    labels = simulate(spec_for(1, 4, 64, None)).labels
    voxels, _ = nrrd.read(str(truth))
    assert np.array_equal(voxels.transpose(2, 1, 0) > 0, labels > 0)


@pytest.mark.parametrize(
    "options",
    [("--frames", 1), ("--size", 8), ("--seed", -1), ("--truth", "x.nrrd")],
)
def test_impossible_phantoms_are_refused(tmp_path, options, capsys):
    assert samusa("phantom", "--out", tmp_path / "a.nrrd", *options) == 2
    assert capsys.readouterr().err.startswith("samusa: --")
    assert list(tmp_path.glob("*.nrrd")) == []


def test_a_phantom_is_not_written_under_the_name_of_masks(tmp_path, capsys):
    assert samusa("phantom", "--out", tmp_path / "a.seg.nrrd") == 2
    assert "which are masks" in capsys.readouterr().err


# demo ---------------------------------------------------------------------------------------------


def test_the_demo_writes_everything_and_says_how_good_it_is(tmp_path, capsys):
    out = tmp_path / "demo"
    assert samusa("demo", "--out", out, "--model", "spline") == 0
    names = {p.name for p in out.iterdir()}
    assert names == {"clip.seq.nrrd", "prompts.json", "masks.seg.nrrd", "demo.json", "report"}
    summary = json.loads((out / "demo.json").read_text())
    assert summary["model"] == "spline"
    assert summary["empty_outside"] is True
    assert 0.3 < summary["dice_window_mean"] <= 1
    assert {"simulate", "clicks", "propagate", "report"} <= set(summary["seconds"])
    assert "Dice" in capsys.readouterr().out


def test_the_demo_prompts_can_be_given_to_annotate(tmp_path):
    out = tmp_path / "demo"
    assert samusa("demo", "--out", out, "--model", "spline") == 0
    again = tmp_path / "again.seg.nrrd"
    prompts = ("--prompts", out / "prompts.json", "--model", "spline")
    assert samusa("annotate", out / "clip.seq.nrrd", *prompts, "--out", again) == 0
    assert again.read_bytes() == (out / "masks.seg.nrrd").read_bytes()


def test_the_demo_refuses_a_place_it_cannot_use(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert samusa("demo", "--out", file, "--model", "spline") == 2
    assert "is a file" in capsys.readouterr().err


# evaluate -----------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    """Three images of an ellipse, and one without a structure."""
    folder = tmp_path / "set"
    folder.mkdir()
    items = []
    y, x = np.mgrid[:64, :64]
    for number in range(4):
        mask = ((x - 32) / 18) ** 2 + ((y - 30) / (8 + 3 * number)) ** 2 < 1
        mask &= number < 3
        frame = np.where(mask, 40, 160).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"i{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"m{number}.png")
        item = {"image": f"i{number}.png", "mask": f"m{number}.png", "split": "val"}
        items.append({**item, "group": str(number)})
    manifest = {"name": "set", "labels": {"1": "ellipse"}, "items": items}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_evaluation_writes_the_mean_of_every_click(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--data", dataset, "--split", "val", "--clicks", 5, "--out", out)
    assert samusa("evaluate", "images", *options, "--methods", "spline") == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["dice"]["spline"]) == ["1", "2", "3", "4", "5"]
    assert summary["n"] == 3 and summary["dice"]["spline"]["5"] > 0.9
    assert "mean Dice of 3 structures" in capsys.readouterr().out


def test_evaluation_agrees_with_the_protocol_on_all_images_at_once(dataset, tmp_path):
    from SAMUSALib.datasets.manifest import read_manifest
    from SAMUSALib.evaluation.images import ImageProtocol, evaluate_images
    from SAMUSALib.evaluation.methods import spline_method
    from SAMUSALib.evaluation.statistics import summarise

    options = ("--data", dataset, "--clicks", 4, "--jitter", 0.03, "--seed", 3)
    out = tmp_path / "out"
    assert samusa("evaluate", "images", *options, "--methods", "spline", "--out", out) == 0
    rows = evaluate_images(
        read_manifest(dataset, "val"), [spline_method()], ImageProtocol(4, 0.03, 3)
    )
    summary = json.loads((out / "summary.json").read_text())
    assert summary.items() >= summarise(rows).items()


@pytest.mark.parametrize(
    "options, says",
    [
        (("--methods", "magic"), "--methods"),
        (("--clicks", 0), "--clicks"),
        (("--jitter", -1), "--jitter"),
        (("--split", "test"), "split"),
        (("--seed", -1), "--seed"),
    ],
)
def test_wrong_evaluations_are_refused(dataset, tmp_path, options, says, capsys):
    base = ("--data", dataset, "--methods", "spline", "--out", tmp_path / "out")
    assert samusa("evaluate", "images", *base, *options) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stopped_evaluation_keeps_the_finished_images(dataset, tmp_path, monkeypatch, capsys):
    from SAMUSALib.evaluation import images

    real, calls = images.evaluate_image, []

    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(images, "evaluate_image", stops)
    out = tmp_path / "out"
    options = ("--data", dataset, "--methods", "spline", "--clicks", 3, "--out", out)
    assert samusa("evaluate", "images", *options) == 130
    assert json.loads((out / "summary.json").read_text())["n"] == 2
    assert "kept 2 of 4 images" in capsys.readouterr().err


# doctor -------------------------------------------------------------------------------------------


def test_the_doctor_reports_in_plain_words(capsys):
    code = samusa("doctor")
    said = capsys.readouterr().out
    assert "Python" in said and "torch" in said and "cores" in said and "samusa-small" in said
    assert ("FAIL" in said) == (code == 1)


def test_the_doctor_names_a_missing_package(monkeypatch, capsys):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name == "nrrd" else real(name)
    )
    found = doctor.Findings()
    assert doctor.check_packages(found) == {"pynrrd"}
    assert found.broken == 1
    assert "FAIL  pynrrd" in capsys.readouterr().out


def test_the_doctor_reports_a_model_that_does_not_load(tmp_path, capsys):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"rubbish")
    found = doctor.Findings()
    doctor.try_model(found, file)
    assert found.broken == 1


def test_progress_is_counted_in_bytes_and_frames():
    from SAMUSALib.cli.models import _advance

    bar = SimpleNamespace(n=0, total=None)
    bar.update = lambda count: setattr(bar, "n", bar.n + count)
    advance = _advance(bar)
    advance(10, 100)
    advance(30, 100)
    assert (bar.n, bar.total) == (30, 100)
