"""The labels of a clip, from whatever file they are kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from ..clip import Clip, Geometry
from ..errors import InvalidValue
from ..io.image_folder import image_files, image_labels
from ..io.nrrd_file import read_nrrd_header
from ..io.read_clip import read_label_clip
from ..io.read_segmentation import Segmentation, read_seg_nrrd

NEAR = 0.05  # voxels that two grids may lie apart and still be the same
MOST_LABELS = 32  # more values than that are shades, not labels


def clip_labels(
    source: Path | Sequence[Path],
    clip: Clip,
    names: Mapping[int, str],
    channel: int | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """The labels of a clip: ((L, T, H, W) integers, label value -> name).

    source: folder of label images in the order of the frames, a list of them, a segmentation
    (.seg.nrrd), or a label volume or sequence of any format that `read_clip` knows. names: the
    names that the set gives to its labels; a segment of one of these names gets that label.
    channel: which volume of a 4D NIfTI of labels, None if it is not 4D.
    Raises UnreadableFile, and InvalidValue where labels and clip differ in size, in number of
    frames or in their place in space, or where the values are shades.
    """
    if not isinstance(source, Path):
        return _from_images(list(source), clip), dict(names)
    if source.is_dir():
        return _from_images(image_files(source), clip), dict(names)
    if is_segmentation(source):
        segmentation = read_seg_nrrd(source)
        return segment_layers(
            segmentation, place_on_grid(segmentation, clip.geometry, source), clip, names
        )
    labels = read_label_clip(source, clip.geometry.axis if _is_volume(clip) else None, channel)
    _check_size(source, labels.frames.shape, clip)
    values = np.count_nonzero(np.bincount(labels.frames.ravel(), minlength=256))
    if values > MOST_LABELS:
        raise InvalidValue(
            f"{source} holds {values} shades, so it is no label image; give the labels of the clip"
        )
    if _is_volume(clip) and labels.geometry.kind == "volume":
        offset = _offset(labels.geometry.ijk_to_ras, clip.geometry, source)
        if offset.any():
            raise _elsewhere(source, clip.geometry)
    return labels.frames[None], dict(names)


def is_segmentation(path: Path) -> bool:
    """True for a NRRD file that names segments."""
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return False
    return any(
        str(key).startswith(("Segment0_", "Segmentation_")) for key in read_nrrd_header(path)
    )


def _is_volume(clip: Clip) -> bool:
    return clip.geometry.kind == "volume"


def _from_images(files: list[Path], clip: Clip) -> np.ndarray:
    """(1, T, H, W) of one label image a frame."""
    if len(files) != len(clip):
        where = files[0].parent if files else "the list of masks"
        raise InvalidValue(
            f"{where} holds {len(files)} label images, {clip.name} has {len(clip)} frames; "
            "one a frame is needed"
        )
    labels = []
    for file in files:
        labels.append(image_labels(file))
        _check_size(file, labels[-1].shape, clip)
    return np.stack(labels)[None]


def _check_size(path: Path, shape: tuple[int, ...], clip: Clip) -> None:
    """shape: (H, W) or (T, H, W)."""
    expected = (len(clip), *clip.frame_size)[-len(shape) :]
    if tuple(shape) != expected:
        raise InvalidValue(
            f"{path} is {_size_text(shape)}, its clip {_size_text(expected)}; they must be equal"
        )


def _size_text(shape: Sequence[int]) -> str:
    frames = f"{shape[0]} frames of " if len(shape) == 3 else ""
    return f"{frames}{shape[-1]} x {shape[-2]} pixels"


def place_on_grid(segmentation: Segmentation, geometry: Geometry, path: Path) -> list[np.ndarray]:
    """The masks, (i, j, k) bool, on the grid that a clip was cut from.

    Slicer crops what it saves to what is segmented; the missing rest is empty. Raises InvalidValue
    if the segmentation's voxels are not voxels of that grid.
    """
    if not any(mask.any() for mask in segmentation.masks):
        # Slicer saves a segmentation in which nothing is marked on a grid of its own
        return [np.zeros(geometry.source_shape, dtype=bool) for _ in segmentation.masks]
    shape, target = np.array(segmentation.shape), np.array(geometry.source_shape)
    offset = np.zeros(3, dtype=int)
    if geometry.calibrated or tuple(shape) != tuple(target):
        offset = _offset(segmentation.ijk_to_ras, geometry, path)
    low, high = np.maximum(offset, 0), np.minimum(offset + shape, target)
    inside = tuple(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True))
    placed = []
    for name, mask in zip(segmentation.names, segmentation.masks, strict=True):
        whole = np.zeros(target, dtype=bool)
        if (high > low).all():
            whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = mask[inside]
        if np.count_nonzero(whole) != np.count_nonzero(mask):
            raise InvalidValue(f"{path}: segment {name!r} reaches beyond its clip")
        placed.append(whole)
    return placed


def _offset(ijk_to_ras: np.ndarray, geometry: Geometry, path: Path) -> np.ndarray:
    """Voxel (i, j, k) of the clip's source at which another grid begins. Raises InvalidValue
    unless the two grids differ by whole voxels only."""
    between = np.linalg.inv(geometry.ijk_to_ras) @ ijk_to_ras
    offset = np.rint(between[:3, 3])
    reach = np.array(geometry.source_shape)  # a small turn moves far voxels most
    apart = np.abs((between[:3, :3] - np.eye(3)) * reach).max()
    if apart > NEAR or np.abs(between[:3, 3] - offset).max() > NEAR:
        raise _elsewhere(path, geometry)
    return offset.astype(int)


def _elsewhere(path: Path, geometry: Geometry) -> InvalidValue:
    return InvalidValue(
        f"{path} lies on other voxels than its clip ({geometry.source_shape}); "
        "export it with the image as reference geometry"
    )


def segment_layers(
    segmentation: Segmentation, masks: list[np.ndarray], clip: Clip, names: Mapping[int, str]
) -> tuple[np.ndarray, dict[int, str]]:
    """((L, T, H, W) labels, label -> name); segments that share pixels lie in several layers.

    masks: (i, j, k) bool on the clip's grid, one a segment.
    """
    by_name = {name: value for value, name in names.items()}
    known = dict(names)
    placed = []
    for name, value, mask in zip(segmentation.names, segmentation.labels, masks, strict=True):
        if name in by_name:
            value = by_name[name]
        elif value in known:
            value = max(known) + 1
        known[value] = name
        by_name[name] = value
        placed.append((value, clip.geometry.from_source(mask)))
    return stack_layers(placed, (len(clip), *clip.frame_size)), known


def stack_layers(
    placed: Sequence[tuple[int, np.ndarray]], shape: tuple[int, ...], apart: bool = False
) -> np.ndarray:
    """(label value, bool mask of `shape`) each -> (L, *shape) labels, L >= 1: each mask lies in the
    first layer that has room for it. apart: masks of one label that touch lie in two layers, so
    that they stay two structures."""
    type_ = np.uint8 if max((value for value, _ in placed), default=0) < 256 else np.int32
    layers = [np.zeros(shape, type_)]
    for value, mask in placed:
        around = binary_dilation(mask) if apart else mask
        for layer in layers:
            if not layer[mask].any() and not (layer[around] == value).any():
                break
        else:
            layer = np.zeros(shape, type_)
            layers.append(layer)
        layer[mask] = value
    return np.stack(layers)
