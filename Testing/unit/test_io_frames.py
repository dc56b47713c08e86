"""Folders of masks and COCO, read back by other programs' libraries and by our own import."""

import json

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.annotation import Annotation, FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.import_coco import import_coco
from SAMUSALib.datasets.splits import SplitRule
from SAMUSALib.datasets.write_set import About
from SAMUSALib.errors import CannotWrite
from SAMUSALib.io.write_frames import coco_steps, file_names, mask_image_steps, run_lengths


@pytest.fixture
def work():
    """Three frames; two segments that overlap, one with a hole; the last frame is empty."""
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 255, (3, 20, 30), dtype=np.uint8)
    geometry = Geometry.for_cine(3, 20, 30, np.diag([0.5, 0.5, 1, 1]))
    clip = Clip(frames, geometry, "clip", times=np.array([0.0, 0.1, 0.3]))
    annotation = Annotation(3, (20, 30))
    vessel, wall = annotation.add("Gefäß 1/2"), annotation.add("wall")
    ring = np.zeros((20, 30), bool)
    ring[5:15, 5:20] = True
    ring[8:11, 8:12] = False
    block = np.zeros((20, 30), bool)
    block[0:10, 0:10] = True
    vessel.set(0, ring, FrameState.REVIEWED, 0.5)
    vessel.set(1, ring, FrameState.PROPAGATED, 0.75)
    wall.set(0, block, FrameState.PROMPTED)
    return clip, annotation


def write_coco(folder, clip, annotation):
    return list(coco_steps(folder, clip, annotation, lambda index: clip.frames[index]))


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_are_those_of_cocotools(seed):
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(seed)
    mask = rng.random((7, 11)) < (0.0, 0.2, 0.5, 0.8, 1.0, 0.5)[seed]
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    found = coco_mask.decode(coco_mask.frPyObjects({"size": [7, 11], "counts": counts}, 7, 11))
    assert np.array_equal(found.astype(bool), mask)


def test_coco_is_read_by_cocotools_with_every_pixel(work, tmp_path):
    from pycocotools.coco import COCO

    clip, annotation = work
    assert write_coco(tmp_path / "out", clip, annotation)[-1] == 1.0
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["Gefäß 1/2", "wall"]
    assert len(coco.getAnnIds()) == 3 and len(coco.getImgIds()) == 3
    for entry in coco.loadAnns(coco.getAnnIds()):
        segment = annotation.segments[entry["category_id"] - 1]
        mask = segment.mask(entry["image_id"] - 1)
        assert np.array_equal(coco.annToMask(entry).astype(bool), mask)
        assert entry["area"] == mask.sum()
        assert entry["samusa"]["area_mm2"] == pytest.approx(mask.sum() * 0.25)
    first = coco.loadAnns([1])[0]
    assert first["bbox"] == [5, 5, 15, 10]
    assert first["samusa"]["state"] == "reviewed" and first["samusa"]["confidence"] == 0.5
    image = coco.loadImgs([3])[0]
    pixels = np.asarray(Image.open(tmp_path / "out" / image["file_name"]))
    assert np.array_equal(pixels, clip.frames[2]) and image["samusa"] == {"time_s": 0.3}


def test_coco_can_be_imported_for_training(work, tmp_path):
    clip, annotation = work
    write_coco(tmp_path / "out", clip, annotation)
    notes = import_coco(
        [tmp_path / "out" / "annotations.json"], tmp_path / "set", About("set"), SplitRule()
    )
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text("utf-8"))
    assert manifest["labels"] == {"1": "Gefäß 1/2", "2": "wall"}
    assert len(manifest["items"]) == 2 and notes == ["1 images without a mask left out"]


def test_masks_are_one_image_for_each_segment_and_frame(work, tmp_path):
    clip, annotation = work
    assert list(mask_image_steps(tmp_path / "masks", annotation)) == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )
    found = sorted(str(p.relative_to(tmp_path / "masks")) for p in tmp_path.rglob("*.png"))
    assert found == [f"{s}/frame_000{n}.png" for s in ("Gefäß_1_2", "wall") for n in range(3)]
    for name, segment in zip(file_names(annotation), annotation.segments, strict=True):
        for index in range(3):
            image = Image.open(tmp_path / "masks" / name / f"frame_000{index}.png")
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), segment.mask(index) * np.uint8(255))


def test_names_that_look_alike_as_files_stay_apart():
    annotation = Annotation(1, (2, 2))
    for name in ("a/b", "a b", "A_B", "///"):
        annotation.add(name)
    assert file_names(annotation) == ["a_b", "a_b_2", "A_B_3", "segment_4"]


@pytest.mark.parametrize("kind", ["masks", "coco"])
def test_an_export_that_is_given_up_leaves_nothing(work, tmp_path, kind):
    clip, annotation = work
    steps = (
        mask_image_steps(tmp_path / "out", annotation)
        if kind == "masks"
        else coco_steps(tmp_path / "out", clip, annotation, lambda index: clip.frames[index])
    )
    next(steps)
    assert list(tmp_path.iterdir())
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused_and_left_alone(work, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CannotWrite, match="is not empty; name a new folder"):
        list(mask_image_steps(tmp_path, work[1]))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_frame_that_cannot_be_read_leaves_nothing(work, tmp_path):
    clip, annotation = work

    def gone(index):
        raise CannotWrite("gone")

    with pytest.raises(CannotWrite, match="gone"):
        list(coco_steps(tmp_path / "out", clip, annotation, gone))
    assert list(tmp_path.iterdir()) == []
