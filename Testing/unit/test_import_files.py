"""Folders of images and masks, and volumes with labels, become sets."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from SAMUSALib.annotation import Annotation, FrameState
from SAMUSALib.cli.main import main
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.import_folders import import_folders
from SAMUSALib.datasets.import_slicer import import_slicer
from SAMUSALib.datasets.import_volumes import import_volumes
from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.datasets.splits import SplitRule
from SAMUSALib.datasets.write_set import About
from SAMUSALib.errors import InvalidValue, UnreadableFile
from SAMUSALib.io.write_clip import write_clip
from SAMUSALib.io.write_segmentation import write_seg_nrrd

ALL = SplitRule(val=0)
RNG = np.random.default_rng(0)


def square(value=1, size=(30, 40)):
    labels = np.zeros(size, np.uint8)
    labels[5:20, 10:30] = value
    return labels


def save(pixels, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def shades(seed, size=(30, 40)):
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def folders(source, masks, out, **options):
    notes = import_folders(source, masks, out, About("set"), ALL, **options)
    return {item.name: item.load() for item in read_manifest(out)}, notes


# folders ------------------------------------------------------------------------------------------


def test_images_and_masks_of_one_name_belong_together(tmp_path):
    for name in ("p1/a", "p1/b", "p2/a"):
        save(shades(len(name)), tmp_path / f"images/{name}.jpg", quality=95)
        save(square(255), tmp_path / f"masks/{name}.png")
    save(shades(9), tmp_path / "images/alone.png")
    save(square(), tmp_path / "masks/other.png")
    sets, notes = folders(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    assert list(sets) == ["images/p1_a.png", "images/p1_b.png", "images/p2_a.png"]
    assert notes == ["1 without a mask left out", "1 masks without an image left out"]
    for labelled in sets.values():
        assert np.array_equal(labelled.layers[0, 0], square(1))  # 255 is label 1


def test_one_folder_with_a_suffix_holds_both(tmp_path):
    save(shades(1), tmp_path / "in/a.png")
    save(square(2), tmp_path / "in/a_mask.png")
    sets, notes = folders(tmp_path / "in", tmp_path / "in", tmp_path / "out", suffix="_mask")
    assert notes == [] and list(sets) == ["images/a.png"]
    assert sets["images/a.png"].layers.max() == 2
    assert np.array_equal(sets["images/a.png"].frames[0], shades(1))
    with pytest.raises(InvalidValue, match="holds images and masks"):
        folders(tmp_path / "in", tmp_path / "in", tmp_path / "again")


def test_numbers_of_a_palette_are_labels_and_many_labels_are_kept(tmp_path):
    indexed = Image.fromarray(square(3), mode="P")
    indexed.putpalette([0, 0, 0, 9, 9, 9, 255, 0, 0, 0, 255, 0] + [0] * 756)
    (tmp_path / "masks").mkdir()
    indexed.save(tmp_path / "masks/a.png")
    save(shades(1), tmp_path / "images/a.png")
    wide = square(1).astype(np.uint16) * 300
    save(shades(2), tmp_path / "images/b.png")
    Image.fromarray(wide).save(tmp_path / "masks/b.png")
    sets, _ = folders(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    assert sets["images/a.png"].layers.max() == 3 and sets["images/b.png"].layers.max() == 300


def test_drawings_need_a_threshold_and_colours_are_not_guessed(tmp_path):
    save(shades(1), tmp_path / "images/a.png")
    soft = np.clip(square(200).astype(int) + shades(3) // 8, 0, 255).astype(np.uint8)
    save(soft, tmp_path / "masks/a.png")
    with pytest.raises(InvalidValue, match="shades.*threshold"):
        folders(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    sets, _ = folders(tmp_path / "images", tmp_path / "masks", tmp_path / "out", threshold=128)
    assert np.array_equal(sets["images/a.png"].layers[0, 0], square())
    colours = np.zeros((30, 40, 3), np.uint8)
    colours[5:10, :, 0] = colours[15:20, :, 1] = 128
    save(colours, tmp_path / "masks/a.png")
    with pytest.raises(InvalidValue, match="by colour"):
        folders(tmp_path / "images", tmp_path / "masks", tmp_path / "again")


@pytest.mark.parametrize("kind", ["size", "damaged", "none", "twice"])
def test_what_does_not_fit_leaves_no_set(tmp_path, kind):
    source, masks = tmp_path / "images", tmp_path / "masks"
    save(shades(1), source / "a.png")
    save(square(), masks / "a.png")
    expected = {"size": "must be equal", "damaged": "decoded", "none": "no file", "twice": "keep"}
    if kind == "size":
        save(square(size=(31, 40)), masks / "a.png")
    elif kind == "damaged":
        (masks / "a.png").write_bytes((masks / "a.png").read_bytes()[:50])
    elif kind == "none":
        (masks / "a.png").rename(masks / "b.png")
    else:
        save(shades(2), source / "a.jpg")
    with pytest.raises((InvalidValue, UnreadableFile), match=expected[kind]):
        folders(source, masks, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


def test_the_command_groups_patients(tmp_path, capsys):
    for patient in range(5):
        for number in range(3):
            save(shades(10 * patient + number), tmp_path / f"i/p{patient}_{number}.png")
            save(square(), tmp_path / f"m/p{patient}_{number}_seg.png")
    out = tmp_path / "out"
    command = ["data", "import", "folders", str(tmp_path / "i"), str(tmp_path / "m")]
    command += ["--suffix", "_seg", "--out", str(out), "--group-by", r"(p\d)_", "--val", "0.4"]
    assert main([*command, "--labels", "1=cyst", "--licence", "CC0", "--source", "us"]) == 0
    assert "15 items (9 train, 6 val) in 5 groups" in capsys.readouterr().out
    assert main(["data", "check", str(out)]) == 0
    assert "1 cyst" in capsys.readouterr().out
    assert main([*command[:-2], "--labels", "cyst", "--out", str(tmp_path / "b")]) == 2
    assert "1=nerve" in capsys.readouterr().err
    assert main([*command[:-2], "--labels", "1=a,2=a", "--out", str(tmp_path / "b")]) == 2
    assert "each number and name once" in capsys.readouterr().err


# volumes ------------------------------------------------------------------------------------------


def turned(rng):
    """IJK to RAS of a volume that is turned and has voxels of three sizes."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    matrix = np.eye(4)
    matrix[:3, :3] = turn * [0.4, 0.6, 2.0]
    matrix[:3, 3] = rng.uniform(-50, 50, 3)
    return matrix


def volume(axis=2):
    voxels = RNG.integers(0, 256, (30, 24, 6)).astype(np.uint8)
    geometry = Geometry.for_volume(voxels.shape, turned(RNG), axis)
    return Clip(np.ascontiguousarray(geometry.from_source(voxels)), geometry)


def truth_of(clip):
    annotation = Annotation(len(clip), clip.frame_size)
    masks = RNG.random((2, *clip.geometry.frame_shape)) < 0.4  # these overlap
    for name, mask in zip(("gland", "lesion"), masks, strict=True):
        segment = annotation.add(name)
        for t in range(len(clip)):
            segment.set(t, mask[t], FrameState.REVIEWED)
    return annotation, masks


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_with_overlapping_segments_comes_back_exactly(tmp_path, axis):
    clip = volume(axis)
    annotation, masks = truth_of(clip)
    write_clip(tmp_path / "v.nrrd", clip)
    write_seg_nrrd(tmp_path / "v.seg.nrrd", clip, annotation)
    out = tmp_path / "out"
    files = (tmp_path / "v.nrrd", tmp_path / "v.seg.nrrd")
    import_volumes(*files, out, About("set"), ALL, axis="ijk"[axis])
    (item,) = read_manifest(out, kind="clip")
    labelled = item.load()
    assert np.array_equal(labelled.frames, clip.frames)
    assert labelled.aspect == pytest.approx(clip.geometry.pixel_aspect)
    assert len(labelled.layers) == 2
    for name, mask in zip(("gland", "lesion"), masks, strict=True):
        (value,) = [v for v, known in labelled.names.items() if known == name]
        assert np.array_equal((labelled.layers == value).any(axis=0), mask)
    assert len(labelled.structures(min_area=20)) == 2


def nifti(path, array, matrix=None):
    """array: (k, j, i) or (n, k, j, i)."""
    path.parent.mkdir(exist_ok=True)
    if array.ndim == 4:
        image = sitk.JoinSeries([sitk.GetImageFromArray(part) for part in array])
    else:
        image = sitk.GetImageFromArray(array)
    if matrix is not None:
        image.SetSpacing(matrix)
    sitk.WriteImage(image, str(path))


def test_folders_of_nifti_volumes_and_a_channel_of_their_labels(tmp_path):
    labels = np.zeros((2, 6, 24, 30), np.uint8)
    labels[0, 2:5, 5:20, 5:25] = 1
    labels[1, 1:3, 8:20, 8:28] = 1
    for name in ("case2", "case10"):
        nifti(tmp_path / f"i/{name}.nii.gz", RNG.normal(size=(6, 24, 30)).astype(np.float32))
        nifti(tmp_path / f"l/{name}.nii.gz", labels)
    options = {"about": About("set", labels={1: "prostate"}), "rule": ALL}
    out = tmp_path / "out"
    with pytest.raises(UnreadableFile, match="data import volumes --channel"):
        import_volumes(tmp_path / "i", tmp_path / "l", out, **options)
    with pytest.raises(UnreadableFile, match="there is no 2"):
        import_volumes(tmp_path / "i", tmp_path / "l", out, channel=2, **options)
    import_volumes(tmp_path / "i", tmp_path / "l", out, channel=1, **options)
    items = read_manifest(out)
    assert [item.name for item in items] == ["clips/case2.nrrd", "clips/case10.nrrd"]
    labelled = items[1].load()
    assert labelled.frames.dtype == np.uint8 and labelled.names == {1: "prostate"}
    assert np.array_equal(labelled.layers[0], labels[1])


def test_labels_that_do_not_fit_are_refused(tmp_path):
    scan = RNG.normal(size=(6, 24, 30)).astype(np.float32)
    labels = np.zeros((6, 24, 30), np.uint8)
    labels[2:5, 5:20, 5:25] = 1
    nifti(tmp_path / "a.nii.gz", scan)
    nifti(tmp_path / "spaced.nii.gz", labels, (1.0, 1.1, 1.0))
    nifti(tmp_path / "short.nii.gz", labels[:5])
    nifti(tmp_path / "float.nii.gz", labels + np.float32(0.5))
    nifti(tmp_path / "grey.nii.gz", shades(0, (6, 24, 30)))
    wrong = [("spaced", "other voxels"), ("short", "5 frames"), ("float", "whole")]
    for name, says in [*wrong, ("grey", "shades, so it is no label image")]:
        files = (tmp_path / "a.nii.gz", tmp_path / f"{name}.nii.gz")
        with pytest.raises((InvalidValue, UnreadableFile), match=says):
            import_volumes(*files, tmp_path / "out", About("set"), ALL)
    assert not (tmp_path / "out").exists()


def test_a_cine_and_its_segmentation_are_a_pair_for_slicer_users(tmp_path):
    frames = RNG.integers(0, 256, (5, 24, 30)).astype(np.uint8)
    clip = Clip(frames, Geometry.for_cine(5, 24, 30, np.diag([-0.2, -0.3, 1, 1])))
    annotation, masks = truth_of(clip)
    write_clip(tmp_path / "a.seq.nrrd", clip)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    out = tmp_path / "out"
    import_slicer([tmp_path / "a.seq.nrrd", tmp_path / "a.seg.nrrd"], out, About("set"), ALL)
    labelled = read_manifest(out)[0].load()
    assert np.array_equal(labelled.frames, frames) and len(labelled.structures()) == 2
    assert labelled.aspect == pytest.approx(1.5)
    assert np.array_equal((labelled.layers > 0).any(axis=0), masks.any(axis=0))
    with pytest.raises(InvalidValue, match="must follow it"):
        import_slicer([tmp_path / "a.seq.nrrd"], tmp_path / "b", About("set"), ALL)


def test_one_folder_with_sequences_and_their_segmentations(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        frames = RNG.integers(0, 256, (3, 24, 30)).astype(np.uint8)
        clip = Clip(frames, Geometry.for_cine(3, 24, 30))
        write_clip(folder / f"{name}.seq.nrrd", clip)
        write_seg_nrrd(folder / f"{name}.seg.nrrd", clip, truth_of(clip)[0])
    import_volumes(folder, folder, tmp_path / "out", About("set"), ALL, suffix=".seg")
    assert [item.name for item in read_manifest(tmp_path / "out")] == [
        "clips/a.seq.nrrd",
        "clips/b.seq.nrrd",
    ]


def test_real_prostate_volumes_become_clips(ultrasound_data, tmp_path):
    source, out = ultrasound_data / "prostate_3d", tmp_path / "out"
    import_volumes(
        source / "images",
        source / "labels",
        out,
        About("p", labels={1: "prostate"}),
        ALL,
        channel=0,
    )
    items = read_manifest(out)
    assert len(items) == 12
    (gland,) = items[0].load().structures()
    assert gland.any(axis=(1, 2)).sum() > 10
    assert main(["data", "check", str(out)]) == 0
