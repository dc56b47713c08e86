"""Annotated sets are read with clear errors, images and clips alike."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.datasets.structures import connected_structures
from SAMUSALib.errors import InvalidValue, UnreadableFile


@pytest.fixture
def dataset(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    entries = []
    for index, split in enumerate(["train", "val", "val"]):
        Image.fromarray(np.full((6, 8), 40 + index, np.uint8)).save(
            tmp_path / f"images/{index}.png"
        )
        labels = np.zeros((6, 8), np.uint8)
        labels[:3] = index + 1
        Image.fromarray(labels).save(tmp_path / f"masks/{index}.png")
        entries.append(
            {
                "image": f"images/{index}.png",
                "mask": f"masks/{index}.png",
                "split": split,
                "group": f"patient {index}",
            }
        )
    write_manifest(tmp_path, entries)
    return tmp_path


def write_manifest(folder, entries):
    (folder / "manifest.json").write_text(json.dumps({"name": "set", "items": entries}))


def entries_of(folder):
    return json.loads((folder / "manifest.json").read_text())["items"]


def test_a_split_is_read_in_the_order_of_its_manifest(dataset):
    items = read_manifest(dataset, "val")
    assert [item.name for item in items] == ["images/1.png", "images/2.png"]
    assert items[0].group == "patient 1" and items[0].split == "val"
    assert len(read_manifest(str(dataset))) == 3
    labelled = items[1].load()
    frames, layers = labelled.frames, labelled.layers
    assert frames.dtype == np.uint8 and frames.shape == (1, 6, 8) and (frames == 42).all()
    assert np.issubdtype(layers.dtype, np.integer) and layers.shape == (1, 1, 6, 8)
    assert layers[..., :3, :].max() == 3 and not layers[..., 3:, :].any()


def test_colour_images_keep_their_colour(dataset):
    item = read_manifest(dataset, "val")[0]
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[..., 0] = 200
    Image.fromarray(colours).save(item.frames[0])
    assert np.array_equal(item.load().frames[0], colours)


def test_missing_folder_manifest_and_files_are_named(dataset, tmp_path):
    with pytest.raises(UnreadableFile, match="nowhere is not a folder"):
        read_manifest(tmp_path / "nowhere", "val")
    with pytest.raises(UnreadableFile, match="holds no manifest.json"):
        read_manifest(tmp_path / "images", "val")
    (dataset / "masks/1.png").unlink()
    with pytest.raises(UnreadableFile, match="1.png does not exist"):
        read_manifest(dataset, "val")
    assert len(read_manifest(dataset, "train")) == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"name": "set"}', '{"items": [{"image": "a.png"}]}', '{"items": ["a"]}']
)
def test_a_manifest_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UnreadableFile, match="manifest"):
        read_manifest(tmp_path, "val")


def test_an_unknown_split_names_those_there_are(dataset):
    with pytest.raises(InvalidValue, match="'test'.*train, val"):
        read_manifest(dataset, "test")


def test_a_group_in_two_splits_and_a_repeated_image_are_refused(dataset):
    entries = entries_of(dataset)
    entries[0]["group"] = "patient 1"
    write_manifest(dataset, entries)
    with pytest.raises(InvalidValue, match="patient 1"):
        read_manifest(dataset, "val")
    write_manifest(dataset, entries_of(dataset)[1:] * 2)
    with pytest.raises(InvalidValue, match="twice"):
        read_manifest(dataset, "val")


def test_damaged_and_unfit_images_are_refused(dataset):
    first, second = read_manifest(dataset, "val")
    first.frames[0].write_bytes(first.frames[0].read_bytes()[:40])
    with pytest.raises(UnreadableFile, match="1.png cannot be read"):
        first.load()
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(second.masks[0])
    with pytest.raises(InvalidValue, match="must be equal"):
        second.load()
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(second.masks[0])
    with pytest.raises(UnreadableFile, match="label image"):
        second.load()
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(second.frames[0])
    with pytest.raises(UnreadableFile, match="8-bit"):
        second.load()


def test_structures_are_the_large_connected_parts_of_each_label():
    labels = np.zeros((60, 60), int)
    labels[2:12, 2:12] = 2  # 100 px
    labels[20:30, 2:12] = 1
    labels[20:30, 12:22] = 2  # touches the label 1 part
    labels[40:49, 2:13] = 1  # 99 px: too small
    structures = connected_structures(labels)
    assert [int(labels[s][0]) for s in structures] == [1, 2, 2]
    assert [int(s.sum()) for s in structures] == [100, 100, 100]
    assert structures[1][5, 5] and structures[2][25, 15]
    assert len(connected_structures(labels, min_area=99)) == 4


def test_parts_that_touch_at_a_corner_are_two_structures():
    labels = np.zeros((40, 40), int)
    labels[:10, :10] = labels[10:20, 10:20] = 1
    assert len(connected_structures(labels)) == 2
