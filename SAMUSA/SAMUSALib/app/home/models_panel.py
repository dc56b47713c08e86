"""The panel of the models: which there are, fetching, importing and removing them."""

from __future__ import annotations

import re
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...engine import registry
from ...errors import SamusaError
from ..jobs import Job, JobEnd, samusa_command
from ..qprocess import QProcessTransport
from ..service import Service, local_command
from .widgets import Progress, confirmed, current_key, fill, megabytes, show_progress


class ModelsPanel:
    def __init__(self, ui, service: Service):
        self._ui, self._service = ui, service
        self._entries: dict[str, registry.ModelEntry] = {}
        self._job: Job | None = None
        self._note = ""
        ui.modelList.itemSelectionChanged.connect(lambda: self._on_selected())
        ui.useModelButton.clicked.connect(lambda: self._on_use())
        ui.downloadButton.clicked.connect(lambda: self._on_download())
        ui.modelCancelButton.clicked.connect(lambda: self._on_stop())
        ui.importButton.clicked.connect(lambda: self._on_import())
        ui.removeModelButton.clicked.connect(lambda: self._on_remove())
        show_progress(ui.modelProgress, None)
        self.refresh()

    def refresh(self) -> None:
        """Read the list anew."""
        try:
            self._entries = {entry.name: entry for entry in registry.list_models()}
        except SamusaError as error:
            self._ui.modelLabel.text = str(error)
            return
        rows = [
            (each.name, self._state(each), _size(each), each.licence)
            for each in self._entries.values()
        ]
        fill(self._ui.modelList, rows, chosen=self._service.settings.model)
        self._on_selected()

    def import_file(self, file: Path, name: str, done=lambda end: None) -> None:
        """Copy a checkpoint into the models, in the background. done: called with its JobEnd."""
        self._start(
            ["models", "import", str(file), "--name", name],
            _("Importing {name}").format(name=name),
            _("{name} is imported.").format(name=name),
            done,
        )

    def close(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.cancel()

    def _state(self, entry: registry.ModelEntry) -> str:
        if entry.name == self._service.settings.model:
            return _("in use")
        if entry.is_here:
            return _("comes with SAMUSA") if entry.origin != "imported" else _("your own")
        part = entry.path.with_name(entry.path.name + ".part")
        if part.is_file() and entry.size:
            return _("{share:.0f} % fetched").format(share=100 * part.stat().st_size / entry.size)
        return _("to download")

    def _on_selected(self) -> None:
        entry = self._entries.get(current_key(self._ui.modelList))
        ui, busy = self._ui, self._job is not None
        ui.useModelButton.enabled = entry is not None and entry.is_here
        ui.downloadButton.enabled = not busy and entry is not None and not entry.is_here
        ui.importButton.enabled = not busy
        ui.modelCancelButton.enabled = ui.modelCancelButton.visible = busy
        own = entry is not None and entry.origin in ("imported", "download") and entry.is_here
        ui.removeModelButton.enabled = own and not busy
        ui.modelLabel.text = "\n".join(filter(None, (self._about(entry), self._note)))

    def _about(self, entry: registry.ModelEntry | None) -> str:
        if entry is None:
            return _("Choose a model to read what it is.")
        prompts = ", ".join(entry.prompts)
        lines = [
            f"{entry.title}. {entry.description}",
            _("Prompts: {prompts}. Licence: {licence}.").format(
                prompts=prompts, licence=entry.licence
            ),
        ]
        if self._service.settings.place == "ssh":
            lines.append(
                _("The worker runs on {host}: models are looked for there.").format(
                    host=self._service.settings.ssh_host
                )
            )
        return "\n".join(lines)

    def _on_use(self) -> None:
        name = current_key(self._ui.modelList)
        self._service.settings.model = name
        try:
            self._service.apply_settings()
        except SamusaError as error:
            self._tell(str(error))
            return
        self._service.session.start()
        self._tell(_("{name} is used from now on.").format(name=name))

    def _on_download(self) -> None:
        entry = self._entries[current_key(self._ui.modelList)]
        self._start(
            ["models", "download", entry.name],
            _("Downloading {name} from {url}").format(name=entry.name, url=entry.url),
            _("{name} is here, and its checksum is right.").format(name=entry.name),
            advice=_("Press Download to try again, or fetch {url} elsewhere and import it.").format(
                url=entry.url
            ),
        )

    def _on_stop(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _on_import(self) -> None:
        chosen = qt.QFileDialog.getOpenFileName(
            self._ui.SAMUSA, _("A model"), "", _("Models") + " (*.safetensors *.pt)"
        )
        if chosen:
            file = Path(chosen)
            self.import_file(file, re.sub(r"[^A-Za-z0-9._+-]", "-", file.stem)[:64].lstrip("._+-"))

    def _on_remove(self) -> None:
        name = current_key(self._ui.modelList)
        entry = self._entries[name]
        question = _("The file {path} will be deleted.").format(path=entry.path)
        if not confirmed(question, _("Remove {name}").format(name=name)):
            return
        settings = self._service.settings
        try:
            registry.remove_model(name)
            if settings.model == name:
                settings.model = registry.DEFAULT_MODEL
                self._service.apply_settings()
        except SamusaError as error:
            self._tell(str(error))
            return
        self._tell(_("{name} is removed.").format(name=name))

    def _start(
        self,
        arguments: list[str],
        doing: str,
        done_text: str,
        done=lambda end: None,
        advice: str = "",
    ):
        def ended(end: JobEnd) -> None:
            if self._job is not job:
                return  # the panel has been closed
            self._job = None
            show_progress(self._ui.modelProgress, None)
            if end.ok:
                self._tell(done_text)
            elif end.cancelled:
                self._tell(_("Stopped; a download goes on from there."))
            else:
                self._tell(" ".join(filter(None, (end.problem.rstrip(".") + ".", advice))))
            done(end)

        if self._job is not None:
            self._tell(_("Something is being fetched or imported already; wait for it."))
            return
        show = lambda progress: show_progress(  # noqa: E731
            self._ui.modelProgress, progress, megabytes(progress)
        )
        job = self._job = Job(QProcessTransport(), lambda line: None, show, ended)
        show_progress(self._ui.modelProgress, Progress(0, None))
        self._tell(doing)
        job.start(samusa_command(local_command(self._service.settings), *arguments))

    def _tell(self, text: str) -> None:
        self._note = text
        self.refresh()


def _size(entry: registry.ModelEntry) -> str:
    if entry.path is None:
        return "-"
    size = entry.path.stat().st_size if entry.size is None and entry.is_here else entry.size
    return registry.megabytes(size)
