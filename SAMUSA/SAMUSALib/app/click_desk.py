"""Which clicks belong to what a slice view shows: the effect's logic, without Qt and without views.

A view is told of by its matrix; a place in the world by RAS, mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidValue
from ..scene.clip_source import SequenceSource, open_clip
from ..scene.points import frame_in_view, from_ras, slice_axis
from .click_session import ClickSession
from .images import PARALLEL_DEGREES
from .signals import Signal
from .workspace import Workspace
from .workspaces import Workspaces

OBLIQUE_DEGREES = 0.5  # a view turned by more against the slices is turned onto them first


@dataclass(frozen=True)
class Shown:
    """What a view shows: nodes of the Segment Editor, and the view's slice-to-RAS matrix (4, 4)."""

    volume: object
    segmentation: object
    segment: str
    slice_to_ras: np.ndarray

    @property
    def is_complete(self) -> bool:
        return self.volume is not None and self.segmentation is not None and bool(self.segment)

    @property
    def has_segment(self) -> bool:
        """Whether the chosen segment is there; the editor node may name one that was removed."""
        return (
            self.is_complete
            and self.segmentation.GetSegmentation().GetSegmentIndex(self.segment) >= 0
        )


class ClickDesk:
    """The clicks of all segments and frames that were begun and not given up.

    changed(): something to be drawn is other. told(text): a sentence for the user.
    """

    def __init__(self, workspaces: Workspaces):
        self.changed, self.told = Signal(), Signal()
        self._workspaces = workspaces
        self._drafts: dict[tuple[Workspace, str, int], ClickSession] = {}
        self._known: dict[Workspace, list[Callable[[], None]]] = {}  # with what disconnects

    def turned(self, shown: Shown) -> float:
        """Degrees by which the view is turned against the nearest slices of the volume."""
        return slice_axis(shown.volume, shown.slice_to_ras)[1]

    def axis(self, shown: Shown) -> int:
        return slice_axis(shown.volume, shown.slice_to_ras)[0]

    def workspace(self, shown: Shown, open_it: bool = False) -> Workspace | None:
        """The workspace of what is shown; None where none is open. open_it: begin to open one.
        Raises InvalidValue where the view looks at the images of a sequence from their edge."""
        if not shown.is_complete:
            return None
        axis, degrees = slice_axis(shown.volume, shown.slice_to_ras)
        source = open_clip(shown.volume, axis)
        if isinstance(source, SequenceSource) and axis != source.axis:
            if not open_it:
                return None
            raise InvalidValue(
                "this view looks at the frames from their edge; click in a view that shows them"
            )
        find = self._workspaces.open if open_it else self._workspaces.find
        found = find(shown.volume, shown.segmentation, axis)
        if found is not None and found not in self._known:
            self._know(found)
        return found

    def shown_frame(self, shown: Shown) -> tuple[Workspace, int] | None:
        """The open workspace and the frame that a view shows of a segment; None where it shows no
        frame, or the segment was deleted."""
        workspace = self.workspace(shown)
        if workspace is None or self.turned(shown) > PARALLEL_DEGREES:
            return None
        frame = frame_in_view(workspace.source, shown.slice_to_ras)
        if frame is None or not workspace.masks.has_segment(shown.segment):
            return None
        return workspace, frame

    def locked_frame(self, shown: Shown) -> int | None:
        """The frame that a view shows, where it is approved and so must not be changed."""
        found = self.shown_frame(shown)
        if found is None:
            return None
        workspace, frame = found
        return frame if frame in workspace.state.locked(shown.segment) else None

    def check_unlocked(self, shown: Shown) -> None:
        """Raises InvalidValue where the frame that a view shows is approved."""
        frame = self.locked_frame(shown)
        if frame is not None:
            raise InvalidValue(f"frame {frame} is approved and stays as it is; unlock it first")

    def toggle_lock(self, shown: Shown) -> str:
        """Approve the frame that a view shows, or unlock it; what was done, in words. Raises
        InvalidValue where nothing is shown, or clicks there wait for being accepted."""
        found = self.shown_frame(shown)
        if found is None:
            raise InvalidValue("there is no frame to approve; click the border first")
        workspace, frame = found
        if self.locked_frame(shown) is not None:
            workspace.unlock(shown.segment, [frame])
            return f"Frame {frame} is unlocked."
        draft = self._drafts.get((workspace, shown.segment, frame))
        if draft is not None and draft.editor.is_changed:
            raise InvalidValue("accept or clear your clicks first, then approve the frame")
        workspace.approve(shown.segment, [frame])
        return f"Frame {frame} is approved and locked."

    def clicks(self, shown: Shown) -> ClickSession | None:
        """The clicks that a view shows: begun ones, or those that were accepted there."""
        found = self.shown_frame(shown)
        if found is None:
            return None
        workspace, frame = found
        draft = self._drafts.get((workspace, shown.segment, frame))
        if draft is None and workspace.steps(shown.segment, frame):
            draft = self._begin(workspace, shown.segment, frame, use_mask=False)
        return draft

    def begin(self, shown: Shown, ras, use_mask: bool = False) -> tuple[ClickSession, float, float]:
        """The clicks that one at a place in the world belongs to, and its x, y in frame pixels.

        Raises InvalidValue where there is no frame at that place, no segment chosen, or the frame
        is approved.
        """
        if shown.volume is None:
            raise InvalidValue("choose a source volume in the Segment Editor first")
        if not shown.has_segment:
            raise InvalidValue("add or choose a segment in the Segment Editor first")
        workspace = self.workspace(shown, open_it=True)
        self.check_unlocked(shown)
        x, y, frame = from_ras(workspace.source, ras)
        draft = self._drafts.get((workspace, shown.segment, frame))
        if draft is None:
            draft = self._begin(workspace, shown.segment, frame, use_mask)
        return draft, x, y

    def place(self, clicks: ClickSession, ras) -> tuple[float, float]:
        """x, y on the frame of clicks that are being dragged."""
        geometry = clicks.workspace.source.geometry_at(clicks.frame)
        x, y, _ = geometry.points_from_ras(ras)[0]
        return float(x), float(y)

    def refresh(self, workspace: Workspace, segment: str, frames) -> None:
        """What was accepted there is other now (undo, propagation): clicks not touched since begin
        with it anew."""
        for frame in frames:
            draft = self._drafts.get((workspace, segment, frame))
            if draft is not None and not draft.editor.is_changed and not draft.editor.is_busy:
                del self._drafts[workspace, segment, frame]
                draft.close()
        self.changed.emit()

    def close(self) -> None:
        """Give up all clicks that were not accepted."""
        for workspace in list(self._known):
            self._forget(workspace)

    def _begin(self, workspace, segment: str, frame: int, use_mask: bool) -> ClickSession:
        made = ClickSession(workspace, segment, frame, use_mask)
        made.changed.connect(self.changed.emit)
        made.told.connect(self.told.emit)
        self._drafts[workspace, segment, frame] = made
        return made

    def _know(self, workspace: Workspace) -> None:
        self._known[workspace] = [
            workspace.frame_changed.connect(
                lambda segment, frames: self.refresh(workspace, segment, frames)
            ),
            workspace.closed.connect(lambda: self._forget(workspace)),
            workspace.notice.connect(self.told.emit),
            workspace.failed.connect(self.told.emit),
            workspace.frame_shown.connect(lambda frame: self.changed.emit()),
        ]

    def _forget(self, workspace: Workspace) -> None:
        for disconnect in self._known.pop(workspace):
            disconnect()
        for key in [key for key in self._drafts if key[0] is workspace]:
            self._drafts.pop(key).close()
        self.changed.emit()
