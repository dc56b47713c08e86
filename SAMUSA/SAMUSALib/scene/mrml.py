"""What the rest of this room needs from MRML and VTK: alive nodes, matrices, images as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import InvalidValue, SceneChanged


def alive(node, what: str):
    """The node, or SceneChanged where it has left its scene. what: "segmentation", "volume" ...

    Python keeps a removed node in memory, so a handle stays safe to hold: only its scene is gone.
    """
    if node is None or node.GetScene() is None:
        name = "" if node is None or not node.GetName() else f" {node.GetName()!r}"
        raise SceneChanged(f"the {what}{name} is no longer in the scene; choose another one")
    return node


@contextmanager
def modified_once(*nodes) -> Iterator[None]:
    """The observers of these nodes hear of all changes in the block together, at its end."""
    with ExitStack() as stack:
        for node in nodes:
            if node is not None:
                stack.callback(node.EndModify, node.StartModify())
        yield


def to_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """(4, 4) float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_matrix(values: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(values, dtype=np.float64).ravel())
    return matrix


def ijk_to_local(volume) -> np.ndarray:
    """(4, 4), voxel indices of a volume node -> RAS before its parent transform, mm."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return to_array(matrix)


def local_to_world(node) -> np.ndarray:
    """(4, 4), the parent transforms of a node, all together. Raises InvalidValue where one of
    them bends space: then a frame is not flat in the world."""
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not transform.IsTransformToWorldLinear():
        raise InvalidValue(
            f"{node.GetName()!r} is under the nonlinear transform {transform.GetName()!r}; "
            "harden it in the Transforms module or take the node out of it"
        )
    transform.GetMatrixTransformToWorld(matrix)
    return to_array(matrix)


def local_to_local(node, other) -> np.ndarray:
    """(4, 4), RAS before the transforms of `node` -> RAS before those of `other`."""
    if node.GetParentTransformNode() is other.GetParentTransformNode():
        return np.eye(4)  # exact, and whatever the transform is
    return np.linalg.inv(local_to_world(other)) @ local_to_world(node)


def image_array(image: vtk.vtkImageData) -> np.ndarray:
    """(i, j, k) or (i, j, k, components) view of an image's values; no copy."""
    i, j, k = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    if values.ndim == 1:
        return values.reshape(k, j, i).transpose(2, 1, 0)
    return values.reshape(k, j, i, -1).transpose(2, 1, 0, 3)


def volume_array(volume, name: str) -> np.ndarray:
    """(i, j, k) or (i, j, k, components) view of a volume node's voxels.

    Raises InvalidValue (with `name`) where it holds no voxels or its first is not 0, 0, 0.
    """
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() < 1:
        raise InvalidValue(f"{name} holds no image; load it again")
    extent = image.GetExtent()
    if any(extent[::2]):
        raise InvalidValue(
            f"{name} starts at voxel {tuple(extent[::2])} and not at 0, 0, 0; "
            "save and reload it, or crop it with Crop Volume"
        )
    return image_array(image)
