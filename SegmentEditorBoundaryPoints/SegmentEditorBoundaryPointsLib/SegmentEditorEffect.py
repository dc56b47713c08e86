"""The Segment Editor effect "SAMUSA": clicks on the border of a structure become its mask.

What the Segment Editor asks of an effect, the mouse, and what buttons and keys do. All else is in
SAMUSALib.app: click_desk (what clicks mean), click_options, click_keys, click_undo, click_views.
"""

from pathlib import Path

import ctk
import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
STATUS_MS = 400


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "SAMUSA"
        scriptedEffect.title = _("SAMUSA")
        scriptedEffect.perSegment = True
        super().__init__(scriptedEffect)
        self.desk = None  # this and the next three: while the effect is active
        self.views = None
        self.keys = None
        self.undo_steps = None
        self.observed = None  # (editor node, tag)
        self.dragging = None  # clicks
        self.holds_button = False  # the left one was pressed and the view did not see it
        self.sentence = ""

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
        from SAMUSALib.app.click_keys import CTRL, key_names
        from SAMUSALib.app.service import settings

        keys = key_names(settings())
        return _(
            "<html><b>Click points on the border of a structure</b>, then press {accept} to accept "
            "the mask<br>."
            "<p><img src='{picture}' width='320'></p>"
            "<p>Two clicks on opposite sides are often enough. A curve through the clicks is shown "
            "at once, then the model's mask; accepting writes it into the segment.</p><ul>"
            "<li>Shift + click: a point inside. {ctrl} + click: a point outside.</li>"
            "<li>Drag a point to move it; {delete_point} removes the one under the mouse.</li>"
            "<li>{clear}: forget the clicks; where there are none, leave the effect.</li>"
            "<li>{undo}, {redo}: one click back or forth, then accepted masks.</li>"
            "<li>{next_frame}, {previous_frame}: next and previous frame.</li>"
            "<li>{approve}: approve the frame, so that nothing changes it; once more unlocks "
            "it.</li></ul>"
            "<p>Keys count while the mouse is over a slice view; <i>Keys…</i> changes them. Fill "
            "all other frames in the module SAMUSA Temporal.</p></html>"
        ).format(picture=(RESOURCES / "help.png").as_uri(), ctrl=CTRL, **keys)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("Kind", "boundary")
        self.scriptedEffect.setParameterDefault("StartFromMask", 1)
        if self.desk is not None:  # the editor has got another node while the effect is active
            self.observe_editor()
            self.views.draw_soon()

    def setupOptionsFrame(self):
        from SAMUSALib.app.click_options import KINDS, ClickOptions

        actions = {kind: lambda kind=kind: self.set_kind(kind) for kind in KINDS}
        actions |= {
            "start_from_mask": self.updateMRMLFromGUI,
            "accept": self.accept,
            "clear": self.clear,
            "previous_frame": self.previous_frame,
            "next_frame": self.next_frame,
            "unlock": self.toggle_lock,
            "timeline": self.open_timeline,
            "keys": lambda: self.keys.choose(),
        }
        self.options = ClickOptions(self.scriptedEffect, actions)
        self.status_timer = qt.QTimer()
        self.status_timer.setInterval(STATUS_MS)
        self.status_timer.timeout.connect(self.show_status)

    def activate(self):
        from SAMUSALib.app.click_desk import ClickDesk
        from SAMUSALib.app.click_keys import ClickKeys, key_names
        from SAMUSALib.app.click_undo import ClickUndo, editor_of
        from SAMUSALib.app.click_views import ClickViews
        from SAMUSALib.app.service import service
        from SAMUSALib.worker import preview

        self.service = service()
        self.service.session.start()
        preview.prepare()
        self.desk = ClickDesk(self.service.workspaces)
        self.views = ClickViews(self.scriptedEffect, self.desk)
        self.desk.changed.connect(self.views.draw_soon)
        self.desk.told.connect(self.tell)
        self.views.drawn.connect(self.show_status)
        self.views.told.connect(self.tell)
        self.service.notice.connect(self.tell)
        self.service.state_changed.connect(self.worker_changed)
        self.service.settings.shortcuts_changed.connect(self.keys_changed)
        self.observe_editor()
        self.undo_steps = ClickUndo(
            self.scriptedEffect, editor_of(self.scriptedEffect), self.undo, self.redo
        )
        self.keys = ClickKeys(self.service.settings, _actions(self))
        self.keys.install(self.views.all)
        self.sentence = ""
        self.options.show_keys(key_names(self.service.settings))
        self.updateGUIFromMRML()
        self.status_timer.start()
        self.views.draw_soon()

    def deactivate(self):
        if self.desk is None:
            return
        self.status_timer.stop()
        self.keys.remove()
        self.undo_steps.release()
        self.observe_none()
        self.service.notice.disconnect(self.tell)
        self.service.state_changed.disconnect(self.worker_changed)
        self.service.settings.shortcuts_changed.disconnect(self.keys_changed)
        self.views.close()
        self.desk.close()
        self.desk = self.views = self.keys = self.undo_steps = self.dragging = None

    def cleanup(self):
        self.deactivate()

    def layoutChanged(self):
        """Also called for effects that are not active. Views may have come and gone."""
        if self.desk is not None:
            self.dragging = None
            self.views.layout_changed()
            self.keys.install(self.views.all)

    def observe_editor(self):
        """The editor node tells of another segment, volume or segmentation."""
        self.observe_none()
        node = self.scriptedEffect.parameterSetNode()
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.views.draw_soon())
        self.observed = (node, tag)

    def observe_none(self):
        if self.observed is not None:
            node, tag = self.observed
            node.RemoveObserver(tag)
            self.observed = None

    def createCursor(self, widget):
        return qt.QCursor(qt.Qt.CrossCursor)

    def updateGUIFromMRML(self):
        self.options.show_kind(self.scriptedEffect.parameter("Kind"))
        self.options.show_start_from_mask(self.starts_from_mask)

    def updateMRMLFromGUI(self):
        self.scriptedEffect.setParameter("StartFromMask", int(self.options.mask_box.checked))

    def processViewNodeEvents(self, callerViewNode, eventId, viewWidget):
        if self.desk is not None:
            self.views.draw_soon()

    # The mouse ------------------------------------------------------------------------------------

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        """True: the view itself is not to see the event. It keeps all other buttons and the wheel,
        and what Alt goes with, as everywhere in Slicer."""
        if self.desk is None or viewWidget.className() != "qMRMLSliceWidget":
            return False
        command = vtk.vtkCommand
        if eventId == command.EnterEvent:
            self.views.current = viewWidget
            self.keys.take_focus(viewWidget)
            return False
        if eventId == command.LeaveEvent:
            self.views.hover(None)
            return False
        handlers = {
            command.LeftButtonPressEvent: self._pressed,
            command.LeftButtonReleaseEvent: self._released,
            command.MouseMoveEvent: self._moved,
            command.LeftButtonDoubleClickEvent: lambda *_: True,  # the press before it was a click
        }
        handler = handlers.get(eventId)
        return bool(handler and self._tried(handler, callerInteractor, viewWidget, otherwise=True))

    def _pressed(self, interactor, view):
        self.holds_button = not interactor.GetAltKey()
        if not self.holds_button:
            return False
        self.views.current = view
        self.desk.check_unlocked(self.views.shown(view))
        found = self.views.near(interactor, view)
        if found is not None:
            self.dragging, index = found
            self.dragging.editor.grab(index)
            return True
        if self.views.shown(view).has_segment:
            visible = self.scriptedEffect.confirmCurrentSegmentVisible()
            if visible != self.scriptedEffect.ConfirmedWithoutDialog:
                return True  # after a question the button is not held any more: click again
        ras = self.views.ras(interactor, view)
        self.views.straighten(view, ras)
        clicks, x, y = self.desk.begin(self.views.shown(view), ras, self.starts_from_mask)
        self.sentence = ""
        kind = self.scriptedEffect.parameter("Kind")
        if interactor.GetShiftKey():
            kind = "include"
        elif interactor.GetControlKey():
            kind = "exclude"
        if kind == "box":
            clicks.editor.begin_box(x, y)
            self.dragging = clicks
        else:
            clicks.add(kind, x, y)
        return True

    def _moved(self, interactor, view):
        if self.dragging is None:
            self.views.hover(self.views.near(interactor, view))
            return False
        self.dragging.drag(*self.desk.place(self.dragging, self.views.ras(interactor, view)))
        return True

    def _released(self, interactor, view):
        """The view sees no release without its press: it would take it for a click of its own."""
        held, self.holds_button = self.holds_button, False
        dragged, self.dragging = self.dragging, None
        if dragged is not None:
            dragged.finish()
        return held

    # Actions: buttons and keys --------------------------------------------------------------------

    @property
    def starts_from_mask(self):
        return self.scriptedEffect.integerParameter("StartFromMask") != 0

    def set_kind(self, name):
        self.scriptedEffect.setParameter("Kind", name)
        self.updateGUIFromMRML()

    def accept(self):
        self._tried(self._accept)

    def _accept(self):
        from SAMUSALib.scene.rules import EditRules

        clicks = self.current_clicks()
        if clicks is None or not clicks.can_accept:
            self.tell(_("There is nothing to accept; click the border of the structure first."))
            return
        self.undo_steps.before_writing()
        self.sentence = ""
        clicks.accept(EditRules.of_editor(self.scriptedEffect.parameterSetNode()))

    def clear(self):
        self.dragging = None
        clicks = self.current_clicks()
        if clicks is not None:
            clicks.clear()

    def clear_or_leave(self):
        """The key does both, as Esc leaves every effect of the Segment Editor."""
        clicks = self.current_clicks()
        if clicks is not None and clicks.editor.is_changed:
            self.clear()
        else:
            self.scriptedEffect.selectEffect("")

    def delete_point(self):
        if self.views.hovered is not None:
            self._tried(self._delete_hovered)

    def _delete_hovered(self):
        self.desk.check_unlocked(self.views.shown(self.views.in_hand))
        (clicks, index), self.views.hovered = self.views.hovered, None
        clicks.delete(index)

    def toggle_lock(self):
        """Approve the frame in view, or unlock it."""
        self._tried(self._toggle_lock)

    def _toggle_lock(self):
        view = self.views.in_hand
        if view is not None:
            said = self.desk.toggle_lock(self.views.shown(view))
            is_locked = self.desk.locked_frame(self.views.shown(view)) is not None
            self.tell("" if is_locked else said)  # the row with Unlock says it too
            self.views.draw_soon()

    def undo(self):
        self._tried(self._step, "undo")

    def redo(self):
        self._tried(self._step, "redo")

    def _step(self, direction):
        self.dragging = None
        clicks, workspace = self.current_clicks(), self.current_workspace()
        self.tell(self.undo_steps.step(direction, clicks, workspace))

    def open_timeline(self):
        """Go on in SAMUSA Temporal with this clip and segment; the effect is left."""
        workspace = self.current_workspace()
        segment = self.scriptedEffect.parameterSetNode().GetSelectedSegmentID()
        slicer.util.selectModule("SAMUSATemporal")
        if workspace is not None:
            slicer.util.getModuleWidget("SAMUSATemporal").take_in_hand(workspace, segment)

    def next_frame(self):
        self._tried(self._go, 1)

    def previous_frame(self):
        self._tried(self._go, -1)

    def _go(self, by):
        from SAMUSALib.scene.points import frame_in_view

        view = self.views.in_hand
        shown = self.views.shown(view) if view is not None else None
        workspace = self.desk.workspace(shown, open_it=True) if shown else None
        if workspace is None:
            self.tell(_("Choose a volume and a segment first."))
            return
        frame = frame_in_view(workspace.source, shown.slice_to_ras)
        wanted = min(max((frame or 0) + by, 0), len(workspace.source) - 1)
        if wanted != frame:
            self.sentence = ""  # it was about the other frame
            workspace.show_frame(wanted)

    def current_clicks(self):
        """The clicks in the view that is in hand."""
        return self._of_view(self.desk.clicks)

    def current_workspace(self):
        return self._of_view(self.desk.workspace)

    def _of_view(self, ask):
        """What the desk says of the view that is in hand; None too where it cannot be read."""
        from SAMUSALib.errors import SamusaError

        view = self.views.in_hand
        try:
            return ask(self.views.shown(view)) if view is not None else None
        except SamusaError:  # drawing tells of it; the status line is shown from here, too
            return None

    def _tried(self, action, *arguments, otherwise=None):
        """What the action returns; an error becomes a sentence in the status line."""
        from SAMUSALib.errors import SamusaError

        try:
            return action(*arguments)
        except SamusaError as error:
            self.tell(str(error))
            return otherwise

    # What the panel shows -------------------------------------------------------------------------

    def keys_changed(self):
        from SAMUSALib.app.click_keys import key_names
        from SAMUSALib.app.click_undo import editor_of

        self.keys.install(self.views.all)
        self.options.show_keys(key_names(self.service.settings))
        help_browser = editor_of(self.scriptedEffect).findChild(
            ctk.ctkFittedTextBrowser, "EffectHelpBrowser"
        )
        if help_browser is not None:
            help_browser.setCollapsibleText(self.helpText())

    def tell(self, sentence):
        end = "" if sentence.endswith((".", "!", "?")) or not sentence else "."
        self.sentence = sentence[:1].upper() + sentence[1:] + end
        self.show_status()

    def worker_changed(self, state, text):
        self.show_status()

    def show_status(self):
        from SAMUSALib.app.click_keys import key_names
        from SAMUSALib.app.click_options import worker_text

        if self.desk is None or self.options.is_gone:
            return
        clicks = self.current_clicks()
        worker = worker_text(self.service.session, clicks)
        self.options.show_status(self.sentence, worker, clicks)
        self.options.show_lock(self._of_view(self.desk.locked_frame))
        keys = key_names(self.service.settings)
        self.undo_steps.show(clicks, self.current_workspace(), keys)


def _actions(effect):
    """Names of settings.SHORTCUTS that are the effect's, and what they do."""
    from SAMUSALib.app.click_options import KINDS

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
