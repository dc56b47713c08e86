"""The set-up inside Slicer: runs the steps of `install_plan` one after the other, asynchronously,
and keeps the record of what they add. It may be cancelled, or killed, at any moment; begun again
it goes on where it stopped."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import SamusaError
from ..worker.command import WorkerCommand
from ..worker.transport import Transport
from . import install_plan
from .install_plan import CannotInstall, Record, Step
from .jobs import Job, JobEnd, python_command
from .signals import Signal

_COPYING = "Installing collected packages"  # pip says it; from then on it must not be killed
# What pip says, in any language of the system, and what it means here; the first that fits. Behind
# what keeps it from the index it always says that nothing was found, so that comes last.
_ADVICE = (
    (
        "ResolutionImpossible",
        "a package that is here already is in the way; let the worker run in another Python",
    ),
    (
        "SSLError|CERTIFICATE_VERIFY_FAILED",
        "the connection is intercepted or not trusted; ask for your network's proxy and "
        "certificate settings, or install from a folder of wheels",
    ),
    (
        "ProxyError|Tunnel connection failed",
        "the network's proxy refuses the connection; ask for its settings and set HTTPS_PROXY "
        "before Slicer is started, or install from a folder of wheels",
    ),
    (
        r"Failed to resolve|name resolution|getaddrinfo failed|establish a new connection|"
        r"ConnectTimeout|Network is unreachable",
        "there is no internet connection; try again later, or install from a folder of wheels",
    ),
    (
        r"No space left on device|\[Errno 28\]|\[WinError 112\]",
        "the disk is full, or the one of temporary files (TMPDIR); free some space, then go on",
    ),
    (  # Windows: a loaded library may not be replaced, and neither may what others have open
        r"\[WinError (5|32)\]",
        "a file is in use or may not be changed; restart Slicer and do this first. If that does "
        "not help, ask your administrator, or let the worker run in another Python",
    ),
    (
        "Permission denied|Read-only file system",
        "Slicer's folder may not be written; ask your administrator, or let the worker run in "
        "another Python",
    ),
    (
        "No matching distribution found",
        "no file for this Python and system was found; check the internet connection, or the "
        "folder of wheels (it must be filled for the same system and Python)",
    ),
)


def install_pytorch() -> None:
    """By Slicer's own PyTorch extension, which finds the build for this computer's graphics card.
    It shows pip's output in the Python console and lets Slicer draw only between its lines.
    Raises CannotInstall."""
    if not pytorch_extension_is_here():
        raise CannotInstall(
            "Slicer's PyTorch extension is missing: install PyTorch in the Extensions Manager, "
            "restart Slicer, and go on here"
        )
    import PyTorchUtils

    specifier = install_plan.TORCH.removeprefix("torch")
    try:
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=specifier
        )
    except Exception as error:  # CalledProcessError and whatever else it lets through
        raise CannotInstall(
            f"Slicer's PyTorch extension could not install PyTorch ({_short(error)}); its output "
            "is in the Python console (View > Python Console)"
        ) from error
    if installed is None:
        raise CannotInstall("PyTorch was not installed; go on when you want it")


def pytorch_extension_is_here() -> bool:
    import slicer

    return hasattr(slicer.modules, "pytorchutils")


class Installation:
    """The set-up of one Python, or its removal.

    command: a worker's command of the Python to install into. transports() gives a new transport.
    Signals: step(Step, number, count) when one begins; line(text), the log; progress(Progress);
    ended(ok, text), once for each start.
    """

    def __init__(
        self,
        command: WorkerCommand,
        transports: Callable[[], Transport],
        pytorch: Callable[[], Any] = install_pytorch,
        folder: Path | None = None,
        paths: list[str] | None = None,
    ):
        """folder: that pip installs into, paths: where packages are looked for; both of this
        Python where None."""
        self.step, self.line, self.progress, self.ended = Signal(), Signal(), Signal(), Signal()
        self._command = command
        self._transports = transports
        self._pytorch = pytorch
        self._folder = folder or Path(sysconfig.get_path("purelib"))
        self.paths = paths
        self._record_file = install_plan.record_file(str(self._folder))
        self._constraints = self._record_file.with_suffix(".constraints.txt")
        self._record = Record()
        self._steps: list[Step] = []
        self._number = 0
        self._job: Job | None = None
        self._copying = False
        self._cancelled = False
        self.running = False

    def to_do(self, wheels: Path | None = None) -> list[Step]:
        """What is missing; empty: all is there. Raises CannotInstall."""
        return install_plan.plan(self._installed(), self._constraints, wheels)

    def added(self) -> list[str]:
        """Names of packages that the set-up has added and that are still there. Raises
        UnreadableFile."""
        installed = self._installed()
        record = install_plan.read_record(self._record_file).ended(installed)
        return sorted(set(record.added) & set(installed))

    def start(self, wheels: Path | None = None) -> None:
        """Do what is missing, then try it out. Raises CannotInstall, CannotWrite or UnreadableFile
        where it cannot begin."""
        install_plan.remove_leftovers(install_plan.leftovers(self.paths))
        steps = self.to_do(wheels)
        install_plan.check_place(steps, self._folder, wheels)
        self._begin([*steps, install_plan.check_step()])

    def remove(self, names: Sequence[str]) -> None:
        """Take packages out: those of `added` that are `removable`. Raises CannotInstall,
        CannotWrite or UnreadableFile."""
        if not names:
            raise CannotInstall("nothing that SAMUSA has added can be removed; all is in use")
        self._begin([install_plan.removal_step(names)])

    def cancel(self) -> None:
        """Stop: what is being fetched is given up at once, what is being copied is finished."""
        self._cancelled = True
        if self._job is not None and not self._copying:
            self._job.cancel()
        elif self.running:
            self.line.emit("Finishing what is being copied, then stopping.")

    def _begin(self, steps: list[Step]) -> None:
        if self.running:
            raise CannotInstall("the set-up is running already")
        self._record = install_plan.read_record(self._record_file)
        self._steps, self._number = steps, 0
        self._cancelled = False
        self.running = True
        self._next()

    def _next(self) -> None:
        if self._cancelled:
            self._finish(False, "Stopped. What is installed stays; you can go on at any time.")
            return
        if self._number == len(self._steps):
            removing = any(step.name == "remove" for step in self._steps)
            self._finish(True, "Removed." if removing else "Everything is installed and works.")
            return
        step = self._steps[self._number]
        self._number += 1
        self._copying = step.name == "remove"
        self.step.emit(step, self._number, len(self._steps))
        transport = self._transports()
        try:
            if step.adds_packages:
                before = self._installed()
                self._record = self._record.begun(before)
                install_plan.write_record(self._record_file, self._record)
                install_plan.write_constraints(self._constraints, before)
        except SamusaError as error:
            self._finish(False, str(error))
            return
        if not step.arguments:
            transport.soon(lambda: self._run_pytorch(step))  # the panel shows the step first
            return
        self._job = Job(transport, self._on_line, self.progress.emit, self._on_end)
        self._job.start(python_command(self._command, step.arguments, step.environment))

    def _run_pytorch(self, step: Step) -> None:
        try:
            if not self._cancelled:
                self._pytorch()
        except SamusaError as error:
            self._step_done(step, str(error))
        else:
            self._step_done(step, "")

    def _on_line(self, text: str) -> None:
        self._copying = self._copying or text.startswith(_COPYING)
        self.line.emit(text)

    def _on_end(self, end: JobEnd) -> None:
        self._job = None
        step = self._steps[self._number - 1]
        self._step_done(step, "" if end.ok or end.cancelled else _why(step, end))

    def _step_done(self, step: Step, problem: str) -> None:
        if step.adds_packages:
            self._record = self._record.ended(self._installed())
            try:
                install_plan.write_record(self._record_file, self._record)
            except SamusaError as error:
                problem = problem or str(error)
        if problem:
            self._finish(False, problem)
        else:
            self._next()

    def _finish(self, ok: bool, text: str) -> None:
        self.running = False
        self.ended.emit(ok, text)

    def _installed(self) -> dict[str, str]:
        return install_plan.installed_packages(self.paths)


def _why(step: Step, end: JobEnd) -> str:
    """A sentence on a step that failed, and what to do."""
    said = "\n".join(end.lines)
    for pattern, advice in _ADVICE:
        if re.search(pattern, said):
            return f"{step.title}: {advice}."
    if step.name == "check":
        return f"What was installed does not work yet: {end.problem}"
    return f"{step.title}: {end.problem}. The log says more; begin again to go on."


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
