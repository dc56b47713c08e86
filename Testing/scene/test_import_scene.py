"""What was annotated on real MRML nodes and saved by them becomes a set, without Slicer."""

import zipfile

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")
vtk = pytest.importorskip("vtk")

from vtk.util.numpy_support import numpy_to_vtk  # noqa: E402

from SAMUSALib.cli.main import main  # noqa: E402
from SAMUSALib.datasets.import_slicer import import_slicer  # noqa: E402
from SAMUSALib.datasets.manifest import read_manifest  # noqa: E402
from SAMUSALib.datasets.splits import SplitRule  # noqa: E402
from SAMUSALib.datasets.write_set import About  # noqa: E402
from SAMUSALib.errors import InvalidValue, UnreadableFile  # noqa: E402

FRAMES, HEIGHT, WIDTH = 4, 40, 60
RNG = np.random.default_rng(0)
CINE = RNG.integers(0, 256, (FRAMES, HEIGHT, WIDTH)).astype(np.uint8)
# Slicer turns volumes so that their IJK is right-handed; this one is.
DIRECTIONS = [0.8, 0.6, 0, 0.6, -0.8, 0, 0, 0, -1]


def moving_disc(t):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x - 20 - 3 * t) ** 2 + (y - 20) ** 2 <= 64


def box():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[25:38, 15:45] = True
    return mask


class Annotated:
    """A scene in work, with the logics that Slicer's application gives it."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        self.logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerSequencesLogic()]
        for logic in self.logics:
            logic.SetMRMLScene(self.scene)

    def volume(self, voxels, name, node=None):
        """voxels: (k, j, i) uint8."""
        image = vtk.vtkImageData()
        image.SetDimensions(*voxels.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().DeepCopy(numpy_to_vtk(voxels.ravel(), deep=1))
        node = node or self.scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.SetName(name)
        node.SetAndObserveImageData(image)
        node.SetSpacing(0.4, 0.5, 2)
        node.SetOrigin(10, -20, 30)
        node.SetIJKToRASDirections(*DIRECTIONS)
        return node

    def fill(self, segmentation, masks):
        """masks: name -> (k, j, i) bool."""
        for name, mask in masks.items():
            like = self.volume(mask.astype(np.uint8), "grid")
            image = slicer.vtkOrientedImageData()
            image.DeepCopy(like.GetImageData())
            matrix = vtk.vtkMatrix4x4()
            like.GetIJKToRASMatrix(matrix)
            image.SetImageToWorldMatrix(matrix)
            segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, name, [1, 0, 0])

    def add_cine(self, annotated=range(FRAMES), value=lambda t: str(t / 10)):
        add = self.scene.AddNewNodeByClass
        cine, masks = add("vtkMRMLSequenceNode", "Cine"), add("vtkMRMLSequenceNode", "Masks")
        for t in range(FRAMES):
            cine.SetDataNodeAtValue(self.volume(CINE[t][None], "Image"), value(t))
        for t in annotated:
            node = self.scene.CreateNodeByClass("vtkMRMLSegmentationNode")
            node.SetName("Segmentation")
            parts = {"lumen": moving_disc(t)[None]}
            if t != 1:  # the wall is not seen on frame 1
                parts = {"wall": box()[None], **parts}  # overlaps the lumen; other order
            self.fill(node, parts)
            masks.SetDataNodeAtValue(node, value(t))
        browser = add("vtkMRMLSequenceBrowserNode", "Browser")
        browser.SetAndObserveMasterSequenceNodeID(cine.GetID())
        browser.AddSynchronizedSequenceNode(masks.GetID())
        return cine, masks

    def add_volume(self, name, masks, shape=(5, HEIGHT, WIDTH), referenced=True):
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        rng = np.random.default_rng(len(name))
        self.volume(rng.integers(0, 256, shape).astype(np.uint8), name, node)
        segmentation = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} masks")
        self.fill(segmentation, masks)
        if referenced:
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        return node, segmentation

    def save(self, path):
        assert self.scene.WriteToMRB(str(path))
        self.scene.Clear(True)
        return path


@pytest.fixture
def annotated():
    made = Annotated()
    yield made
    made.scene.Clear(True)


def imported(files, out):
    notes = import_slicer(files, out, About("set"), SplitRule(val=0))
    return {item.name: item.load() for item in read_manifest(out)}, notes


def mask_of(labelled, name):
    (value,) = [v for v, known in labelled.names.items() if known == name]
    return (labelled.layers == value).any(axis=0)


def test_a_sequence_and_its_segmentations_come_frame_by_frame(annotated, tmp_path):
    annotated.add_cine()
    sets, notes = imported([annotated.save(tmp_path / "scene.mrb")], tmp_path / "out")
    (labelled,) = sets.values()
    assert notes == []
    assert np.array_equal(labelled.frames, CINE)
    assert labelled.aspect == pytest.approx(0.5 / 0.4)
    truth = np.stack([moving_disc(t) for t in range(FRAMES)])
    assert np.array_equal(mask_of(labelled, "lumen"), truth)
    wall = mask_of(labelled, "wall")
    assert np.array_equal(wall[0], box()) and not wall[1].any() and np.array_equal(wall[3], box())
    assert len(labelled.layers) == 2  # they overlap


def test_frames_without_a_segmentation_are_left_out_and_named(annotated, tmp_path):
    annotated.add_cine(annotated=[0, 2])
    sets, notes = imported([annotated.save(tmp_path / "scene.mrb")], tmp_path / "out")
    (labelled,) = sets.values()
    assert np.array_equal(labelled.frames, CINE[[0, 2]])
    assert np.array_equal(mask_of(labelled, "lumen")[1], moving_disc(2))
    assert "2 of 4 frames of 'Cine'" in notes[0]


def test_frames_on_which_nothing_is_marked_stay_as_frames_without_the_structure(
    annotated, tmp_path
):
    _, masks = annotated.add_cine(annotated=[0, 1])
    unmarked = annotated.scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    unmarked.SetName("Segmentation")
    annotated.fill(unmarked, {"lumen": np.zeros((1, HEIGHT, WIDTH), bool)})
    masks.SetDataNodeAtValue(unmarked, "0.2")
    without = annotated.scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    without.SetName("Segmentation")
    masks.SetDataNodeAtValue(without, "0.3")
    sets, notes = imported([annotated.save(tmp_path / "scene.mrb")], tmp_path / "out")
    (labelled,) = sets.values()
    assert len(labelled.frames) == 4 and notes == []
    assert not mask_of(labelled, "lumen")[2:].any()


def test_volumes_come_with_the_segmentation_that_was_drawn_on_them(annotated, tmp_path):
    truth = np.zeros((5, HEIGHT, WIDTH), bool)
    truth[1:4, 10:30, 20:50] = True
    annotated.add_volume("liver", {"lesion": truth})
    annotated.add_volume("kidney", {"cyst": np.roll(truth, 4, 2)})
    path = annotated.save(tmp_path / "two volumes.mrb")
    sets, _ = imported([path], tmp_path / "out")
    assert sorted(sets) == ["clips/kidney.nrrd", "clips/liver.nrrd"]
    lesion, cyst = sets["clips/liver.nrrd"], sets["clips/kidney.nrrd"]
    assert lesion.frames.shape == (5, HEIGHT, WIDTH)
    assert np.array_equal(mask_of(lesion, "lesion"), truth)
    assert np.array_equal(mask_of(cyst, "cyst"), np.roll(truth, 4, 2))
    assert not mask_of(cyst, "lesion").any()  # one set of names for all


def test_a_segmentation_without_a_reference_finds_the_only_volume_of_its_grid(annotated, tmp_path):
    truth = np.zeros((5, HEIGHT, WIDTH), bool)
    truth[2, 10:30, 20:50] = True
    annotated.add_volume("a", {"lesion": truth}, referenced=False)
    sets, _ = imported([annotated.save(tmp_path / "one.mrb")], tmp_path / "out")
    assert np.array_equal(mask_of(sets["clips/a.nrrd"], "lesion"), truth)


def test_a_segmentation_that_fits_two_volumes_is_not_guessed(annotated, tmp_path):
    truth = np.zeros((5, HEIGHT, WIDTH), bool)
    truth[2, 10:30, 20:50] = True
    annotated.add_volume("a", {"lesion": truth}, referenced=False)
    other = annotated.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    annotated.volume(np.arange(truth.size, dtype=np.uint8).reshape(truth.shape), "b", other)
    path = annotated.save(tmp_path / "two.mrb")
    with pytest.raises(InvalidValue, match="2 volumes have its grid"):
        imported([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_segmentation_under_another_transform_is_refused(annotated, tmp_path):
    truth = np.zeros((5, HEIGHT, WIDTH), bool)
    truth[2, 10:30, 20:50] = True
    node, _ = annotated.add_volume("a", {"lesion": truth})
    transform = annotated.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    path = annotated.save(tmp_path / "moved.mrb")
    with pytest.raises(InvalidValue, match="another transform"):
        imported([path], tmp_path / "out")


def test_an_unpacked_scene_and_its_files_are_read_too(annotated, tmp_path):
    annotated.add_cine()
    with zipfile.ZipFile(annotated.save(tmp_path / "scene.mrb")) as bundle:
        bundle.extractall(tmp_path / "unpacked")
    (scene,) = (tmp_path / "unpacked").rglob("*.mrml")
    sets, _ = imported([scene], tmp_path / "out")
    assert len(sets) == 1
    (masks,) = scene.parent.rglob("*.seq.mrb")
    masks.unlink()
    with pytest.raises(UnreadableFile, match=r"Masks\.seq\.mrb of 'Masks' is not there"):
        imported([scene], tmp_path / "again")


def test_a_segmentation_on_one_frame_of_a_sequence_is_not_taken_for_all(annotated, tmp_path):
    cine, _ = annotated.add_cine(annotated=[])
    browser = annotated.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    annotated.logics[1].UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(cine)
    still = annotated.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Still")
    annotated.fill(still, {"lumen": moving_disc(0)[None]})
    still.SetReferenceImageGeometryParameterFromVolumeNode(shown)
    path = annotated.save(tmp_path / "still.mrb")
    with pytest.raises(InvalidValue, match="'Still' lies on one frame of 'Cine'"):
        imported([path], tmp_path / "out")


def test_a_damaged_bundle_is_refused(annotated, tmp_path):
    annotated.add_cine()
    path = annotated.save(tmp_path / "scene.mrb")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UnreadableFile, match="no whole .mrb"):
        imported([path], tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_imports_scenes_and_their_set_passes_the_check(annotated, tmp_path, capsys):
    annotated.add_cine()
    scene, out = annotated.save(tmp_path / "p1.mrb"), tmp_path / "out"
    command = ["data", "import", "slicer", str(scene), "--out", str(out), "--licence", "CC0"]
    assert main(command) == 0
    assert "1 items" in capsys.readouterr().out
    assert main(["data", "check", str(out)]) == 0
    said = capsys.readouterr().out
    assert "lumen" in said and "wall" in said and "nothing is wrong" in said
