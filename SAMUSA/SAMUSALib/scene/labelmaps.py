"""Voxels of a segment in a segmentation node, read and written on the grid of a source image.

Labelmaps are cropped, may be shared by segments that do not overlap, and may number the same
voxels in another order than the source. Everything is written through Slicer's own logic, which
keeps all that consistent: labelmaps grow, shrink and separate, other representations follow,
observers hear of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from vtk.util.numpy_support import numpy_to_vtk

from ..errors import InvalidValue, SceneChanged
from . import mrml
from .grids import GridMap

LABELMAP = "Binary labelmap"
REFERENCE_GEOMETRY = "Reference image geometry"
# Modifiers are made of at most so many voxels, so that a long volume takes little memory.
_BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels of a source image in the local space of a segmentation; frames are slices of it.

    ijk_to_local: 4x4, mm. shape: voxels along i, j, k. axis: the one that slices lie along.
    """

    ijk_to_local: np.ndarray
    shape: tuple[int, int, int]
    axis: int

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of a slice: of the other two axes the lower one is x."""
        width, height = (self.shape[axis] for axis in range(3) if axis != self.axis)
        return height, width

    def block(self, planes: np.ndarray) -> np.ndarray:
        """(T, H, W) slices -> (i, j, k), T along the axis."""
        return np.moveaxis(planes.transpose(0, 2, 1), 0, self.axis)

    def planes(self, block: np.ndarray) -> np.ndarray:
        """Inverse of `block`."""
        return np.moveaxis(block, self.axis, 0).transpose(0, 2, 1)


@dataclass(frozen=True, eq=False)
class SliceChange:
    """Pixels of one slice that a segment gets and loses, each (H, W) bool."""

    slice: int
    added: np.ndarray
    removed: np.ndarray


def has_segment(segmentation, segment: str) -> bool:
    return segmentation.GetSegmentIndex(segment) >= 0


def check_editable(node, grid: Grid) -> None:
    """Raise InvalidValue unless all segments of a node can be written on this grid."""
    segmentation = node.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != LABELMAP:
        raise InvalidValue(
            f"segmentation {node.GetName()!r} is not made of labelmaps; in the Segmentations "
            "module make its binary labelmap the source representation"
        )
    for segment in segmentation.GetSegmentIDs():
        _grid_map(node, segment, grid)


def read_slice(node, segment: str, grid: Grid, index: int) -> np.ndarray:
    """(H, W) bool: one slice of a segment; empty where the node has no such segment."""
    mask = np.zeros(grid.frame_size, dtype=bool)
    segmentation = node.GetSegmentation()
    if not has_segment(segmentation, segment):
        return mask
    labelmap = segmentation.GetSegment(segment).GetRepresentation(LABELMAP)
    if _is_empty(labelmap):
        return mask
    grid_map = _grid_map(node, segment, grid)
    low, high = np.zeros(3, int), np.array(grid.shape) - 1
    low[grid.axis] = high[grid.axis] = index
    low, high = grid_map.box(low, high)
    extent = np.array(labelmap.GetExtent()).reshape(3, 2)
    low, high = np.maximum(low, extent[:, 0]), np.minimum(high, extent[:, 1])
    if (low > high).any():
        return mask
    inside = tuple(slice(a - e, b - e + 1) for a, b, e in zip(low, high, extent[:, 0], strict=True))
    values = mrml.image_array(labelmap)[inside]
    to_source = grid_map.inverse
    block = to_source.block(values == segmentation.GetSegment(segment).GetLabelValue())
    first, _ = to_source.box(low, high)
    x, y = (int(first[axis]) for axis in range(3) if axis != grid.axis)
    (plane,) = grid.planes(block)
    mask[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
    return mask


def change_slices(node, grid: Grid, changes: Mapping[str, list[SliceChange]]) -> None:
    """Give and take voxels of several segments at once, and touch no other voxel.

    Where one segment gets a voxel that another one keeps, the two overlap afterwards. Observers
    of the node hear of it once. Raises InvalidValue and SceneChanged before anything is changed.
    """
    segmentation = node.GetSegmentation()
    for segment in changes:
        if not has_segment(segmentation, segment):
            raise SceneChanged(f"segment {segment!r} is no longer in {node.GetName()!r}")
        _grid_map(node, segment, grid)
    with mrml.modified_once(node):
        # What is lost goes first: a voxel that changes hands is then free, and its labelmap
        # need not be separated.
        for kind in ("removed", "added"):
            for segment, slices in changes.items():
                for part in _parts(slices, kind, grid):
                    _merge(node, segment, grid, *part, kind)


def _parts(slices: list[SliceChange], kind: str, grid: Grid):
    """(low voxel (3,), (i, j, k) bool) blocks around what changes, of bounded size."""
    slices = sorted((c for c in slices if getattr(c, kind).any()), key=lambda c: c.slice)
    while slices:
        first = slices[0].slice
        union = np.zeros(grid.frame_size, dtype=bool)
        taken = []
        for change in slices:
            wider = union | getattr(change, kind)
            rows, columns = np.flatnonzero(wider.any(axis=1)), np.flatnonzero(wider.any(axis=0))
            area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            if taken and area * (change.slice - first + 1) > _BLOCK:
                break
            union, top, left = wider, rows, columns
            taken.append(change)
        y, x = slice(top[0], top[-1] + 1), slice(left[0], left[-1] + 1)
        planes = np.zeros(
            (taken[-1].slice - first + 1, top[-1] - top[0] + 1, left[-1] - left[0] + 1), bool
        )
        for change in taken:
            planes[change.slice - first] = getattr(change, kind)[y, x]
        low = np.zeros(3, int)
        low[grid.axis] = first
        low[[axis for axis in range(3) if axis != grid.axis]] = left[0], top[0]
        yield low, grid.block(planes)
        slices = slices[len(taken) :]


def _merge(node, segment: str, grid: Grid, low, block: np.ndarray, kind: str) -> None:
    """Add a block of voxels to a segment, or take it away."""
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segmentation = node.GetSegmentation()
    grid_map = _grid_map(node, segment, grid)
    low, high = grid_map.box(low, low + np.array(block.shape) - 1)
    values = grid_map.block(block if kind == "added" else ~block)
    modifier = slicer.vtkOrientedImageData()
    extent = [int(v) for ends in zip(low, high, strict=True) for v in ends]
    modifier.SetExtent(extent)
    flat = values.transpose(2, 1, 0).astype(np.uint8).ravel()
    modifier.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    labelmap = segmentation.GetSegment(segment).GetRepresentation(LABELMAP)
    if _is_empty(labelmap):
        modifier.SetImageToWorldMatrix(mrml.to_matrix(_reference(segmentation, grid)))
    else:
        modifier.SetOrigin(labelmap.GetOrigin())
        modifier.SetSpacing(labelmap.GetSpacing())
        modifier.CopyDirections(labelmap)
    mode = logic.MODE_MERGE_MASK if kind == "added" else logic.MODE_MERGE_MIN
    if not logic.SetBinaryLabelmapToSegment(modifier, node, segment, mode, extent, False, []):
        raise SceneChanged(
            f"Slicer could not write segment {segment!r} of {node.GetName()!r}; "
            "its error log says why"
        )


def _is_empty(labelmap) -> bool:
    extent = labelmap.GetExtent() if labelmap is not None else (0, -1)
    return any(low > high for low, high in zip(extent[::2], extent[1::2], strict=True))


def _grid_map(node, segment: str, grid: Grid) -> GridMap:
    """Source voxels -> voxels of a segment's labelmap. Raises InvalidValue where they differ."""
    segmentation = node.GetSegmentation()
    labelmap = segmentation.GetSegment(segment).GetRepresentation(LABELMAP)
    if _is_empty(labelmap):
        target = _reference(segmentation, grid)
    else:
        import vtk

        matrix = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(matrix)
        target = mrml.to_array(matrix)
    found = GridMap.between(grid.ijk_to_local, target, grid.shape)
    if found is None:
        name = segmentation.GetSegment(segment).GetName()
        raise InvalidValue(
            f"segment {name!r} of {node.GetName()!r} lies on other voxels than the image, so a "
            "mask would have to be resampled; make a new segmentation for this image"
        )
    return found


def _reference(segmentation, grid: Grid) -> np.ndarray:
    """(4, 4) IJK to local of the voxels that a segmentation is drawn on; the source's own where
    it states none."""
    text = segmentation.GetConversionParameter(REFERENCE_GEOMETRY)
    values = [float(value) for value in text.split(";") if value][:16]
    return np.reshape(values, (4, 4)) if len(values) == 16 else grid.ijk_to_local
