"""The section "Measure and export" of SAMUSA Temporal: readout, plot, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import InvalidValue
from .charts import QUANTITIES, show_measurements
from .export import FORMATS, Format, completed, file_name, free_path
from .settings import Settings
from .temporal import Temporal


class MeasuresPanel:
    """plotting: the plot follows the measurements."""

    def __init__(self, ui, temporal: Temporal, settings: Settings, views, do: Callable[..., None]):
        """views: Slicer's layout node; None where there is no main window. do(action): run what
        the user has asked for, and say what is wrong."""
        self.plotting = False
        self._ui, self._temporal, self._settings, self._views = ui, temporal, settings, views
        self._plot_views = (0, 0)  # Slicer's numbers of their arrangement before and with the plot
        self._read_frame: int | None = None  # the frame that the readout tells of
        for each in QUANTITIES:
            ui.quantitySelector.addItem(each.label, each.key)
        for each in FORMATS:
            ui.formatSelector.addItem(each.label, each.key)
        last_format = ui.formatSelector.findData(settings.export_format)
        ui.formatSelector.setCurrentIndex(max(0, last_format))
        ui.quantitySelector.connect("currentIndexChanged(int)", lambda _row: self.show())
        ui.ventricleBox.connect("toggled(bool)", lambda _on: self._show_readout())
        ui.plotButton.connect("clicked()", lambda: do(self._plot))
        ui.exportButton.connect("clicked()", lambda: do(self._export))

    def refresh(self) -> None:
        """Show what holds for the frame in view, and what the plot's button does."""
        self._ui.plotButton.text = _("Hide plot") if self._is_plot_shown() else _("Show plot")
        if self._temporal.frame != self._read_frame:
            self._show_readout()

    def show(self) -> None:
        """Show the measurements, which are others now."""
        self._show_readout()
        if self.plotting and self._temporal.measurements is not None:
            self._make_chart()

    def _show_readout(self) -> None:
        self._read_frame = self._temporal.frame
        rows = "".join(
            f"<tr><td>{what}&nbsp;&nbsp;</td><td><b>{value}</b></td></tr>"
            for what, value in self._temporal.readout(self._ui.ventricleBox.checked)
        )
        self._ui.readoutLabel.text = f"<table>{rows}</table>" if rows else ""
        self._ui.readoutLabel.visible = bool(rows)

    # Plot ---------------------------------------------------------------------------------------

    def _plot(self) -> None:
        """Show the plot beside the images; where it is shown, the views as they were before."""
        self.plotting = not self._is_plot_shown()
        if not self.plotting:
            self._views.SetViewArrangement(self._plot_views[0])
            return
        if self._temporal.measurements is None:
            raise InvalidValue(_("there is nothing to plot yet; wait for the measurements"))
        before = self._views.GetViewArrangement()
        slicer.modules.plots.logic().ShowChartInLayout(self._make_chart())
        self._plot_views = before, self._views.GetViewArrangement()

    def _is_plot_shown(self) -> bool:
        """Whether the views are still those that `_plot` has made of others."""
        before, with_plot = self._plot_views
        return before != with_plot and self._views.GetViewArrangement() == with_plot

    def _make_chart(self):
        temporal = self._temporal
        info = temporal.workspace.masks.segment(temporal.segment_id)
        return show_measurements(
            slicer.mrmlScene,
            info.name,
            info.color,
            temporal.measurements,
            temporal.workspace.source.times,
            QUANTITIES[max(0, self._ui.quantitySelector.currentIndex)],
        )

    # Export -------------------------------------------------------------------------------------

    def _export(self) -> None:
        chosen = FORMATS[max(0, self._ui.formatSelector.currentIndex)]
        workspace = self._temporal.workspace
        if workspace is None:
            raise InvalidValue(_("choose images and a segmentation first"))
        path = self._ask_path(workspace.source.name, chosen)
        if path:
            self._settings.export_folder = str(Path(path).parent)
            self._settings.export_format = chosen.key
            self._temporal.export(chosen.key, path)

    def _ask_path(self, name: str, chosen: Format) -> str | Path:
        """Where to write a format, beside the last export; empty where the user thinks again."""
        window, folder = self._ui.measureSection, self._settings.export_folder
        if not chosen.suffix:
            folder = qt.QFileDialog.getExistingDirectory(
                window, _("Export into a new folder inside this one"), folder
            )
            return folder and free_path(folder, f"{name}-{chosen.key}")
        given = qt.QFileDialog.getSaveFileName(
            window,
            _("Export"),
            str(Path(folder, file_name(name) + chosen.suffix)),
            f"{chosen.label} (*{chosen.suffix})",
        )
        if not given:
            return ""
        path = completed(given, chosen.suffix)
        # The dialog has asked about the name that was given to it, not about this one.
        if path != given and Path(path).exists():
            question = _("{path} exists already. Replace it?").format(path=path)
            if not slicer.util.confirmYesNoDisplay(question):
                return ""
        return path
