"""Exports of what is in a scene: on the image's own voxels, whole or not at all."""

import csv
import json
import types

import numpy as np
import pytest

from SAMUSALib.errors import CannotWrite, InvalidValue, SceneChanged

pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

import slicer  # noqa: E402
import vtk  # noqa: E402
from scene_nodes import random_matrix, random_transform  # noqa: E402

from SAMUSALib.annotation import FrameState  # noqa: E402
from SAMUSALib.app.export import FORMATS, export_steps, free_path, no_dicom  # noqa: E402
from SAMUSALib.scene.clip_source import SequenceSource, VolumeSource  # noqa: E402
from SAMUSALib.scene.segments import new_masks  # noqa: E402
from SAMUSALib.scene.state import FrameMark, open_state  # noqa: E402


def annotated(source, rng):
    """Two overlapping segments with random masks; the second has a frame drawn by hand."""
    masks = new_masks(source, "Segmentation")
    state = open_state(source, masks)
    first, second = masks.add_segment("vessel"), masks.add_segment("vessel")
    for segment in (first, second):
        drawn = {t: rng.random(source.frame_size) < 0.4 for t in range(len(source) - 1)}
        masks.write(segment, drawn)
        marks = {t: FrameMark(FrameState.PROPAGATED, 0.25) for t in drawn if t}
        state.set_marks(segment, marks)
    state.set_marks(first, {1: FrameMark(FrameState.REVIEWED, 0.5)})
    return masks, state, (first, second)


@pytest.fixture
def volume_work(working):
    rng = np.random.default_rng(5)
    transform = working.transform(random_transform(rng))
    node = working.volume(
        rng.integers(0, 200, (6, 7, 8), dtype=np.uint8),
        random_matrix(rng, True),
        "Sweep",
        transform,
    )
    source = VolumeSource(node, axis=0)
    return (source, *annotated(source, rng))


@pytest.fixture
def cine_work(working):
    rng = np.random.default_rng(6)
    frames = [rng.integers(0, 200, (9, 8, 1), dtype=np.uint8) for _ in range(5)]
    matrix = np.diag([0.5, 0.25, 1.0, 1.0])
    values = ["0", "0.1", "0.3", "0.35", "0.4"]
    browser, sequence = working.sequence(frames, [matrix] * 5, values)
    source = SequenceSource(browser, sequence)
    return (source, *annotated(source, rng))


def export(key, path, work):
    source, masks, state, _ = work
    done = list(export_steps(key, path, source, masks, state))
    assert done == sorted(done) and done[-1] == pytest.approx(1.0)


def test_a_segmentation_is_read_by_slicer_on_the_same_places(volume_work, working, tmp_path):
    source, masks, state, segments = volume_work
    export("seg", tmp_path / "a.seg.nrrd", volume_work)
    node = working.add("vtkMRMLSegmentationNode", "Read")
    storage = working.add("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node)
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    names = [
        node.GetSegmentation().GetNthSegment(n).GetName()
        for n in range(node.GetSegmentation().GetNumberOfSegments())
    ]
    assert names == ["vessel", "vessel (2)"]
    rng = np.random.default_rng(1)
    for read_id, segment in zip(node.GetSegmentation().GetSegmentIDs(), segments, strict=True):
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(read_id, image)
        for _ in range(60):
            t, y, x = (int(rng.integers(n)) for n in source.geometry.frame_shape)
            ras = source.geometry.points_to_ras([[x, y]], t)[0]
            assert value_at(image, ras) == masks.mask(segment, t)[y, x]


def value_at(image, ras):
    matrix = vtk.vtkMatrix4x4()
    image.GetWorldToImageMatrix(matrix)
    i, j, k = (int(round(v)) for v in matrix.MultiplyPoint([*ras, 1.0])[:3])
    extent = image.GetExtent()
    inside = all(
        low <= v <= high for v, low, high in zip((i, j, k), extent[::2], extent[1::2], strict=True)
    )
    return inside and image.GetScalarComponentAsDouble(i, j, k, 0) > 0


def test_a_table_has_areas_states_and_times(cine_work, tmp_path):
    source, masks, state, (first, _) = cine_work
    export("csv", tmp_path / "a.csv", cine_work)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["segment"] == "vessel"]
    assert [row["state"] for row in rows] == [
        "prompted",
        "reviewed",
        "propagated",
        "propagated",
        "empty",
    ]
    assert [float(row["time_s"]) for row in rows] == [0.0, 0.1, 0.3, 0.35, 0.4]
    assert [row["confidence"] for row in rows[1:3]] == ["0.5000", "0.2500"]
    area = masks.mask(first, 2).sum()
    assert (int(rows[2]["area_px"]), float(rows[2]["area_mm2"])) == (area, area * 0.125)
    before, after = masks.mask(first, 1), masks.mask(first, 2)
    change = 1 - 2 * (before & after).sum() / (before.sum() + after.sum())
    assert rows[0]["change"] == "" and float(rows[2]["change"]) == pytest.approx(change, abs=1e-4)


def test_coco_has_the_frames_as_they_are_shown(cine_work, tmp_path):
    from PIL import Image

    source = cine_work[0]
    export("coco", tmp_path / "coco", cine_work)
    content = json.loads((tmp_path / "coco" / "annotations.json").read_text("utf-8"))
    assert len(content["images"]) == 5 and len(content["annotations"]) == 8
    for index, image in enumerate(content["images"]):
        pixels = np.asarray(Image.open(tmp_path / "coco" / image["file_name"]))
        assert np.array_equal(pixels, source.frame(index))


def test_mask_images_are_those_of_the_scene(volume_work, tmp_path):
    from PIL import Image

    source, masks, _, segments = volume_work
    export("masks", tmp_path / "masks", volume_work)
    for name, segment in zip(("vessel", "vessel_2"), segments, strict=True):
        for t in range(len(source)):
            pixels = np.asarray(Image.open(tmp_path / "masks" / name / f"frame_000{t}.png"))
            assert np.array_equal(pixels > 0, masks.mask(segment, t))


@pytest.mark.parametrize("key", ["seg", "csv", "masks", "coco"])
def test_an_export_that_is_given_up_leaves_nothing(cine_work, tmp_path, key):
    source, masks, state, _ = cine_work
    suffix = next(each.suffix for each in FORMATS if each.key == key)
    steps = export_steps(key, tmp_path / f"out{suffix}", source, masks, state)
    while next(steps) < 0.7:
        pass
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_is_deleted_meanwhile_ends_the_export_in_words(cine_work, tmp_path):
    source, masks, state, (_, second) = cine_work
    steps = export_steps("seg", tmp_path / "a.seg.nrrd", source, masks, state)
    next(steps)
    masks.remove_segment(second)
    with pytest.raises(SceneChanged, match="no longer"):
        list(steps)
    assert list(tmp_path.iterdir()) == []


def test_a_segmentation_without_segments_is_refused(working, tmp_path):
    source = VolumeSource(working.volume(np.zeros((4, 5, 6), np.uint8)))
    masks = new_masks(source, "Segmentation")
    with pytest.raises(InvalidValue, match="no segment to export"):
        list(export_steps("seg", tmp_path / "a.seg.nrrd", source, masks, open_state(source, masks)))


class Plugin:
    """As Slicer's DICOMSegmentationPlugin behaves: files in a folder, or a problem in words."""

    problem = ""

    def examineForExport(self, item):
        return [types.SimpleNamespace(item=item, directory="")]

    def export(self, exportables):
        for exportable in exportables:
            if not self.problem:
                with open(f"{exportable.directory}/x.dcm", "wb") as file:
                    file.write(b"DICM")
        return self.problem


@pytest.fixture
def dicom_volume(volume_work, monkeypatch):
    modules = types.SimpleNamespace(dicomPlugins={"DICOMSegmentationPlugin": Plugin})
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    volume_work[0].node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    return volume_work


def test_dicom_is_written_by_slicer_s_exporter(dicom_volume, tmp_path):
    export("dicom", tmp_path / "a.dcm", dicom_volume)
    assert (tmp_path / "a.dcm").read_bytes() == b"DICM"


def test_what_slicer_s_exporter_says_reaches_the_user(dicom_volume, tmp_path, monkeypatch):
    monkeypatch.setattr(Plugin, "problem", "Segmentation object export failed.\nTraceback ...")
    with pytest.raises(CannotWrite, match="Segmentation object export failed"):
        export("dicom", tmp_path / "a.dcm", dicom_volume)
    assert list(tmp_path.iterdir()) == []


def test_where_dicom_cannot_be_written_it_is_said_why(dicom_volume, cine_work, tmp_path):
    source = dicom_volume[0]
    assert no_dicom(source) is None
    with pytest.raises(InvalidValue, match="this is a cine; export as .seg.nrrd"):
        export("dicom", tmp_path / "a.dcm", cine_work)
    slicer.modules.dicomPlugins.clear()
    assert "has no DICOM segmentation export" in no_dicom(source)
    source.node.RemoveAttribute("DICOM.instanceUIDs")
    assert "not loaded from Slicer's DICOM database" in no_dicom(source)


def test_a_folder_s_name_is_free_and_fit_for_any_system(tmp_path):
    assert free_path(tmp_path, 'a/b:"c"') == tmp_path / "a_b_c_"
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip-2").mkdir()
    assert free_path(tmp_path, "clip") == tmp_path / "clip-3"
    assert free_path(tmp_path, "...") == tmp_path / "export"
