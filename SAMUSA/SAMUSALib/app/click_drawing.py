"""Points, box and outline of a mask as VTK actors of one slice view. No Qt."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..masks import bounding_box
from .click_editor import KINDS, Clicks

# Okabe and Ito's, which the colour-blind tell apart; the forms differ too
POINT_COLORS = {
    "boundary": (0.94, 0.89, 0.26),
    "include": (0.0, 0.75, 0.5),
    "exclude": (0.9, 0.3, 0.2),
}
BOX_COLOR = (0.34, 0.71, 0.91)
POINT_SIZE, HOVERED_SIZE = 9.0, 15.0  # pixels of the design


class ViewDrawing:
    """The actors of one view; `actors` are to be added to its renderer.

    to_view: (4, 4), frame coordinates (x, y, t, 1) -> display pixels of the view.
    """

    def __init__(self, scale: float = 1.0):
        """scale: display pixels a pixel of the design, for dense screens."""
        self._scale = scale
        self._points = {kind: _Points(kind, POINT_SIZE, scale) for kind in KINDS}
        self._hovered = _Points("hovered", HOVERED_SIZE, scale)
        self._contour = _Lines(2.0 * scale)
        self._box = _Lines(1.5 * scale)
        self._box.actor.GetProperty().SetColor(*BOX_COLOR)
        drawn = [self._contour, self._box, *self._points.values(), self._hovered]
        self.actors = [each.actor for each in drawn]

    def show(
        self,
        clicks: Clicks,
        mask: np.ndarray | None,
        frame: int,
        to_view: np.ndarray,
        color: tuple[float, float, float],
        from_model: bool,
        hovered: int | None = None,
    ) -> None:
        """mask: (H, W) bool or None; a preview is drawn paler than the model's."""
        for kind, drawn in self._points.items():
            drawn.show(
                _in_view([(p.x, p.y) for p in clicks.points if p.kind == kind], frame, to_view)
            )
        near = [clicks.points[hovered]] if hovered is not None else []
        self._hovered.show(_in_view([(p.x, p.y) for p in near], frame, to_view))
        lines = []
        if clicks.box is not None:
            x0, y0, x1, y1 = clicks.box
            lines = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]
        self._box.show([_in_view(line, frame, to_view) for line in lines])
        outlines = mask_outlines(mask) if mask is not None else []
        self._contour.show([_in_view(line, frame, to_view) for line in outlines])
        pale = color if from_model else tuple((value + 1.0) / 2 for value in color)
        self._contour.actor.GetProperty().SetColor(*pale)

    def hide(self) -> None:
        for actor in self.actors:
            actor.SetVisibility(False)


class _Drawn:
    def __init__(self):
        self.data = vtk.vtkPolyData()
        self.actor = vtk.vtkActor2D()
        self.actor.SetPickable(False)

    def _put(self, places: np.ndarray) -> None:
        points = vtk.vtkPoints()
        flat = np.zeros((len(places), 3), np.float32)
        flat[:, :2] = places
        points.SetData(numpy_to_vtk(flat, deep=True))
        self.data.SetPoints(points)
        self.actor.SetVisibility(len(places) > 0)
        self.data.Modified()


class _Points(_Drawn):
    def __init__(self, kind: str, size: float, scale: float):
        super().__init__()
        glyph = vtk.vtkGlyphSource2D()
        if kind == "include":
            glyph.SetGlyphTypeToThickCross()
        elif kind == "exclude":
            glyph.SetGlyphTypeToThickCross()
            glyph.SetRotationAngle(45)
        else:
            glyph.SetGlyphTypeToCircle()
        glyph.SetFilled(kind != "hovered")
        glyph.SetScale(size * scale)
        color = (1.0, 1.0, 1.0) if kind == "hovered" else POINT_COLORS[kind]
        glyph.SetColor(*color)
        glyphs = vtk.vtkGlyph2D()
        glyphs.SetSourceConnection(glyph.GetOutputPort())
        glyphs.SetInputData(self.data)
        glyphs.ScalingOff()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputConnection(glyphs.GetOutputPort())
        mapper.ScalarVisibilityOff()
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetColor(*color)
        self.actor.GetProperty().SetLineWidth(2.0 * scale)
        self._put(np.zeros((0, 2)))

    def show(self, places: np.ndarray) -> None:
        self._put(places)


class _Lines(_Drawn):
    def __init__(self, width: float):
        super().__init__()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self.data)
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetLineWidth(width)
        self.show([])

    def show(self, lines: list[np.ndarray]) -> None:
        cells, start = vtk.vtkCellArray(), 0
        for line in lines:
            cells.InsertNextCell(len(line))
            for index in range(start, start + len(line)):
                cells.InsertCellPoint(index)
            start += len(line)
        self.data.SetLines(cells)
        self._put(np.concatenate(lines) if lines else np.zeros((0, 2)))


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outlines of an (H, W) mask, (N, 2) x and y in frame pixels each; half way between the pixels
    inside and outside."""
    box = bounding_box(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    padded = np.pad(mask[y0 : y1 + 1, x0 : x1 + 1], 1).astype(np.uint8)
    image = vtk.vtkImageData()
    image.SetDimensions(padded.shape[1], padded.shape[0], 1)
    image.SetOrigin(x0 - 1, y0 - 1, 0)
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True))
    edges = vtk.vtkFlyingEdges2D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    joined = vtk.vtkStripper()
    joined.SetInputConnection(edges.GetOutputPort())
    joined.SetMaximumLength(100_000)
    joined.Update()
    found = joined.GetOutput()
    lines, ids = [], vtk.vtkIdList()
    cells = found.GetLines()
    cells.InitTraversal()
    while cells.GetNextCell(ids):
        points = [found.GetPoint(ids.GetId(n))[:2] for n in range(ids.GetNumberOfIds())]
        lines.append(np.array(points))
    return lines


def _in_view(places, frame: int, to_view: np.ndarray) -> np.ndarray:
    """(N, 2) frame pixels -> (N, 2) display pixels."""
    places = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    ones = np.ones(len(places))
    return (np.column_stack([places, frame * ones, ones]) @ np.asarray(to_view).T)[:, :2]
