"""The Segment Editor effect "SAMUSA": clicks on the border of a structure become its mask.

Widgets, mouse, keys and drawing; what clicks mean is in SAMUSALib.app.click_desk.
"""

from pathlib import Path

import ctk
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
# Keys that the Segment Editor has for its own undo besides; here they do the same as ours.
MORE_KEYS = {"undo": ("Z",), "redo": ("Y", "Ctrl+Shift+Z"), "accept": ("Enter",)}
TYPING = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox", "QComboBox")


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "SAMUSA"
        scriptedEffect.title = _("SAMUSA")
        scriptedEffect.perSegment = True
        super().__init__(scriptedEffect)
        self.desk = None  # while the effect is active
        self.drawings = {}  # slice node ID -> (view widget, ViewDrawing)
        self.shortcuts = None
        self.undo_buttons = None
        self.key_dialog = None
        self.observed = None  # (editor node, tag)
        self.saved_for_undo = None  # the vtkSegmentation that the Segment Editor's undo has saved
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
        """Up to the first <br> it is always shown, the rest by "Show details"."""
        return _(
            "<html><b>Click points on the border of a structure</b>, then press {accept} to accept "
            "the mask<br>."
            "<p><img src='{picture}' width='320'></p>"
            "<p>Two clicks on opposite sides are often enough. A curve through the clicks is shown "
            "at once, then the model's mask; accepting writes it into the segment.</p><ul>"
            "<li>Shift + click: a point inside. Ctrl + click: a point outside.</li>"
            "<li>Drag a point to move it; {delete_point} removes the one under the mouse.</li>"
            "<li>{clear}: forget the clicks; where there are none, leave the effect.</li>"
            "<li>{undo}, {redo}: one click back or forth, then accepted masks.</li>"
            "<li>{next_frame}, {previous_frame}: next and previous frame.</li>"
            "<li>{approve}: approve the frame, so that nothing changes it; once more unlocks "
            "it.</li></ul>"
            "<p>Keys count while the mouse is over a slice view; <i>Keys…</i> changes them. Fill "
            "all other frames in the module SAMUSA Temporal.</p></html>"
        ).format(picture=(RESOURCES / "help.png").as_uri(), **_key_names())

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("Kind", "boundary")
        self.scriptedEffect.setParameterDefault("StartFromMask", 1)
        if self.desk is not None:  # the editor has got another node while the effect is active
            self.observe_editor()
            self.draw_soon()

    def setupOptionsFrame(self):
        row = _row()
        self.kind_group = qt.QButtonGroup(row)
        self.kind_buttons = {}
        for name, (text, _tip, _key) in KINDS.items():
            button = qt.QToolButton()
            button.text = _(text)
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
        buttons = _row()
        self.accept_button = self._button(buttons, _("Accept"), "AcceptButton", self.accept)
        self.clear_button = self._button(buttons, _("Clear"), "ClearButton", self.clear)
        self.previous_button = self._button(
            buttons, "◀", "PreviousFrameButton", self.previous_frame
        )
        self.next_button = self._button(buttons, "▶", "NextFrameButton", self.next_frame)
        self.scriptedEffect.addOptionsWidget(buttons)
        self.lock_row = _row()
        self.lock_label = qt.QLabel()
        self.lock_label.objectName = "LockLabel"
        self.lock_label.wordWrap = True
        self.lock_row.layout().addWidget(self.lock_label, 1)
        self.unlock_button = self._button(
            self.lock_row, _("Unlock"), "UnlockButton", self.toggle_lock
        )
        self.lock_row.hide()
        self.scriptedEffect.addOptionsWidget(self.lock_row)
        status = _row()
        self.status_label = qt.QLabel()
        self.status_label.objectName = "StatusLabel"
        self.status_label.wordWrap = True
        status.layout().addWidget(self.status_label, 1)
        keys = qt.QToolButton()
        keys.text = _("Keys…")
        keys.objectName = "KeysButton"
        keys.toolTip = _("See and change the keys of SAMUSA.")
        keys.connect("clicked()", self.choose_keys)
        status.layout().addWidget(keys)
        self.scriptedEffect.addOptionsWidget(status)
        # callbacks that are under way when the editor is deleted must not touch its widgets
        self.options_are_gone = False
        self.status_label.connect("destroyed()", self.forget_options)
        self.status_timer = qt.QTimer()
        self.status_timer.setInterval(STATUS_MS)
        self.status_timer.timeout.connect(self.show_status)

    def _button(self, parent, text, name, action):
        button = qt.QPushButton(text)
        button.objectName = name
        button.connect("clicked(bool)", lambda on: action())
        parent.layout().addWidget(button)
        return button

    def activate(self):
        from SAMUSALib.app.click_desk import ClickDesk
        from SAMUSALib.app.service import service
        from SAMUSALib.app.shortcuts import Shortcuts
        from SAMUSALib.app.undo_buttons import UndoButtons
        from SAMUSALib.worker import preview

        self.service = service()
        self.service.session.start()
        preview.prepare()
        self.desk = ClickDesk(self.service.workspaces)
        self.desk.changed.connect(self.draw_soon)
        self.desk.told.connect(self.tell)
        self.service.notice.connect(self.tell)
        self.service.state_changed.connect(self.worker_changed)
        self.service.settings.shortcuts_changed.connect(self.keys_changed)
        self.observe_editor()
        self.undo_buttons = UndoButtons(self._editor(), self.undo, self.redo)
        self.shortcuts = Shortcuts()
        self.install_shortcuts()
        self.show_keys()
        self.status_timer.start()
        self.sentence = ""
        self.saved_for_undo = None
        self.updateGUIFromMRML()
        self.draw_soon()

    def forget_options(self, *_):
        self.options_are_gone = True

    def deactivate(self):
        if self.desk is None:
            return
        self.status_timer.stop()
        self.shortcuts.remove()
        self.undo_buttons.release()
        if self.key_dialog is not None:
            self.key_dialog.close()
        self.observe_none()
        self.service.notice.disconnect(self.tell)
        self.service.state_changed.disconnect(self.worker_changed)
        self.service.settings.shortcuts_changed.disconnect(self.keys_changed)
        self.desk.changed.disconnect(self.draw_soon)
        self.desk.close()
        self.desk = None
        self.hovered = self.dragging = self.current = self.saved_for_undo = None
        self.remove_drawings()

    def cleanup(self):
        self.deactivate()

    def layoutChanged(self):
        """Also called for effects that are not active. Views may have come and gone."""
        if self.desk is not None:
            self.remove_drawings()
            self.current = self.hovered = None
            self.install_shortcuts()
            self.draw_soon()

    def observe_editor(self):
        """The editor node tells of another segment, volume or segmentation."""
        self.observe_none()
        node = self.scriptedEffect.parameterSetNode()
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.draw_soon())
        self.observed = (node, tag)

    def observe_none(self):
        if self.observed is not None:
            node, tag = self.observed
            node.RemoveObserver(tag)
            self.observed = None

    def remove_drawings(self):
        views = self._views()
        for view, drawing in self.drawings.values():
            if view in views:  # a view that was deleted took its actors along
                for actor in drawing.actors:
                    self.scriptedEffect.removeActor2D(view, actor)
                self.scriptedEffect.scheduleRender(view)
        self.drawings = {}

    def createCursor(self, widget):
        return qt.QCursor(qt.Qt.CrossCursor)

    def updateGUIFromMRML(self):
        kind = self.scriptedEffect.parameter("Kind")
        for name, button in self.kind_buttons.items():
            button.checked = name == kind
            font = button.font  # in dark styles a pressed button hardly looks pressed
            font.setBold(name == kind)
            button.font = font
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
        self.desk.check_unlocked(self._shown(view))
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
        focused = slicer.app.focusWidget()
        if focused is None or not any(focused.inherits(name) for name in TYPING):
            view.sliceView().setFocus()
        self.shortcuts.silence()
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
        if clicks is None or not clicks.can_accept:
            self.tell(_("There is nothing to accept; click the border of the structure first."))
            return
        self.save_for_editors_undo()
        self.sentence = ""
        clicks.accept(EditRules.of_editor(self.scriptedEffect.parameterSetNode()))

    def clear(self):
        self.dragging = None
        clicks = self._current_clicks()
        if clicks is not None:
            clicks.clear()

    def clear_or_leave(self):
        """The key does both, as Esc leaves every effect of the Segment Editor."""
        clicks = self._current_clicks()
        if clicks is not None and clicks.editor.is_changed:
            self.clear()
        else:
            self.scriptedEffect.selectEffect("")

    def delete_point(self):
        if self.hovered is not None:
            self._tried(self._delete_hovered)

    def _delete_hovered(self):
        self.desk.check_unlocked(self._shown(self.current))
        (clicks, index), self.hovered = self.hovered, None
        clicks.delete(index)

    def toggle_lock(self):
        """Approve the frame in view, or unlock it."""
        self._tried(self._toggle_lock)

    def _toggle_lock(self):
        view = self.current or self._any_view()
        if view is not None:
            self.tell(self.desk.toggle_lock(self._shown(view)))
            self.draw_soon()

    def undo(self):
        self._tried(self._step, "undo")

    def redo(self):
        self._tried(self._step, "redo")

    def _step(self, direction):
        """A click, else what SAMUSA has written, else what other effects did before."""
        done = _("Undone") if direction == "undo" else _("Redone")
        clicks = self._current_clicks()
        if clicks is not None and getattr(clicks, direction)():
            self.tell("")
            return
        workspace = self._current_workspace()
        if workspace is not None and getattr(workspace.history, f"{direction}_name"):
            self.save_for_editors_undo()
            self.tell(f"{done}: {getattr(workspace, direction)()}.")
        elif self._editor_can(direction):
            getattr(self._editor(), direction)()
            self.tell(_("{done}: what another effect had done.").format(done=done))
        else:
            self.tell(_("There is nothing more to {direction}.").format(direction=direction))

    def _can_step(self, direction):
        clicks, workspace = self._current_clicks(), self._current_workspace()
        return bool(
            (clicks is not None and getattr(clicks.editor, f"can_{direction}"))
            or (workspace is not None and getattr(workspace.history, f"{direction}_name"))
            or self._editor_can(direction)
        )

    def _editor_can(self, direction):
        """Not any more when SAMUSA has written since: the editor would take that back with it."""
        return self.saved_for_undo is None and self.undo_buttons.editor_can(direction.title())

    def save_for_editors_undo(self):
        """Before SAMUSA writes for the first time since it was chosen: so that the editor's own
        undo, when the effect is left, takes back all of that as one step, and no more."""
        segmentation = (
            self.scriptedEffect.parameterSetNode().GetSegmentationNode().GetSegmentation()
        )
        if self.saved_for_undo is not segmentation:  # each image of a sequence has its own
            self.scriptedEffect.saveStateForUndo()
            self.saved_for_undo = segmentation

    def _editor(self):
        """The qMRMLSegmentEditorWidget that the effect is in."""
        widget = self.scriptedEffect.optionsFrame()
        while widget is not None and widget.className() != "qMRMLSegmentEditorWidget":
            widget = widget.parentWidget()
        return widget

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
            self.sentence = ""  # it was about the other frame
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
        """Undo and redo count in the whole window, all others in the slice views."""
        settings, actions = self.service.settings, _actions(self)
        in_window, in_views = {}, {}
        for name, action in actions.items():
            keys = in_window if name in ("undo", "redo") else in_views
            chosen = settings.shortcut(name)
            if chosen:
                keys[chosen] = action
            for key in MORE_KEYS.get(name, ()):
                if settings.action_on(key) not in actions:
                    keys[key] = action
        views = [view.sliceView() for view in self._views()]
        self.shortcuts.install(slicer.util.mainWindow(), in_window, views, in_views)

    def choose_keys(self):
        from SAMUSALib.app.shortcut_dialog import ShortcutDialog

        if self.key_dialog is None:
            self.key_dialog = ShortcutDialog(self.service.settings, slicer.util.mainWindow())
        self.key_dialog.open()

    def keys_changed(self):
        self.install_shortcuts()
        self.show_keys()
        help_browser = self._editor().findChild(ctk.ctkFittedTextBrowser, "EffectHelpBrowser")
        if help_browser is not None:
            help_browser.setCollapsibleText(self.helpText())

    def show_keys(self):
        """In the tool tips."""
        keys = _key_names()
        for name, (_text, tip, key) in KINDS.items():
            self.kind_buttons[name].toolTip = f"{_(tip)} ({keys[key]})"
        for button, tip, key in (
            (self.accept_button, _("Write the mask into the segment"), "accept"),
            (self.clear_button, _("Forget the clicks that were not accepted"), "clear"),
            (self.previous_button, _("Previous frame"), "previous_frame"),
            (self.next_button, _("Next frame"), "next_frame"),
            (self.unlock_button, _("Let the frame be changed again"), "approve"),
        ):
            button.toolTip = f"{tip} ({keys[key]})"

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
        self.sentence = sentence[:1].upper() + sentence[1:]
        self.show_status()

    def worker_changed(self, state, text):
        self.show_status()

    def show_status(self):
        if self.options_are_gone or self.desk is None:
            return
        clicks = self._current_clicks()
        text = " · ".join(self._worker_parts(clicks))
        self.status_label.text = f"{self.sentence}\n{text}" if self.sentence else text
        self.accept_button.enabled = clicks is not None and clicks.can_accept
        self.clear_button.enabled = clicks is not None and clicks.editor.is_changed
        self._show_lock()
        keys = _key_names()
        for name, direction, tip in (
            ("Undo", "undo", _("Take back the last click or accepted mask")),
            ("Redo", "redo", _("Do it again")),
        ):
            self.undo_buttons.show(name, self._can_step(direction), f"{tip} ({keys[direction]})")

    def _worker_parts(self, clicks):
        """Model and device, what the worker does, and how long the last mask took."""
        session = self.service.session
        if session.loaded is None:
            return [session.state_text]
        loaded = session.loaded
        parts = [_("{model} on {device}").format(model=loaded.model, device=loaded.device)]
        if clicks is not None and not clicks.workspace.is_open:
            parts.append(_("the clip is being opened"))
        elif clicks is not None and clicks.is_waiting:
            parts.append(_("computing; the curve is shown meanwhile"))
        else:
            parts.append(_("ready"))
            if clicks is not None and clicks.from_model and clicks.latency is not None:
                parts.append(_("mask in {latency:.2f} s").format(latency=clicks.latency))
        return parts

    def _show_lock(self):
        view = self.current or self._any_view()
        frame = self._tried(self.desk.locked_frame, self._shown(view)) if view is not None else None
        self.lock_row.visible = frame is not None
        if frame is not None:
            self.lock_label.text = _("Frame {frame} is approved and locked.").format(frame=frame)


def _row():
    """A widget whose parts lie side by side."""
    row = qt.QWidget()
    row.setLayout(qt.QHBoxLayout())
    row.layout().setContentsMargins(0, 0, 0, 0)
    return row


def _actions(effect):
    """Names of settings.SHORTCUTS that are the effect's, and what they do."""
    actions = {
        "accept": effect.accept,
        "clear": effect.clear_or_leave,
        "delete_point": effect.delete_point,
        "undo": effect.undo,
        "redo": effect.redo,
        "next_frame": effect.next_frame,
        "previous_frame": effect.previous_frame,
        "approve": effect.toggle_lock,
    }
    for kind, (_text, _tip, name) in KINDS.items():
        actions[name] = lambda kind=kind: effect.set_kind(kind)
    return actions


def _key_names():
    """By action: the key as it is shown to the user."""
    from SAMUSALib.app.service import settings
    from SAMUSALib.app.settings import SHORTCUTS

    return {name: settings().shortcut(name) or _("no key") for name in SHORTCUTS}
