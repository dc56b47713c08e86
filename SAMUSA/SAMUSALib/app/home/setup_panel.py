"""The panel that installs what the worker needs into Slicer's Python."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...errors import SamusaError
from .. import install_plan
from ..install import Installation, pytorch_extension_is_here
from ..install_plan import Step
from ..qprocess import QProcessTransport
from ..service import Service, slicers_own
from ..signals import Signal
from ..steps import Stepper
from .widgets import Log, Progress, confirmed, fill, megabytes, show_progress


class SetupPanel:
    """changed(): something was installed or removed."""

    def __init__(self, ui, service: Service):
        self.changed = Signal()
        self._ui, self._service = ui, service
        self._log = Log(ui.setupLog)
        self._title = ""
        self.is_complete = False
        self.installation = Installation(slicers_own(), QProcessTransport)
        self.installation.step.connect(self._on_step)
        self.installation.line.connect(self._log.line)
        self.installation.progress.connect(self._on_progress)
        self.installation.ended.connect(self._on_ended)
        ui.installButton.clicked.connect(lambda: self.install())
        ui.wheelsButton.clicked.connect(lambda: self._on_wheels())
        ui.setupCancelButton.clicked.connect(lambda: self._on_stop())
        ui.uninstallButton.clicked.connect(lambda: self._on_remove())
        show_progress(ui.setupProgress, None)
        ui.setupStepLabel.visible = False

    def refresh(self) -> None:
        """Look at what is installed."""
        if self.installation.running:
            return
        self._ui.wheelsButton.enabled = True
        self._offer_stop(False)
        try:
            steps = self.installation.to_do()
            added = self.installation.added()
        except SamusaError as error:
            self._ui.setupLabel.text = str(error)
            self._ui.installButton.enabled = self._ui.uninstallButton.enabled = False
            return
        self.is_complete = not steps
        fill(self._ui.setupList, [(step.title, step.size) for step in steps])
        self._ui.setupList.toolTip = "\n".join(installed_by(step) for step in steps)
        self._ui.setupList.visible = bool(steps)
        self._ui.installButton.enabled = self._ui.wheelsButton.enabled = bool(steps)
        self._ui.uninstallButton.enabled = bool(added)
        self._ui.setupLabel.text = self._explanation(steps)

    def _explanation(self, steps: list[Step]) -> str:
        folder = sysconfig.get_path("purelib")
        if not steps:
            return _("This Slicer has all that the model needs, in {folder}.").format(folder=folder)
        text = _(
            "The model needs Python packages that Slicer does not bring. They go into this "
            "Slicer's own Python ({folder}). What Slicer brings stays as it is, and Remove takes "
            "the others out again. It takes some minutes; you can stop and go on at any time."
        ).format(folder=folder)
        if self._service.settings.place != "slicer":
            text += " " + _("The worker runs elsewhere, so you only need them to train here.")
        elif any(step.name == "pytorch" for step in steps):
            if pytorch_extension_is_here():
                text += " " + _(
                    "PyTorch comes first, by Slicer's PyTorch extension; Slicer answers slowly "
                    "meanwhile."
                )
            else:
                text += " " + _(
                    "<b>First install the extension PyTorch in the Extensions Manager, restart "
                    "Slicer, and come back.</b> From a folder it goes without."
                )
        return text

    def install(self, wheels: Path | None = None) -> None:
        """Begin, or go on."""
        self._end_worker()
        try:
            self.installation.start(wheels)
        except SamusaError as error:
            self._tell(str(error))
            return
        self._begun()

    def _on_wheels(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._ui.SAMUSA, _("Folder with wheels (.whl)"), ""
        )
        if folder:
            self.install(Path(folder))

    def _offer_stop(self, offered: bool) -> None:
        self._ui.setupCancelButton.enabled = self._ui.setupCancelButton.visible = offered

    def _on_stop(self) -> None:
        self.installation.cancel()
        if self.installation.running:
            self._tell(_("Stopping; what is being copied is finished first."))

    def _on_remove(self) -> None:
        needs: dict[str, set[str]] = {}

        def look():
            for name, wanted in install_plan.needs(self.installation.paths):
                needs.setdefault(name, wanted)
                yield

        self._ui.uninstallButton.enabled = False
        Stepper(look(), _soon, lambda: self._ask_and_remove(needs))

    def _ask_and_remove(self, needs: dict[str, set[str]]) -> None:
        self._ui.uninstallButton.enabled = True
        try:
            names = install_plan.removable(self.installation.added(), needs)
            question = _(
                "{count} packages that the set-up has added will be removed from this Slicer's "
                "Python: {names}. Your models and your work stay."
            ).format(count=len(names), names=", ".join(names))
            if names and not confirmed(question, _("Remove what was installed")):
                return
            self._end_worker()
            self.installation.remove(names)
        except SamusaError as error:
            self._tell(str(error))
            return
        self._begun()

    def _end_worker(self) -> None:
        """It has files of this Python open, and knows nothing of packages that come later."""
        if self._service.settings.place == "slicer":
            self._service.session.stop(grace=0.0)

    def _begun(self) -> None:
        for button in (self._ui.installButton, self._ui.wheelsButton, self._ui.uninstallButton):
            button.enabled = False
        self._offer_stop(self.installation.running)

    def _on_step(self, step, number: int, count: int) -> None:
        self._title = step.title
        self._log.line(f"== {step.title}")
        self._tell(_("Step {n} of {m}: {title}").format(n=number, m=count, title=step.title))
        show_progress(self._ui.setupProgress, Progress(0, None))

    def _on_progress(self, progress: Progress) -> None:
        show_progress(self._ui.setupProgress, progress, megabytes(progress))

    def _on_ended(self, ok: bool, text: str) -> None:
        self._log.line(text)
        show_progress(self._ui.setupProgress, None)
        self.refresh()
        self._tell(text)
        if ok and self.is_complete and self._service.settings.place == "slicer":
            self._service.session.start()
        self.changed.emit()

    def _tell(self, text: str) -> None:
        self._ui.setupStepLabel.visible = bool(text)
        self._ui.setupStepLabel.text = text

    def close(self) -> None:
        self.installation.ended.disconnect(self._on_ended)
        self.installation.step.disconnect(self._on_step)
        self.installation.progress.disconnect(self._on_progress)
        self.installation.line.disconnect(self._log.line)
        if self.installation.running:
            self.installation.cancel()


def _soon(callback) -> None:
    qt.QTimer.singleShot(0, callback)


def installed_by(step: Step) -> str:
    """What pip is asked for in this step."""
    wanted = [word for word in step.arguments if ">=" in word or "==" in word]
    return ", ".join(wanted) or step.title
