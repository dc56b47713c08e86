"""The Segment Editor effect "SAMUSA": clicks on the border of a structure become its mask.

Widgets, mouse, keys and drawing; what clicks mean is in SAMUSALib.app.click_desk.
"""

from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

KINDS = {  # name: (button, tool tip, shortcut)
    "boundary": ("Border", "Click where you see the border.", "boundary_points"),
    "include": ("Inside", "Click what belongs to it (also Shift + click).", "include_points"),
    "exclude": (
        "Outside",
        "Click what does not belong to it (also Ctrl + click).",
        "exclude_points",
    ),
    "box": ("Box", "Draw a box around it.", "box"),
}
RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
REACH = 10  # display pixels within which a point is grabbed
STATUS_MS = 400


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "SAMUSA"
        scriptedEffect.title = _("SAMUSA")
        scriptedEffect.perSegment = True
        super().__init__(scriptedEffect)
        self.desk = None  # while the effect is active
        self.drawings = {}  # slice node ID -> (view widget, ViewDrawing)
        self.shortcuts = []
        self.silenced = []  # shortcuts of others on our keys
        self.observations = []
        self.hovered = None  # (clicks, index)
        self.dragging = None  # clicks
        self.current = None  # view widget that was touched last
        self.sentence = ""
        self.drawing_is_due = False

    # What the Segment Editor asks -----------------------------------------------------------------

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(Path(__file__).as_posix())
        return cloned

    def icon(self):
        return qt.QIcon(str(RESOURCES / "Icons" / "SegmentEditorBoundaryPoints.png"))

    def helpText(self):
        keys = _key_names()
        picture = (RESOURCES / "help.png").as_posix()
        return _(
            "<html><b>Click points on the border of a structure.</b> A curve through them is shown "
            "at once, then the model's mask. Two clicks on opposite sides are often enough."
            "<p><img src='{picture}' width='320'></p><ul>"
            "<li>Shift + click: a point inside. Ctrl + click: a point outside.</li>"
            "<li>Drag a point to move it; {delete_point} removes the one under the mouse.</li>"
            "<li><b>{accept}: accept the mask.</b> {clear}: forget the clicks.</li>"
            "<li>{undo}, {redo}: one click back or forth, then accepted masks.</li>"
            "<li>{next_frame}, {previous_frame}: next and previous frame.</li></ul>"
            "Fill all frames from it in the module SAMUSA Temporal.</html>"
        ).format(picture=picture, **keys)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("Kind", "boundary")
        self.scriptedEffect.setParameterDefault("StartFromMask", 0)

    def setupOptionsFrame(self):
        row = qt.QWidget()
        row.setLayout(qt.QHBoxLayout())
        row.layout().setContentsMargins(0, 0, 0, 0)
        self.kind_group = qt.QButtonGroup(row)
        self.kind_buttons = {}
        for name, (text, tip, _key) in KINDS.items():
            button = qt.QToolButton()
            button.text = _(text)
            button.toolTip = _(tip)
            button.checkable = True
            button.objectName = f"{name}KindButton"
            button.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
            button.connect("clicked(bool)", lambda on, name=name: self.set_kind(name))
            self.kind_group.addButton(button)
            self.kind_buttons[name] = button
            row.layout().addWidget(button)
        self.scriptedEffect.addLabeledOptionsWidget(_("Click:"), row)
        self.mask_box = qt.QCheckBox(_("Start from the mask that the segment has here"))
        self.mask_box.objectName = "StartFromMaskCheckBox"
        self.mask_box.toolTip = _(
            "The model then corrects this mask by your clicks, instead of making a new one."
        )
        self.mask_box.connect("toggled(bool)", self.updateMRMLFromGUI)
        self.scriptedEffect.addOptionsWidget(self.mask_box)
        buttons = qt.QWidget()
        buttons.setLayout(qt.QHBoxLayout())
        buttons.layout().setContentsMargins(0, 0, 0, 0)
        self.accept_button = self._button(buttons, "Accept", "AcceptButton", self.accept)
        self.clear_button = self._button(buttons, "Clear", "ClearButton", self.clear)
        self._button(buttons, "◀", "PreviousFrameButton", self.previous_frame)
        self._button(buttons, "▶", "NextFrameButton", self.next_frame)
        self.scriptedEffect.addOptionsWidget(buttons)
        self.status_label = qt.QLabel()
        self.status_label.objectName = "StatusLabel"
        self.status_label.wordWrap = True
        self.scriptedEffect.addOptionsWidget(self.status_label)
        # an editor that is deleted does not deactivate its effect first
        self.options_are_gone = False
        self.status_label.connect("destroyed(QObject*)", self.forget_options)
        self.status_timer = qt.QTimer()
        self.status_timer.setInterval(STATUS_MS)
        self.status_timer.timeout.connect(self.show_status)

    def _button(self, parent, text, name, action):
        button = qt.QPushButton(_(text))
        button.objectName = name
        button.connect("clicked(bool)", lambda on: action())
        parent.layout().addWidget(button)
        return button

    def activate(self):
        from SAMUSALib.app.click_desk import ClickDesk
        from SAMUSALib.app.service import service
        from SAMUSALib.worker import preview

        self.service = service()
        self.service.session.start()
        preview.prepare()
        self.desk = ClickDesk(self.service.workspaces)
        self.desk.changed.connect(self.draw_soon)
        self.desk.told.connect(self.tell)
        self.service.notice.connect(self.tell)
        self.service.state_changed.connect(self.worker_changed)
        node = self.scriptedEffect.parameterSetNode()
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.draw_soon())
        self.observations.append((node, tag))
        self.install_shortcuts()
        self.status_timer.start()
        self.sentence = ""
        self.updateGUIFromMRML()
        self.draw_soon()

    def forget_options(self, *_):
        self.options_are_gone = True

    def deactivate(self):
        if self.desk is None:
            return
        self.status_timer.stop()
        self.remove_shortcuts()
        for node, tag in self.observations:
            node.RemoveObserver(tag)
        self.observations = []
        self.service.notice.disconnect(self.tell)
        self.service.state_changed.disconnect(self.worker_changed)
        self.desk.changed.disconnect(self.draw_soon)
        self.desk.close()
        self.desk = None
        self.hovered = self.dragging = self.current = None
        for view, drawing in self.drawings.values():
            for actor in drawing.actors:
                self.scriptedEffect.removeActor2D(view, actor)
            self.scriptedEffect.scheduleRender(view)
        self.drawings = {}

    def cleanup(self):
        self.deactivate()

    def createCursor(self, widget):
        return qt.QCursor(qt.Qt.CrossCursor)

    def updateGUIFromMRML(self):
        kind = self.scriptedEffect.parameter("Kind")
        for name, button in self.kind_buttons.items():
            button.checked = name == kind
        self.mask_box.blockSignals(True)
        self.mask_box.checked = self.scriptedEffect.integerParameter("StartFromMask") != 0
        self.mask_box.blockSignals(False)

    def updateMRMLFromGUI(self, *_):
        self.scriptedEffect.setParameter("StartFromMask", int(self.mask_box.checked))

    def processViewNodeEvents(self, callerViewNode, eventId, viewWidget):
        if self.desk is not None:
            self.draw_soon()

    # The mouse ------------------------------------------------------------------------------------

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        if self.desk is None or viewWidget.className() != "qMRMLSliceWidget":
            return False
        command = vtk.vtkCommand
        if eventId == command.EnterEvent:
            self._take_focus(viewWidget)
            return False
        if eventId == command.LeaveEvent:
            self._hover(None)
            return False
        handlers = {
            command.LeftButtonPressEvent: self._pressed,
            command.LeftButtonReleaseEvent: self._released,
            command.MouseMoveEvent: self._moved,
            command.LeftButtonDoubleClickEvent: lambda *_: True,  # a press has come already
        }
        handler = handlers.get(eventId)
        return bool(handler and self._tried(handler, callerInteractor, viewWidget, otherwise=True))

    def _pressed(self, interactor, view):
        self.current = view
        found = self._near(interactor, view)
        if found is not None:
            self.dragging, index = found
            self.dragging.editor.grab(index)
            return True
        shown, ras = self._shown(view), self._ras(interactor, view)
        ras = self._straighten(view, shown, ras)
        use_mask = self.scriptedEffect.integerParameter("StartFromMask") != 0
        clicks, x, y = self.desk.begin(self._shown(view), ras, use_mask)
        self.sentence = ""
        kind = self.scriptedEffect.parameter("Kind")
        if interactor.GetShiftKey():
            kind = "include"
        elif interactor.GetControlKey() or interactor.GetAltKey():
            kind = "exclude"
        if kind == "box":
            clicks.editor.begin_box(x, y)
            self.dragging = clicks
        else:
            clicks.add(kind, x, y)
        return True

    def _moved(self, interactor, view):
        if self.dragging is None:
            self._hover(self._near(interactor, view))
            return False
        self.dragging.drag(*self.desk.place(self.dragging, self._ras(interactor, view)))
        return True

    def _released(self, interactor, view):
        if self.dragging is None:
            return False
        dragged, self.dragging = self.dragging, None
        dragged.finish()
        return True

    def _straighten(self, view, shown, ras):
        """Turn an oblique view onto the nearest slices of the volume, and say so."""
        from SAMUSALib.app.click_desk import OBLIQUE_DEGREES

        if shown.volume is None:
            return ras
        degrees = self.desk.turned(shown)
        if degrees > OBLIQUE_DEGREES:
            node = view.mrmlSliceNode()
            node.RotateToVolumePlane(shown.volume)
            node.JumpSliceByOffsetting(*ras)
            self.tell(
                _("The view was turned by {degrees:.0f}° onto the nearest slices.").format(
                    degrees=degrees
                )
            )
        return ras

    def _near(self, interactor, view):
        """(clicks, index) of the point under the mouse, or None."""
        shown = self._shown(view)
        clicks = self.desk.clicks(shown) if shown.is_complete else None
        if clicks is None:
            return None
        ras = self._ras(interactor, view)
        x, y = self.desk.place(clicks, ras)
        spacing = clicks.workspace.source.geometry.pixel_spacing[0]
        node = view.mrmlSliceNode()
        reach = REACH * node.GetFieldOfView()[0] / node.GetDimensions()[0] / spacing
        index = clicks.editor.nearest(x, y, reach, clicks.aspect)
        return None if index is None else (clicks, index)

    def _hover(self, found):
        if found != self.hovered:
            self.hovered = found
            self.draw_soon()

    def _take_focus(self, view):
        """So that keys count where the mouse is; not from under somebody who types."""
        if not isinstance(slicer.app.focusWidget(), (qt.QLineEdit, qt.QTextEdit, qt.QSpinBox)):
            view.sliceView().setFocus()
        self.current = view

    # Actions: buttons and keys --------------------------------------------------------------------

    def set_kind(self, name):
        self.scriptedEffect.setParameter("Kind", name)
        self.updateGUIFromMRML()

    def accept(self):
        self._tried(self._accept)

    def _accept(self):
        from SAMUSALib.scene.rules import EditRules

        clicks = self._current_clicks()
        node = self.scriptedEffect.parameterSetNode()
        if clicks is None or not clicks.accept(EditRules.of_editor(node)):
            self.tell(_("There is nothing to accept; click the border of the structure first."))
        else:
            self.sentence = ""

    def clear(self):
        self.dragging = None
        clicks = self._current_clicks()
        if clicks is not None:
            clicks.clear()

    def delete_point(self):
        if self.hovered is not None:
            (clicks, index), self.hovered = self.hovered, None
            self._tried(clicks.delete, index)

    def undo(self):
        self._tried(self._step, "undo")

    def redo(self):
        self._tried(self._step, "redo")

    def _step(self, direction):
        clicks = self._current_clicks()
        if clicks is not None and getattr(clicks, direction)():
            return
        workspace = self._current_workspace()
        name = getattr(workspace, direction)() if workspace is not None else None
        if name is None:
            self._step_of_editor(direction)

    def _step_of_editor(self, direction):
        """What other effects have done is undone by the Segment Editor itself."""
        widget = self.scriptedEffect.optionsFrame()
        while widget is not None and widget.className() != "qMRMLSegmentEditorWidget":
            widget = widget.parent()
        if widget is not None:
            getattr(widget, direction)()

    def next_frame(self):
        self._tried(self._go, 1)

    def previous_frame(self):
        self._tried(self._go, -1)

    def _go(self, by):
        from SAMUSALib.scene.points import frame_in_view

        view, shown = self.current or self._any_view(), None
        if view is not None:
            shown = self._shown(view)
        workspace = self.desk.workspace(shown, open_it=True) if shown else None
        if workspace is None:
            self.tell(_("Choose a volume and a segment first."))
            return
        frame = frame_in_view(workspace.source, shown.slice_to_ras)
        wanted = min(max((frame or 0) + by, 0), len(workspace.source) - 1)
        if wanted != frame:
            workspace.show_frame(wanted)

    def _tried(self, action, *arguments, otherwise=None):
        """What the action returns; an error becomes a sentence in the status line."""
        from SAMUSALib.errors import SamusaError

        try:
            return action(*arguments)
        except SamusaError as error:
            self.tell(str(error))
            return otherwise

    # Keys -----------------------------------------------------------------------------------------

    def install_shortcuts(self):
        """On the slice views alone, and while the effect is active."""
        keys = {name: self.service.settings.shortcut(name) for name in _actions(self)}
        pairs = [(key, name) for name, key in keys.items() if key]
        if keys["accept"] == "Return":
            pairs.append(("Enter", "accept"))  # of the number pad
        taken = {qt.QKeySequence(key).toString() for key, _name in pairs}
        self._silence(taken)
        for view in self._views():
            for key, name in pairs:
                shortcut = qt.QShortcut(qt.QKeySequence(key), view.sliceView())
                shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
                shortcut.connect("activated()", _actions(self)[name])
                self.shortcuts.append(shortcut)

    def _silence(self, taken):
        """Two shortcuts on one key cancel each other: the Segment Editor's own Esc, Ctrl+Z and
        numbers rest meanwhile."""
        window = slicer.util.mainWindow()
        for other in window.findChildren(qt.QShortcut) if window is not None else ():
            key = other.key() if callable(other.key) else other.key  # a property in some builds
            if other.isEnabled() and key.toString() in taken:
                other.setEnabled(False)
                self.silenced.append(other)

    def remove_shortcuts(self):
        for shortcut in self.shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self.shortcuts = []
        for other in self.silenced:
            try:
                other.setEnabled(True)
            except (ValueError, RuntimeError):  # deleted: the Segment Editor was left
                continue
        self.silenced = []

    # What views show ------------------------------------------------------------------------------

    def _views(self):
        layout = slicer.app.layoutManager()
        return [layout.sliceWidget(name) for name in layout.sliceViewNames()] if layout else []

    def _any_view(self):
        return next(iter(self._views()), None)

    def _shown(self, view):
        from SAMUSALib.app.click_desk import Shown
        from SAMUSALib.scene.mrml import to_array

        node = self.scriptedEffect.parameterSetNode()
        matrix = to_array(view.mrmlSliceNode().GetSliceToRAS())
        if node is None or node.GetScene() is None:  # the scene was closed
            return Shown(None, None, "", matrix)
        return Shown(
            node.GetSourceVolumeNode(),
            node.GetSegmentationNode(),
            node.GetSelectedSegmentID() or "",
            matrix,
        )

    def _ras(self, interactor, view):
        """Not rounded; the display pixel's own place."""
        x, y = interactor.GetEventPosition()
        return list(view.mrmlSliceNode().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])

    def _current_clicks(self):
        view = self.current or self._any_view()
        return self._tried(self.desk.clicks, self._shown(view)) if view is not None else None

    def _current_workspace(self):
        view = self.current or self._any_view()
        return self._tried(self.desk.workspace, self._shown(view)) if view is not None else None

    # Drawing --------------------------------------------------------------------------------------

    def draw_soon(self):
        """Once for all that changes in this turn of the event loop."""
        if not self.drawing_is_due:
            self.drawing_is_due = True
            qt.QTimer.singleShot(0, self._draw_all)

    def _draw_all(self):
        self.drawing_is_due = False
        if self.options_are_gone or self.desk is None or slicer.mrmlScene.IsClosing():
            return
        for view in self._views():
            self._tried(self._draw, view)
        self.show_status()

    def _draw(self, view):
        from SAMUSALib.app.click_drawing import ViewDrawing
        from SAMUSALib.scene.mrml import to_array

        shown = self._shown(view)
        clicks = self.desk.clicks(shown) if shown.is_complete else None
        key = view.mrmlSliceNode().GetID()
        if key not in self.drawings:
            if clicks is None:
                return
            drawing = ViewDrawing(view.devicePixelRatioF())
            for actor in drawing.actors:
                self.scriptedEffect.addActor2D(view, actor)
            self.drawings[key] = (view, drawing)
        drawing = self.drawings[key][1]
        if clicks is None:
            drawing.hide()
        else:
            geometry = clicks.workspace.source.geometry_at(clicks.frame)
            to_xy = np.linalg.inv(to_array(view.mrmlSliceNode().GetXYToRAS()))
            hovered = self.hovered[1] if self.hovered and self.hovered[0] is clicks else None
            color = clicks.workspace.masks.segment(clicks.segment).color
            drawing.show(
                clicks.editor.clicks,
                clicks.mask,
                clicks.frame,
                to_xy @ geometry.frame_to_ras,
                tuple(value / 255 for value in color),
                clicks.from_model,
                hovered
                if hovered is not None and hovered < len(clicks.editor.clicks.points)
                else None,
            )
        self.scriptedEffect.scheduleRender(view)

    # The status line ------------------------------------------------------------------------------

    def tell(self, sentence):
        self.sentence = sentence
        self.show_status()

    def worker_changed(self, state, text):
        self.show_status()

    def show_status(self):
        if self.options_are_gone or self.desk is None:
            return
        session, clicks = self.service.session, self._current_clicks()
        loaded = session.loaded
        parts = []
        if loaded is not None:
            parts.append(_("{model} on {device}").format(model=loaded.model, device=loaded.device))
        else:
            parts.append(session.state_text)
        if clicks is not None:
            if not clicks.workspace.is_open:
                parts.append(_("the clip is being opened"))
            elif clicks.is_waiting:
                parts.append(_("computing; the curve is shown meanwhile"))
            elif clicks.from_model and clicks.latency is not None:
                parts.append(_("{latency:.2f} s").format(latency=clicks.latency))
        text = " · ".join(parts)
        self.status_label.text = f"{self.sentence}\n{text}" if self.sentence else text
        self.accept_button.enabled = bool(
            clicks is not None and clicks.editor.is_changed and not clicks.editor.clicks.is_empty
        )


def _actions(effect):
    """Names of settings.SHORTCUTS that are the effect's, and what they do."""
    actions = {
        name: getattr(effect, name)
        for name in (
            "accept",
            "clear",
            "delete_point",
            "undo",
            "redo",
            "next_frame",
            "previous_frame",
        )
    }
    for kind, (_text, _tip, name) in KINDS.items():
        actions[name] = lambda kind=kind: effect.set_kind(kind)
    return actions


def _key_names():
    from SAMUSALib.app.service import settings

    chosen = settings()
    names = ("accept", "clear", "delete_point", "undo", "redo", "next_frame", "previous_frame")
    return {name: chosen.shortcut(name) or _("(no key)") for name in names}
