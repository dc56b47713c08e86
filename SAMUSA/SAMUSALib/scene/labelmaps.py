"""Voxels of a segment in a segmentation node, read and written on the grid of a source image.

Labelmaps are cropped, may be shared by segments that do not overlap, and may number the same
voxels in another order than the source. Slices are written in place: Slicer's own logic gives the
same voxels, but copies and filters whole labelmaps for each slice (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from vtk.util.numpy_support import numpy_to_vtk

from ..errors import InvalidValue, SceneChanged
from ..masks import EncodedMask
from . import mrml
from .grids import GridMap

LABELMAP = "Binary labelmap"
REFERENCE_GEOMETRY = "Reference image geometry"
_MARGIN = 8  # pixels that a growing labelmap of a volume gets beyond what is needed


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
    """Pixels of one slice that a segment gets and loses."""

    slice: int
    added: EncodedMask
    removed: EncodedMask


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
    if has_segment(segmentation, segment):
        found = segmentation.GetSegment(segment)
        labelmap = found.GetRepresentation(LABELMAP)
        plane = _plane(labelmap, _grid_map(node, segment, grid), grid, index)
        if plane is not None:
            y, x, values = plane
            mask[y : y + values.shape[0], x : x + values.shape[1]] = values == found.GetLabelValue()
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
    others = _other_representations(segmentation)
    with mrml.modified_once(node):
        # What is lost goes first: a voxel that changes hands is then free, and its labelmap need
        # not be separated.
        for segment, slices in changes.items():
            _take(node, segment, grid, slices)
        for segment, slices in changes.items():
            _give(node, segment, grid, slices)
        for segment in changes:
            labelmap = segmentation.GetSegment(segment).GetRepresentation(LABELMAP)
            if not _is_empty(labelmap):
                labelmap.GetPointData().GetScalars().Modified()
                labelmap.Modified()
            segmentation.InvokeEvent(segmentation.SourceRepresentationModified, segment)
            segmentation.InvokeEvent(segmentation.RepresentationModified, segment)
        for name in others:
            segmentation.CreateRepresentation(name, True)


def _other_representations(segmentation) -> list[str]:
    """What is shown beside labelmaps, such as closed surfaces; all segments have the same."""
    names: list[str] = []
    if segmentation.GetNumberOfSegments():
        segmentation.GetNthSegment(0).GetContainedRepresentationNames(names)
    return [name for name in names if name != LABELMAP]


def _plane(labelmap, grid_map: GridMap, grid: Grid, index: int, box=None):
    """(y, x, values) of a slice, or of a box (x0, y0, x1, y1) in it, as far as the labelmap
    reaches: first row and column, (h, w) view that can be written to. None: it does not."""
    if _is_empty(labelmap):
        return None
    x_axis, y_axis = (axis for axis in range(3) if axis != grid.axis)
    first, last = np.zeros(3, int), np.array(grid.shape) - 1
    first[grid.axis] = last[grid.axis] = index
    if box is not None:
        first[x_axis], first[y_axis], last[x_axis], last[y_axis] = box
    extent = np.array(labelmap.GetExtent()).reshape(3, 2)
    low, high = grid_map.box(first, last)
    low, high = np.maximum(low, extent[:, 0]), np.minimum(high, extent[:, 1])
    if (low > high).any():
        return None
    start, stop = low - extent[:, 0], high - extent[:, 0] + 1
    block = mrml.image_array(labelmap)[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    to_source = grid_map.inverse
    low, _ = to_source.box(low, high)
    return int(low[y_axis]), int(low[x_axis]), grid.planes(to_source.block(block))[0]


def _inside(labelmap, grid_map: GridMap, grid: Grid, index: int, mask: EncodedMask):
    """(values, bits), (h, w) each: the labelmap where a mask may be set, and whether it is."""
    plane = None if mask.is_empty else _plane(labelmap, grid_map, grid, index, mask.box)
    if plane is None:
        return np.zeros((0, 0), np.uint8), np.zeros((0, 0), bool)
    y, x, values = plane
    y, x = y - mask.box[1], x - mask.box[0]
    return values, mask.decode_box()[y : y + values.shape[0], x : x + values.shape[1]]


def _take(node, segment: str, grid: Grid, slices: list[SliceChange]) -> None:
    """Take voxels away from a segment."""
    found = node.GetSegmentation().GetSegment(segment)
    labelmap, label = found.GetRepresentation(LABELMAP), found.GetLabelValue()
    grid_map = _grid_map(node, segment, grid)
    for change in slices:
        values, bits = _inside(labelmap, grid_map, grid, change.slice, change.removed)
        values[bits & (values == label)] = 0


def _give(node, segment: str, grid: Grid, slices: list[SliceChange]) -> None:
    """Give voxels to a segment. Where others of its labelmap have some of them, it gets a
    labelmap of its own."""
    slices = [change for change in slices if not change.added.is_empty]
    if not slices:
        return
    segmentation = node.GetSegmentation()
    found = segmentation.GetSegment(segment)
    labelmap, label = found.GetRepresentation(LABELMAP), found.GetLabelValue()
    grid_map = _grid_map(node, segment, grid)
    for change in slices:
        values, bits = _inside(labelmap, grid_map, grid, change.slice, change.added)
        if (bits & (values != 0) & (values != label)).any():
            segmentation.SeparateSegmentLabelmap(segment)
            _give(node, segment, grid, slices)
            return
    _reach(labelmap, label, grid_map, grid, slices, _reference(segmentation, grid))
    for change in slices:
        values, bits = _inside(labelmap, grid_map, grid, change.slice, change.added)
        values[bits] = label


def _reach(labelmap, label: int, grid_map: GridMap, grid: Grid, slices, reference) -> None:
    """Make a labelmap large enough for what is to be added.

    In a volume it grows by more than that: slices come one after the other, and each growth
    copies it whole.
    """
    import slicer

    x_axis, y_axis = (axis for axis in range(3) if axis != grid.axis)
    ends = np.array([change.added.box for change in slices])
    low, high = np.zeros(3, int), np.zeros(3, int)
    low[[x_axis, y_axis]], high[[x_axis, y_axis]] = ends[:, :2].min(axis=0), ends[:, 2:].max(axis=0)
    low[grid.axis] = min(change.slice for change in slices)
    high[grid.axis] = max(change.slice for change in slices)
    if _is_empty(labelmap):
        labelmap.SetImageToWorldMatrix(mrml.to_matrix(reference))
        old, before = None, None
    else:
        before = np.array(labelmap.GetExtent()).reshape(3, 2)
        had_low, had_high = grid_map.inverse.box(before[:, 0], before[:, 1])
        if (low >= had_low).all() and (high <= had_high).all():
            slicer.vtkOrientedImageDataResample.CastImageForValue(labelmap, label)
            return
        old = mrml.image_array(labelmap)
        if grid.shape[grid.axis] > 1:
            more = np.full(3, _MARGIN)
            more[grid.axis] = had_high[grid.axis] - had_low[grid.axis] + 1
            low, high = low - more * (low < had_low), high + more * (high > had_high)
            low, high = np.maximum(low, 0), np.minimum(high, np.array(grid.shape) - 1)
        low, high = np.minimum(low, had_low), np.maximum(high, had_high)
    first, last = grid_map.box(low, high)
    voxels = np.zeros((last - first + 1)[::-1], np.uint8 if old is None else old.dtype)
    if old is not None:
        start, stop = before[:, 0] - first, before[:, 1] - first + 1
        voxels.T[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]] = old
    labelmap.SetExtent([int(v) for pair in zip(first, last, strict=True) for v in pair])
    labelmap.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    slicer.vtkOrientedImageDataResample.CastImageForValue(labelmap, label)


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
