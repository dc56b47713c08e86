"""The panel of unfinished work: what was accepted when Slicer, or the computer, went down."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...errors import SamusaError
from ...places import journals_folder
from ...worker.journal import JournalSummary, remove_journal, summary_of
from ...worker.journal_records import SUFFIX
from ..jobs import Job, JobEnd, samusa_command
from ..qprocess import QProcessTransport
from ..service import Service, local_command
from ..steps import Stepper
from ..workspace import Workspace
from .widgets import confirmed, current_key, fill

REMOVED_MS = 2000  # by then a journal that was put back is removed: another holds all of it


class RecoveryPanel:
    def __init__(self, ui, service: Service):
        self._ui, self._service = ui, service
        self._journals: dict[str, JournalSummary] = {}
        self._stepper: Stepper | None = None
        self._job: Job | None = None
        self._closed = False
        ui.journalList.itemSelectionChanged.connect(lambda: self._on_selected())
        ui.recoverLoadButton.clicked.connect(lambda: self._on_put_back())
        ui.recoverSaveButton.clicked.connect(lambda: self._on_save())
        ui.recoverRemoveButton.clicked.connect(lambda: self._on_remove())
        self._show("")

    def refresh(self, text: str = "") -> None:
        """Look for journals; long ones take a moment, so one after the other."""
        if self._closed:
            return
        found: dict[str, JournalSummary] = {}

        def look():
            for path in sorted(journals_folder().glob(f"[!.]*{SUFFIX}")):
                try:
                    summary = summary_of(path)
                except FileNotFoundError:
                    continue  # finished in another Slicer meanwhile
                if not summary.is_open:
                    found[str(path)] = summary
                yield

        def ready():
            newest_first = sorted(found.items(), key=lambda each: -each[1].modified)
            self._journals = dict(newest_first)
            self._show(text)

        if self._stepper is not None:
            self._stepper.cancel()
        self._stepper = Stepper(look(), lambda call: qt.QTimer.singleShot(0, call), ready)

    def close(self) -> None:
        self._closed = True
        if self._stepper is not None:
            self._stepper.cancel()
        job, self._job = self._job, None
        if job is not None:
            job.cancel()

    def _show(self, text: str) -> None:
        fill(
            self._ui.journalList,
            [_row(each) for each in self._journals.values()],
            list(self._journals),
        )
        self._ui.journalList.visible = bool(self._journals)
        if not self._journals:
            said = _("There is none: everything that was accepted has been saved.")
        else:
            said = _(
                "Everything that you accept is on disk at that moment. These clips were not saved "
                "before Slicer ended."
            )
        title = _("Unfinished work")
        count = len(self._journals)
        self._ui.recoveryButton.text = f"{title} ({count})" if count else title
        self._ui.recoveryLabel.text = "\n".join(filter(None, (said, text)))
        self._on_selected()

    def _on_selected(self) -> None:
        chosen = self._journals.get(current_key(self._ui.journalList))
        for button in (self._ui.recoverLoadButton, self._ui.recoverSaveButton):
            button.enabled = chosen is not None and chosen.clip is not None and self._job is None
        self._ui.recoverRemoveButton.enabled = chosen is not None and self._job is None
        if chosen is not None and chosen.trouble:
            self._ui.recoveryLabel.text = chosen.trouble

    def _on_put_back(self) -> None:
        path = current_key(self._ui.journalList)
        clip = self._journals[path].clip
        for workspace in self._service.workspaces:
            if workspace.is_open and workspace.annotated.work.clip.fingerprint == clip.fingerprint:
                self._put_back(path, workspace)
                return
        for workspace in self._service.workspaces:
            if workspace.is_open and clip.fits(workspace.annotated.work.clip):
                self._ask_and_put_back(path, workspace)
                return
        where = _(" (it was {source})").format(source=clip.source) if clip.source else ""
        self.refresh(
            _(
                "Load {name}{where}, open it in SAMUSA Temporal, then press this button again. Or "
                "save it as files."
            ).format(name=clip.name, where=where)
        )

    def _ask_and_put_back(self, path: str, workspace: Workspace) -> None:
        question = _(
            "The images of {open} have the same size as those of the unfinished work on {name}, "
            "but look different. They do when window/level was changed since then, and when it is "
            "another clip. Put the masks into {open}?"
        ).format(open=workspace.annotated.work.clip.name, name=self._journals[path].clip.name)
        if confirmed(question, _("Put back")):
            self._put_back(path, workspace, other_pixels=True)

    def _put_back(self, path: str, workspace: Workspace, other_pixels: bool = False) -> None:
        def told(text: str) -> None:
            stop_listening()
            self.refresh(text)
            qt.QTimer.singleShot(REMOVED_MS, lambda: self.refresh(text))

        stop_listening = workspace.notice.connect(told)
        try:
            workspace.recover(path, other_pixels)
        except SamusaError as error:
            stop_listening()
            self.refresh(str(error))
            return
        name = workspace.annotated.work.clip.name
        self.refresh(_("The masks of {name} are being put back.").format(name=name))

    def _on_save(self) -> None:
        path = current_key(self._ui.journalList)
        parent = qt.QFileDialog.getExistingDirectory(
            self._ui.SAMUSA, _("A folder in which a new one is made"), ""
        )
        if not parent:
            return
        out = Path(parent) / Path(path).stem

        def ended(end: JobEnd) -> None:
            if self._job is not job:
                return  # the panel has been closed
            self._job = None
            if end.ok:
                self.refresh(_("Masks, prompts and a table are in {folder}.").format(folder=out))
            else:
                self.refresh(end.problem)

        job = self._job = Job(QProcessTransport(), lambda line: None, lambda progress: None, ended)
        command = local_command(self._service.settings)
        job.start(samusa_command(command, "recover", "export", path, "--out", str(out)))
        self._on_selected()

    def _on_remove(self) -> None:
        path = current_key(self._ui.journalList)
        masks = self._journals[path].masks
        question = _("{count} masks that were not saved elsewhere will be gone.").format(
            count="All" if masks is None else masks
        )
        if not confirmed(question, _("Delete unfinished work")):
            return
        try:
            remove_journal(path)
        except SamusaError as error:
            self.refresh(str(error))
            return
        self.refresh(_("It is deleted."))


def _row(each: JournalSummary) -> tuple[str, ...]:
    when = datetime.fromtimestamp(each.modified).strftime("%Y-%m-%d %H:%M")
    state = _("damaged") if each.trouble else _("whole")
    if each.clip is None:
        return (each.path.stem, when, "?", "?", state)
    return (each.clip.name, when, str(each.segments), str(each.masks), state)
