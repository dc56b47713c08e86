"""A clip as it lies in a scene: the slices of a volume, or the items of a sequence.

A source reads its nodes anew whenever it is asked and holds no pixels, so it costs no memory and
sees transforms that change. Frames are asked for one by one: a cine is handed to the worker over
many ticks of the GUI's clock (measured: below 1 ms a frame of 640 x 480).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import vtk

from ..clip import (
    Clip,
    FrameReader,
    Geometry,
    display_window,
    robust_window,
    sample_step,
    stretch,
)
from ..errors import InvalidValue, SceneChanged
from ..io.frames import drop_alpha, is_grey
from . import mrml

# What a display node starts with.
_UNSET_WINDOW, _UNSET_LEVEL = 256.0, 128.0
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


class ClipSource:
    """What both kinds of source share. Frames count from 0; a frame is (H, W) or (H, W, 3).

    use_display: 8-bit frames show what the display's window/level shows, if somebody has set it.
    """

    def __init__(self, use_display: bool):
        self.use_display = use_display
        self._rule: tuple[float, float, str] | None = None
        self._in_colour: bool | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.node.GetName() or "clip"

    @property
    def node(self):
        """The node that is the clip: a volume, or a sequence."""
        raise NotImplementedError

    @property
    def shown_volume(self):
        """The volume node that the user sees, None if there is none (a sequence never shown)."""
        raise NotImplementedError

    @property
    def geometry(self) -> Geometry:
        """Where the frames are in the world, parent transforms included, as it is now."""
        raise NotImplementedError

    def geometry_at(self, frame: int) -> Geometry:
        """`geometry` with a cine's plane where the image of this frame lies."""
        return self.geometry

    @property
    def times(self) -> np.ndarray | None:
        """Seconds from the first frame, (T,), or None."""
        return None

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        raise NotImplementedError

    def shown_frame(self, frame: int | None = None) -> int | None:
        """The frame that the user looks at where the scene knows it (sequences), else `frame`."""
        return frame

    def values(self, frame: int) -> np.ndarray:
        """(H, W) or (H, W, components) view of the node's own values; do not write into it."""
        raise NotImplementedError

    def voxel_grid(self, frame: int) -> tuple[np.ndarray, tuple[int, int, int], int]:
        """(IJK to local RAS 4x4, voxel counts along i, j, k, slice) of the image that holds a
        frame: masks come back on exactly this grid."""
        raise NotImplementedError

    def survey(self) -> Iterator[float]:
        """Find the rule that makes 8-bit frames: yields how much is done, 0..1, after each frame.

        Needed once before `frame`, which else does it in one go. Where the values are 8-bit grey
        and no window is set nothing is read at all.
        """
        count = len(self)
        first = self.values(0)
        window = self._display_window() if self.use_display else None
        as_they_are = window is None and first.dtype == np.uint8
        in_colour = False
        coloured = first.ndim == 3 and first.shape[2] > 1
        step = sample_step(first.size * count)
        sampled = []
        if coloured or (window is None and not as_they_are):
            for frame in range(count):
                values = self.values(frame)
                if coloured and not in_colour:
                    in_colour = not is_grey(drop_alpha(values))
                if window is None and not as_they_are:
                    # the very values that a look at the whole clip at once would take
                    start = -frame * values.size % step
                    sampled.append(values.ravel()[start::step].copy())
                yield (frame + 1) / count
        if as_they_are:
            self._rule = (0.0, 255.0, "")
        elif window is not None:
            self._rule = display_window(*window)
        else:
            self._rule = robust_window(np.concatenate(sampled))
        self._in_colour = in_colour

    def frame(self, frame: int, rows=slice(None)) -> np.ndarray:
        """(H, W) or (H, W, 3) uint8; one kind for all frames of a clip. rows: only these."""
        if self._rule is None:
            for _ in self.survey():
                pass
        values = drop_alpha(self.values(frame)[rows])
        if values.ndim == 3 and not self._in_colour:
            values = values[..., 0]
        low, high, rule = self._rule
        return stretch(values, low, high) if rule else np.array(values, order="C")

    @property
    def intensity_rule(self) -> str:
        """How the values became 8 bits, in words ("" if they were); known after `survey`."""
        return self._rule[2] if self._rule else ""

    def clip(self) -> Clip:
        """All frames in memory. For a long cine ask frame by frame instead."""
        frames = np.stack([self.frame(index) for index in range(len(self))])
        return Clip(frames, self.geometry, self.name, self.times, self.intensity_rule)

    def linked_clip(self) -> Clip:
        """A clip without pixels of its own: its frames are read here when they are asked for.
        To be called after `survey`. Reading raises SceneChanged where the node was deleted."""
        if self._rule is None:
            raise RuntimeError("survey first: the kind of the frames is not known yet")
        shape = (len(self), *self.frame_size, *((3,) if self._in_colour else ()))
        storage = self.node.GetStorageNode()
        source = (storage.GetFileName() if storage is not None else None) or ""
        frames = FrameReader(shape, self.frame)
        return Clip(frames, self.geometry, self.name, self.times, self.intensity_rule, source)

    def check_frame(self, frame: int) -> int:
        """The frame, or InvalidValue where there is no such."""
        if isinstance(frame, bool) or not 0 <= frame < len(self):
            raise InvalidValue(
                f"frame {frame} of {self.name!r} does not exist; the last one is {len(self) - 1}"
            )
        return int(frame)

    def _display_window(self) -> tuple[float, float] | None:
        """What somebody has set the display to, lowest and highest value; None if nobody has."""
        volume = self.shown_volume
        display = volume.GetDisplayNode() if volume is not None else None
        if not hasattr(display, "GetAutoWindowLevel") or display.GetAutoWindowLevel():
            return None
        width, level = display.GetWindow(), display.GetLevel()
        if (width, level) == (_UNSET_WINDOW, _UNSET_LEVEL) or width <= 0:
            return None
        return level - width / 2, level + width / 2


class VolumeSource(ClipSource):
    """Slices of a volume node along one of its own voxel axes (0 = i, 1 = j, 2 = k)."""

    def __init__(self, volume, axis: int = 2, use_display: bool = True):
        super().__init__(use_display)
        if axis not in (0, 1, 2):
            raise InvalidValue(f"axis is {axis!r}; it must be 0 (i), 1 (j) or 2 (k)")
        if not volume.IsA("vtkMRMLVolumeNode"):
            raise InvalidValue(f"{volume.GetName()!r} is no volume; choose a volume")
        self._volume, self.axis = volume, axis
        _check_components(self._array(), self._called)

    @property
    def node(self):
        return mrml.alive(self._volume, "volume")

    @property
    def shown_volume(self):
        return self.node

    def __len__(self) -> int:
        return self._array().shape[self.axis]

    @property
    def frame_size(self) -> tuple[int, int]:
        return _frame_size(self._array().shape, self.axis)

    @property
    def _called(self) -> str:
        return f"volume {self.node.GetName()!r}"

    def _array(self) -> np.ndarray:
        return mrml.volume_array(self.node, self._called)

    @property
    def geometry(self) -> Geometry:
        shape = self._array().shape[:3]
        matrix = mrml.local_to_world(self.node) @ mrml.ijk_to_local(self.node)
        geometry = Geometry.for_volume(shape, matrix, self.axis)
        if shape[self.axis] == 1:  # a photograph has no pixel size
            geometry = _not_calibrated_if_unit(geometry)
        return geometry

    def values(self, frame: int) -> np.ndarray:
        return _slice_of(self._array(), self.axis, self.check_frame(frame))

    def voxel_grid(self, frame: int) -> tuple[np.ndarray, tuple[int, int, int], int]:
        frame = self.check_frame(frame)
        return mrml.ijk_to_local(self.node), self._array().shape[:3], frame


class SequenceSource(ClipSource):
    """The items of a sequence of single-slice volumes in a sequence browser.

    The frame index is the item's number in this sequence, which need not be the browser's master.
    Items may lie at different places (a tracked probe); all must have one size.
    """

    def __init__(self, browser, sequence, use_display: bool = True):
        super().__init__(use_display)
        self._browser, self._sequence = browser, sequence
        if not browser.IsSynchronizedSequenceNodeID(sequence.GetID(), True):
            raise InvalidValue(
                f"sequence {sequence.GetName()!r} is not in the browser {browser.GetName()!r}; "
                "add it in the Sequences module"
            )
        if sequence.GetNumberOfDataNodes() < 1:
            raise InvalidValue(f"sequence {sequence.GetName()!r} is empty; choose another one")
        first = self._item_array(0)
        single = [axis for axis in (2, 1, 0) if first.shape[axis] == 1]
        if not single:
            raise InvalidValue(
                f"each item of {sequence.GetName()!r} is a volume of {first.shape[2]} slices; "
                "clone the item you need in the Data module and segment that volume"
            )
        self.axis = single[0]
        self._shape, self._type = first.shape, first.dtype
        _check_components(first, f"sequence {sequence.GetName()!r}")

    @property
    def node(self):
        return mrml.alive(self._sequence, "sequence")

    @property
    def browser(self):
        return mrml.alive(self._browser, "sequence browser")

    @property
    def shown_volume(self):
        return self.browser.GetProxyNode(self.node)

    def __len__(self) -> int:
        return self.node.GetNumberOfDataNodes()

    @property
    def frame_size(self) -> tuple[int, int]:
        return _frame_size(self._shape, self.axis)

    @property
    def geometry(self) -> Geometry:
        return self.geometry_at(self.shown_frame() or 0)

    def geometry_at(self, frame: int) -> Geometry:
        """The clip's geometry with its plane where the image of this frame lies.

        Parent transforms are those of the volume that is shown, as they are now.
        """
        shown = self.shown_volume
        world = np.eye(4) if shown is None else mrml.local_to_world(shown)
        matrix = world @ mrml.ijk_to_local(self._item(frame))
        shape = list(self._shape[:3])
        shape[self.axis] = len(self)
        permuted = Geometry.for_volume(shape, matrix, self.axis)
        return _not_calibrated_if_unit(dataclasses.replace(permuted, kind="cine"))

    @property
    def times(self) -> np.ndarray | None:
        """None where the sequence does not count in time, or in an unknown unit."""
        unit = _SECONDS.get(self.node.GetIndexUnit().strip().lower())
        if unit is None or self.node.GetIndexTypeAsString() != "numeric":
            return None
        try:
            times = np.array([float(self.index_value(frame)) for frame in range(len(self))]) * unit
        except ValueError:
            return None
        return times - times[0] if np.isfinite(times).all() else None

    def _display_window(self) -> tuple[float, float] | None:
        """Slicer computes window/level of the proxy from one frame, then turns the automatic off
        (vtkMRMLVolumeNode::CreateDefaultSequenceDisplayNodes); nobody has set that."""
        window = super()._display_window()
        if window is None:
            return None
        for frame in {0, self.shown_frame(0)}:
            automatic = type(self.shown_volume.GetDisplayNode())()
            image = vtk.vtkTrivialProducer()
            image.SetOutput(self._item(frame).GetImageData())
            automatic.SetInputImageDataConnection(image.GetOutputPort())
            automatic.AutoWindowLevelOn()
            width, level = automatic.GetWindow(), automatic.GetLevel()
            if np.allclose(window, (level - width / 2, level + width / 2)):
                return None
        return window

    def index_value(self, frame: int) -> str:
        """What the sequence calls this frame."""
        return self.node.GetNthIndexValue(self.check_frame(frame))

    def shown_frame(self, frame: int | None = None) -> int | None:
        """The frame that is selected in the browser; `frame` where none is."""
        master, selected = (
            self.browser.GetMasterSequenceNode(),
            self.browser.GetSelectedItemNumber(),
        )
        if master is None or not 0 <= selected < master.GetNumberOfDataNodes():
            return frame
        if master is self.node:
            return selected
        # Slicer shows the nearest earlier item where there is none of this very value
        found = self.node.GetItemNumberFromIndexValue(master.GetNthIndexValue(selected), False)
        return found if found >= 0 else frame

    def show_frame(self, frame: int) -> None:
        """Select a frame in the browser."""
        master, value = self.browser.GetMasterSequenceNode(), self.index_value(frame)
        item = -1 if master is None else master.GetItemNumberFromIndexValue(value, False)
        if item < 0:
            raise InvalidValue(
                f"the browser {self.browser.GetName()!r} has no item at {value}; "
                f"make {self.name!r} its master sequence"
            )
        self.browser.SetSelectedItemNumber(item)

    def values(self, frame: int) -> np.ndarray:
        array = self._item_array(self.check_frame(frame))
        if array.shape != self._shape:
            raise InvalidValue(
                f"item {frame} of {self.name!r} has {array.shape} voxels, the first one has "
                f"{self._shape}; all frames of a clip must have one size"
            )
        if array.dtype != self._type:
            raise InvalidValue(
                f"item {frame} of {self.name!r} holds {array.dtype} values, the first one "
                f"{self._type}; all frames of a clip must hold one kind of values"
            )
        return _slice_of(array, self.axis, 0)

    def voxel_grid(self, frame: int) -> tuple[np.ndarray, tuple[int, int, int], int]:
        return mrml.ijk_to_local(self._item(frame)), self._shape[:3], 0

    def _item(self, frame: int):
        item = self.node.GetNthDataNode(self.check_frame(frame))
        if item is None or not item.IsA("vtkMRMLVolumeNode"):
            raise InvalidValue(
                f"item {frame} of {self.name!r} is no image; load the sequence again"
            )
        return item

    def _item_array(self, frame: int) -> np.ndarray:
        return mrml.volume_array(self._item(frame), f"item {frame} of {self.name!r}")


def sequence_of(volume) -> tuple | None:
    """(browser, sequence) that show their images through a volume node; None for a volume that
    stands for itself."""
    scene = mrml.alive(volume, "volume").GetScene()
    for browser in nodes_of_class(scene, "vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetSequenceNode(volume)
        if sequence is not None:
            return browser, sequence
    return None


def open_clip(volume, axis: int = 2, use_display: bool = True) -> ClipSource:
    """The clip that a volume node belongs to: its sequence where a browser shows one through it,
    else its own slices along `axis`. Raises InvalidValue."""
    found = sequence_of(volume)
    if found is not None:
        return SequenceSource(*found, use_display)
    return VolumeSource(volume, axis, use_display)


def clip_from_volume(volume, axis: int = 2, use_display: bool = True) -> Clip:
    """The slices of a volume node, all in memory. Raises InvalidValue."""
    return VolumeSource(volume, axis, use_display).clip()


def clip_from_sequence(browser, sequence, use_display: bool = True) -> Clip:
    """The items of a sequence, all in memory. Raises InvalidValue."""
    return SequenceSource(browser, sequence, use_display).clip()


def nodes_of_class(scene, class_name: str) -> list:
    """The nodes of a class in a scene."""
    return [
        scene.GetNthNodeByClass(n, class_name)
        for n in range(scene.GetNumberOfNodesByClass(class_name))
    ]


def _slice_of(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """(i, j, k[, components]) -> (H, W[, components]): of the other axes the lower one is x."""
    if index >= array.shape[axis]:
        raise SceneChanged("the volume has fewer slices than before; choose it again")
    return np.moveaxis(array, axis, 0)[index].swapaxes(0, 1)


def _frame_size(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """(H, W) of slices along an axis of (i, j, k) voxels."""
    width, height = (shape[other] for other in range(3) if other != axis)
    return height, width


def _check_components(array: np.ndarray, name: str) -> None:
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4):
        raise InvalidValue(
            f"{name} has {array.shape[3]} values a voxel; grey, RGB or RGBA images can be used"
        )


def _not_calibrated_if_unit(geometry: Geometry) -> Geometry:
    """A pixel size of exactly 1 x 1 is what is written where none is known."""
    if np.allclose(geometry.pixel_spacing, 1.0, atol=1e-9):
        return dataclasses.replace(geometry, calibrated=False)
    return geometry
