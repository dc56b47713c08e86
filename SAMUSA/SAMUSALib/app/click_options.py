"""The options of the effect SAMUSA in the Segment Editor's panel: buttons and the status line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

from ..worker.session import Session
from .click_keys import CTRL
from .click_session import ClickSession

KINDS = {  # name: (button, tool tip, action of settings.SHORTCUTS)
    "boundary": ("Border", "Click where you see the border.", "boundary_points"),
    "include": ("Inside", "Click what belongs to it (also Shift + click).", "include_points"),
    "exclude": (
        "Outside",
        "Click what does not belong to it (also {ctrl} + click).",
        "exclude_points",
    ),
    "box": ("Box", "Draw a box around it.", "box"),
}


class ClickOptions:
    """What the options frame of the effect holds: widgets, and how they show what there is.

    is_gone: the Segment Editor was deleted and took its widgets along; none of them may be touched.
    """

    def __init__(self, scripted_effect, actions: Mapping[str, Callable[[], None]]):
        """actions: what the buttons do: the four kinds of KINDS, start_from_mask, accept, clear,
        previous_frame, next_frame, unlock, timeline, keys."""
        self.is_gone = False
        panel = qt.QWidget()  # one for all: options of the editor would drift apart in a high panel
        self._rows = qt.QVBoxLayout(panel)
        self._rows.setContentsMargins(0, 0, 0, 0)
        kinds = self._row()
        self.kind_buttons = {}
        group = qt.QButtonGroup(kinds)
        for name, (text, _tip, _action) in KINDS.items():
            button = _button(kinds, qt.QToolButton(), _(text), f"{name}KindButton", actions[name])
            button.checkable = True
            button.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
            group.addButton(button)
            self.kind_buttons[name] = button
        self.mask_box = qt.QCheckBox(_("Start from the segment's mask"))
        self.mask_box.objectName = "StartFromMaskCheckBox"
        self.mask_box.toolTip = _(
            "Where the segment has a mask on this frame, the model corrects it by your clicks "
            "instead of making a new one."
        )
        self.mask_box.connect("toggled(bool)", lambda on: actions["start_from_mask"]())
        self._rows.addWidget(self.mask_box)
        row = self._row()
        self.accept_button, self.clear_button, self.previous_button, self.next_button = (
            _button(row, made, text, name, actions[action])
            for made, text, name, action in (
                (qt.QPushButton(), _("Accept"), "AcceptButton", "accept"),
                (qt.QPushButton(), _("Clear"), "ClearButton", "clear"),
                (qt.QToolButton(), "◀", "PreviousFrameButton", "previous_frame"),
                (qt.QToolButton(), "▶", "NextFrameButton", "next_frame"),
            )
        )
        self.lock_row = self._row()
        self.lock_label = _label("LockLabel")
        self.lock_row.layout().addWidget(self.lock_label, 1)
        self.unlock_button = _button(
            self.lock_row, qt.QPushButton(), _("Unlock"), "UnlockButton", actions["unlock"]
        )
        self.lock_row.hide()
        self.message_label = _label("MessageLabel")
        self.message_label.hide()
        self._rows.addWidget(self.message_label)
        self.worker_label = _label("WorkerLabel")
        self._rows.addWidget(self.worker_label)
        row = self._row()
        row.layout().addStretch(1)
        self.timeline_button = _button(
            row, qt.QToolButton(), _("Timeline…"), "TimelineButton", actions["timeline"]
        )
        self.timeline_button.toolTip = _("Windows, propagation and review, in SAMUSA Temporal.")
        keys = _button(row, qt.QToolButton(), _("Keys…"), "KeysButton", actions["keys"])
        keys.toolTip = _("See and change the keys of SAMUSA.")
        self._rows.addStretch(1)
        scripted_effect.addOptionsWidget(panel)
        panel.connect("destroyed()", self._forget)

    def _row(self):
        """A widget whose parts lie side by side, below the other rows."""
        row = qt.QWidget()
        parts = qt.QHBoxLayout(row)
        parts.setContentsMargins(0, 0, 0, 0)
        parts.setSpacing(4)
        self._rows.addWidget(row)
        return row

    def _forget(self) -> None:
        self.is_gone = True

    def show_kind(self, kind: str) -> None:
        for name, button in self.kind_buttons.items():
            button.checked = name == kind
            font = button.font  # in dark styles a pressed button hardly looks pressed
            font.setBold(name == kind)
            button.font = font

    def show_start_from_mask(self, on: bool) -> None:
        self.mask_box.blockSignals(True)
        self.mask_box.checked = on
        self.mask_box.blockSignals(False)

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """In the tool tips. keys: by action of settings.SHORTCUTS, in words."""
        for name, (_text, tip, action) in KINDS.items():
            self.kind_buttons[name].toolTip = f"{_(tip).format(ctrl=CTRL)} ({keys[action]})"
        for button, tip, action in (
            (self.accept_button, _("Write the mask into the segment"), "accept"),
            (self.clear_button, _("Forget the clicks that were not accepted"), "clear"),
            (self.previous_button, _("Previous frame"), "previous_frame"),
            (self.next_button, _("Next frame"), "next_frame"),
            (self.unlock_button, _("Let the frame be changed again"), "approve"),
        ):
            button.toolTip = f"{tip} ({keys[action]})"

    def show_status(self, message: str, worker: str, clicks: ClickSession | None) -> None:
        """A sentence for the user, what the worker does, and which buttons there is something to
        do for."""
        self.message_label.text = message
        self.message_label.visible = bool(message)
        self.worker_label.text = worker
        self.accept_button.enabled = clicks is not None and clicks.can_accept
        self.clear_button.enabled = clicks is not None and clicks.editor.is_changed

    def show_lock(self, frame: int | None) -> None:
        """frame: the one in view where it is approved, else None."""
        self.lock_row.visible = frame is not None
        if frame is not None:
            self.lock_label.text = _("Frame {frame} is approved and locked.").format(frame=frame)


def worker_text(session: Session, clicks: ClickSession | None) -> str:
    """Model and device, what the worker does, and how long the last mask took."""
    if session.loaded is None:
        return session.state_text
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
    return " · ".join(parts)


def _button(row, button, text: str, name: str, action: Callable[[], None]):
    button.text = text
    button.objectName = name
    button.connect("clicked()", action)
    row.layout().addWidget(button)
    return button


def _label(name: str):
    label = qt.QLabel()
    label.objectName = name
    label.wordWrap = True
    return label
