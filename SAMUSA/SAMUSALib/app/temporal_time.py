"""The section "When it is visible" of SAMUSA Temporal: timeline, frame in view, windows."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from .temporal import Temporal
from .timeline import Timeline, legend


class TimePanel:
    def __init__(self, ui, temporal: Temporal, do: Callable[..., None]):
        """do(action, *arguments): run what the user has asked for, and say what is wrong."""
        self.timeline = Timeline(lambda frame: do(temporal.show_frame, frame))
        self._ui, self._temporal, self._do = ui, temporal, do
        self._updating = False
        self._shown_range: tuple[int, int, int] | None = None  # last frame, ends of the window
        ui.timelinePlace.layout().addWidget(self.timeline)
        ui.legendLabel.text = legend()
        ui.windowSelector.connect("currentIndexChanged(int)", self._on_window_chosen)
        ui.frameSlider.connect("valueChanged(double)", self._on_frame_chosen)
        # The window is changed when the handle is let go: on the way it would swallow others.
        ui.windowRange.connect("valuesChanged(double,double)", self._on_range_chosen)
        ui.windowRange.connect("minimumValueIsChanging(double)", self._on_frame_chosen)
        ui.windowRange.connect("maximumValueIsChanging(double)", self._on_frame_chosen)
        for button, action in (
            (ui.previousButton, lambda: temporal.step(-1)),
            (ui.nextButton, lambda: temporal.step(1)),
            (ui.addWindowButton, temporal.add_window),
            (ui.removeWindowButton, temporal.remove_window),
            (ui.startHereButton, temporal.start_here),
            (ui.endHereButton, temporal.end_here),
        ):
            button.connect("clicked()", lambda action=action: do(action))

    def refresh(self) -> None:
        """Show the segment in hand. Raises SceneChanged."""
        self._updating = True
        try:
            self._show_frame()
            self._show_windows()
        finally:
            self._updating = False

    def _show_frame(self) -> None:
        ui, temporal = self._ui, self._temporal
        ui.frameSlider.maximum = max(0, temporal.length - 1)
        ui.frameSlider.value = temporal.frame or 0
        self.timeline.show_segment(temporal.shown())

    def _show_windows(self) -> None:
        ui, edits = self._ui, self._temporal.edits
        last, chosen = max(0, self._temporal.length - 1), edits.chosen
        wanted = (last, *((chosen.start, chosen.end) if chosen else (0, last)))
        if wanted != self._shown_range:  # else it may be in the user's hand
            self._shown_range = wanted
            ui.windowRange.setRange(0, last)
            ui.windowRange.setValues(*wanted[1:])
        labels = [f"{window.start} – {window.end}" for window in edits.windows]
        labels = labels or [_("Whole clip")]
        if [ui.windowSelector.itemText(n) for n in range(ui.windowSelector.count)] != labels:
            ui.windowSelector.clear()
            ui.windowSelector.addItems(labels)
        row = edits.windows.index(chosen) if chosen in edits.windows else 0
        ui.windowSelector.setCurrentIndex(row)
        ui.removeWindowButton.enabled = chosen is not None

    def _on_window_chosen(self, row: int) -> None:
        if not self._updating:
            self._do(self._temporal.choose_window, row)

    def _on_frame_chosen(self, value: float) -> None:
        if not self._updating:
            self._do(self._temporal.show_frame, int(value))

    def _on_range_chosen(self, start: float, end: float) -> None:
        if not self._updating:
            self._shown_range = None
            self._do(self._temporal.set_window, start, end)
