"""COCO files become sets: polygons and run lengths, splits, layers, clear errors."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from SAMUSALib.cli.main import main
from SAMUSALib.datasets.import_coco import decode, import_coco
from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.datasets.splits import SplitRule
from SAMUSALib.datasets.write_set import About
from SAMUSALib.errors import InvalidValue, UnreadableFile

SIZE = (40, 60)
MASKS = arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def plain(mask):
    """Run lengths in column order, beginning with zeros: COCO's uncompressed form."""
    flat, counts, value = mask.ravel(order="F"), [], False
    while len(flat):
        run = next((i for i, v in enumerate(flat) if v != value), len(flat))
        counts.append(run)
        flat, value = flat[run:], not value
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


@settings(deadline=None)
@given(MASKS)
def test_run_lengths_give_back_the_mask(mask):
    assert np.array_equal(decode(plain(mask), mask.shape), mask)
    assert np.array_equal(decode(compressed(mask), mask.shape), mask)


def test_polygons_fill_what_they_enclose_and_several_are_one_instance():
    mask = decode([[10, 5, 30, 5, 30, 25, 10, 25], [40, 30, 50, 30, 50, 38, 40, 38]], SIZE)
    expected = np.zeros(SIZE, bool)
    expected[5:25, 10:30] = expected[30:38, 40:50] = True
    assert np.count_nonzero(mask ^ expected) <= 0.05 * np.count_nonzero(expected)


@pytest.mark.parametrize(
    "segmentation, says",
    [
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "half a point"),
        ([[1, 2, float("nan"), 4, 5, 6]], "finite"),
        ([[1, 2, 1e9, 4, 5, 6]], "far outside"),
        ({"size": [60, 40], "counts": [2400]}, "40 x 60 pixels, its image of 60 x 40"),
        ({"size": [40, 60], "counts": [7, 5]}, "do not add up"),
        ({"size": [40, 60], "counts": [-1, 2401]}, "do not add up"),
        ({"size": [40, 60], "counts": "zzzzzz"}, "no code"),
        ({"size": [40, 60], "counts": "oooo"}, "end within"),
        ({"size": [40, 60], "counts": "O"}, "negative"),
        ({"size": [40, 60], "counts": "05"}, "do not add up"),
        ({"size": [40, 60], "counts": "é"}, "cannot be decoded"),
        ({"counts": [2400]}, "cannot be decoded"),
        ("polygon", "three points"),
        (7, "cannot be decoded"),
    ],
)
def test_masks_that_are_none_are_refused(segmentation, says):
    with pytest.raises(InvalidValue, match=says):
        decode(segmentation, SIZE)


def box(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def make_coco(folder, annotations, count=2, categories=None, name="annotations.json", **extra):
    """annotations: (image number, category, segmentation, iscrowd)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, SIZE).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}_0.png")
    data = {
        "images": [
            {"id": n, "file_name": f"p{n}_0.png", "height": SIZE[0], "width": SIZE[1]}
            for n in range(count)
        ],
        "annotations": [
            {"id": i, "image_id": n, "category_id": c, "segmentation": s, "iscrowd": crowd}
            for i, (n, c, s, crowd) in enumerate(annotations)
        ],
        "categories": categories or [{"id": 3, "name": "nerve"}, {"id": 7, "name": "artery"}],
    }
    (folder / name).write_text(json.dumps(data | extra))
    return folder / name


def imported(file, out, rule=SplitRule(val=0), **options):  # noqa: B008
    notes = import_coco([file], out, About("set"), rule, **options)
    return [item.load() for item in read_manifest(out)], notes


def test_categories_become_labels_and_every_instance_stays_one_structure(tmp_path):
    touching, overlapping = box(20, 5, 40, 25), box(30, 10, 55, 35)
    file = make_coco(
        tmp_path / "coco",
        [
            (0, 3, compressed(box(5, 5, 20, 25)), 0),
            (0, 3, plain(touching), 0),  # touches the first
            (0, 7, compressed(overlapping), 0),
            (1, 7, [[10, 5, 30, 5, 30, 25, 10, 25]], 0),
        ],
    )
    (first, second), notes = imported(file, tmp_path / "out")
    assert notes == [] and first.names == {3: "nerve", 7: "artery"}
    found = first.structures()
    assert len(found) == 3
    for wanted in (box(5, 5, 20, 25), touching, overlapping):
        assert sum(np.array_equal(mask[0], wanted) for mask in found) == 1
    assert len(second.structures()) == 1 and set(np.unique(second.layers)) == {0, 7}
    pixels = np.array(Image.open(tmp_path / "coco/p0_0.png"))
    assert np.array_equal(first.frames[0], pixels)


def test_crowds_empty_masks_and_bare_images_are_counted(tmp_path):
    whole = compressed(box(5, 5, 30, 30))
    annotations = [(0, 3, whole, 0), (0, 3, whole, 1), (0, 7, [], 0), (1, 3, whole, 1)]
    file = make_coco(tmp_path / "coco", annotations, count=3)
    sets, notes = imported(file, tmp_path / "out")
    assert len(sets) == 1
    assert notes == [
        "2 annotations marked as crowd left out",
        "1 annotations without a mask left out",
        "2 images without a mask left out",
    ]
    sets, notes = imported(file, tmp_path / "all", keep_crowd=True)
    assert len(sets) == 2 and len(sets[0].layers) == 2


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    file = make_coco(tmp_path / "coco", [(0, 3, compressed(box(5, 5, 20, 25)), 0)])
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(imported(file, tmp_path / "out")[0]) == 1


def test_categories_from_zero_are_numbered_from_one(tmp_path):
    categories = [{"id": 0, "name": "a"}, {"id": 5, "name": "b"}]
    file = make_coco(tmp_path, [(0, 0, plain(box(5, 5, 30, 30)), 0)], categories=categories)
    ((labelled,), _) = imported(file, tmp_path / "out")
    assert labelled.names == {1: "a", 2: "b"} and labelled.layers.max() == 1


def test_folders_of_several_files_may_be_the_splits(tmp_path, capsys):
    for split in ("train", "valid"):
        make_coco(tmp_path / split, [(0, 3, plain(box(5, 5, 30, 30)), 0)])
    files = [str(tmp_path / split / "annotations.json") for split in ("train", "valid")]
    out = tmp_path / "out"
    options = ["--split-by", "folder", "--group-by", r"(\w+)/annotations", "--licence", "CC0"]
    assert main(["data", "import", "coco", *files, "--out", str(out), *options]) == 0
    assert [(i.split, i.group) for i in read_manifest(out)] == [
        ("train", "train"),
        ("val", "valid"),
    ]
    assert "2 items (1 train, 1 val) in 2 groups" in capsys.readouterr().out
    assert main(["data", "check", str(out)]) == 1  # both images have the same pixels
    assert "lies in another split" in capsys.readouterr().out


def damaged(file, change):
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "change, error, says",
    [
        (lambda d: d.pop("images"), UnreadableFile, "is not COCO"),
        (lambda d: d["images"][0].pop("file_name"), UnreadableFile, "is not COCO"),
        (lambda d: d["images"][0].update(file_name=5), UnreadableFile, "is not COCO"),
        (lambda d: d["annotations"][0].update(category_id=99), InvalidValue, "category 99"),
        (lambda d: d["annotations"][0].update(image_id=99), InvalidValue, "image 99"),
        (lambda d: d["images"][0].update(file_name="gone.png"), UnreadableFile, "gone.png"),
        (lambda d: d["images"][0].update(width=61), InvalidValue, "its JSON says 61 x 40"),
        (lambda d: d["annotations"][0].update(segmentation=[[1, 2]]), InvalidValue, "annotation 0"),
        (lambda d: d["annotations"].clear(), InvalidValue, "no labelled image"),
    ],
)
def test_files_that_do_not_fit_leave_nothing_behind(tmp_path, change, error, says):
    file = make_coco(tmp_path / "coco", [(0, 3, plain(box(5, 5, 30, 30)), 0)])
    damaged(file, change)
    with pytest.raises(error, match=says):
        imported(file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_a_folder_that_holds_something_is_not_written_into(tmp_path, capsys):
    file = make_coco(tmp_path / "coco", [(0, 3, plain(box(5, 5, 30, 30)), 0)])
    command = ["data", "import", "coco", str(file), "--out", str(tmp_path / "coco")]
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err
