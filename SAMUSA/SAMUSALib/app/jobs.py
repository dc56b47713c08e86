"""A command that runs to its end, read line by line: pip, a download, a training run.

It stands on the same transports as the worker, so it blocks nothing in Slicer, and is tested
without Qt.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..worker.command import WorkerCommand
from ..worker.transport import Transport

KEPT_LINES = 40  # of the output, for what is said about a failure
_PROGRESS = re.compile(r"samusa-progress\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)")
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")  # of --progress-bar raw
_LINE_ENDS = re.compile(r"[\r\n]+")


@dataclass(frozen=True)
class Progress:
    """done of total, in whatever the command counts (total None: not known), seconds left where
    the command says them, and a note such as the loss."""

    done: float
    total: float | None
    seconds_left: float | None = None
    note: str = ""


@dataclass(frozen=True)
class JobEnd:
    """How a command has ended. reason: in words that follow "it"; lines: the last it has said."""

    ok: bool
    cancelled: bool
    reason: str
    lines: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """The sentence in which the command itself says what is wrong, else how it ended."""
        for mark in ("samusa: ", "ERROR: "):
            said = [line for line in self.lines if line.startswith(mark)]
            if said:
                return said[-1][len(mark) :]
        return self.lines[-1] if self.lines else f"it {self.reason}"


class Job:
    """One run of a command. on_line(text) and on_progress(Progress) while it runs, on_end(JobEnd)
    once, all from the transport's event loop. It runs to its end also when nobody holds it."""

    _running: ClassVar[set[Job]] = set()

    def __init__(
        self,
        transport: Transport,
        on_line: Callable[[str], Any],
        on_progress: Callable[[Progress], Any],
        on_end: Callable[[JobEnd], Any],
    ):
        self._transport = transport
        self._on_line, self._on_progress, self._on_end = on_line, on_progress, on_end
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._halves = {"output": "", "log": ""}
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._cancelled = False
        self.running = False

    def start(self, command: WorkerCommand) -> None:
        """Start the command; a Job is started once."""
        self.running = True
        self._running.add(self)
        self._transport.start(command, self)

    def cancel(self) -> None:
        """End it at once, with all that it has started; `on_end` follows."""
        if self.running:
            self._cancelled = True
            self._transport.kill()

    def ask_to_end(self) -> None:
        """A line on its standard input: a training run ends after its step, saved."""
        if self.running:
            self._cancelled = True
            self._transport.write(b"end\n")

    # What the transport calls -------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._take("output", self._decode(data))

    def logged(self, text: str) -> None:
        self._take("log", text)

    def drained(self) -> None:
        pass

    def ended(self, reason: str) -> None:
        for stream in self._halves:
            self._take(stream, "\n")
        self.running = False
        self._running.discard(self)
        ok = reason == "ended with status 0"
        self._on_end(JobEnd(ok, self._cancelled and not ok, reason, tuple(self._last)))

    def _take(self, stream: str, text: str) -> None:
        *lines, self._halves[stream] = _LINE_ENDS.split(self._halves[stream] + text)
        for line in filter(None, map(str.rstrip, lines)):
            progress = read_progress(line)
            if progress is not None:
                self._on_progress(progress)
            else:
                self._last.append(line)
                self._on_line(line)


def read_progress(line: str) -> Progress | None:
    """What a line of `samusa` (SAMUSA_PROGRESS=lines) or of pip says of progress; None: it is
    another line."""
    if found := _PIP_PROGRESS.fullmatch(line):
        return Progress(float(found[1]), float(found[2]) or None)
    if found := _PROGRESS.fullmatch(line):
        done, total, left = (_number(each) for each in found.groups()[:3])
        return Progress(done or 0.0, total or None, left or None, found[4])
    return None


def python_command(
    command: WorkerCommand, arguments: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> WorkerCommand:
    """The Python of a local worker, running something else. arguments: after the interpreter;
    environment: changes to the worker's."""
    changed = {**command.environment, "SAMUSA_PROGRESS": "lines", **(environment or {})}
    return replace(command, arguments=arguments, environment=changed)


def samusa_command(command: WorkerCommand, *arguments: str) -> WorkerCommand:
    """`samusa` with these arguments, in the Python of a local worker."""
    return python_command(command, ("-m", "SAMUSALib.cli", *arguments))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
