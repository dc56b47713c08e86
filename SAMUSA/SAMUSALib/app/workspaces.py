"""All open workspaces, so that effect and modules share them."""

from __future__ import annotations

from ..scene.clip_source import SequenceSource, open_clip
from ..worker.session import Session
from .signals import Signal
from .workspace import Soon, Workspace


class Workspaces:
    """All open workspaces, so that effect and modules share them; they end with their nodes.

    soon: as of Transport. scene: the application's vtkMRMLScene.
    """

    def __init__(self, session: Session, soon: Soon, scene, undo_limit: int = 64 * 2**20):
        self.changed = Signal()  # one was opened or closed
        self._session, self._soon, self._undo_limit = session, soon, undo_limit
        self._open: list[Workspace] = []
        self._scene = scene
        self._tags = [
            scene.AddObserver(scene.StartCloseEvent, lambda *_: self.close_all()),
            scene.AddObserver(scene.NodeRemovedEvent, lambda *_: self._check_soon()),
        ]
        self._checking = False

    def __iter__(self):
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def find(self, volume, segmentation, axis: int = 2) -> Workspace | None:
        """The open workspace of what a volume and a segmentation node show, or None. axis: the
        voxel axis of a volume's slices; without meaning for a sequence."""
        if volume is None or segmentation is None:
            return None
        source = open_clip(volume, axis)
        stored = segmentation
        if isinstance(source, SequenceSource):
            stored = source.browser.GetSequenceNode(segmentation)
        for each in self._open:
            if stored is not None and each.is_of(source.node, stored, axis):
                return each
        return None

    def open(self, volume, segmentation=None, axis: int = 2) -> Workspace:
        """The workspace of a volume node (or the proxy of a sequence) and a segmentation; a new
        one begins to open: connect to `opened` and look at `is_open`. Without a segmentation one
        is made. A segmentation that is chosen for a sequence becomes a sequence itself. Raises
        InvalidValue where they do not fit each other."""
        found = self.find(volume, segmentation, axis)
        if found is not None:
            return found
        made = Workspace(self._session, self._soon, volume, segmentation, axis, self._undo_limit)
        self._open.append(made)
        made.closed.connect(lambda: self._closed(made))
        self.changed.emit()
        return made

    def close_all(self) -> None:
        for each in list(self._open):
            each.close()

    def end(self) -> None:
        """Close all and hear no more of the scene."""
        self.close_all()
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []

    def _closed(self, workspace: Workspace) -> None:
        if workspace in self._open:
            self._open.remove(workspace)
            self.changed.emit()

    def _check_soon(self) -> None:
        if self._open and not self._checking:
            self._checking = True
            self._soon(self._check)

    def _check(self) -> None:
        self._checking = False
        for each in list(self._open):
            each.check_nodes()

    def tick(self) -> None:
        """To be called about every half second."""
        for each in list(self._open):
            each.check_saved()
