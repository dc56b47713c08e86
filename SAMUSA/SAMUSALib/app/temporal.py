"""What the module SAMUSATemporal does, without its widgets: a segment along its clip."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..annotation import Annotation, FrameState
from ..clip import AXIS_NAMES
from ..errors import InvalidValue, SamusaError, SceneChanged
from ..measurements import (
    Measurements,
    area_range,
    in_words,
    measure_steps,
    volume_range,
)
from ..prompts import Window
from ..scene import mrml
from ..scene.clip_source import SequenceSource, nodes_of_class
from ..scene.points import frame_in_view
from ..scene.segments import ClipMasks
from .export import export_steps, gather_steps
from .images import views_along
from .settings import Settings
from .signals import Signal
from .steps import Stepper
from .timeline_layout import Shown
from .window_edits import WindowEdits
from .workspace import Opening, Outcome, Progress, Workspace
from .workspaces import Workspaces

_TO_REVIEW = (FrameState.PROMPTED, FrameState.PROPAGATED)
_PLANES = ("Sagittal", "Coronal", "Axial")


@dataclass(frozen=True)
class Run:
    """What a propagation was asked for; asked once more it goes on with what is missing."""

    segments: tuple[str, ...]
    direction: str
    within: tuple[int, int] | None


class Temporal:
    """One clip, one segment in hand, one frame in view.

    Methods raise SamusaError with a sentence for the user, and then nothing has changed.

    Signals: changed(): whatever can be read here is another now. progress(Progress),
    propagated(Outcome): as of Workspace. measured(): `measurements` is up to date.
    working(fraction, text): of opening and exporting; (1.0, "") at the end. notice(text): to be
    read.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        soon: Callable[[Callable[[], None]], None],
        settings: Settings,
    ):
        self.changed, self.progress, self.propagated = Signal(), Signal(), Signal()
        self.measured, self.working, self.notice = Signal(), Signal(), Signal()
        self.workspace: Workspace | None = None
        self.segment_id = ""
        self.frame: int | None = None
        self.edits = WindowEdits(1)
        self.measurements: Measurements | None = None
        self._workspaces, self._soon, self._settings = workspaces, soon, settings
        self._disconnect: list[Callable[[], None]] = []
        self._observations: list[tuple[object, int]] = []
        self._looking = False
        self._adding: Stepper | None = None  # the first segments
        self._measuring: Stepper | None = None
        self._exporting: Stepper | None = None
        self._last_run: Run | None = None
        self._unfinished: Run | None = None

    # What is in hand ----------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether a clip is open, with a segment in hand."""
        return self.workspace is not None and self.workspace.is_open and bool(self.segment_id)

    @property
    def length(self) -> int:
        """Frames of the clip; 0 where there is none."""
        return 0 if self.workspace is None else len(self.workspace.source)

    def is_of(self, volume, segmentation=None, axis: int | None = None) -> bool:
        """Whether the clip in hand is shown by this volume node, and its masks by this
        segmentation, its frames along this axis where one is given."""
        if self.workspace is None:
            return False
        source, masks = self.workspace.source, self.workspace.masks
        try:
            if source.shown_volume is not volume or axis not in (None, source.axis):
                return False
            return segmentation in (None, masks.shown_node)
        except SceneChanged:
            return False

    def open(self, volume, segmentation=None, axis: int = 2) -> Workspace:
        """Take a clip and its segmentation in hand, as `Workspaces.open`; a new segmentation gets
        segments like those of the last one when it is open, at least one."""
        workspace = self._workspaces.open(volume, segmentation, axis)
        if workspace is not self.workspace:
            self.adopt(workspace)
        return workspace

    def adopt(self, workspace: Workspace) -> None:
        """Take a workspace in hand that is open already, or begins to be."""
        self.let_go()
        self.workspace = workspace
        for signal, listener in (
            (workspace.opened, self._opened),
            (workspace.opening, self._opening),
            (workspace.replaying, self._opening),
            (workspace.replayed, self.notice.emit),
            (workspace.failed, self.notice.emit),
            (workspace.notice, self.notice.emit),
            (workspace.frame_changed, self._frames_changed),
            (workspace.segments_changed, self._segments_changed),
            (workspace.history_changed, self.changed.emit),
            (workspace.progress, self.progress.emit),
            (workspace.propagated, self._propagated),
            (workspace.closed, self.let_go),
        ):
            self._disconnect.append(signal.connect(listener))
        self._observe()
        self._look()
        self._segments_changed()
        if workspace.is_open:
            self._opened()

    def let_go(self) -> None:
        """Nothing is in hand; the workspace itself goes on."""
        for disconnect in self._disconnect:
            disconnect()
        self._disconnect.clear()
        for node, tag in self._observations:
            node.RemoveObserver(tag)
        self._observations.clear()
        for stepper in (self._adding, self._measuring, self._exporting):
            if stepper is not None:
                stepper.cancel()
        self._adding = self._measuring = self._exporting = None
        self._last_run = self._unfinished = None
        self.workspace, self.segment_id, self.frame = None, "", None
        self.edits, self.measurements = WindowEdits(1), None
        self.working.emit(1.0, "")
        self.changed.emit()

    def choose_segment(self, segment_id: str) -> None:
        """Take another segment in hand; "" none."""
        if segment_id == self.segment_id:
            return
        self.segment_id, self.measurements = segment_id, None
        windows = self._need().windows(segment_id) if segment_id else ()
        self.edits = WindowEdits(max(1, self.length)).now(windows)
        self.changed.emit()
        self.measure()

    def add_segment(self) -> None:
        """Add a segment and take it in hand."""
        self.choose_segment(self._need().masks.add_segment())

    def segments(self) -> list:
        """SegmentInfo of each."""
        try:
            return [] if self.workspace is None else self.workspace.masks.segments()
        except SceneChanged:
            return []

    def shown(self) -> Shown | None:
        """What the timeline shows; None where nothing is in hand. The confidence of frames that
        were approved does not matter any more."""
        if self.workspace is None or not self.segment_id:
            return None
        marks = self.workspace.state.marks(self.segment_id)
        prompts = self.workspace.state.prompts(self.segment_id)
        frames = {} if prompts is None else prompts.frames
        return Shown(
            self.length,
            self.edits.windows,
            {n: m.state for n, m in marks.items() if m.state is not FrameState.EMPTY},
            {n: m.confidence for n, m in marks.items() if m.state in _TO_REVIEW},
            frozenset(n for n, found in frames.items() if not found.is_empty),
            self.frame,
            frozenset(self._stale_frames()),
        )

    def _stale_frames(self) -> set[int]:
        """Frames that the next propagation computes, or empties since they are in no window."""
        windows = self.edits.windows
        outside = {n for n in range(self.length) if windows and not any(n in w for w in windows)}
        return outside | self.workspace.to_compute(self.segment_id)

    def to_compute(self) -> int:
        """Frames of the segment in hand whose masks do not follow from what is said now."""
        return len(self.workspace.to_compute(self.segment_id)) if self.is_ready else 0

    def state_here(self) -> FrameState:
        """Of the segment in hand on the frame in view."""
        if not self.is_ready or self.frame is None:
            return FrameState.EMPTY
        mark = self.workspace.state.mark(self.segment_id, self.frame)
        return FrameState.EMPTY if mark is None else mark.state

    def hint(self) -> str:
        """What to do next, in a sentence; "" while something is being done."""
        if self.workspace is None:
            return "Choose images, a volume or a sequence, and press Open."
        if not self.is_ready or self.is_busy or self.workspace.is_replaying:
            return ""
        if not self.workspace.conditioning(self.segment_id):
            return "Click the border of the structure on one frame, then propagate."
        count = self.to_compute()
        if count:
            return f"Propagate to get the masks of {count} frame{'s' if count != 1 else ''}."
        marks = self.workspace.state.marks(self.segment_id).values()
        if any(mark.state in _TO_REVIEW for mark in marks):
            return "Look at the most doubtful frames, correct them, and approve."
        return "All frames that have a mask are approved."

    # Frames -------------------------------------------------------------------------------------

    def show_frame(self, frame: int) -> None:
        workspace = self._need()
        frame = min(max(frame, 0), len(workspace.source) - 1)
        if frame != self.frame:
            workspace.show_frame(frame)
            self._look(frame)

    def step(self, count: int) -> None:
        """So many frames forward, or back."""
        self.show_frame((self.frame or 0) + count)

    # Windows ------------------------------------------------------------------------------------

    def start_here(self) -> None:
        self._put_windows(self.edits.start_at(self._frame_here()))

    def end_here(self) -> None:
        self._put_windows(self.edits.end_at(self._frame_here()))

    def set_window(self, start: int, end: int) -> None:
        """The window in hand, by its ends; the first one where there is none."""
        window = Window(max(0, int(start)), min(int(end), self.length - 1))
        if window != self.edits.chosen:
            self._put_windows(self.edits.replace(window))

    def add_window(self) -> None:
        self._put_windows(self.edits.add(self._frame_here()))

    def remove_window(self) -> None:
        self._put_windows(self.edits.remove())

    def choose_window(self, index: int) -> None:
        """Take one of `edits.windows` in hand."""
        if 0 <= index < len(self.edits.windows):
            self.edits = self.edits.choose(self.edits.windows[index].start)
            self.changed.emit()

    def _put_windows(self, edits: WindowEdits) -> None:
        workspace = self._need_segment()
        before, self.edits = self.edits, edits
        try:
            workspace.set_windows(self.segment_id, edits.windows)
        except SamusaError:
            self.edits = before
            raise
        self.changed.emit()

    # Propagation --------------------------------------------------------------------------------

    def propagate(
        self, direction: str = "both", all_segments: bool = False, everything: bool = False
    ) -> None:
        """direction: "both", "forward", "backward": from the clicked and approved frames over the
        whole of the windows; "next": from the frame in view to the next such frame. everything:
        also the frames whose masks follow from what is said already."""
        workspace = self._need_segment()
        segments = [self.segment_id]
        if all_segments:
            segments = [s for s in workspace.segment_ids() if workspace.conditioning(s)]
        within = None
        if direction == "next":
            here = self._frame_here()
            found = workspace.next_prompted(self.segment_id, here)
            if found is None:
                raise InvalidValue(
                    f"no frame after {here} was clicked or approved; click the border there first, "
                    "or propagate forward"
                )
            within, direction = (here, found), "both"
        self._start(Run(tuple(segments), direction, within), not everything)

    def resume(self) -> None:
        """Go on with what was interrupted."""
        if self._unfinished is None:
            raise InvalidValue("nothing was interrupted; propagate instead")
        self._start(self._unfinished, True)

    def cancel(self) -> None:
        """End what runs, a propagation or an export; finished frames stay."""
        if self._exporting is not None:
            self._exporting.cancel()
            self._exporting = None
            self.working.emit(1.0, "")
            self.notice.emit("The export was cancelled; nothing was written.")
        elif self.workspace is not None:
            self.workspace.cancel()
        self.changed.emit()

    @property
    def is_propagating(self) -> bool:
        return self.workspace is not None and self.workspace.is_propagating

    @property
    def is_busy(self) -> bool:
        """Whether there is something to cancel."""
        return self.is_propagating or self._exporting is not None

    @property
    def is_interrupted(self) -> bool:
        """Whether `resume` has something to go on with."""
        return self._unfinished is not None and not self.is_propagating

    def _start(self, run: Run, only_affected: bool) -> None:
        self._need().propagate(run.segments or None, run.direction, run.within, only_affected)
        self._last_run, self._unfinished = run, None
        self.changed.emit()

    def _propagated(self, outcome: Outcome) -> None:
        self._unfinished = None if outcome.complete else self._last_run
        self.propagated.emit(outcome)
        self.notice.emit(in_a_sentence(outcome))
        self.changed.emit()
        self.measure()

    # Review -------------------------------------------------------------------------------------

    def next_to_check(self) -> None:
        """Show the frame that most needs a look."""
        workspace = self._need_segment()
        found = workspace.next_to_check(self.segment_id, self.frame)
        if found is None:
            raise InvalidValue("no propagated frame is left to check; propagate first")
        self.show_frame(found)

    def approve(self) -> None:
        """Lock the frame in view, or unlock it where it is locked."""
        workspace, frame = self._need_segment(), self._frame_here()
        if self.state_here() is FrameState.REVIEWED:
            workspace.unlock(self.segment_id, [frame])
        else:
            workspace.approve(self.segment_id, [frame])

    def approve_all(self) -> None:
        """Lock all frames that have a mask."""
        workspace = self._need_segment()
        marks = workspace.state.marks(self.segment_id)
        frames = [n for n, mark in marks.items() if mark.state in _TO_REVIEW]
        if not frames:
            raise InvalidValue("there is no frame to approve; propagate first")
        workspace.approve(self.segment_id, frames)

    def undo(self) -> None:
        if self._need().undo() is None:
            self.notice.emit("There is nothing to undo.")

    def redo(self) -> None:
        if self._need().redo() is None:
            self.notice.emit("There is nothing to redo.")

    # Measurements and export --------------------------------------------------------------------

    def measure(self) -> None:
        """Measure the segment in hand anew, bit by bit; `measured` follows, now (nothing is known
        any more) and at the end. While masks come or go it is left to the end of that."""
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None
        if self.measurements is not None:
            self.measurements = None
            self.measured.emit()
        if self.is_ready and not self.is_propagating and not self.workspace.is_replaying:
            self._measuring = Stepper(self._measure(), self._soon, on_error=self._measuring_failed)

    def _measure(self):
        workspace, geometry = self.workspace, self.workspace.source.geometry
        annotation = Annotation(len(workspace.source), workspace.source.frame_size)
        segment = annotation.add(self.segment_id)
        yield from gather_steps(segment, self.segment_id, workspace.masks, workspace.state)
        for step in measure_steps(segment, geometry):
            if isinstance(step, Measurements):
                self.measurements = step
                self.measured.emit()
            yield

    def _measuring_failed(self, _error: SamusaError) -> None:
        """The segment or the nodes were deleted; whoever deleted them knows."""
        self.measurements = None
        self.measured.emit()

    def readout(self, ventricle: bool = False) -> list[tuple[str, str]]:
        """(what, value) of the segment in hand, in words. ventricle: it is the cavity of a left
        ventricle seen along its long axis, so that area and length give a volume."""
        if self.measurements is None or self.workspace is None:
            return []
        measured, geometry = self.measurements, self.workspace.source.geometry
        rows = []
        if self.frame is not None and measured.area[self.frame]:
            rows.append(("Area here", in_words(measured.area[self.frame], measured.unit)))
        if measured.volume:
            rows.append(("Volume", in_words(measured.volume, "mm3")))
        flat = area_range(measured, geometry)
        if flat is not None:
            rows += [
                ("Area", _range_in_words(flat)),
                ("Fractional area change", f"{flat.fraction:.0%}"),
            ]
        solid = volume_range(measured, geometry) if ventricle else None
        if solid is not None:
            rows += [
                ("Volume, area-length", _range_in_words(solid)),
                ("Ejection fraction", f"{solid.fraction:.0%}"),
            ]
        known = measured.confidence[np.isfinite(measured.confidence)]
        if len(known):
            rows.append(("Confidence", f"mean {known.mean():.2f}, lowest {known.min():.2f}"))
        return rows

    def export(self, key: str, path: str | os.PathLike) -> None:
        """Write all segments, bit by bit; `working` tells how far, `notice` that it is done."""
        workspace = self._need_open()
        if self.is_busy:
            raise InvalidValue("wait for the end of what is running, or cancel it")
        steps = export_steps(key, path, workspace.source, workspace.masks, workspace.state)
        self._exporting = Stepper(
            steps,
            self._soon,
            lambda: self._exported(f"Written: {path}"),
            lambda error: self._exported(str(error)),
            lambda done: self.working.emit(done, "Exporting"),
        )
        self.changed.emit()

    def _exported(self, text: str) -> None:
        self._exporting = None
        self.working.emit(1.0, "")
        self.notice.emit(text)
        self.changed.emit()

    # What is heard ------------------------------------------------------------------------------

    def _need(self) -> Workspace:
        if self.workspace is None:
            raise InvalidValue("choose images and a segmentation first")
        return self.workspace

    def _need_open(self) -> Workspace:
        workspace = self._need()
        if not workspace.is_open:
            raise InvalidValue("the images are still being opened; wait a moment")
        return workspace

    def _need_segment(self) -> Workspace:
        workspace = self._need_open()
        if not self.segment_id:
            raise InvalidValue("choose a segment first")
        return workspace

    def _frame_here(self) -> int:
        if self.frame is None:
            raise InvalidValue("no slice view shows a frame of the clip; move the frame slider")
        return self.frame

    def _opening(self, opening: Opening) -> None:
        self.working.emit(opening.fraction, opening.text)

    def _opened(self) -> None:
        self.working.emit(1.0, "")
        self._adding = Stepper(
            self._add_segments(self.workspace.masks), self._soon, self._begin, self._adding_failed
        )

    def _add_segments(self, masks: ClipMasks):
        """To a new segmentation, one in a turn: on each of 700 frames it takes 30 ms."""
        if not masks.segments():
            for name, color in self._settings.segments or [("", None)]:
                masks.add_segment(name, color)
                yield

    def _adding_failed(self, error: SamusaError) -> None:
        self._adding = None
        self.notice.emit(str(error))

    def _begin(self) -> None:
        self._adding = None
        self._segments_changed()
        self.measure()

    def _frames_changed(self, segment_id: str, _frames) -> None:
        if segment_id == self.segment_id:
            self.changed.emit()
            self.measure()

    def _segments_changed(self) -> None:
        infos = self.segments()
        ids = [info.id for info in infos]
        used = [(info.name, info.color) for info in infos]
        if used and self.workspace.is_open and self._adding is None:
            self._settings.segments = used  # for the next clip
        if self.segment_id not in ids:
            self.segment_id, self.measurements = (ids[0] if ids else ""), None
            self.edits = WindowEdits(max(1, self.length))
        if self.segment_id:
            self.edits = WindowEdits(self.length, self.edits.windows, self.edits.chosen).now(
                self.workspace.windows(self.segment_id)
            )
        self.changed.emit()

    def _observe(self) -> None:
        import vtk

        def listen(node) -> None:
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._look_soon())
            self._observations.append((node, tag))

        source = self.workspace.source
        if isinstance(source, SequenceSource):
            listen(source.browser)
            return
        scene = source.node.GetScene()
        for view in nodes_of_class(scene, "vtkMRMLSliceNode"):
            listen(view)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_scene, _event, node):
            if node.IsA("vtkMRMLSliceNode"):  # of another layout
                listen(node)
                self._look_soon()

        self._observations.append((scene, scene.AddObserver(scene.NodeAddedEvent, added)))

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._soon(self._look)

    def _look(self, told: int | None = None) -> None:
        """Note which frame is in view; `told`: what was asked for, where no view tells."""
        self._looking = False
        if self.workspace is None:
            return
        try:
            frame = self._frame_in_views()
        except SceneChanged:
            return  # the workspace is about to close
        frame = told if frame is None else frame
        if frame is not None and frame != self.frame:
            self.frame = frame
            self.changed.emit()

    def _frame_in_views(self) -> int | None:
        source = self.workspace.source
        if isinstance(source, SequenceSource):
            return source.shown_frame(0)
        for view in views_along(source):
            return frame_in_view(source, mrml.to_array(view.GetSliceToRAS()))
        return None


def axis_labels(volume) -> list[str]:
    """How the slices along each voxel axis of a volume are called: "Axial slices (k, 120)"."""
    matrix = mrml.ijk_to_local(volume)[:3, :3]
    counts = volume.GetImageData().GetDimensions() if volume.GetImageData() else (0, 0, 0)
    return [
        f"{_PLANES[int(np.argmax(np.abs(matrix[:, axis])))]} slices ({AXIS_NAMES[axis]}, {count})"
        for axis, count in enumerate(counts)
    ]


def in_a_sentence(outcome: Outcome) -> str:
    """How a propagation has ended."""
    frames = "1 frame" if outcome.frames == 1 else f"{outcome.frames} frames"
    finished = "1 frame was" if outcome.frames == 1 else f"{outcome.frames} frames were"
    if outcome.error:
        kept = f"; {finished} finished and are kept" if outcome.frames else ""
        return f"The propagation was interrupted: {outcome.error}{kept}. Press Resume to go on."
    if outcome.cancelled:
        return f"Cancelled; {finished} finished and are kept."
    speed = f", {_speed(outcome.frames / outcome.seconds)}" if outcome.seconds else ""
    return f"Propagated: {frames}{speed}."


def in_progress(progress: Progress) -> str:
    """12 of 80 frames, 9.5 frames/s, 7 s left"""
    parts = [f"{progress.done} of {progress.total} frames"]
    if progress.per_second:
        parts.append(_speed(progress.per_second))
    if progress.seconds_left is not None:
        left = round(progress.seconds_left)
        parts.append(f"{left} s left" if left < 90 else f"{round(left / 60)} min left")
    return ", ".join(parts)


def _speed(frames_per_second: float) -> str:
    digits = 1 if frames_per_second < 20 else 0
    return f"{frames_per_second:.{digits}f} frames/s"


def _range_in_words(found) -> str:
    return (
        f"{in_words(found.smallest, found.unit)} (frame {found.frame_of_smallest}) to "
        f"{in_words(found.largest, found.unit)} (frame {found.frame_of_largest})"
    )
