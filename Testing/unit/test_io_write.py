"""What is written holds exactly the masks, on the source's grid, and appears whole or not."""

import csv
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.annotation import Annotation, FrameState
from SAMUSALib.atomic import atomic_write
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.errors import CannotWrite, InvalidValue, UnreadableFile
from SAMUSALib.io import write_segmentation
from SAMUSALib.io.read_clip import read_clip
from SAMUSALib.io.read_segmentation import read_seg_nrrd
from SAMUSALib.io.write_segmentation import (
    write_csv,
    write_label_nifti,
    write_overlays,
    write_seg_nrrd,
)


def random_geometry(seed: int) -> Geometry:
    """Rotated, mirrored, anisotropic, single-slice: whatever scanners write."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * rng.uniform(0.05, 3.0, 3)
    matrix[:3, 3] = rng.uniform(-200, 200, 3)
    shape = rng.integers(1, 9, 3)
    shape[seed % 3] = 1 if seed % 2 else 9
    return Geometry.for_volume(shape, matrix, axis=seed // 3 % 3)


def random_case(seed: int, segments: int = 3, overlap: bool = False):
    """A clip and an annotation of noise masks."""
    rng = np.random.default_rng(seed)
    geometry = random_geometry(seed)
    clip = Clip(np.zeros(geometry.frame_shape, np.uint8), geometry)
    annotation = Annotation(len(clip), clip.frame_size)
    labels = rng.integers(0, segments + 1, geometry.frame_shape)
    for number in range(segments):
        color = tuple(int(c) for c in rng.integers(0, 256, 3))
        segment = annotation.add(f"segment {number}", color)
        for t in range(len(clip)):
            mask = rng.random(clip.frame_size) < 0.5 if overlap else labels[t] == number + 1
            segment.set(t, mask, FrameState.PROPAGATED, 0.5)
    return clip, annotation


def masks_of(segment) -> np.ndarray:
    return np.stack(list(segment.masks()))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("overlap", [False, True])
def test_seg_nrrd_round_trip_on_any_grid(tmp_path, seed, overlap):
    clip, annotation = random_case(seed, overlap=overlap)
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, clip, annotation)
    back = read_seg_nrrd(path)
    assert back.names == [s.name for s in annotation.segments]
    assert back.colors == [s.color for s in annotation.segments]
    assert back.shape == clip.geometry.source_shape
    assert np.abs(back.ijk_to_ras - clip.geometry.ijk_to_ras).max() < 1e-12
    for mask, segment in zip(back.masks, annotation.segments, strict=True):
        assert np.array_equal(clip.geometry.from_source(mask), masks_of(segment))


@pytest.mark.parametrize("seed", range(12))
def test_the_grid_of_a_file_that_was_read_comes_back(tmp_path, seed):
    """Source file -> clip -> .seg.nrrd has the source's header geometry."""
    nrrd = pytest.importorskip("nrrd")
    geometry = random_geometry(seed)
    directions = (np.diag([-1, -1, 1]) @ geometry.ijk_to_ras[:3, :3]).T
    origin = np.diag([-1, -1, 1]) @ geometry.ijk_to_ras[:3, 3]
    voxels = np.random.default_rng(seed).integers(0, 255, geometry.source_shape, dtype=np.uint8)
    nrrd.write(str(tmp_path / "a.nrrd"), voxels, {"space": "left-posterior-superior",
               "space directions": directions, "space origin": origin})  # fmt: skip
    clip = read_clip(tmp_path / "a.nrrd", axis=geometry.axis)
    annotation = Annotation(len(clip), clip.frame_size)
    segment = annotation.add("bright")
    for t, frame in enumerate(clip.frames):
        segment.set(t, frame > 99, FrameState.PROPAGATED)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    data, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(data > 0, voxels > 99)
    assert np.allclose(header["space directions"], directions, atol=1e-12)
    assert np.allclose(header["space origin"], origin, atol=1e-12)


def test_layers_are_made_only_where_segments_overlap(tmp_path):
    nrrd = pytest.importorskip("nrrd")
    clip, annotation = random_case(1)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    data, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert data.ndim == 3 and header["kinds"] == ["domain"] * 3
    assert {header[f"Segment{n}_Layer"] for n in range(3)} == {"0"}
    clip, annotation = random_case(0, overlap=True)
    annotation.add("nowhere")
    write_seg_nrrd(tmp_path / "b.seg.nrrd", clip, annotation)
    data, header = nrrd.read(str(tmp_path / "b.seg.nrrd"))
    assert data.ndim == 4 and header["kinds"] == ["list"] + ["domain"] * 3
    assert header["Segment3_Extent"] == "0 -1 0 -1 0 -1" and header["Segment3_Layer"] == "0"


def test_names_in_any_language_survive(tmp_path):
    clip, _ = random_case(2)
    annotation = Annotation(len(clip), clip.frame_size)
    names = ["Gefäß := 1", "血管", "two\nlines \\n"]
    for name in names:
        annotation.add(name)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    assert read_seg_nrrd(tmp_path / "a.seg.nrrd").names == names


def test_more_segments_than_8_bits_hold(tmp_path):
    geometry = Geometry.for_volume((20, 20, 1), np.eye(4))
    clip = Clip(np.zeros((1, 20, 20), np.uint8), geometry)
    annotation = Annotation(1, (20, 20))
    for n in range(300):
        mask = np.zeros((20, 20), bool)
        mask.ravel()[n] = True
        annotation.add(f"s{n}").set(0, mask, FrameState.PROPAGATED)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    back = read_seg_nrrd(tmp_path / "a.seg.nrrd")
    assert all(int(np.flatnonzero(m.transpose(2, 1, 0))[0]) == n for n, m in enumerate(back.masks))
    write_label_nifti(tmp_path / "a.nii.gz", clip, annotation)


def test_an_annotation_without_segments_is_written(tmp_path):
    clip, _ = random_case(2)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, Annotation(len(clip), clip.frame_size))
    assert read_seg_nrrd(tmp_path / "a.seg.nrrd").names == []


def test_a_segmentation_is_not_taken_for_images(tmp_path):
    clip, annotation = random_case(3)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    with pytest.raises(UnreadableFile, match="is a segmentation"):
        read_clip(tmp_path / "a.seg.nrrd")


def test_a_plain_label_image_is_read_as_segments(tmp_path):
    nrrd = pytest.importorskip("nrrd")
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0], labels[1] = 2, 7
    nrrd.write(str(tmp_path / "a.nrrd"), labels)
    back = read_seg_nrrd(tmp_path / "a.nrrd")
    assert back.names == ["Segment_2", "Segment_7"]
    assert np.array_equal(back.masks[1], labels == 7)


@pytest.mark.parametrize("keep", [0, 3, 60, 400, -1, 0.5, 0.97])
def test_a_truncated_segmentation_is_refused(tmp_path, keep):
    clip, annotation = random_case(4)
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, clip, annotation)
    whole = path.read_bytes()
    header = whole.index(b"\n\n")
    cut = header if keep == -1 else int(keep * len(whole)) if isinstance(keep, float) else keep
    path.write_bytes(whole[:cut])
    for reader in (read_seg_nrrd, read_clip):
        with pytest.raises(UnreadableFile) as caught:
            reader(path)
        assert "\n" not in str(caught.value)


def test_wrong_suffixes_and_annotations_of_other_clips_are_refused(tmp_path):
    clip, annotation = random_case(5)
    with pytest.raises(InvalidValue, match="must end in .seg.nrrd"):
        write_seg_nrrd(tmp_path / "a.nrrd", clip, annotation)
    with pytest.raises(InvalidValue, match="must end in .nii"):
        write_label_nifti(tmp_path / "a.img", clip, annotation)
    other = Annotation(len(clip) + 1, clip.frame_size)
    for write, name in WRITERS.items():
        with pytest.raises(InvalidValue, match="the annotation has"):
            getattr(write_segmentation, write)(tmp_path / name, clip, other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_labels_lie_on_the_source_grid(tmp_path, seed, suffix):
    sitk = pytest.importorskip("SimpleITK")
    clip, annotation = random_case(seed)
    write_label_nifti(tmp_path / f"a{suffix}", clip, annotation)
    image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    for number, segment in enumerate(annotation.segments, 1):
        assert np.array_equal(clip.geometry.from_source(voxels == number), masks_of(segment))
    corner = np.array(image.TransformIndexToPhysicalPoint([n - 1 for n in voxels.shape]))
    expected = (clip.geometry.ijk_to_ras @ [*(n - 1 for n in voxels.shape), 1])[:3]
    assert np.allclose(corner * [-1, -1, 1], expected, atol=1e-3)


def test_in_nifti_the_later_of_two_overlapping_segments_wins(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    clip, annotation = random_case(0, segments=2, overlap=True)
    write_label_nifti(tmp_path / "a.nii.gz", clip, annotation)
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz"))).transpose(2, 1, 0)
    frames = clip.geometry.from_source(voxels)
    first, second = (masks_of(s) for s in annotation.segments)
    assert np.array_equal(frames == 2, second)
    assert np.array_equal(frames == 1, first & ~second)


def test_skewed_axes_are_refused_for_nifti_and_kept_in_seg_nrrd(tmp_path):
    matrix = np.eye(4)
    matrix[0, 1] = 0.4
    geometry = Geometry.for_volume((4, 5, 6), matrix)
    clip = Clip(np.zeros(geometry.frame_shape, np.uint8), geometry)
    annotation = Annotation(6, (5, 4))
    annotation.add("a").set(2, np.eye(5, 4), FrameState.PROMPTED)
    with pytest.raises(InvalidValue, match="skewed"):
        write_label_nifti(tmp_path / "a.nii", clip, annotation)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    assert np.allclose(read_seg_nrrd(tmp_path / "a.seg.nrrd").ijk_to_ras, matrix)


def small_cine(calibrated=True, times=True):
    matrix = np.diag([-0.5, -0.2, 1, 1]) if calibrated else None
    frames = np.full((3, 10, 12), 100, np.uint8)
    when = [0, 0.04, 0.08] if times else None
    clip = Clip(frames, Geometry.for_cine(3, 10, 12, matrix), times=when)
    annotation = Annotation(3, (10, 12))
    mask = np.zeros((10, 12), bool)
    mask[2:7, 3:9] = True
    annotation.add("lumen, main", (255, 0, 0)).set(1, mask, FrameState.PROMPTED, 0.875)
    annotation.add("wall", (0, 0, 255)).lock(2)
    return clip, annotation, mask


def test_csv_has_a_row_for_each_frame_and_segment(tmp_path):
    clip, annotation, mask = small_cine()
    write_csv(tmp_path / "a.csv", clip, annotation)
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == 6 and list(rows[0]) == list(write_segmentation.CSV_COLUMNS)
    row = rows[2]
    assert (row["frame"], row["segment"], row["state"]) == ("1", "lumen, main", "prompted")
    assert float(row["time_s"]) == 0.04 and float(row["confidence"]) == 0.875
    assert int(row["area_px"]) == 30 and float(row["area_mm2"]) == pytest.approx(3.0)
    assert rows[0]["state"] == "empty" and rows[5]["state"] == "reviewed"


def test_csv_leaves_unknown_times_and_areas_empty(tmp_path):
    clip, annotation, _ = small_cine(calibrated=False, times=False)
    write_csv(tmp_path / "a.csv", clip, annotation)
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8", newline="")))
    assert all(row["time_s"] == "" and row["area_mm2"] == "" for row in rows)
    assert rows[2]["area_px"] == "30"


def test_overlays_show_contour_and_light_fill(tmp_path):
    clip, annotation, mask = small_cine()
    paths = write_overlays(tmp_path / "new" / "overlays", clip, annotation)
    assert [p.name for p in paths] == ["frame_0000.png", "frame_0001.png", "frame_0002.png"]
    assert sorted(p.name for p in paths[0].parent.iterdir()) == [p.name for p in paths]
    image = np.array(Image.open(paths[1]))
    assert image.shape == (10, 12, 3)
    assert image[2, 3].tolist() == [255, 0, 0] and image[6, 8].tolist() == [255, 0, 0]
    inside = image[4, 5].tolist()
    assert 100 < inside[0] < 200 and inside[1] < 100
    assert (image[~mask] == 100).all()
    assert (np.array(Image.open(paths[0])) == 100).all()
    write_overlays(tmp_path / "new" / "overlays", clip, annotation)


# --- full disks ---------------------------------------------------------------------------------

WRITERS = {
    "write_seg_nrrd": "a.seg.nrrd",
    "write_label_nifti": "a.nii.gz",
    "write_csv": "a.csv",
    "write_overlays": "overlays",
}


class FullDisk:
    """A file that takes a few bytes and then has no more room."""

    def __init__(self, file, room: int):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)


@pytest.mark.parametrize("writer", ["write_seg_nrrd", "write_csv", "write_overlays"])
@pytest.mark.parametrize("room", [0, 150])
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, monkeypatch, writer, room):
    clip, annotation = random_case(2)
    target = tmp_path / WRITERS[writer]

    def full(path, mode="r", *args, **kwargs):
        file = open(path, mode, *args, **kwargs)
        return FullDisk(file, room) if "w" in mode else file

    for module in ("write_segmentation", "nrrd_file", "write_frames"):
        monkeypatch.setattr(f"SAMUSALib.io.{module}.open", full, raising=False)
    with pytest.raises(CannotWrite, match="disk is full") as caught:
        getattr(write_segmentation, writer)(target, clip, annotation)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX only")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_real_limit_of_file_size_keeps_the_existing_output(tmp_path, writer):
    """RLIMIT_FSIZE stops the write in the system itself, also that of C++ libraries."""
    target = tmp_path / WRITERS[writer]
    old = target
    if writer == "write_overlays":
        target.mkdir()
        old = target / "frame_0000.png"
    old.write_text("yesterday's work")
    code = f"""
        import resource, signal, sys
        import numpy as np
        import SimpleITK
        from SAMUSALib.annotation import Annotation, FrameState
        from SAMUSALib.clip import Clip, Geometry
        from SAMUSALib.errors import CannotWrite
        from SAMUSALib.io.write_segmentation import {writer}
        rng = np.random.default_rng(0)
        clip = Clip(rng.integers(0, 255, (4, 100, 100), dtype=np.uint8),
                    Geometry.for_cine(4, 100, 100))
        annotation = Annotation(4, (100, 100))
        for n in range(20):
            segment = annotation.add(f"a{{n}}", tuple(rng.integers(0, 255, 3)))
            for t in range(4):
                segment.set(t, rng.random((100, 100)) < 0.5, FrameState.PROPAGATED)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            {writer}({str(target)!r}, clip, annotation)
        except CannotWrite as error:
            print(error)
            sys.exit(3)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert run.returncode == 3, run.stdout + run.stderr
    assert len(run.stdout.strip().splitlines()) == 1 and "could not be written" in run.stdout
    assert old.read_text() == "yesterday's work"
    assert list(old.parent.iterdir()) == [old]


def test_atomic_write_replaces_only_at_the_end(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    path.write_text("old")
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".seg.nrrd")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InvalidValue])
def test_atomic_write_cleans_up_after_any_error(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error("stop")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_atomic_write_says_where_it_cannot_write(tmp_path):
    with pytest.raises(CannotWrite, match="no folder"), atomic_write(tmp_path / "no" / "a"):
        pass
    with pytest.raises(CannotWrite, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(CannotWrite, match="could not be written"), atomic_write(tmp_path / "a"):
        pass  # nothing was written
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_atomic_write_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and (tmp_path / "real" / "a.txt").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_device_without_room_is_reported_in_words(tmp_path):
    with pytest.raises(CannotWrite, match="disk is full"), atomic_write(tmp_path / "a"):
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)
    assert not list(tmp_path.iterdir())


def test_mask_prompts_and_json_appear_together(tmp_path, monkeypatch):
    from SAMUSALib.io.prompt_files import write_prompts
    from SAMUSALib.prompts import FramePrompts, SegmentPrompts

    segment = SegmentPrompts("a", {0: FramePrompts(mask=np.ones((4, 4)))})
    monkeypatch.setattr(json, "dumps", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(CannotWrite):
        write_prompts(tmp_path / "a.json", [segment])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_real_volume_round_trip(ultrasound_data, tmp_path, axis):
    sitk = pytest.importorskip("SimpleITK")
    source = ultrasound_data / "prostate_3d" / "images" / "case000000.nii.gz"
    clip = read_clip(source, axis=axis)
    annotation = Annotation(len(clip), clip.frame_size)
    segment = annotation.add("bright")
    for t, frame in enumerate(clip.frames):
        segment.set(t, frame > 120, FrameState.PROPAGATED)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", clip, annotation)
    write_label_nifti(tmp_path / "a.nii.gz", clip, annotation)
    image = sitk.ReadImage(str(source))
    for name in ("a.seg.nrrd", "a.nii.gz"):
        labels = sitk.ReadImage(str(tmp_path / name))
        bright = sitk.GetArrayFromImage(image) > 120
        assert np.array_equal(sitk.GetArrayFromImage(labels) > 0, bright)
        for grid in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert np.allclose(getattr(labels, grid)(), getattr(image, grid)(), atol=1e-5)
