"""Checkpoint files: ours and Meta's layout; everything that is wrong is said in one line."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from SAMUSALib.engine.architectures import ARCHITECTURES, Architecture
from SAMUSALib.engine.checkpoints import (
    build_network,
    read_checkpoint,
    write_checkpoint,
)
from SAMUSALib.engine.models import load_model
from SAMUSALib.engine.network import SamusaNetwork
from SAMUSALib.errors import CannotWrite, InvalidValue, UnreadableFile, WrongCheckpoint
from tiny import TINY, tiny_checkpoint


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, tiny_checkpoint())
    return path


def test_our_layout_keeps_everything(file):
    read, written = read_checkpoint(file), tiny_checkpoint()
    assert read.architecture == TINY
    assert (read.name, read.prompts, read.licence) == ("tiny", written.prompts, "Apache-2.0")
    assert read.provenance == {"seed": 7}
    for name, tensor in written.tensors.items():
        assert torch.allclose(read.tensors[name].float(), tensor, atol=2e-3, rtol=2e-3)


def test_half_precision_halves_the_file(tmp_path, file):
    write_checkpoint(tmp_path / "full.safetensors", tiny_checkpoint(), half=False)
    assert file.stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size


def test_a_loaded_model_says_what_it_is(file):
    model = load_model(file, "cpu")
    assert model.info.name == "tiny" and model.info.input_size == 64
    assert model.info.prompts == ("boundary", "region", "box", "mask")
    assert not model.network.training


def test_another_input_size_is_taken_and_a_bad_one_refused(file):
    assert load_model(file, "cpu", image_size=96).info.input_size == 96
    with pytest.raises(InvalidValue, match="multiple of 32"):
        load_model(file, "cpu", image_size=100)


def meta_file(folder, change=lambda tensors: None, content=None) -> Path:
    path = folder / "sam2.1_hiera_tiny.pt"
    tensors = SamusaNetwork(ARCHITECTURES["sam2.1_hiera_tiny"]).state_dict()
    change(tensors)
    torch.save({"model": tensors} if content is None else content, path)
    return path


def test_metas_layout_is_recognised_by_its_tensors(tmp_path):
    checkpoint = read_checkpoint(meta_file(tmp_path))
    assert checkpoint.name == "sam2.1_hiera_tiny"
    assert checkpoint.prompts == ("region", "box", "mask")
    build_network(checkpoint, image_size=128)


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named(tmp_path):
    def change(tensors):
        del tensors["no_mem_embed"]
        tensors["extra"] = torch.zeros(1)
        tensors["maskmem_tpos_enc"] = torch.zeros(3, 1, 1, 64)

    checkpoint = read_checkpoint(meta_file(tmp_path, change))
    with pytest.raises(WrongCheckpoint) as caught:
        build_network(checkpoint)
    for part in ("lacks no_mem_embed", "unknown extra", "maskmem_tpos_enc has shape (3, 1, 1, 64)"):
        assert part in str(caught.value)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    path = meta_file(tmp_path, content={"model": torch.nn.Linear(2, 2).state_dict()})
    with pytest.raises(WrongCheckpoint, match="not a SAM2 checkpoint"):
        read_checkpoint(path)
    path = meta_file(tmp_path, content={"weights": {}})
    with pytest.raises(WrongCheckpoint, match="'model'"):
        read_checkpoint(path)


class Evil:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("with_torch", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path, with_torch):
    path, target = tmp_path / "evil.pt", tmp_path / "owned"
    content = {"model": Evil(target)}
    if with_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(WrongCheckpoint, match="could run code"):
        load_model(path, "cpu")
    assert not target.exists()


def test_damaged_foreign_and_missing_files_are_one_clear_line(tmp_path, file):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:1000])
    cut_meta = tmp_path / "cut.pt"
    cut_meta.write_bytes(meta_file(tmp_path).read_bytes()[:5000])
    other = tmp_path / "notes.txt"
    other.write_text("weights")
    for path in (cut, cut_meta, other, tmp_path / "none.safetensors"):
        with pytest.raises((UnreadableFile, WrongCheckpoint)) as caught:
            load_model(path, "cpu")
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_another_programs_safetensors_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(WrongCheckpoint, match="another program"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"embed_dim": "16"}, "embed_dim = '16'"),
        ({"stages": [1, 2.5]}, "stages"),
        ({"zoom": 1}, "zoom = 1"),
        ({"future": 3}, "newer version"),
    ],
)
def test_an_architecture_with_odd_values_is_refused(change, part):
    with pytest.raises(WrongCheckpoint, match=part):
        Architecture.from_dict(TINY.to_dict() | change)


def test_an_architecture_without_a_field_is_refused():
    values = TINY.to_dict()
    del values["hidden_dim"]
    with pytest.raises(WrongCheckpoint, match="lacks 'hidden_dim'"):
        Architecture.from_dict(values)


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, file, monkeypatch):
    before = file.read_bytes()

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("SAMUSALib.engine.checkpoints.save_file", full)
    with pytest.raises(CannotWrite, match="the disk is full"):
        write_checkpoint(file, replace(tiny_checkpoint(), name="new"))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
