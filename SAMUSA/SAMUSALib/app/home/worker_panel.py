"""The panel of the worker: where it runs, on which device, what it does and what it needs."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...errors import InvalidValue, SamusaError
from ...worker.client import Pending
from ...worker.messages import Status
from ...worker.session import WorkerState
from ..service import Service
from ..settings import DEVICES, PLACES
from .widgets import Log, duration

STATUS_MS = 2000


class WorkerPanel:
    """The log and the memory are followed while the panel is shown (`enter` to `exit`)."""

    def __init__(self, ui, service: Service):
        self._ui, self._service = ui, service
        self._log = Log(ui.workerLog)
        self._status: Status | None = None
        self._log.add(service.session.log)
        self._disconnect = [
            service.state_changed.connect(lambda state, text: self._show()),
            service.log.connect(self._log.add),
            service.notice.connect(self._on_notice),
        ]
        self._notice = ""
        ui.placeBox.connect("currentIndexChanged(int)", lambda index: self._show_fields())
        ui.workerApplyButton.clicked.connect(lambda: self.apply())
        ui.restartButton.clicked.connect(lambda: self._service.session.restart())
        ui.stopWorkerButton.clicked.connect(lambda: self._service.session.stop())
        self._timer = qt.QTimer()
        self._timer.setInterval(STATUS_MS)
        self._timer.timeout.connect(self._ask)
        self.refresh()

    def refresh(self) -> None:
        """Show what the settings say."""
        ui, settings = self._ui, self._service.settings
        ui.placeBox.currentIndex = PLACES.index(settings.place)
        ui.pythonEdit.setCurrentPath(settings.python)
        ui.hostEdit.text = settings.ssh_host
        ui.programEdit.text = "" if settings.ssh_program == "samusa" else settings.ssh_program
        ui.optionsEdit.text = settings.ssh_options
        ui.deviceBox.currentIndex = DEVICES.index(settings.device)
        self._show_fields()
        self._show()

    def enter(self) -> None:
        self._timer.start()
        self._ask()

    def exit(self) -> None:
        self._timer.stop()

    def close(self) -> None:
        self._timer.stop()
        for disconnect in self._disconnect:
            disconnect()

    def apply(self) -> None:
        """Let the worker run where the fields say, and start it."""
        ui, settings = self._ui, self._service.settings
        place = PLACES[ui.placeBox.currentIndex]
        before = {
            name: getattr(settings, name)
            for name in ("place", "python", "ssh_host", "ssh_program", "ssh_options", "device")
        }
        try:
            if place == "python" and not Path(ui.pythonEdit.currentPath).expanduser().is_file():
                raise InvalidValue(
                    f"there is no program {ui.pythonEdit.currentPath or '(nothing chosen)'}; "
                    "choose the python of an environment with torch and sam2"
                )
            settings.place = place
            settings.python = ui.pythonEdit.currentPath
            settings.ssh_host = ui.hostEdit.text.strip()
            settings.ssh_program = ui.programEdit.text.strip() or "samusa"
            settings.ssh_options = ui.optionsEdit.text.strip()
            settings.device = DEVICES[ui.deviceBox.currentIndex]
            self._service.apply_settings()
        except SamusaError as error:
            for name, value in before.items():
                setattr(settings, name, value)
            self._on_notice(str(error))
            return
        self._notice = ""
        self._service.session.start()
        self._show()

    def _show_fields(self) -> None:
        place, ui = PLACES[self._ui.placeBox.currentIndex], self._ui
        for widget in (ui.pythonLabel, ui.pythonEdit):
            widget.visible = place == "python"
        for widget in (
            ui.hostLabel, ui.hostEdit, ui.programLabel, ui.programEdit, ui.optionsLabel,
            ui.optionsEdit,
        ):  # fmt: skip
            widget.visible = place == "ssh"

    def _on_notice(self, text: str) -> None:
        self._notice = text
        self._show()

    def _ask(self) -> None:
        if self._service.state is WorkerState.READY:
            self._service.session.ask_status().on_done(self._on_status)
        else:
            self._status = None
        self._show()  # that a process has ended is told by nobody

    def _on_status(self, answer: Pending) -> None:
        try:
            self._status = answer.result()
        except SamusaError:
            self._status = None  # it has just gone; its end is told by the session
        self._show()

    def _show(self) -> None:
        session = self._service.session
        lines = [session.state_text]
        if self._status is not None and session.state is WorkerState.READY:
            lines.append(status_text(self._status))
        if self._notice and self._notice not in session.state_text:
            lines.append(self._notice)
        self._ui.workerLabel.text = "\n".join(lines)
        self._ui.restartButton.enabled = self._ui.stopWorkerButton.enabled = session.running


def status_text(status: Status) -> str:
    """Memory and more of a worker that runs."""
    parts = []
    if status.memory:
        parts.append(_("{mb:.0f} MB of memory").format(mb=status.memory / 1e6))
    if status.device_memory:
        mb = status.device_memory / 1e6
        parts.append(_("{mb:.0f} MB on the graphics card").format(mb=mb))
    parts.append(_("{mb:.0f} MB of kept embeddings").format(mb=status.cache / 1e6))
    parts.append(_("clips open: {count}").format(count=status.clips))
    if status.waiting:
        parts.append(_("requests that wait: {count}").format(count=status.waiting))
    parts.append(_("running for {time}").format(time=duration(status.uptime)))
    return ", ".join(parts) + "."
