"""Measurements in Slicer's own plots: a table, a series for each quantity, a chart of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..measurements import Measurements
from ..scene.clip_source import nodes_of_class

ROLE = "SAMUSA.plot"  # attribute by which the nodes are found again in a loaded scene


@dataclass(frozen=True)
class Quantity:
    key: str
    label: str
    title: str


AREA = Quantity("area", "Area", "Area")
CONFIDENCE = Quantity("confidence", "Confidence", "Confidence (predicted IoU)")
CHANGE = Quantity("change", "Change", "Change from the frame before (1 - Dice)")
QUANTITIES = (AREA, CONFIDENCE, CHANGE)


def show_measurements(
    scene,
    name: str,
    color: tuple[int, int, int],
    measured: Measurements,
    times: np.ndarray | None,
    quantity: Quantity,
):
    """Put a segment's measures into the scene's plot nodes, which are made where there are none
    yet, and return the chart, which shows `quantity`.

    times: seconds, (T,); None: the frame numbers are the horizontal axis. color: RGB, 0..255.
    """
    table = _node(scene, "vtkMRMLTableNode", "table", "SAMUSA measurements")
    across = "Frame" if times is None else "Time (s)"
    unit = {"mm2": "mm²", "px": "pixels"}[measured.unit]
    columns = {
        "area": f"Area ({unit})",
        "confidence": "Confidence",
        "change": "Change",
    }
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    _add_column(table, across, np.arange(len(measured.area)) if times is None else times)
    for key, title in columns.items():
        _add_column(table, title, getattr(measured, key))
    table.EndModify(was_modifying)
    chart = _node(scene, "vtkMRMLPlotChartNode", "chart", "SAMUSA chart")
    was_modifying = chart.StartModify()
    chart.RemoveAllPlotSeriesNodeIDs()
    for each in QUANTITIES:
        series = _node(scene, "vtkMRMLPlotSeriesNode", each.key, f"SAMUSA {each.label}")
        series.SetName(name)  # the legend's text
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(across)
        series.SetYColumnName(columns[each.key])
        series.SetColor(*(value / 255 for value in color))
        series.SetMarkerStyle(series.MarkerStyleCircle)
        series.SetMarkerSize(5)
        series.SetLineWidth(2)
        if each is quantity:
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(f"{name}: {quantity.title}")
    chart.SetXAxisTitle(across)
    chart.SetYAxisTitle(columns[quantity.key])
    chart.SetLegendVisibility(False)
    chart.EndModify(was_modifying)
    return chart


def _node(scene, class_name: str, role: str, name: str):
    for node in nodes_of_class(scene, class_name):
        if node.GetAttribute(ROLE) == role:
            return node
    node = scene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(ROLE, role)
    return scene.AddNode(node)


def _add_column(table, name: str, values: np.ndarray) -> None:
    from vtk.util.numpy_support import numpy_to_vtk

    column = numpy_to_vtk(np.asarray(values, dtype=np.float64), deep=True)
    column.SetName(name)
    table.AddColumn(column)
