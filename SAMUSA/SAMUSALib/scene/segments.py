"""The masks of a clip in its scene: segments of a segmentation, frame by frame.

A volume has one segmentation, whose slices are the frames. A sequence has a sequence of
segmentations in the same browser, one item a frame, with the same segments on all of them; the
browser shows the selected one through a segmentation node (the proxy).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import vtk

from ..errors import InvalidValue, SceneChanged
from ..masks import MaskDelta
from . import mrml
from .clip_source import ClipSource, SequenceSource, VolumeSource, sequence_of
from .labelmaps import (
    LABELMAP,
    REFERENCE_GEOMETRY,
    Grid,
    SliceChange,
    change_slices,
    check_editable,
    has_segment,
    read_slice,
)
from .rules import EditRules

STATUS_TAG = "Segmentation.Status"  # of vtkSlicerSegmentationsModuleLogic::GetStatusTagName
Deltas = dict[tuple[str, int], MaskDelta]  # (segment ID, frame) -> what changed


@dataclass(frozen=True)
class SegmentInfo:
    """id: stays when the user renames it. color: RGB, 0..255."""

    id: str
    name: str
    color: tuple[int, int, int]


class ClipMasks:
    """Masks (H, W) bool by segment ID and frame; what both kinds share.

    Nothing is kept here but the nodes: masks are read from the segments whenever they are asked
    for, so what other effects draw counts. Any method raises SceneChanged where the user has
    deleted the node or the segment.
    """

    def __init__(self, source: ClipSource):
        self.source = source
        # By segment ID: nodes that still have a segment which was removed. One of the same ID that
        # is added meanwhile is another segment, which these nodes do not have.
        self._leftovers: dict[str, set] = {}

    @property
    def shown_node(self):
        """The segmentation node that the user sees; None for a sequence without a proxy."""
        raise NotImplementedError

    @property
    def stored_node(self):
        """The node that keeps the masks: a segmentation, or a sequence of them."""
        raise NotImplementedError

    def _nodes(self) -> Iterator:
        """All segmentation nodes that hold frames; the one that is shown first."""
        raise NotImplementedError

    def _open(self, frame: int, create: bool):
        """(segmentation node that holds a frame, Grid, slice); the node is None where there is
        none and it is not to be created."""
        raise NotImplementedError

    def _written(self, frames) -> None:
        """Called after frames were changed."""

    def segments(self) -> list[SegmentInfo]:
        found: dict[str, SegmentInfo] = {}
        for node in self._nodes():
            for segment_id in self._ids(node):
                if segment_id not in found:
                    found[segment_id] = _info(node.GetSegmentation(), segment_id)
        return list(found.values())

    def segment(self, segment: str) -> SegmentInfo:
        """One segment's name and colour as they are now. Raises SceneChanged."""
        for node in self._nodes():
            if self._has(node, segment):
                return _info(node.GetSegmentation(), segment)
        raise self._gone(segment)

    def has_segment(self, segment: str) -> bool:
        return any(self._has(node, segment) for node in self._nodes())

    def _has(self, node, segment: str) -> bool:
        leftover = node in self._leftovers.get(segment, ())
        return not leftover and has_segment(node.GetSegmentation(), segment)

    def _ids(self, node) -> list[str]:
        ids = node.GetSegmentation().GetSegmentIDs()
        return [segment for segment in ids if node not in self._leftovers.get(segment, ())]

    def add_segment(self, name: str = "", color: tuple[int, int, int] | None = None) -> str:
        """Add an empty segment, on all frames; returns its ID. Without a colour Slicer gives
        one."""
        node = next(self._nodes(), None) or self._open(0, create=True)[0]
        scaled = None if color is None else [value / 255 for value in color]
        segment = node.GetSegmentation().AddEmptySegment("", name, scaled)
        self.align_segments()
        self._written(range(len(self.source)))
        return segment

    def remove_segment(self, segment: str) -> None:
        """Delete a segment with its masks on all frames. It is gone at once for all that ask here;
        the nodes lose it by `clear_removed`."""
        self._require(segment)
        found = {node for node in self._nodes() if self._has(node, segment)}
        self._leftovers.setdefault(segment, set()).update(found)

    def is_leftover(self, segment: str) -> bool:
        """Whether what the shown node has of this ID is of a segment that was removed."""
        return next(self._nodes(), None) in self._leftovers.get(segment, ())

    def clear_removed(self) -> Iterator[None]:
        """Take removed segments out of the nodes, also those that are removed meanwhile: yields
        after each node, the shown one first. To be run to its end, spread over ticks of the GUI's
        clock: 700 items that were saved take 0.5 to 0.8 s."""
        while self._leftovers:
            shown = next(self._nodes(), None)
            for segment, nodes in list(self._leftovers.items()):
                if nodes:
                    self._drop(shown if shown in nodes else next(iter(nodes)), segment)
                    yield
                else:
                    del self._leftovers[segment]
                    self._written(range(len(self.source)))

    def _drop(self, node, segment: str) -> None:
        """Take what is left of a removed segment out of a node."""
        nodes = self._leftovers.get(segment, set())
        if node in nodes:
            node.GetSegmentation().RemoveSegment(segment)
            nodes.discard(node)  # now: who hears of it can ask `is_leftover`

    def align_segments(self) -> None:
        """Give all frames the segments of the frame that is shown, with its names, colours,
        terminology and order. To be called when the user has added or changed a segment; only
        what is not as it was the last time is looked at on other frames, 15 ms for 700."""

    def mask(self, segment: str, frame: int) -> np.ndarray:
        """(H, W) bool."""
        node, grid, index = self._open(self.source.check_frame(frame), create=False)
        if node is None or not self._has(node, segment):
            self._require(segment)
            return np.zeros(self.source.frame_size, dtype=bool)
        return read_slice(node, segment, grid, index)

    def write(
        self, segment: str, masks: Mapping[int, np.ndarray], rules: EditRules | None = None
    ) -> Deltas:
        """Set the masks of a segment on some frames: frame -> (H, W) bool.

        rules: what the Segment Editor's masking and overwrite settings allow; without them the
        masks are set as they are and other segments keep theirs, overlapping. Returns what was
        changed, also of other segments, for undo. Raises InvalidValue and SceneChanged; then
        nothing is changed.
        """
        self._require(segment)
        rules = rules or EditRules()
        if rules.mask == "inside" and not self.has_segment(rules.mask_segment):
            raise SceneChanged(
                "the segment that editing is restricted to was deleted; "
                "choose another editable area in the Segment Editor"
            )
        deltas: Deltas = {}
        for frame, mask in masks.items():
            mask = np.asarray(mask)
            if mask.shape != self.source.frame_size:
                raise InvalidValue(
                    f"mask of frame {frame} has shape {mask.shape}; "
                    f"frames of {self.source.name!r} are {self.source.frame_size}"
                )
            self.source.check_frame(frame)
            mask = mask.astype(bool, copy=False)
            if rules.are_plain:
                before = {segment: self.mask(segment, frame)}
                after = {segment: mask}
            else:
                node = self._open(frame, create=True)[0]
                ids = {*self._ids(node), segment}
                before = {other: self.mask(other, frame) for other in ids}
                after = self._outcome(rules, segment, frame, mask, before)
            for changed, new in after.items():
                delta = MaskDelta.between(before[changed], new)
                if not delta.is_empty:
                    deltas[changed, frame] = delta
        self.apply(deltas)
        return deltas

    def apply(self, deltas: Deltas, back: bool = False) -> None:
        """Make changes that `write` returned once more, or take them back.

        Segments that were deleted meanwhile are left out. Pixels that others have changed since
        stay as they are, unless they belong to the change.
        """
        by_node: dict[object, tuple[Grid, dict[str, list[SliceChange]]]] = {}
        known = {segment for segment, _ in deltas if self.has_segment(segment)}
        frames = set()
        for (segment, frame), delta in deltas.items():
            if segment not in known:
                continue
            node, grid, index = self._open(frame, create=True)
            if not self._has(node, segment):
                self._drop(node, segment)
                self._add_missing(node, segment)
            if node not in by_node:
                check_editable(node, grid)
            added, removed = delta.added, delta.removed
            change = (
                SliceChange(index, removed, added) if back else SliceChange(index, added, removed)
            )
            by_node.setdefault(node, (grid, {}))[1].setdefault(segment, []).append(change)
            frames.add(frame)
        with mrml.modified_once(self.shown_node):
            for node, (grid, changes) in by_node.items():
                change_slices(node, grid, changes)
        self._written(frames)

    def _outcome(self, rules, segment, frame, mask, before) -> dict[str, np.ndarray]:
        values = None
        if rules.intensity is not None:
            values = self.source.values(frame)
            values = values[..., 0] if values.ndim == 3 else values
        shown = self.shown_node
        display = shown.GetDisplayNode() if shown is not None else None
        visible = frozenset(
            other for other in before if display is None or display.GetSegmentVisibility(other)
        )
        return rules.outcome(segment, mask, before, visible, values)

    def _require(self, segment: str) -> None:
        if not self.has_segment(segment):
            raise self._gone(segment)

    def _gone(self, segment: str) -> SceneChanged:
        return SceneChanged(
            f"the segment {segment!r} is no longer in {self.stored_node.GetName()!r}; "
            "choose another one or add it again"
        )

    def _add_missing(self, node, segment: str) -> None:
        """Add an empty segment to a node like the one of this ID on other frames."""
        for other in self._nodes():
            if self._has(other, segment):
                _add_like(node.GetSegmentation(), other.GetSegmentation(), segment)
                return


class VolumeMasks(ClipMasks):
    """Segments of one segmentation node, on the voxel grid of a volume."""

    def __init__(self, source: VolumeSource, segmentation):
        super().__init__(source)
        self._segmentation = segmentation
        node = self.shown_node
        if _is_blank(node.GetSegmentation()):
            node.SetReferenceImageGeometryParameterFromVolumeNode(source.node)
        check_editable(node, self._grid())

    @property
    def shown_node(self):
        return mrml.alive(self._segmentation, "segmentation")

    @property
    def stored_node(self):
        return self.shown_node

    def _nodes(self) -> Iterator:
        yield self.shown_node

    def _grid(self) -> Grid:
        matrix, shape, _ = self.source.voxel_grid(0)
        between = mrml.local_to_local(self.source.node, self.shown_node)
        return Grid(between @ matrix, shape, self.source.axis)

    def _open(self, frame: int, create: bool):
        return self.shown_node, self._grid(), frame


class SequenceMasks(ClipMasks):
    """Segments of a sequence of segmentations, in the browser of a sequence of images.

    Items belong to frames by their index values. An item that is missing is empty; it is made
    when something is written to it, when the user looks at it (the browser's missing-item mode),
    or by `make_items`.
    """

    def __init__(self, source: SequenceSource, sequence):
        super().__init__(source)
        self._sequence = sequence
        self._aligned: dict[str, tuple] | None = None  # `_told` of all items; None: not known
        browser = source.browser
        if not browser.IsSynchronizedSequenceNodeID(sequence.GetID(), True):
            raise InvalidValue(
                f"{sequence.GetName()!r} is not in the browser {browser.GetName()!r}; "
                "add it in the Sequences module"
            )
        with mrml.modified_once(browser):
            # Without these, what is drawn is lost on the next frame, and a frame without a
            # segmentation would be given a copy of the frame before.
            browser.SetSaveChanges(sequence, True)
            browser.SetMissingItemMode(sequence, browser.MissingItemCreateFromDefault)
        self._check_item(source.shown_frame(0), create=False)

    @property
    def stored_node(self):
        return mrml.alive(self._sequence, "sequence of segmentations")

    @property
    def shown_node(self):
        return self.source.browser.GetProxyNode(self.stored_node)

    def _nodes(self) -> Iterator:
        sequence, shown = self.stored_node, self.source.shown_frame()
        numbers = list(range(sequence.GetNumberOfDataNodes()))
        if shown is not None:
            item = sequence.GetItemNumberFromIndexValue(self.source.index_value(shown))
            if item >= 0:
                numbers.insert(0, numbers.pop(item))
        for number in numbers:
            node = sequence.GetNthDataNode(number)
            if node is not None and node.IsA("vtkMRMLSegmentationNode"):
                yield node

    def _open(self, frame: int, create: bool):
        sequence, value = self.stored_node, self.source.index_value(frame)
        node = sequence.GetDataNodeAtValue(value)
        matrix, shape, index = self.source.voxel_grid(frame)
        image, shown = self.source.shown_volume, self.shown_node
        if image is not None and shown is not None:
            matrix = mrml.local_to_local(image, shown) @ matrix
        grid = Grid(matrix, shape, self.source.axis)
        if node is None and create:
            node = self._add_item(frame, grid)
        return node, grid, index

    def _add_item(self, frame: int, grid: Grid):
        """An item with all segments, empty."""
        import slicer

        sequence = self.stored_node
        made = slicer.vtkMRMLSegmentationNode()
        made.SetName(sequence.GetName())
        extent = [end for count in grid.shape for end in (0, count - 1)]
        geometry = [*(repr(float(v)) for v in grid.ijk_to_local.ravel()), *map(str, extent), ""]
        segmentation = made.GetSegmentation()
        segmentation.SetConversionParameter(REFERENCE_GEOMETRY, ";".join(geometry))
        like = next(self._nodes(), None)
        if like is not None:
            for segment in self._ids(like):
                _add_like(segmentation, like.GetSegmentation(), segment)
        return sequence.SetDataNodeAtValue(made, self.source.index_value(frame))

    def make_items(self) -> Iterator[float]:
        """Make the items that are missing, and look at the others: yields how much is done, 0..1,
        after each frame. Raises InvalidValue where an item lies on other voxels than its image.

        To be run to its end when a clip is opened, spread over ticks of the GUI's clock: on a
        frame without an item Slicer shows a segmentation without segments, and the Segment
        Editor loses the selected one.
        """
        told, alike = None, True
        for frame in range(len(self.source)):
            item = self._check_item(frame, create=True)
            shown = list(self._told(next(self._nodes())).items())
            told = shown if told is None else told
            alike = alike and told == shown == list(self._told(item).items())
            yield (frame + 1) / len(self.source)
        if alike and told is not None:
            self._aligned = dict(told)

    def _check_item(self, frame: int, create: bool):
        """The item of a frame, None where there is none."""
        node, grid, _ = self._open(frame, create)
        if node is not None:
            check_editable(node, grid)
        return node

    def align_segments(self) -> None:
        nodes = self._nodes()
        first = next(nodes, None)
        if first is None:
            return
        model, told = first.GetSegmentation(), self._told(first)
        order, known = list(told), self._aligned
        changed = told if known is None else [s for s in told if told[s] != known.get(s)]
        # Saving alters label values, which Slicer tells as if segments were edited: what is the
        # same everywhere must not count as unsaved for that.
        if known is not None and not changed and order == list(known):
            return
        differed = False
        for node in nodes:
            segmentation = node.GetSegmentation()
            with mrml.modified_once(node):
                for segment in changed:
                    self._drop(node, segment)
                    found = segmentation.GetSegment(segment)
                    if found is None:
                        _add_like(segmentation, model, segment)
                        differed = True
                    elif _metadata(found) != told[segment]:
                        _copy_metadata(found, model.GetSegment(segment))
                        differed = True
                if self._ids(node)[: len(order)] != order:
                    segmentation.ReorderSegments(order)
                    differed = True
        self._aligned = told
        if differed:
            self._written(range(len(self.source)))

    def _told(self, node) -> dict[str, tuple]:
        """The segments of a node in their order, with what is alike on all frames."""
        segmentation = node.GetSegmentation()
        return {s: _metadata(segmentation.GetSegment(s)) for s in self._ids(node)}

    def _written(self, frames) -> None:
        sequence, shown = self.stored_node, self.source.shown_frame()
        sequence.StorableModified()
        if shown in frames:
            proxy, item = self.shown_node, self._open(shown, create=False)[0]
            # The proxy shares its item's segmentation and has shown the change already, unless
            # somebody had turned saving of changes off.
            if proxy is not None and item is not None:
                if proxy.GetSegmentation() is not item.GetSegmentation():
                    proxy.CopyContent(item, False)


def open_masks(source: ClipSource, segmentation) -> ClipMasks:
    """The masks of a clip in a segmentation node that the user has chosen.

    For a sequence the node is the proxy of a sequence of segmentations in the same browser; any
    other segmentation node becomes one: its segments then belong to the frame that is shown, and
    to the other frames as empty segments. Raises InvalidValue where the segmentation lies on
    other voxels than the clip, or shows the masks of another sequence.
    """
    node = mrml.alive(segmentation, "segmentation")
    is_volume = isinstance(source, VolumeSource)
    sequence = None if is_volume else source.browser.GetSequenceNode(node)
    if sequence is None and sequence_of(node) is not None:
        raise InvalidValue(
            f"{node.GetName()!r} has the masks of other images; choose another segmentation, or a "
            "new one"
        )
    if is_volume:
        return VolumeMasks(source, node)
    return SequenceMasks(source, sequence or _make_sequence(source, node))


def new_masks(source: ClipSource, name: str) -> ClipMasks:
    """A new segmentation without segments for a clip, under the same transform."""
    scene = source.node.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    volume = source.shown_volume
    if volume is not None:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return open_masks(source, node)


def _make_sequence(source: SequenceSource, node):
    """A sequence of segmentations in the browser of the images, shown through `node`."""
    shown = source.shown_frame(0)
    matrix, shape, _ = source.voxel_grid(shown)
    if source.shown_volume is not None:
        matrix = mrml.local_to_local(source.shown_volume, node) @ matrix
        if _is_blank(node.GetSegmentation()):
            node.SetReferenceImageGeometryParameterFromVolumeNode(source.shown_volume)
    check_editable(node, Grid(matrix, shape, source.axis))
    images, browser = source.node, source.browser
    sequence = node.GetScene().AddNewNodeByClass(
        "vtkMRMLSequenceNode", f"{node.GetName()} sequence"
    )
    sequence.SetIndexName(images.GetIndexName())
    sequence.SetIndexUnit(images.GetIndexUnit())
    sequence.SetIndexType(images.GetIndexType())
    sequence.SetNumericIndexValueTolerance(images.GetNumericIndexValueTolerance())
    item = sequence.SetDataNodeAtValue(node, source.index_value(shown))
    with mrml.modified_once(browser):
        browser.AddSynchronizedSequenceNode(sequence)
        browser.SetSaveChanges(sequence, True)
        browser.AddProxyNode(node, sequence, False)
        node.CopyContent(item, False)
    return sequence


def _is_blank(segmentation) -> bool:
    """Whether no segment has a voxel yet, nor any other form."""
    if segmentation.GetSourceRepresentationName() != LABELMAP:
        return segmentation.GetNumberOfSegments() == 0
    for segment in segmentation.GetSegmentIDs():
        labelmap = segmentation.GetSegment(segment).GetRepresentation(LABELMAP)
        if labelmap is not None and labelmap.GetNumberOfPoints() > 0:
            return False
    return True


def _info(segmentation, segment_id: str) -> SegmentInfo:
    segment = segmentation.GetSegment(segment_id)
    color = tuple(int(round(255 * value)) for value in segment.GetColor())
    return SegmentInfo(segment_id, segment.GetName() or "", color)


def _add_like(segmentation, model, segment: str) -> None:
    """Add an empty segment with ID, name, colour and tags of another segmentation's."""
    import slicer

    made = slicer.vtkSegment()
    made.DeepCopyMetadata(model.GetSegment(segment))
    made.SetLabelValue(1)
    segmentation.AddSegment(made, segment)


def _copy_metadata(segment, model) -> None:
    """Name, colour and tags; the label value stays, it says which voxels are the segment's."""
    value = segment.GetLabelValue()
    segment.DeepCopyMetadata(model)
    segment.SetLabelValue(value)


def _metadata(segment) -> tuple:
    """Name, colour, and the tags that Slicer's own modules let the user change."""
    tags = []
    for name in (segment.GetTerminologyEntryTagName(), STATUS_TAG):
        tag = vtk.reference("")
        tags.append(str(tag) if segment.GetTag(name, tag) else None)
    return segment.GetName(), segment.GetColor(), *tags
