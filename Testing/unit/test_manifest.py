"""Annotated sets are read with clear errors, images and clips alike."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from SAMUSALib.annotation import Annotation, FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.labels import stack_layers
from SAMUSALib.datasets.manifest import Labelled, read_manifest, sweeps
from SAMUSALib.datasets.structures import connected_structures
from SAMUSALib.errors import InvalidValue, UnreadableFile
from SAMUSALib.io.read_clip import read_clip
from SAMUSALib.io.write_clip import write_clip
from SAMUSALib.io.write_segmentation import write_label_nifti, write_seg_nrrd


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
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/manifest.json").write_text('{"items": [')
    with pytest.raises(UnreadableFile, match="manifest.json is not JSON: .* line 1"):
        read_manifest(tmp_path / "cut")
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


# --- layers, clips and sweeps


def test_an_image_with_several_masks_has_a_layer_each(dataset):
    Image.fromarray(np.full((6, 8), 5, np.uint8)).save(dataset / "masks/more.png")
    entries = entries_of(dataset)
    entries[0]["mask"] = ["masks/0.png", "masks/more.png"]
    write_manifest(dataset, entries)
    labelled = read_manifest(dataset, "train")[0].load()
    assert labelled.layers.shape == (2, 1, 6, 8)
    assert [int(mask.sum()) for mask in labelled.structures(10)] == [24, 48]


SHAPE = (4, 12, 10)
FRAMES = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[1:, 2:7, 3:8] = 1
TRUTH[:2, 8:, 5:] = 2


def annotation_of(labels):
    annotation = Annotation(len(labels), labels.shape[1:])
    for value in (1, 2):
        segment = annotation.add({1: "nerve", 2: "vessel"}[value])
        for t, frame in enumerate(labels):
            segment.set(t, frame == value, FrameState.REVIEWED)
    return annotation


def cine():
    return Clip(FRAMES, Geometry.for_cine(*SHAPE, np.diag([-0.2, -0.4, 1, 1])))


def scan():
    matrix = np.array([[0, -0.5, 0, 7], [0.5, 0, 0, -3], [0, 0, 2, 1], [0, 0, 0, 1.0]])
    return Clip(FRAMES, Geometry.for_volume(SHAPE[::-1], matrix))


def png_frames(folder, arrays):
    folder.mkdir()
    for t, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"frame{t + 8}.png")  # 8, 9, 10, 11
    return folder.name


def folder_of_frames(folder):
    return png_frames(folder / "f", FRAMES), png_frames(folder / "m", TRUTH), 1.0


def lists_of_files(folder):
    made = png_frames(folder / "f", FRAMES), png_frames(folder / "m", TRUTH)
    return *([f"{name}/frame{t + 8}.png" for t in range(4)] for name in made), 1.0


def sequence_and_segmentation(folder):
    write_clip(folder / "c.seq.nrrd", cine())
    write_seg_nrrd(folder / "c.seg.nrrd", cine(), annotation_of(TRUTH))
    return "c.seq.nrrd", "c.seg.nrrd", 2.0


def sequence_and_label_sequence(folder):
    write_clip(folder / "c.seq.nrrd", cine())
    write_clip(folder / "l.seq.nrrd", Clip(TRUTH, cine().geometry))
    return "c.seq.nrrd", "l.seq.nrrd", 2.0


def sequence_and_folder(folder):
    write_clip(folder / "c.seq.nrrd", cine())
    return "c.seq.nrrd", png_frames(folder / "m", TRUTH), 2.0


def volume_and_label_nifti(folder):
    write_clip(folder / "v.nrrd", scan())
    write_label_nifti(folder / "l.nii.gz", scan(), annotation_of(TRUTH))
    return "v.nrrd", "l.nii.gz", 1.0


CLIPS = [
    folder_of_frames,
    lists_of_files,
    sequence_and_segmentation,
    sequence_and_label_sequence,
    sequence_and_folder,
    volume_and_label_nifti,
]


def clip_set(folder, clip, mask, **more):
    items = [{"clip": clip, "mask": mask, "split": "train", "group": "g", **more}]
    labels = {"1": "nerve", "2": "vessel"}
    (folder / "manifest.json").write_text(json.dumps({"labels": labels, "items": items}))
    return read_manifest(folder, kind="clip")[0]


@pytest.mark.parametrize("kind", CLIPS)
def test_clips_are_read_from_every_kind_of_file(tmp_path, kind):
    clip, mask, aspect = kind(tmp_path)
    item = clip_set(tmp_path, clip, mask)
    labelled = item.load()
    assert item.kind == "clip" and item.name == (clip if isinstance(clip, str) else clip[0])
    assert np.array_equal(labelled.frames, FRAMES)
    assert labelled.layers.shape == (1, *SHAPE) and np.array_equal(labelled.layers[0], TRUTH)
    assert labelled.names == {1: "nerve", 2: "vessel"}
    assert labelled.aspect == pytest.approx(aspect)
    assert [int(m.sum()) for m in labelled.structures(20)] == [75, 40]
    assert [int(m.sum()) for m in labelled.structures(21)] == [75]


def test_segments_of_other_names_get_new_labels(tmp_path):
    write_clip(tmp_path / "c.seq.nrrd", cine())
    annotation = annotation_of(TRUTH)
    annotation.segments[0].name, annotation.segments[1].name = "vessel", "bone"
    write_seg_nrrd(tmp_path / "c.seg.nrrd", cine(), annotation)
    labelled = clip_set(tmp_path, "c.seq.nrrd", "c.seg.nrrd").load()
    assert labelled.names == {1: "nerve", 2: "vessel", 3: "bone"}
    assert np.array_equal(labelled.layers[0] == 2, TRUTH == 1)
    assert np.array_equal(labelled.layers[0] == 3, TRUTH == 2)


def test_a_volume_may_be_cut_along_another_axis(tmp_path):
    write_clip(tmp_path / "v.nrrd", scan())
    write_seg_nrrd(tmp_path / "v.seg.nrrd", scan(), annotation_of(TRUTH))
    labelled = clip_set(tmp_path, "v.nrrd", "v.seg.nrrd", axis="i").load()
    assert np.array_equal(labelled.frames, FRAMES.transpose(2, 0, 1))
    assert np.array_equal(labelled.layers[0], TRUTH.transpose(2, 0, 1))
    with pytest.raises(UnreadableFile, match="axis of v.nrrd is 'z'"):
        clip_set(tmp_path, "v.nrrd", "v.seg.nrrd", axis="z")


def few_masks(folder):
    clip, mask, _ = folder_of_frames(folder)
    (folder / mask / "frame11.png").unlink()
    return clip, mask, "holds 3 label images, f has 4 frames"


def small_mask(folder):
    clip, mask, _ = folder_of_frames(folder)
    Image.fromarray(TRUTH[0, :5]).save(folder / mask / "frame9.png")
    return clip, mask, "frame9.png is 10 x 5 pixels, its clip 10 x 12"


def moved_segmentation(folder):
    write_clip(folder / "v.nrrd", scan())
    geometry = Geometry.for_volume(SHAPE[::-1], scan().geometry.ijk_to_ras @ np.diag([1, 1, 2, 1]))
    write_seg_nrrd(folder / "v.seg.nrrd", Clip(FRAMES, geometry), annotation_of(TRUTH))
    return "v.nrrd", "v.seg.nrrd", "other voxels than its clip"


def segmentation_beyond(folder):
    write_clip(folder / "v.nrrd", scan())
    shift = np.eye(4)
    shift[0, 3] = 3
    geometry = Geometry.for_volume(SHAPE[::-1], scan().geometry.ijk_to_ras @ shift)
    write_seg_nrrd(folder / "v.seg.nrrd", Clip(FRAMES, geometry), annotation_of(TRUTH))
    return "v.nrrd", "v.seg.nrrd", "'nerve' reaches beyond its clip"


def short_sequence(folder):
    write_clip(folder / "c.seq.nrrd", cine())
    geometry = Geometry.for_cine(3, *SHAPE[1:])
    write_clip(folder / "l.seq.nrrd", Clip(TRUTH[:3], geometry))
    return "c.seq.nrrd", "l.seq.nrrd", "3 frames of 10 x 12 pixels, its clip 4 frames"


def frames_of_two_sizes(folder):
    clip, mask, _ = lists_of_files(folder)
    Image.fromarray(FRAMES[0, :5]).save(folder / clip[2])
    return clip, mask, "10 x 5 and of 10 x 12"


@pytest.mark.parametrize(
    "spoiled",
    [
        few_masks,
        small_mask,
        moved_segmentation,
        segmentation_beyond,
        short_sequence,
        frames_of_two_sizes,
    ],
)
def test_clips_and_labels_that_do_not_fit_are_refused(tmp_path, spoiled):
    clip, mask, says = spoiled(tmp_path)
    with pytest.raises(InvalidValue, match=says):
        clip_set(tmp_path, clip, mask).load()


def test_a_cropped_segmentation_is_put_where_it_was(tmp_path):
    write_clip(tmp_path / "v.nrrd", scan())
    shift = np.eye(4)
    shift[:3, 3] = [2, 1, 1]  # it begins at this voxel of the volume
    cropped = TRUTH[1:3, 1:9, 2:9]
    geometry = Geometry.for_volume(cropped.shape[::-1], scan().geometry.ijk_to_ras @ shift)
    clip = Clip(np.zeros(cropped.shape, np.uint8), geometry)
    write_seg_nrrd(tmp_path / "v.seg.nrrd", clip, annotation_of(cropped))
    expected = np.zeros_like(TRUTH)
    expected[1:3, 1:9, 2:9] = cropped
    assert np.array_equal(clip_set(tmp_path, "v.nrrd", "v.seg.nrrd").load().layers[0], expected)


def test_items_are_chosen_by_kind(dataset):
    entries = entries_of(dataset)
    entries.append({"clip": "images", "mask": "masks", "split": "train", "group": "c"})
    write_manifest(dataset, entries)
    assert [item.kind for item in read_manifest(dataset)] == ["image"] * 3 + ["clip"]
    assert len(read_manifest(dataset, "train", "clip")) == 1
    with pytest.raises(InvalidValue, match="has no clip of split 'val'"):
        read_manifest(dataset, "val", "clip")
    with pytest.raises(InvalidValue, match="kind is 'video'"):
        read_manifest(dataset, kind="video")


def test_groups_of_images_become_sweeps_in_natural_order(tmp_path):
    items = []
    for number in (10, 9, 8, 11, 12):
        Image.fromarray(np.full((12, 10), number, np.uint8)).save(tmp_path / f"{number}.png")
        Image.fromarray(TRUTH[1]).save(tmp_path / f"m{number}.png")
        names = {"image": f"{number}.png", "mask": f"m{number}.png"}
        items.append({**names, "split": "train", "group": "short" if number == 12 else "long"})
    write_manifest(tmp_path, items)
    (sweep,) = sweeps(read_manifest(tmp_path))
    labelled = sweep.load()
    assert sweep.name == sweep.group == "long" and sweep.kind == "clip"
    assert labelled.frames[:, 0, 0].tolist() == [8, 9, 10, 11]
    assert np.array_equal(labelled.layers[0, 0], TRUTH[1])
    assert len(sweeps(read_manifest(tmp_path), least=1)) == 2
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "9.png")
    assert sweeps(read_manifest(tmp_path)) == []


MASKS = st.lists(
    st.tuples(st.integers(1, 300), arrays(bool, (6, 7)).filter(lambda m: m.any())), max_size=6
)


@given(MASKS, st.booleans())
def test_layers_keep_every_mask_whole(masks, apart):
    layers = stack_layers(masks, (6, 7), apart)
    assert layers.shape[1:] == (6, 7) and 1 <= len(layers) <= max(len(masks), 1)
    total = sum(int(mask.sum()) for _, mask in masks)
    assert np.count_nonzero(layers) == total  # nothing was overwritten
    for value, mask in masks:
        assert any((layer[mask] == value).all() for layer in layers)


def test_touching_masks_of_one_label_are_kept_apart_if_asked():
    left, right = np.zeros((2, 20, 20), bool)
    left[:, :10] = right[:, 10:] = True
    masks = [(1, left), (1, right)]
    assert len(stack_layers(masks, left.shape)) == 1
    layers = stack_layers(masks, left.shape, apart=True)
    labelled = Labelled(np.zeros((1, 20, 20), np.uint8), layers[:, None], {})
    assert [mask[0].tolist() for mask in labelled.structures()] == [left.tolist(), right.tolist()]


# --- writing clips


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("make", [cine, scan])
def test_a_written_clip_is_read_as_it_was(tmp_path, make, colour):
    clip = make()
    frames = np.stack([FRAMES, FRAMES[::-1], 255 - FRAMES], axis=-1) if colour else FRAMES
    times = np.array([0, 0.1, 0.25, 0.3]) if clip.geometry.kind == "cine" else None
    clip = Clip(frames, clip.geometry, times=times)
    path = tmp_path / ("c.seq.nrrd" if clip.geometry.kind == "cine" else "c.nrrd")
    write_clip(path, clip)
    back = read_clip(path)
    assert np.array_equal(back.frames, frames) and back.geometry.kind == clip.geometry.kind
    assert np.allclose(back.geometry.ijk_to_ras, clip.geometry.ijk_to_ras)
    assert (back.times is None) == (times is None)
    assert times is None or np.allclose(back.times, times)
    with pytest.raises(InvalidValue, match="must end in .nrrd"):
        write_clip(tmp_path / "c.png", clip)
