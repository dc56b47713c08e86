"""What several commands share: options, checks of output places, progress bars, Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..engine.registry import DEFAULT_MODEL
from ..errors import CannotWrite, InvalidValue

DEVICES = ("auto", "cpu", "cuda", "mps")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model and --device."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|FILE",
        help=f"a name from `samusa models list` or a checkpoint file (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help="where the network runs (default: auto)"
    )


def check_output_file(path: Path, *inputs: Path) -> None:
    """Raise unless a file can be written there; costs nothing and leaves nothing.

    inputs: files that must not be overwritten.
    """
    folder = path.parent
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder; a file name is needed")
    if not folder.is_dir():
        raise CannotWrite(f"there is no folder {folder} to write {path.name} into")
    if not os.access(folder, os.W_OK):
        raise CannotWrite(f"no permission to write into {folder}")
    for source in inputs:
        if source.exists() and path.exists() and os.path.samefile(source, path):
            raise InvalidValue(f"{path} is an input; choose another output")


def check_output_folder(path: Path) -> None:
    """Raise unless the folder exists and is writable or can be made; makes nothing yet."""
    if path.exists() and not path.is_dir():
        raise CannotWrite(f"{path} is a file; a folder is needed")
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise CannotWrite(f"{existing} is a file; {path} cannot be made inside it")
    if not os.access(existing, os.W_OK):
        raise CannotWrite(f"no permission to write into {existing}")


def progress_bar(total: int | None, text: str, unit: str = "frame", **options):
    """A bar with time left on stderr; shows only on a terminal and after one second. With
    SAMUSA_PROGRESS=lines in the environment: ProgressLines."""
    if os.environ.get("SAMUSA_PROGRESS") == "lines":
        return ProgressLines(total)
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=text,
        unit=unit,
        delay=1,
        disable=None,
        file=sys.stderr,
        dynamic_ncols=True,
        leave=False,
        **options,
    )


class ProgressLines:
    """tqdm's interface, as far as it is used here, for a program that reads our standard error
    instead of a user: lines of this mark, what is done, what there is (or None), seconds left (or
    None), and a note, separated by bars."""

    MARK = "samusa-progress"
    PERIOD = 0.5  # s between lines

    def __init__(self, total: float | None):
        self.n, self.total = 0, total
        self._note = ""
        self._begun = time.monotonic()
        self._said = 0.0
        self._first: float | None = None  # a resumed run does not begin at 0

    def update(self, count: float = 1) -> None:
        self.n += count
        now = time.monotonic()
        if self._first is None:
            self._first, self._begun = self.n, now
        if now - self._said >= self.PERIOD:
            self._said = now
            self.refresh()

    def set_postfix(self, values: Mapping[str, str], refresh: bool = True) -> None:
        self._note = ", ".join(f"{name} {value}" for name, value in values.items())

    def refresh(self) -> None:
        done = self.n - (self._first or 0)
        left = None
        if self.total and done > 0:
            left = round((time.monotonic() - self._begun) / done * (self.total - self.n), 1)
        print(f"{self.MARK}|{self.n}|{self.total}|{left}|{self._note}", file=sys.stderr, flush=True)

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()


@contextmanager
def stopped_by_ctrl_c(
    unit: str = "frame", at_once: Callable[[], bool] = lambda: False
) -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that what is finished can be kept; the second raises.

    unit: what is finished first. at_once: while it gives True, the first one raises too.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def on_signal(_number, _frame):
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        if at_once():
            raise KeyboardInterrupt
        print(f"\nstopping after this {unit} (Ctrl-C again to stop at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


class Stopwatch:
    """Seconds of each named part, in the order in which they ran."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
