"""Training runs: they stop and go on exactly, and end in words when something breaks."""

import json
import os
import resource
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from discs import make_set
from SAMUSALib.cli.main import main
from SAMUSALib.engine.architectures import ARCHITECTURES
from SAMUSALib.engine.checkpoints import read_checkpoint, write_checkpoint
from SAMUSALib.engine.models import load_model
from SAMUSALib.errors import CannotWrite, InvalidValue, TrainingFailed, UnreadableFile
from SAMUSALib.training.config import (
    Data,
    DataSet,
    ModelSource,
    Optimiser,
    Outputs,
    TrainingConfig,
    Validation,
)
from SAMUSALib.training.rounds import Curriculum, Rounds
from SAMUSALib.training.run import run_training, starting_network
from SAMUSALib.training.state import read_card, read_state, state_path
from tiny import TINY, tiny_checkpoint

BOUNDARY_EMBEDDING = "sam_prompt_encoder.boundary_embedding.weight"


@pytest.fixture(autouse=True)
def tiny_architecture(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)


@pytest.fixture
def config(tmp_path):
    folder = make_set(tmp_path / "discs")
    return TrainingConfig(
        ModelSource(architecture="tiny", name="mine", licence="CC0-1.0"),
        Data((DataSet(folder, use=("images", "sweeps")),), workers=0),
        Curriculum(share_clips=0.5, clip_frames=2, click_counts=((2,), (3,))),
        optimiser=Optimiser(batch=1, warmup=2, precision="float32"),
        outputs=Outputs(tmp_path / "new.safetensors", save_every=2, report_every=2),
        steps=4,
        device="cpu",
    )


def with_outputs(config, **changes):
    return replace(config, outputs=replace(config.outputs, **changes))


class Recorder:
    """Keeps the losses of each step; does something at one step."""

    def __init__(self, at=None, action=None):
        self.losses, self.at, self.action = {}, at, action

    def __call__(self, step, losses):
        self.losses[step] = losses
        if step == self.at:
            self.action()


def same_tensors(first, second):
    assert first.keys() == second.keys()
    return all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


# stop and go on ---------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(config, tmp_path):
    config = replace(config, steps=6, optimiser=replace(config.optimiser, batch=2))
    whole, first, second = Recorder(), Recorder(3, terminate), Recorder()
    run_training(with_outputs(config, file=tmp_path / "whole.safetensors"), report=whole)
    outcome = run_training(config, report=first)
    assert outcome.stopped and outcome.steps == 3
    torch.manual_seed(99)  # whatever else uses torch's generator
    outcome = run_training(config, resume=True, report=second)
    assert not outcome.stopped and outcome.steps == 6
    together = first.losses | second.losses
    assert list(first.losses) == [1, 2, 3] and list(second.losses) == [4, 5, 6]
    kinds = {name.split("_")[0] for losses in whole.losses.values() for name in losses}
    assert "clip" in kinds, "dropout must have played"
    for step, losses in whole.losses.items():
        assert together[step] == pytest.approx(losses, abs=1e-6)
    states = [read_state(state_path(tmp_path / f"{name}.safetensors")) for name in ("whole", "new")]
    assert same_tensors(*[state.tensors for state in states])
    assert [row["step"] for row in states[1].card["history"]] == [2, 3, 4, 6]


def test_the_first_ctrl_c_ends_the_run_saved_the_second_at_once(config):
    handler = signal.getsignal(signal.SIGINT)
    assert run_training(config, report=Recorder(1, interrupt)).steps == 1
    assert signal.getsignal(signal.SIGINT) is handler

    def twice():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        run_training(config, resume=True, report=Recorder(2, twice))
    assert read_card(state_path(config.outputs.file))["step"] == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_finished_run_resumed_does_nothing_and_a_first_resume_begins(config):
    said, again = [], Recorder()
    run_training(replace(config, steps=2), resume=True, say=said.append)
    assert any("the run begins" in text for text in said)
    outcome = run_training(replace(config, steps=2), resume=True, report=again)
    assert outcome.steps == 2 and not again.losses


def test_a_run_that_was_stopped_is_not_lost_to_a_new_one(config):
    run_training(config, report=Recorder(1, terminate))
    with pytest.raises(InvalidValue, match="stopped at step 1 of 4; go on with --resume"):
        run_training(config)
    assert read_card(state_path(config.outputs.file))["step"] == 1


def test_another_recipe_is_refused_by_its_keys(config):
    run_training(config, report=Recorder(1, terminate))
    other = replace(config, seed=1, optimiser=replace(config.optimiser, rate=0.5))
    with pytest.raises(InvalidValue, match="other values of optimiser.rate, seed;"):
        run_training(other, resume=True)
    moved = with_outputs(config, save_every=1)
    assert run_training(moved, resume=True).steps == 4


def test_other_data_are_refused(config):
    run_training(config, report=Recorder(1, terminate))
    manifest = config.data.sets[0].folder / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "items": content["items"][1:]}))
    with pytest.raises(InvalidValue, match="the data have changed"):
        run_training(config, resume=True)


def test_a_damaged_state_is_said_to_be_that(config):
    run_training(config, report=Recorder(1, terminate))
    path = state_path(config.outputs.file)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UnreadableFile, match="damaged"):
        run_training(config, resume=True)


# what breaks ------------------------------------------------------------------------------------


def saved(config):
    """Steps of checkpoint and state, both whole."""
    load_model(config.outputs.file, "cpu")
    checkpoint = read_checkpoint(config.outputs.file)
    state = read_state(state_path(config.outputs.file))
    return checkpoint.provenance["steps"], state.card["step"]


def test_a_loss_that_is_not_a_number_keeps_what_was_saved(config, monkeypatch):
    plain, calls = Rounds.forward, []

    def broken(self, *args):
        loss, parts = plain(self, *args)
        calls.append(1)
        return (loss * float("nan") if len(calls) == 3 else loss), parts

    monkeypatch.setattr(Rounds, "forward", broken)
    with pytest.raises(TrainingFailed, match="the loss is nan at step 2; the last saved"):
        run_training(config)
    assert saved(config) == (2, 2)
    monkeypatch.undo()
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    assert run_training(config, resume=True).steps == 4


@pytest.mark.parametrize("file", ["checkpoint", "state"])
def test_a_disk_that_refuses_keeps_what_was_saved(config, file):
    """A limit of the system on a file's size, as real as a full disk."""
    size = sum(tensor.numel() for tensor in tiny_checkpoint().tensors.values())
    space = size // 2 if file == "checkpoint" else 6 * size  # 2 and 16 bytes a value are needed
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = Recorder(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (space, before[1])))
    try:
        with pytest.raises(CannotWrite, match="could not be written"):
            run_training(config, report=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert saved(config) == (2 if file == "checkpoint" else 4, 2)
    assert not list(config.outputs.file.parent.glob(".*tmp*"))
    assert run_training(config, resume=True).steps == 4


def test_a_full_disk_at_the_losses_or_the_picture_is_said(config, monkeypatch, tmp_path):
    for changes in ({"losses": tmp_path / "losses.jsonl"}, {"picture_every": 2}):
        changed = with_outputs(config, file=tmp_path / f"{[*changes][0]}.safetensors", **changes)

        def full(source, target, real=os.replace):
            if str(target).endswith((".jsonl", ".png")):
                raise OSError(28, "No space left on device")
            return real(source, target)

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(CannotWrite, match="the disk is full"):
            run_training(changed)
        monkeypatch.undo()
        monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
        assert not list(tmp_path.glob(".*tmp*"))


@pytest.mark.parametrize("damage, workers", [("gone", 0), ("cut", 1)])
def test_an_image_lost_during_training_stops_the_run_in_words(config, damage, workers):
    folder = config.data.sets[0].folder
    config = replace(config, data=replace(config.data, cache=0, workers=workers), steps=40)

    def lose():
        for path in (folder / "images").iterdir():
            path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(UnreadableFile, match="does not exist" if damage == "gone" else "read as"):
        run_training(config, report=Recorder(2, lose))
    checkpoint, state = saved(config)
    assert checkpoint == state >= 2


# results ----------------------------------------------------------------------------------------


def test_the_checkpoint_says_what_it_comes_from(config):
    run_training(replace(config, steps=2))
    info = load_model(config.outputs.file, "cpu").info
    assert (info.name, info.licence) == ("mine", "CC0-1.0")
    assert info.prompts == ("boundary", "region", "box", "mask")
    assert info.provenance["data"] == ["discs, split train"]
    assert info.provenance["recipe"]["steps"] == 2
    assert str(config.data.sets[0].folder) not in json.dumps(info.provenance)


def test_prompts_that_were_not_practised_are_not_claimed(config):
    practised = replace(config.curriculum, share_region=0.0, share_box=0.0, share_mask=0.0)
    run_training(replace(config, steps=1, curriculum=practised))
    assert load_model(config.outputs.file, "cpu").info.prompts == ("boundary",)


def test_training_starts_from_a_checkpoint_whose_prompts_it_keeps(config, tmp_path):
    start = tmp_path / "start.safetensors"
    write_checkpoint(start, tiny_checkpoint())
    practised = replace(config.curriculum, share_region=0.0, share_box=0.0, share_mask=0.0)
    optimiser = replace(config.optimiser, rate=1e-7, final_rate=1e-7)
    model = ModelSource(checkpoint=str(start), name="further")
    run_training(replace(config, model=model, steps=1, curriculum=practised, optimiser=optimiser))
    info = load_model(config.outputs.file, "cpu").info
    assert info.prompts == ("boundary", "region", "box", "mask")
    assert info.licence == "Apache-2.0" and info.provenance["started_from"] == "tiny"
    before, after = (read_checkpoint(path).tensors for path in (start, config.outputs.file))
    assert all(
        torch.allclose(before[name].float(), after[name].float(), atol=1e-3) for name in before
    )


def test_a_sam2_checkpoint_learns_boundary_points(config, tmp_path):
    plain = replace(TINY, boundary_points=False, primed=False, zoom=False, multimask=True)
    start = tmp_path / "sam2.safetensors"
    sam2 = replace(tiny_checkpoint(plain), prompts=("region", "box", "mask"))
    write_checkpoint(start, sam2)
    model = ModelSource(checkpoint=str(start), boundary_points=True)
    network, _ = starting_network(model)
    assert network.architecture == replace(plain, boundary_points=True)
    assert network.state_dict()[BOUNDARY_EMBEDDING].abs().max() > 0
    run_training(replace(config, model=model, steps=2))
    info = load_model(config.outputs.file, "cpu").info
    assert info.prompts == ("boundary", "region", "box", "mask")
    with pytest.raises(InvalidValue, match="has no weights"):
        starting_network(ModelSource(checkpoint="spline"))
    with pytest.raises(InvalidValue, match="'huge'"):
        starting_network(ModelSource(architecture="huge"))


def test_held_out_structures_are_judged_and_drawn_and_the_best_is_kept(config, tmp_path):
    validation = Validation(every=2, clicks=(2, 3))
    config = with_outputs(
        replace(config, validation=validation, steps=4),
        picture_every=4, losses=tmp_path / "losses.jsonl", tensorboard=tmp_path / "board",
    )  # fmt: skip
    pytest.importorskip("tensorboard")
    run_training(config)
    rows = [json.loads(line) for line in config.outputs.losses.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert set(row["validation"]) == {"2", "3"}
        assert all(0 <= value <= 1 for value in row["validation"].values())
        assert row["losses"] and row["rate"] > 0
    means = [np.mean(list(row["validation"].values())) for row in rows]
    best = read_checkpoint(tmp_path / "new.best.safetensors")
    assert best.provenance["steps"] == (2 if means[0] >= means[1] else 4)
    with Image.open(tmp_path / "new.png") as picture:
        assert picture.width > 800 and len(np.unique(np.array(picture.convert("L")))) > 50
    assert any(path.stat().st_size > 100 for path in (tmp_path / "board").iterdir())


def test_validation_does_not_change_the_training(config):
    plain, judged = Recorder(), Recorder()
    run_training(replace(config, steps=3), report=plain)
    state_path(config.outputs.file).unlink()
    run_training(replace(config, steps=3, validation=Validation(every=1)), report=judged)
    assert plain.losses == judged.losses


def test_a_folder_for_results_that_is_not_there_is_said_before_training(config, tmp_path):
    with pytest.raises(CannotWrite, match="no folder .* to write losses.jsonl"):
        run_training(with_outputs(config, losses=tmp_path / "none" / "losses.jsonl"))
    assert not config.outputs.file.exists()


def test_validation_without_its_split_and_a_board_without_its_library_are_refused(
    config, monkeypatch
):
    with pytest.raises(InvalidValue, match="no set has a split 'test'"):
        run_training(replace(config, validation=Validation(every=1, split="test")))
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(InvalidValue, match="tensorboard is not installed"):
        run_training(with_outputs(config, tensorboard=config.outputs.file.parent / "board"))


# the command ------------------------------------------------------------------------------------

COMMAND = """
model: {architecture: tiny}
data: {sets: [{folder: discs}], workers: 0}
curriculum: {share_clips: 0.0, click_counts: [[2]]}
optimiser: {precision: float32}
steps: 4
device: cpu
"""


def test_the_command_trains_stops_and_goes_on(config, tmp_path, capsys, monkeypatch):
    (tmp_path / "c.yaml").write_text(COMMAND)
    out = tmp_path / "out.safetensors"
    command = ["train", str(tmp_path / "c.yaml"), "--out", str(out)]
    plain = Rounds.forward

    def stopping(self, *args):
        interrupt()
        return plain(self, *args)

    monkeypatch.setattr(Rounds, "forward", stopping)
    assert main(command) == 130
    assert "stopped after step 1 of 4" in capsys.readouterr().err
    monkeypatch.setattr(Rounds, "forward", plain)
    assert main([*command, "--set", "steps=5", "--resume"]) == 2
    assert "steps" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert load_model(out, "cpu").info.provenance["steps"] == 4


def test_a_recipe_takes_sets_and_changes(config, tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    write_checkpoint(start, tiny_checkpoint())
    out, folder = tmp_path / "out.safetensors", config.data.sets[0].folder
    command = ["train", "fine-tune", "--data", str(folder), "--use", "images,sweeps"]
    command += ["--out", str(out), "--set", f"model.checkpoint={start}", "--set", "steps=2"]
    assert main([*command, "--set", "data.workers=0", "--device", "cpu"]) == 0
    assert load_model(out, "cpu").info.provenance["started_from"] == "tiny"
    assert out.with_suffix(".png").is_file()


def test_the_recipes_are_listed(capsys):
    assert main(["train", "--list-recipes"]) == 0
    text = capsys.readouterr().out
    assert "fine-tune" in text and "samusa-small" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give a .yaml file or a recipe"),
        (["nothing"], "neither a .yaml file nor a recipe"),
        (["fine-tune"], "--out"),
        (["fine-tune", "--out", "OUT/m.pt"], "must end in .safetensors"),
        (["fine-tune", "--out", "OUT/none/m.safetensors"], "no folder"),
        (["fine-tune", "--out", "OUT/m.safetensors"], "nothing to train on"),
        (["fine-tune", "--out", "OUT/m.safetensors", "--data", "OUT"], "manifest.json"),
        (["fine-tune", "--out", "OUT/m.safetensors", "--set", "steps"], "KEY=VALUE"),
        (["fine-tune", "--out", "OUT/m.safetensors", "--set", "step=3"], "did you mean steps?"),
        (["fine-tune", "--out", "OUT/m.safetensors", "--set", "steps=["], "YAML"),
    ],
)
def test_the_command_refuses_what_cannot_work(tmp_path, capsys, arguments, message):
    arguments = [text.replace("OUT", str(tmp_path)) for text in arguments]
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))
