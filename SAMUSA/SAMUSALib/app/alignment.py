"""What the user shows and does in Slicer to one frame of a clip: its segments are so on all."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SceneChanged
from ..scene.clip_source import ClipSource, SequenceSource
from ..scene.segments import ClipMasks
from .signals import Signal
from .steps import Stepper


class Alignment:
    """Hears of segments that are added, renamed, reordered and removed on the shown frame, and of
    another frame that is shown, until `close`.

    One turn of the event loop later, all other frames follow; of a removed segment the other
    frames are cleared over many turns, but it is gone at once for all that ask `masks`.

    Signals: frame_shown(frame). removed(segment_id): from all frames. changed(): after any of
    this. failed(SceneChanged): nodes were deleted.
    """

    def __init__(
        self,
        source: ClipSource,
        masks: ClipMasks,
        soon: Callable[[Callable[[], None]], None],
    ):
        import vtk

        self.frame_shown, self.removed = Signal(), Signal()
        self.changed, self.failed = Signal(), Signal()
        self._source, self._masks, self._soon = source, masks, soon
        self._going: set[str] = set()  # segments that Slicer has told of as removed
        self._is_due = self._aligning = self._closed = False
        self._clearing: Stepper | None = None
        self._shown_frame = source.shown_frame()
        self._heard_node = None  # the segmentation whose segments are listened to
        self._tags: list[int] = []
        self._browser = source.browser if isinstance(source, SequenceSource) else None
        self._listen_to(masks.shown_node)
        if self._browser is not None:
            self._browser_tag = self._browser.AddObserver(
                vtk.vtkCommand.ModifiedEvent, lambda *_: soon(self._look_at_frame)
            )

    @property
    def is_running(self) -> bool:
        """Whether the other frames have not followed yet."""
        return self._is_due or (self._clearing is not None and self._clearing.running)

    def is_going(self, segment: str) -> bool:
        """Whether it was removed on the shown frame, and is about to be from all."""
        return segment in self._going

    def close(self) -> None:
        """Hear no more; what was removed leaves the other frames at once, unless all is going."""
        if self._closed:
            return
        self._closed = True
        self._listen_to(None)
        if self._browser is not None:
            self._browser.RemoveObserver(self._browser_tag)
        if self._clearing is not None and self._clearing.running:
            if self._scene_is_closing():
                self._clearing.cancel()
            else:
                self._clearing.finish()

    def _scene_is_closing(self) -> bool:
        try:
            return self._masks.stored_node.GetScene().IsClosing()
        except SceneChanged:
            return True

    def _listen_to(self, node) -> None:
        """Hear of segments that the user adds, edits and removes there, and nowhere else."""
        import slicer
        import vtk

        if node is self._heard_node:
            return
        for tag in self._tags:
            self._heard_node.RemoveObserver(tag)
        self._heard_node, self._tags = node, []
        if node is None:
            return

        @vtk.calldata_type(vtk.VTK_STRING)
        def removed(_caller, _event, segment):
            self._segment_removed(segment)

        def edited(_caller, _event):
            self._align_soon()

        events = slicer.vtkSegmentation
        self._tags.append(node.AddObserver(events.SegmentRemoved, removed))
        for event in (events.SegmentAdded, events.SegmentModified, events.SegmentsOrderModified):
            self._tags.append(node.AddObserver(event, edited))

    def _look_at_frame(self) -> None:
        if self._closed:
            return
        try:
            shown = self._source.shown_frame()
            self._listen_to(self._masks.shown_node)  # a proxy that was deleted is made anew
        except SceneChanged:
            return  # who listens to the scene knows
        if shown != self._shown_frame:
            self._shown_frame = shown
            if shown is not None:
                self.frame_shown.emit(shown)

    def _segment_removed(self, segment: str) -> None:
        # While the browser changes to another item its proxy may lose segments for a moment.
        if self._aligning or self._source.shown_frame() != self._shown_frame:
            return
        if not self._masks.is_leftover(segment):
            self._going.add(segment)
            self._align_soon()

    def _align_soon(self) -> None:
        if not self._aligning and not self._is_due:
            self._is_due = True
            self._soon(self._align)

    def _align(self) -> None:
        self._is_due = False
        if self._closed:
            return
        self._aligning = True  # what it changes itself is told of now, and is not the user's
        try:
            shown = self._masks.shown_node
            here = set(shown.GetSegmentation().GetSegmentIDs()) if shown is not None else set()
            gone, self._going = self._going - here, set()
            for segment in gone:
                if self._masks.has_segment(segment):
                    self._masks.remove_segment(segment)
            self._masks.align_segments()
        except SceneChanged as error:
            self.failed.emit(error)
            return
        finally:
            self._aligning = False
        if gone and not (self._clearing is not None and self._clearing.running):
            self._clearing = Stepper(self._masks.clear_removed(), self._soon)
        for segment in gone:
            self.removed.emit(segment)
        self.changed.emit()
