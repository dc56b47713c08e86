"""Configurations of training: read strictly, changed by key, shipped as recipes."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from SAMUSALib.cli.train import add_parser
from SAMUSALib.errors import InvalidValue, UnreadableFile
from SAMUSALib.training.config import TrainingConfig, read_config
from SAMUSALib.training.recipes import list_recipes

WHOLE = """
model: {checkpoint: nets/start.pt, name: mine, boundary_points: true}
data:
  sets:
    - {folder: ../carotid, use: [images, sweeps], share: 2}
  phantoms: {count: 5}
curriculum:
  share_region: 0.1
  click_counts: [[2], [4, 6]]
augmentation: {flip: 0}
loss: {boundary: 2, boundary_form: literal}
optimiser: {rate: 1e-4, precision: float32}
freeze: [image_encoder., memory]
validation: {every: 10, clicks: [3]}
outputs: {file: out.safetensors}
steps: 40
"""


def written(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_every_section_is_read_with_paths_relative_to_the_file(tmp_path):
    config = read_config(written(tmp_path, WHOLE))
    (part,) = config.data.sets
    assert part.folder == tmp_path / "../carotid" and part.use == ("images", "sweeps")
    assert part.share == 2.0 and part.split == "train"
    assert config.model.checkpoint == str(tmp_path / "nets/start.pt")
    assert config.outputs.file == tmp_path / "out.safetensors"
    assert config.curriculum.click_counts == ((2,), (4, 6))
    assert config.optimiser.rate == 1e-4 and config.optimiser.batch == 2
    assert config.loss.boundary == 2.0 and config.augmentation.flip == 0.0
    assert config.freeze == ("image_encoder.", "memory") and config.steps == 40


def test_changes_by_key_win_and_their_paths_are_relative_to_here(tmp_path):
    changes = {
        "optimiser.rate": 1,
        "freeze": "encoder",
        "outputs.losses": "losses.jsonl",
        "validation.clicks": [1, 2],
        "data.sets": [{"folder": Path("there")}],
        "data.phantoms.count": 0,
        "model.checkpoint": "samusa-small",
    }
    config = read_config(written(tmp_path, WHOLE), changes, here=Path("/here"))
    assert config.optimiser.rate == 1.0 and config.freeze == "encoder"
    assert config.outputs.losses == Path("/here/losses.jsonl")
    assert config.outputs.file == tmp_path / "out.safetensors"
    assert config.data.sets[0].folder == Path("/here/there")
    assert config.data.phantoms.count == 0
    assert config.model.checkpoint == "samusa-small"


@pytest.mark.parametrize(
    "change, message",
    [
        ("stepss: 5", "no key stepss; did you mean steps?"),
        ("optimiser: {learning: 1}", "no key optimiser.learning; known are rate,"),
        ("optimiser: {final_rates: 1}", "did you mean final_rate?"),
        ("steps: 2.5", "steps is 2.5; a whole number is needed"),
        ("steps: true", "steps is True; a whole number"),
        ("steps: 0", "steps is 0; it must be at least 1"),
        ("optimiser: {rate: fast}", "optimiser.rate is 'fast'; a number"),
        ("optimiser: {rate: -1}", "optimiser.rate is -1; it must be at least"),
        ("optimiser: {rate: .nan}", "optimiser.rate is nan"),
        ("optimiser: {precision: fp8}", "optimiser.precision is 'fp8'"),
        ("optimiser: 3", "optimiser is 3; a section of keys is needed"),
        ("device: tpu", "device is 'tpu'"),
        ("freeze: decoder", "freeze is 'decoder'; it must be one of nothing, encoder"),
        ("freeze: 3", "freeze is 3"),
        ("data: {sets: [{split: train}]}", "data.sets[0].folder is missing"),
        ("data: {sets: [{folder: a, use: [films]}]}", "data.sets[0].use is 'films'"),
        ("data: {sets: carotid}", "data.sets is 'carotid'; a list is needed"),
        ("curriculum: {share_box: 1.5}", "curriculum.share_box is 1.5"),
        ("curriculum: {share_box: 0.6, share_mask: 0.6}", "add up to"),
        ("curriculum: {clip_clicks: [1]}", "clip_clicks is [1]; 2 values are needed"),
        ("curriculum: {click_counts: [[4], [2, 3]]}", "click_counts"),
        ("curriculum: {click_counts: []}", "click_counts"),
        ("curriculum: {clip_clicks: [5, 2]}", "clip_clicks"),
        ("curriculum: {clip_frames: 1}", "clip_frames"),
        ("curriculum: {click_error: [0.2, 0.1]}", "click_error"),
        ("curriculum: {share_exact: 2}", "curriculum.share_exact is 2"),
        ("outputs: {file: model.pt}", "must end in .safetensors"),
        ("validation: {clicks: [0]}", "validation.clicks"),
        ("loss: {boundary_form: round}", "loss.boundary_form is 'round'"),
        ("loss: {dice: -1}", "loss.dice is -1"),
        ("model: {architecture: a, checkpoint: b}", "model.give either"),
        ("model: {}", "give either architecture or checkpoint"),
        ("model: {architecture: a, image_size: 100}", "image_size is 100"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path, change, message):
    text = change if change.startswith("model") else f"model: {{architecture: a}}\n{change}"
    with pytest.raises(InvalidValue) as caught:
        read_config(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("optimizer.rate", 1, "no key optimizer.rate; did you mean optimiser?"),
        ("steps.more", 1, "steps has no keys inside"),
        ("steps", "many", "steps is 'many'"),
        ("data.phantoms.count", -1, "data.phantoms.count is -1"),
    ],
)
def test_changes_are_checked_as_strictly(tmp_path, key, value, message):
    with pytest.raises(InvalidValue, match=message.replace(".", r"\.").replace("?", r"\?")):
        read_config(written(tmp_path, WHOLE), {key: value})


def test_files_that_are_no_configuration_are_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="no file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(UnreadableFile, match="YAML"):
        read_config(written(tmp_path, "model: [unclosed"))
    with pytest.raises(UnreadableFile, match="YAML"):
        read_config(written(tmp_path, "model: !!python/object/apply:os.system ['true']"))
    with pytest.raises(InvalidValue, match="holds no keys"):
        read_config(written(tmp_path, "- 1"))
    with pytest.raises(InvalidValue, match="neither a .yaml file nor a recipe"):
        read_config("fine-tun")


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_is_valid(name):
    config = read_config(name, {"data.sets": [{"folder": "set"}]}, here=Path("/here"))
    assert isinstance(config, TrainingConfig)
    assert config.outputs.file is None and config.data.sets[0].folder == Path("/here/set")
    assert len(list_recipes()[name]) > 20
    assert {"samusa-small", "fine-tune"} <= set(list_recipes())


def test_differences_name_the_keys_that_decide_the_result(tmp_path):
    config = read_config(written(tmp_path, WHOLE))
    other = replace(
        config,
        steps=41,
        optimiser=replace(config.optimiser, rate=2.0),
        outputs=replace(config.outputs, save_every=7),
        device="cpu",
    )
    assert config.differences(config.to_dict()) == []
    assert config.differences(other.to_dict()) == ["optimiser.rate", "steps"]


def test_torchrun_takes_no_option_for_its_own():
    from torch.distributed.run import get_args_parser

    commands = argparse.ArgumentParser().add_subparsers()
    add_parser(commands, argparse.ArgumentParser(add_help=False))
    ours = [o for a in commands.choices["train"]._actions for o in a.option_strings]
    theirs = [o for a in get_args_parser()._actions for o in a.option_strings]
    ours = [o for o in ours if o not in ("-h", "--help")]
    assert "--resume" in ours
    assert not [(o, t) for o in ours for t in theirs if t.startswith(o)]
