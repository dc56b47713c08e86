"""The panel of training: on what, with which recipe; a run in the background, its curve, the new
model in the list."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from ...engine import registry
from ...errors import InvalidValue, SamusaError
from ...places import data_folder
from ...training.recipes import list_recipes
from ..jobs import Job, JobEnd, samusa_command
from ..qprocess import QProcessTransport
from ..service import Service, local_command
from ..signals import Signal
from .models_panel import ModelsPanel
from .widgets import Log, Progress, show_progress

PICTURE_EVERY = 20  # steps
SAVE_EVERY = 25  # steps; what is lost at most when Slicer ends
FILES = "*.mrb *.mrml *.nrrd *.nhdr *.mha *.mhd *.nii *.nii.gz *.mp4 *.avi *.dcm"


class TrainingPanel:
    """trained(name): a new model is in the list."""

    def __init__(self, ui, service: Service, models: ModelsPanel):
        self.trained = Signal()
        self._ui, self._service, self._models = ui, service, models
        self._log = Log(ui.trainingLog)
        self._job: Job | None = None
        self._curve_time = 0.0
        for name, purpose in list_recipes().items():
            ui.recipeBox.addItem(name)
            ui.recipeBox.setItemData(ui.recipeBox.count - 1, purpose, qt.Qt.ToolTipRole)
        ui.recipeBox.currentText = "fine-tune"
        ui.nameEdit.text = free_name("my-model")
        ui.addFilesButton.clicked.connect(lambda: self._on_add_files())
        ui.addFolderButton.clicked.connect(lambda: self._on_add_folder())
        ui.removeDataButton.clicked.connect(lambda: self._on_remove())
        ui.trainButton.clicked.connect(lambda: self.start())
        ui.trainStopButton.clicked.connect(lambda: self._on_stop())
        ui.dataList.itemSelectionChanged.connect(lambda: self._show())
        show_progress(ui.trainingProgress, None)
        ui.trainingLabel.visible = ui.curveLabel.visible = False
        self._show()

    @property
    def data(self) -> list[Path]:
        """What is trained on, in the order of the list."""
        tree = self._ui.dataList
        items = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount)]
        return [Path(item.data(0, qt.Qt.UserRole)) for item in items]

    def add(self, paths) -> None:
        """Put files or folders on the list; what is there already stays once."""
        known = self.data
        for path in map(Path, paths):
            if path not in known:
                item = qt.QTreeWidgetItem(self._ui.dataList)
                item.setText(0, path.name)
                item.setToolTip(0, str(path))
                item.setData(0, qt.Qt.UserRole, str(path))
                known.append(path)
        self._show()

    def start(self) -> None:
        """Train, or go on with a run of that name that was stopped."""
        try:
            name, out = self._checked()
        except SamusaError as error:
            self._tell(str(error))
            return
        state = out.with_name(f"{out.stem}.state.safetensors")
        changes = {
            "steps": self._ui.stepsBox.value,
            "model.name": name,
            "outputs.picture_every": PICTURE_EVERY,
            "outputs.report_every": 5,
            "outputs.save_every": SAVE_EVERY,
        }
        arguments = ["train", self._ui.recipeBox.currentText, "--out", str(out)]
        arguments += ["--device", self._service.settings.device, "--end-with-input"]
        arguments += [
            word for key, value in changes.items() for word in ("--set", f"{key}={value}")
        ]
        arguments += ["--resume"] if state.is_file() else []
        arguments += ["--data", *map(str, self.data)]

        def ended(end: JobEnd) -> None:
            if self._job is job:
                self._on_ended(end, name, out)

        job = self._job = Job(QProcessTransport(), self._log.line, self._on_progress, ended)
        self._log.line("== samusa " + " ".join(arguments))
        show_progress(self._ui.trainingProgress, Progress(0, None))
        self._tell(_("The run is starting."))
        job.start(samusa_command(local_command(self._service.settings), *arguments))
        self._show()

    def close(self) -> None:
        """A run that is under way ends after its step, saved."""
        job, self._job = self._job, None
        if job is not None:
            job.ask_to_end()

    def _checked(self) -> tuple[str, Path]:
        """Name and checkpoint of the run; makes its folder. Raises SamusaError."""
        name = self._ui.nameEdit.text.strip()
        if not self.data:
            raise InvalidValue("add annotated clips first")
        if not registry.NAME.fullmatch(name):
            raise InvalidValue(f"the name is {name!r}; letters, digits and . _ + - only")
        if any(entry.name == name for entry in registry.list_models()):
            raise InvalidValue(f"there is a model {name} already; choose another name")
        missing = [path for path in self.data if not path.exists()]
        if missing:
            raise InvalidValue(f"{missing[0]} is no longer there; take it off the list")
        folder = data_folder() / "training" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidValue(f"{folder} cannot be made: {error.strerror or error}") from None
        return name, folder / f"{name}.safetensors"

    def _on_stop(self) -> None:
        if self._job is not None:
            self._job.ask_to_end()
            self._tell(_("Ending after this step, saved."))
            self._ui.trainStopButton.enabled = False

    def _on_progress(self, progress: Progress) -> None:
        steps = _("step {done:.0f} of {total:.0f}").format(
            done=progress.done, total=progress.total or progress.done
        )
        show_progress(self._ui.trainingProgress, progress, steps)
        if progress.note:
            self._tell(progress.note)
        self._show_curve(self._curve_path())

    def _on_ended(self, end: JobEnd, name: str, out: Path) -> None:
        self._job = None
        show_progress(self._ui.trainingProgress, None)
        self._show_curve(out.with_suffix(".png"))
        if end.ok:
            self._tell(_("Trained. Importing {name} into your models.").format(name=name))
            self._models.import_file(out, name, lambda each: self._on_imported(each, name, out))
        elif end.cancelled:
            self._tell(_("Stopped and saved; Start with the same name goes on there."))
        else:
            self._tell(end.problem)
        self._show()

    def _on_imported(self, end: JobEnd, name: str, out: Path) -> None:
        if end.ok:
            self._tell(_("{name} is in the list of models; choose Use there.").format(name=name))
            self._ui.nameEdit.text = free_name(name)
            self.trained.emit(name)
        else:
            self._tell(
                _("{path} is trained and could not be imported: {why}").format(
                    path=out, why=end.problem
                )
            )

    def _curve_path(self) -> Path:
        name = self._ui.nameEdit.text.strip()
        return data_folder() / "training" / name / f"{name}.png"

    def _show_curve(self, path: Path) -> None:
        if not path.is_file() or path.stat().st_mtime == self._curve_time:
            return
        self._curve_time = path.stat().st_mtime
        picture = qt.QPixmap(str(path))
        if picture.isNull():
            return
        width = max(200, self._ui.trainingIntroLabel.width)
        scaled = picture.scaledToWidth(min(width, picture.width()), qt.Qt.SmoothTransformation)
        self._ui.curveLabel.setPixmap(scaled)
        self._ui.curveLabel.visible = True

    def _on_add_files(self) -> None:
        chosen = qt.QFileDialog.getOpenFileNames(
            self._ui.SAMUSA, _("Annotated clips"), "", _("Scenes, images, segmentations")
            + f" ({FILES})",
        )  # fmt: skip
        self.add(chosen or ())

    def _on_add_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._ui.SAMUSA, _("A set: a folder with a manifest.json"), ""
        )
        if not folder:
            return
        if not (Path(folder) / "manifest.json").is_file():
            self._tell(
                _("{folder} has no manifest.json; choose files instead.").format(folder=folder)
            )
            return
        self.add([folder])

    def _on_remove(self) -> None:
        tree = self._ui.dataList
        for item in tree.selectedItems():
            tree.takeTopLevelItem(tree.indexOfTopLevelItem(item))
        self._show()

    def _show(self) -> None:
        ui, busy = self._ui, self._job is not None
        ui.trainButton.enabled = bool(self.data) and not busy
        ui.trainStopButton.enabled = busy
        ui.removeDataButton.enabled = bool(ui.dataList.selectedItems())
        for widget in (ui.recipeBox, ui.nameEdit, ui.stepsBox):
            widget.enabled = not busy

    def _tell(self, text: str) -> None:
        self._ui.trainingLabel.visible = bool(text)
        self._ui.trainingLabel.text = text


def free_name(wanted: str) -> str:
    """The name itself, or with the first number that is free."""
    known = {entry.name for entry in registry.list_models()}
    base = wanted.rstrip("0123456789").rstrip("-") or wanted
    names = (wanted, *(f"{base}-{number}" for number in range(2, len(known) + 3)))
    return next(name for name in names if name not in known)
