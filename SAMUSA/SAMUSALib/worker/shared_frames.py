"""Frames of a clip in shared memory: the client makes a block, the worker on this computer maps
it by its name, as multiprocessing.shared_memory.SharedMemory does.

On Linux the block is a file in /dev/shm, written, not mapped: where memory runs out, writing says
so and touching a mapping kills the process. Its maker holds a lock on it while it lives, so a
later start knows what is left over. Other systems do not list their blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import weakref
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from ..errors import SamusaError

FOLDER = Path("/dev/shm")
_NAME = re.compile(r"samusa-\d+-[0-9a-f]{16}")


class CannotShare(SamusaError):
    """No shared memory, or not enough of it; pixels have to go another way."""


class SharedBlock:
    """A block of `size` bytes that this process has made; `name` is what the worker needs. It is
    removed by `close`, and at the latest when the interpreter ends. Raises CannotShare."""

    def __init__(self, size: int):
        # With the slash 31 characters at most, which is what macOS allows.
        self.name = f"samusa-{os.getpid()}-{secrets.token_hex(8)}"
        self.size = size
        self._file: int | None = None
        try:
            if sys.platform.startswith("linux"):
                self._make_file()
            else:
                self._make_mapping()
        except (OSError, ValueError, OverflowError) as error:
            raise CannotShare(f"there is no shared memory ({_why(error)})") from None

    def _make_file(self) -> None:
        import fcntl

        free = os.statvfs(FOLDER)
        if free.f_bavail * free.f_frsize < self.size:
            room, wanted = free.f_bavail * free.f_frsize / 2**20, self.size / 2**20
            raise ValueError(f"{FOLDER} has {room:.0f} MB left, {wanted:.0f} are needed")
        path = FOLDER / self.name
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._remove = weakref.finalize(self, _remove_file, self._file, path, os.getpid())
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if not path.exists():
            raise ValueError(f"{path} was cleared away before it was locked")

    def _make_mapping(self) -> None:
        with _untracked():
            self._block = SharedMemory(self.name, create=True, size=self.size)
        self._remove = weakref.finalize(self, _remove_mapping, self._block, os.getpid())

    def write(self, offset: int, data: np.ndarray) -> None:
        """Bytes of a C-contiguous uint8 array at `offset`. Raises CannotShare: memory is full."""
        view = memoryview(data).cast("B")
        if self._file is None:
            self._block.buf[offset : offset + len(view)] = view
            return
        try:
            while view:
                taken = os.pwrite(self._file, view, offset)
                view, offset = view[taken:], offset + taken
        except OSError as error:
            raise CannotShare(f"the shared memory is full ({_why(error)})") from None

    def close(self) -> None:
        """Remove the block; a worker that has mapped it keeps it until it lets go."""
        self._remove()


def remove_leftovers() -> list[str]:
    """Remove the blocks of processes that have died, and return their names."""
    if not sys.platform.startswith("linux"):
        return []
    import fcntl

    removed: list[str] = []
    try:
        found = [path for path in FOLDER.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return removed
    for path in found:
        with contextlib.suppress(OSError):  # another user's, in use, or gone meanwhile
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed.append(path.name)
            finally:
                os.close(file)
    return removed


def _remove_file(file: int, path: Path, maker: int) -> None:
    if os.getpid() == maker:  # a forked child inherits the block, not the duty to remove it
        with contextlib.suppress(OSError):
            path.unlink()
    os.close(file)


def _remove_mapping(block: SharedMemory, maker: int) -> None:
    with _untracked():
        block.close()
        if os.getpid() == maker:
            with contextlib.suppress(FileNotFoundError):
                block.unlink()


@contextlib.contextmanager
def _untracked() -> Iterator[None]:
    """Without multiprocessing's tracker of shared memory, which is a process of its own, started
    from sys.executable: in Slicer, a second Slicer. Python 3.13 has an argument for this."""
    kept = resource_tracker.register, resource_tracker.unregister
    resource_tracker.register = resource_tracker.unregister = lambda name, kind: None
    try:
        yield
    finally:
        resource_tracker.register, resource_tracker.unregister = kept


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
