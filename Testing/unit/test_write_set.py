"""A set is written whole or not at all, and read as it was given."""

import json

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.atomic import atomic_folder
from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.datasets.write_set import About, new_set
from SAMUSALib.errors import CannotWrite, InvalidValue

FRAME = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def labels(value=1):
    made = np.zeros((20, 30), int)
    made[3:15, 5:20] = value
    return made


def test_images_come_back_with_colours_layers_and_large_labels(tmp_path):
    out = tmp_path / "new" / "set"
    with new_set(out, About("mine", "CC0", "us", {1: "a", 4000: "b"})) as writer:
        writer.add_image("x", FRAME, [labels(1), labels(4000)], "train", "g")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == "mine" and manifest["labels"] == {"1": "a", "4000": "b"}
    assert (manifest["licence"], manifest["source"]) == ("CC0", "us")
    labelled = read_manifest(out)[0].load()
    assert np.array_equal(labelled.frames[0], FRAME)
    assert np.array_equal(labelled.layers[:, 0], [labels(1), labels(4000)])


def test_names_fit_every_file_system_and_never_collide(tmp_path):
    names = ["p1/a b", "p1_a_b", "P1_A_B", "../../etc/x", "ä:*?", "..", ""]
    with new_set(tmp_path / "set", About("s")) as writer:
        for name in names:
            writer.add_image(name, FRAME, [labels()], "train", name)
    items = read_manifest(tmp_path / "set")
    stems = [item.frames[0].stem for item in items]
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(item.frames[0].parent == tmp_path / "set" / "images" for item in items)
    assert stems[0] == "p1_a_b" and stems[1] == "p1_a_b_2" and "ä" in stems[4]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="half way"):
        with new_set(tmp_path / "a" / "set", About("s")) as writer:
            writer.add_image("x", FRAME, [labels()], "train", "g")
            raise RuntimeError("half way")
    with pytest.raises(InvalidValue, match="no labelled image"):
        with new_set(tmp_path / "a" / "set", About("s")):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(CannotWrite, match="the disk is full"):
        with new_set(tmp_path / "set", About("s")) as writer:
            writer.add_image("x", FRAME, [labels()], "train", "g")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled_and_any_other_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "x").write_text("1")
    assert (tmp_path / "empty" / "x").read_text() == "1"
    with pytest.raises(CannotWrite, match="is not empty"):
        with atomic_folder(tmp_path / "empty"):
            pass
    with pytest.raises(CannotWrite, match="is a file"):
        with atomic_folder(tmp_path / "empty" / "x"):
            pass
    assert (tmp_path / "empty" / "x").read_text() == "1"
