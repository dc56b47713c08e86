"""The slice views in which the effect SAMUSA is clicked: what they show, where the mouse is, and
the clicks drawn on them."""

from __future__ import annotations

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ..errors import SamusaError
from ..scene.mrml import to_array
from .click_desk import OBLIQUE_DEGREES, ClickDesk, Shown
from .click_drawing import ViewDrawing
from .click_session import ClickSession
from .images import slice_widgets
from .signals import Signal

REACH = 10  # pixels of the design within which a point is grabbed

Found = tuple[ClickSession, int]  # clicks and the index of one of their points


class ClickViews:
    """The qMRMLSliceWidgets of the layout while the effect is active.

    drawn(): the views show what is to be shown now. told(text): a sentence for the user.
    current: the view that was touched last. hovered: the point under the mouse.
    """

    def __init__(self, scripted_effect, desk: ClickDesk):
        self.drawn, self.told = Signal(), Signal()
        self.current = None
        self.hovered: Found | None = None
        self._effect, self._desk = scripted_effect, desk
        self._drawings: dict[str, tuple] = {}  # slice node ID -> (view, ViewDrawing)
        self._is_due = self._is_closed = False

    @property
    def all(self) -> list:
        return slice_widgets()

    @property
    def in_hand(self):
        """The view that was touched last; else one that can be seen, None where there is none."""
        if self.current:  # false too when the view was deleted
            return self.current
        views = self.all
        return next((view for view in views if view.visible), views[0] if views else None)

    def close(self) -> None:
        self._is_closed = True
        self._remove_drawings()

    def layout_changed(self) -> None:
        """Views may have come and gone."""
        self._remove_drawings()
        self.current = self.hovered = None
        self.draw_soon()

    # What a view shows ----------------------------------------------------------------------------

    def shown(self, view) -> Shown:
        node = self._effect.parameterSetNode()
        matrix = to_array(view.mrmlSliceNode().GetSliceToRAS())
        if node is None or node.GetScene() is None:  # the scene was closed
            return Shown(None, None, "", matrix)
        return Shown(
            node.GetSourceVolumeNode(),
            node.GetSegmentationNode(),
            node.GetSelectedSegmentID() or "",
            matrix,
        )

    def ras(self, interactor, view) -> list[float]:
        """Where the mouse is, mm. Not rounded; the display pixel's own place."""
        x, y = interactor.GetEventPosition()
        return list(view.mrmlSliceNode().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])

    def near(self, interactor, view) -> Found | None:
        """The point under the mouse."""
        shown = self.shown(view)
        clicks = self._desk.clicks(shown) if shown.is_complete else None
        if clicks is None:
            return None
        geometry = clicks.workspace.source.geometry_at(clicks.frame)
        x, y, _t = geometry.points_from_ras(self.ras(interactor, view))[0]
        node = view.mrmlSliceNode()
        pixel = node.GetFieldOfView()[0] / node.GetDimensions()[0]  # mm, of the display
        reach = REACH * view.devicePixelRatioF() * pixel / geometry.pixel_spacing[0]
        index = clicks.editor.nearest(x, y, reach, geometry.pixel_aspect)
        return None if index is None else (clicks, index)

    def hover(self, found: Found | None) -> None:
        if found != self.hovered:
            self.hovered = found
            self.draw_soon()

    def straighten(self, view, ras) -> None:
        """Turn an oblique view onto the nearest slices of the volume, through a place in the world,
        and say so."""
        shown = self.shown(view)
        degrees = self._desk.turned(shown) if shown.volume is not None else 0.0
        if degrees > OBLIQUE_DEGREES:
            node = view.mrmlSliceNode()
            node.RotateToVolumePlane(shown.volume)
            node.JumpSliceByOffsetting(*ras)
            text = _("The view was turned by {degrees:.0f}° onto the nearest slices.")
            self.told.emit(text.format(degrees=degrees))

    # Drawing --------------------------------------------------------------------------------------

    def draw_soon(self) -> None:
        """Once for all that changes in this turn of the event loop."""
        if not self._is_due:
            self._is_due = True
            qt.QTimer.singleShot(0, self._draw_all)

    def _draw_all(self) -> None:
        self._is_due = False
        if self._is_closed or slicer.mrmlScene.IsClosing():
            return
        for view in self.all:
            try:
                self._draw(view)
            except SamusaError as error:
                self.told.emit(str(error))
        self.drawn.emit()

    def _draw(self, view) -> None:
        shown = self.shown(view)
        clicks = self._desk.clicks(shown) if shown.is_complete else None
        key = view.mrmlSliceNode().GetID()
        if key not in self._drawings:
            if clicks is None:
                return
            self._drawings[key] = (view, ViewDrawing(view.devicePixelRatioF()))
        drawing = self._drawings[key][1]
        if clicks is None:
            drawing.hide()
        else:
            self._put_on_top(drawing, view)
            self._show(drawing, clicks, view)
        self._effect.scheduleRender(view)

    def _put_on_top(self, drawing: ViewDrawing, view) -> None:
        """What a renderer got last covers the rest: also the masks of segments added since."""
        if self._effect.renderer(view).GetViewProps().GetLastProp() is not drawing.actors[-1]:
            for actor in drawing.actors:
                self._effect.removeActor2D(view, actor)
                self._effect.addActor2D(view, actor)

    def _show(self, drawing: ViewDrawing, clicks: ClickSession, view) -> None:
        geometry = clicks.workspace.source.geometry_at(clicks.frame)
        to_xy = np.linalg.inv(to_array(view.mrmlSliceNode().GetXYToRAS()))
        hovered = self.hovered[1] if self.hovered and self.hovered[0] is clicks else None
        if hovered is not None and hovered >= len(clicks.editor.clicks.points):
            hovered = None
        drawing.show(
            clicks.editor.clicks,
            clicks.mask,
            clicks.frame,
            to_xy @ geometry.frame_to_ras,
            tuple(value / 255 for value in clicks.workspace.masks.segment(clicks.segment).color),
            clicks.from_model,
            hovered,
        )

    def _remove_drawings(self) -> None:
        views = self.all
        for view, drawing in self._drawings.values():
            if view in views:  # a view that was deleted took its actors along
                for actor in drawing.actors:
                    self._effect.removeActor2D(view, actor)
                self._effect.scheduleRender(view)
        self._drawings = {}
