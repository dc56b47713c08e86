"""What Slicer's modules share: one worker session, one list of what is being annotated, one set
of settings, and an end when the application quits. The only place where these are made."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ..errors import InvalidValue
from ..places import journals_folder
from ..worker.command import WorkerCommand
from ..worker.session import Session, WorkerState
from .qprocess import QProcessTransport
from .settings import Settings
from .signals import Signal
from .workspaces import Workspaces

TICK_MS = 500

_service: Service | None = None


def service() -> Service:
    """The application's own; made when it is first asked for, nothing is started by that."""
    global _service
    if _service is None:
        _service = Service()
    return _service


def session() -> Session:
    return service().session


def settings() -> Settings:
    return service().settings


def workspaces() -> Workspaces:
    return service().workspaces


class Service:
    """state_changed(WorkerState, text), notice(text), log(text): as of Session; many may listen."""

    def __init__(self):
        import qt
        import slicer

        self.state_changed, self.notice, self.log = Signal(), Signal(), Signal()
        self.settings = Settings(slicer.app.userSettings())
        transport = self._transport = QProcessTransport()
        try:
            command = worker_command(self.settings)
        except InvalidValue as error:
            sentence = f"{error}. Until then the worker runs in this Slicer."
            transport.soon(lambda: self.notice.emit(sentence))
            command = slicers_own()
        self.session = Session(
            transport,
            command,
            self.settings.model,
            journals_folder(),
            self.settings.device,
        )
        self.session.on_state = self.state_changed.emit
        self.session.on_notice = self.notice.emit
        self.session.on_log = self.log.emit
        self.workspaces = Workspaces(
            self.session, transport.soon, slicer.mrmlScene, self.settings.undo_mb * 2**20
        )
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        slicer.app.aboutToQuit.connect(self.close)

    @property
    def state(self) -> WorkerState:
        return self.session.state

    def apply_settings(self) -> None:
        """Let worker and model be those of the settings. Raises InvalidValue (an ssh host that is
        none); then all stays as it is."""
        command = worker_command(self.settings)
        if command != self.session.command:
            self.session.set_command(command)
        self.session.set_model(self.settings.model, self.settings.device)

    def _tick(self) -> None:
        self.session.tick()
        self.workspaces.tick()

    def close(self) -> None:
        """The application quits: what is accepted is on disk, the worker ends at once."""
        global _service
        if _service is self:
            _service = None
        self._timer.stop()
        self.workspaces.end()
        self.session.on_state = self.session.on_notice = self.session.on_log = None
        self.session.stop(grace=0.0)
        self._transport.close()


def worker_command(settings: Settings) -> WorkerCommand:
    """Where the settings want the worker. Raises InvalidValue."""
    import slicer

    environment = slicer.util.startupEnvironment()
    if settings.place == "ssh":
        command = WorkerCommand.ssh(
            settings.ssh_host, settings.ssh_program, settings.ssh_arguments, environment
        )
    elif settings.place == "python":
        command = WorkerCommand.python(Path(settings.python).expanduser(), environment)
    else:
        command = slicers_own()
    return command.with_memory(settings.cache_mb, settings.clips_mb)


def local_command(settings: Settings) -> WorkerCommand:
    """A Python of this computer for work that needs no worker: downloads, training."""
    if settings.place == "python":
        return worker_command(settings)
    return slicers_own()


def slicers_own() -> WorkerCommand:
    """The worker in this Slicer's Python."""
    import slicer

    # sys.executable becomes PythonSlicer at the end of the start-up. Until then it is Slicer, and
    # a module that Slicer opens with is there already.
    python = shutil.which("PythonSlicer") or sys.executable
    return WorkerCommand.slicer_python(python, slicer.util.startupEnvironment())
