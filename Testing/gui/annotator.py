"""Somebody who annotates in the host: presses buttons, clicks in the slice view, types keys.

The tests of the complete workflow and the script that takes the pictures share this hand.
"""

from pathlib import Path

import numpy as np

from SAMUSALib.training.clicks import border, next_boundary_click

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # s; a generous watchdog: other programs may be at work beside a test


class Annotator:
    """host: the running one. view: the slice view that is clicked, by its name."""

    def __init__(self, host, view: str = "Red"):
        import slicer
        from host import events

        self.host, self.events = host, events
        manager = slicer.app.moduleManager()
        manager._load(REPOSITORY / "SegmentEditorBoundaryPoints" / "SegmentEditorBoundaryPoints.py")
        slicer.app.startupCompleted.emit()
        host.load_segment_editor()
        self.panel = host.load_module(REPOSITORY / "SAMUSATemporal" / "SAMUSATemporal.py")
        self.ui, self.temporal = self.panel.ui, self.panel.temporal
        self.session = self.panel.logic.service.session
        self.view = slicer.app.layoutManager().sliceWidget(view)

    def wait(self, condition, what: str, seconds: float = PATIENCE) -> None:
        try:
            self.host.wait_until(condition, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.session.state_text}") from None
        self.host.process_events(0.05)

    @property
    def workspace(self):
        return self.temporal.workspace

    @property
    def effect(self):
        """The Python side of the effect SAMUSA; the Segment Editor is in front."""
        import slicer

        return slicer.modules.SegmentEditorWidget.editor.activeEffect().self()

    @property
    def clicks(self):
        return self.effect.current_clicks()

    # SAMUSA Temporal ----------------------------------------------------------------------------

    def open(self, volume) -> None:
        """Choose the images and press Open; a first segment is there then."""
        self.ui.volumeSelector.setCurrentNode(volume)
        self.ui.openButton.click()
        self.wait(lambda: self.temporal.is_ready, "the clip")
        self.wait(lambda: self.ui.propagateSection.enabled, "the panel")

    def press(self, key: str) -> None:
        """A key of SAMUSA Temporal."""
        import slicer

        self.events.keys(slicer.util.mainWindow(), key)

    def set_window(self, first: int, last: int) -> None:
        for frame, key in ((first, "["), (last, "]")):
            self.temporal.show_frame(frame)
            self.press(key)

    def propagate(self, button) -> None:
        self.wait(lambda: button.isEnabled() and button.visible, "the button")
        button.click()
        self.wait(lambda: not self.temporal.is_propagating, "the propagation", 600.0)
        self.wait(lambda: self.ui.bothButton.enabled, "the panel")

    def masks(self) -> np.ndarray:
        """(T, H, W) bool, the segment in hand."""
        segment, masks = self.temporal.segment_id, self.workspace.masks
        return np.array([masks.mask(segment, frame) for frame in range(self.temporal.length)])

    # The Segment Editor -------------------------------------------------------------------------

    def edit(self, frame: int) -> None:
        """Show a frame and go to the effect by the panel's button."""
        self.temporal.show_frame(frame)
        self.ui.clickButton.click()
        self.wait(lambda: self.workspace.is_open, "the clip")

    def leave_editor(self) -> None:
        import slicer

        slicer.util.selectModule("SAMUSATemporal")
        self.host.process_events(0.05)

    def click_border(self, truth: np.ndarray, count: int, spread: bool = False):
        """Click on the border of a mask (H, W) on the frame in view, each time where what is shown
        is worst; spread: all around instead, far from each other. Yields the mask that is shown
        after each click: the model's."""
        outline, rng = border(truth), np.random.default_rng(0)
        made = np.zeros((0, 2))
        shown = None
        for _ in range(count):
            point = next_boundary_click(outline, made, None if spread else shown, rng)
            made = np.vstack([made, point])
            self.click(*point)
            self.wait(lambda: not self.clicks.is_waiting, "the model's mask")
            shown = self.clicks.mask
            yield shown

    def click(self, x: float, y: float, modifiers=()) -> None:
        """Click at a place of the frame in view."""
        self.events.click(self.view, self.xy(x, y), modifiers=modifiers)

    def xy(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the view, VTK's, of a place on the frame in view."""
        from SAMUSALib.scene.points import to_ras

        source, frame = self.workspace.source, self.temporal.frame
        return self.events.ras_to_xy(self.view, to_ras(source, [[x, y]], frame)[0])

    def accept(self) -> None:
        self.events.keys(self.view.sliceView(), "Return")
        self.host.process_events(0.05)

    def annotate(self, frame: int, truth: np.ndarray, count: int = 5) -> None:
        """Clicks on the border of a frame, accepted; then back to SAMUSA Temporal."""
        self.edit(frame)
        for _ in self.click_border(truth, count):
            pass
        self.accept()
        self.leave_editor()
