"""The section Clip of SAMUSA Temporal: images, their segmentation, the axis, and the segment."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from ..errors import SamusaError
from ..scene.clip_source import sequence_of
from .images import images_in_view, segmentation_for, views_along
from .temporal import Temporal, axis_labels
from .workspace import Workspace


class ClipPanel:
    """What is chosen is opened, and what is open is chosen, also in the parameter node.

    importing: a scene is being added; what the selectors lose and find meanwhile is no choice.
    """

    def __init__(
        self,
        ui,
        temporal: Temporal,
        parameters: Callable[[], object],
        do: Callable[..., None],
    ):
        """parameters(): the parameter node, wrapped. do(action, *arguments): run what the user has
        asked for, and say what is wrong."""
        self.importing = False
        self._ui, self._temporal = ui, temporal
        self._parameters, self._do = parameters, do
        self._updating = False
        self._shown_segments: list[tuple] = []
        # From Slicer 5.12 on a node that is called like the one before is not told of as changed.
        for change in ("currentNodeChanged(vtkMRMLNode*)", "nodeActivated(vtkMRMLNode*)"):
            ui.volumeSelector.connect(change, self._on_volume_chosen)
            ui.segmentationSelector.connect(change, self.on_inputs_chosen)
        ui.axisSelector.connect("currentIndexChanged(int)", self.on_inputs_chosen)
        ui.segmentSelector.connect("currentIndexChanged(int)", self._on_segment_chosen)
        for button, action in (
            (ui.openButton, self._open),
            (ui.addSegmentButton, temporal.add_segment),
            (ui.clickButton, self._open_segment_editor),
        ):
            button.connect("clicked()", lambda action=action: do(action))

    # What is in hand ----------------------------------------------------------------------------

    def take_in_hand(self, workspace: Workspace, segment: str = "") -> None:
        """Go on with what is open, and with one of its segments."""
        volume = workspace.source.shown_volume
        if volume is None:
            return
        if workspace is not self._temporal.workspace:
            self._temporal.adopt(workspace)
            self.show_choice(volume, workspace)
        if workspace.masks.has_segment(segment):
            self._do(self._temporal.choose_segment, segment)

    def take_images_in_view(self) -> None:
        """Where nothing is chosen yet: what the slice views show, so that Open is all to press."""
        shown = images_in_view(slicer.mrmlScene)
        if self._ui.volumeSelector.currentNode() is None and shown:
            self._updating = True
            self._ui.volumeSelector.setCurrentNode(shown[0])
            self._updating = False
            self._do(self._select_what_belongs, shown[0])

    def open_parameters(self) -> None:
        """Go on with what the parameter node names. Raises SamusaError."""
        parameters = self._parameters()
        volume, segment = parameters.volume, parameters.segment
        workspace = self._temporal.open(volume, parameters.segmentation, parameters.axis)
        self.show_choice(volume, workspace)
        if workspace.masks.has_segment(segment):
            self._temporal.choose_segment(segment)

    def show_choice(self, volume, workspace: Workspace) -> None:
        """The selectors and the parameter node say what is in hand."""
        self._updating = True
        self._ui.volumeSelector.setCurrentNode(volume)
        self._ui.segmentationSelector.setCurrentNode(workspace.masks.shown_node)
        self._updating = False
        self._fill_axes(volume, workspace.source.axis)
        parameters = self._parameters()
        parameters.volume = volume
        parameters.segmentation = workspace.masks.shown_node
        parameters.axis = workspace.source.axis

    # Choosing -----------------------------------------------------------------------------------

    def _on_volume_chosen(self, *_args) -> None:
        """The segmentation of these images comes with them, that of others is not for them."""
        if self._updating or self.importing:
            return
        volume = self._ui.volumeSelector.currentNode()
        if volume is None or not self._temporal.is_of(volume):
            self._do(self._select_what_belongs, volume)
            self.on_inputs_chosen()

    def _select_what_belongs(self, volume) -> None:
        if volume is None:
            return
        selector = self._ui.segmentationSelector
        segmentation, axis = segmentation_for(volume, selector.currentNode())
        self._updating = True
        selector.setCurrentNode(segmentation)
        self._updating = False
        self._fill_axes(volume, axis)

    def on_inputs_chosen(self, *_args) -> None:
        """Images and segmentation are opened at once; without a segmentation a button asks."""
        if not (self._updating or self.importing or self._is_in_hand()):
            self._do(self._take_inputs)

    def _is_in_hand(self) -> bool:
        """Whether what is chosen is open already; Slicer also tells of a node that is renamed."""
        segmentation = self._ui.segmentationSelector.currentNode()
        axis = self._axis() if self._ui.axisSelector.count else None
        return segmentation is not None and self._temporal.is_of(
            self._ui.volumeSelector.currentNode(), segmentation, axis
        )

    def _take_inputs(self) -> None:
        volume = self._ui.volumeSelector.currentNode()
        self._fill_axes(volume)
        if volume is None or self._ui.segmentationSelector.currentNode() is None:
            self._temporal.let_go()
            return
        try:
            self._open()
        except SamusaError:
            self._temporal.let_go()
            raise

    def _axis(self) -> int:
        return self._ui.axisSelector.currentIndex if self._ui.axisSelector.count else 2

    def _fill_axes(self, volume, axis: int | None = None) -> None:
        """axis: the one to choose; None: the one that is chosen, of other images the last."""
        labels = [] if volume is None or sequence_of(volume) is not None else axis_labels(volume)
        selector = self._ui.axisSelector
        self._updating = True
        if [selector.itemText(row) for row in range(selector.count)] != labels:
            selector.clear()
            selector.addItems(labels)
            selector.setCurrentIndex(len(labels) - 1)
        if axis is not None and labels:
            selector.setCurrentIndex(axis)
        self._updating = False

    def _open(self) -> None:
        volume = self._ui.volumeSelector.currentNode()
        segmentation = self._ui.segmentationSelector.currentNode()
        workspace = self._temporal.open(volume, segmentation, self._axis())
        _show_images(workspace)
        self.show_choice(volume, workspace)

    def _on_segment_chosen(self, row: int) -> None:
        if not self._updating and row >= 0:
            segment = self._ui.segmentSelector.itemData(row)
            self._do(self._temporal.choose_segment, segment)
            self._parameters().segment = segment

    def _open_segment_editor(self) -> None:
        """Where the border is clicked: the Segment Editor, with the effect on this segment."""
        temporal = self._temporal
        segmentation = temporal.workspace.masks.shown_node
        volume = temporal.workspace.source.shown_volume
        segment = temporal.segment_id
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(segment)
        editor.setActiveEffectByName("SAMUSA")

    # Showing ------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is in hand."""
        ui, workspace = self._ui, self._temporal.workspace
        ui.openButton.visible = workspace is None
        ui.openButton.enabled = ui.volumeSelector.currentNode() is not None
        for part in (ui.axisLabel, ui.axisSelector):  # a sequence has but one
            part.visible = ui.axisSelector.count > 0
        for part in (ui.segmentSelector, ui.addSegmentButton, ui.clickButton):
            part.enabled = workspace is not None
        self._updating = True
        self._show_segments()
        self._updating = False

    def _show_segments(self) -> None:
        selector, infos = self._ui.segmentSelector, self._temporal.segments()
        wanted = [(info.id, info.name, info.color) for info in infos]
        if wanted != self._shown_segments:
            self._shown_segments = wanted
            selector.clear()
            for identity, name, color in wanted:
                picture = qt.QPixmap(12, 12)
                picture.fill(qt.QColor(*color))
                selector.addItem(qt.QIcon(picture), name, identity)
        selector.setCurrentIndex(selector.findData(self._temporal.segment_id))


def _show_images(workspace: Workspace) -> None:
    """Let slice views show the images, and at least one of them in the plane of a frame."""
    volume = workspace.source.shown_volume
    shown = volume in images_in_view(slicer.mrmlScene)
    turned = not views_along(workspace.source)
    if turned:
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            view.RotateToVolumePlane(volume)
    if turned or not shown:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
