"""Real MRML nodes for the tests of the scene room."""

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk


class WorkingScene:
    """A scene with the logics that Slicer's application gives it."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        self.logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerSequencesLogic()]
        for logic in self.logics:
            logic.SetMRMLScene(self.scene)

    def add(self, class_name, name=""):
        return self.scene.AddNewNodeByClass(class_name, name)

    def transform(self, matrix):
        node = self.add("vtkMRMLLinearTransformNode", "Placed")
        node.SetMatrixTransformToParent(vtk_matrix(matrix))
        return node

    def bend(self):
        """A transform that is not linear."""
        node = self.add("vtkMRMLBSplineTransformNode", "Bent")
        spline = vtk.vtkThinPlateSplineTransform()
        points = vtk.vtkPoints()
        moved = vtk.vtkPoints()
        for n, place in enumerate(np.random.default_rng(0).normal(size=(8, 3)) * 20):
            points.InsertNextPoint(place)
            moved.InsertNextPoint(place + 3.0 * (n % 2))
        spline.SetSourceLandmarks(points)
        spline.SetTargetLandmarks(moved)
        spline.SetBasisToR()
        node.SetAndObserveTransformFromParent(spline)
        return node

    def volume(self, voxels, matrix=None, name="Volume", transform=None):
        """voxels: (i, j, k) or (i, j, k, components)."""
        node = volume_node(voxels, matrix)
        node.SetName(name)
        self.scene.AddNode(node)
        if transform is not None:
            node.SetAndObserveTransformNodeID(transform.GetID())
        return node

    def sequence(self, frames, matrices=None, values=None, unit="s", name="Cine", proxy=True):
        """frames: list of (i, j, k[, components]) images. Returns (browser, sequence)."""
        sequence = self.add("vtkMRMLSequenceNode", name)
        sequence.SetIndexName("time")
        sequence.SetIndexUnit(unit)
        for t, voxels in enumerate(frames):
            node = volume_node(voxels, None if matrices is None else matrices[t])
            node.SetName("Image")
            sequence.SetDataNodeAtValue(node, str(t) if values is None else values[t])
        browser = self.add("vtkMRMLSequenceBrowserNode", f"{name} browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        if proxy:
            self.logics[1].UpdateProxyNodesFromSequences(browser)
        return browser, sequence

    def load(self, path):
        """Add what a .mrb or .mrml holds to the scene, as Slicer's application does."""
        self._cache_beside(path)
        if path.suffix == ".mrb":
            assert self.scene.ReadFromMRB(str(path))
        else:
            self.scene.SetURL(str(path))
            assert self.scene.Import()

    def save(self, path):
        """Write the scene as Slicer's application does: as a .mrb, or as a .mrml in a folder of
        its name, with its files. Returns the path of what `load` takes."""
        self._cache_beside(path)
        for node in self.nodes("vtkMRMLStorableNode"):
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
        if path.suffix == ".mrb":
            assert self.scene.WriteToMRB(str(path))
            return path
        folder = path.with_suffix("")
        folder.mkdir()
        assert self.scene.SaveSceneToSlicerDataBundleDirectory(str(folder))
        return folder / path.name

    def _cache_beside(self, path):
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(str(path.parent / "cache"))
        manager = slicer.vtkDataIOManager()
        manager.SetCacheManager(cache)
        self.scene.SetDataIOManager(manager)

    def nodes(self, class_name):
        count = self.scene.GetNumberOfNodesByClass(class_name)
        return [self.scene.GetNthNodeByClass(n, class_name) for n in range(count)]


def vtk_matrix(matrix):
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(matrix, dtype=float).ravel())
    return made


def volume_node(voxels, matrix=None):
    colour = voxels.ndim == 4
    made = slicer.vtkMRMLVectorVolumeNode() if colour else slicer.vtkMRMLScalarVolumeNode()
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[:3])
    flat = voxels.transpose(2, 1, 0, 3).reshape(-1, voxels.shape[3]) if colour else voxels.T.ravel()
    flat = np.ascontiguousarray(flat)
    image.GetPointData().SetScalars(
        numpy_to_vtk(flat, deep=True, array_type=get_vtk_array_type(flat.dtype))
    )
    made.SetAndObserveImageData(image)
    if matrix is not None:
        made.SetIJKToRASMatrix(vtk_matrix(matrix))
    return made


def random_matrix(rng, mirrored=False, spacing=None) -> np.ndarray:
    """IJK to RAS with any directions, and spacings of any proportion."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if (np.linalg.det(rotation) < 0) != mirrored:
        rotation[:, 0] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * (rng.uniform(0.05, 4.0, 3) if spacing is None else spacing)
    matrix[:3, 3] = rng.uniform(-200, 200, 3)
    return matrix


def random_transform(rng) -> np.ndarray:
    """Any linear transform: turned, scaled, sheared, moved."""
    matrix = random_matrix(rng, mirrored=bool(rng.integers(2)))
    matrix[:3, :3] += rng.normal(size=(3, 3)) * 0.1
    return matrix
