"""Frames of a clip in shared memory: the client makes a block, the worker on this computer maps it.

A block is a file: in the memory file system of Linux, /dev/shm, in the user's temporary folder on
macOS; on Windows it is a named mapping. It is written, not mapped, by its maker: where memory runs
out, writing says so and touching a mapping kills the process. The maker holds a lock on the file
while it lives, so a later start knows what is left over. Not multiprocessing.shared_memory: its
tracker is a process started from sys.executable, in Slicer a second Slicer, and before Python
3.13 it removes the blocks that a worker has only attached (bugs.python.org/issue38119).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import sys
import tempfile
import weakref
from pathlib import Path

import numpy as np

from ..errors import InvalidValue, SamusaError

if os.name != "nt":
    import fcntl

_NAME = re.compile(r"samusa-\d+-[0-9a-f]{32}")


class CannotShare(SamusaError):
    """No shared memory, or not enough of it; pixels have to go another way."""


def folder() -> Path:
    """Where blocks are files; not on Windows."""
    return Path("/dev/shm") if sys.platform.startswith("linux") else Path(tempfile.gettempdir())


class SharedBlock:
    """A block of `size` bytes that this process has made; `name` is what the worker needs. It is
    removed by `close`, and at the latest when the interpreter ends. Raises CannotShare."""

    def __init__(self, size: int):
        self.name = f"samusa-{os.getpid()}-{secrets.token_hex(16)}"
        self.size = size
        try:
            if os.name == "nt":
                self._mapping = mmap.mmap(-1, size, tagname=self.name)
                self._remove = weakref.finalize(self, self._mapping.close)
            else:
                self._make_file()
        except (OSError, ValueError, OverflowError) as error:
            raise CannotShare(f"there is no shared memory ({_why(error)})") from None

    def _make_file(self) -> None:
        free = os.statvfs(folder())
        room = free.f_bavail * free.f_frsize
        if room < self.size:
            needed = f"{self.size / 2**20:.0f} MB are needed"
            raise ValueError(f"{folder()} has {room / 2**20:.0f} MB left, {needed}")
        path = folder() / self.name
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._remove = weakref.finalize(self, _remove, self._file, path, os.getpid())
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if not path.exists():
            raise ValueError(f"{path} was cleared away before it was locked")

    def write(self, offset: int, data: np.ndarray) -> None:
        """Bytes of a C-contiguous uint8 array at `offset`. Raises CannotShare: memory is full."""
        view = memoryview(data).cast("B")
        if os.name == "nt":
            self._mapping[offset : offset + len(view)] = view
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


def attach(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The frames in a block that another process has made: read-only, not copied; the mapping
    lives as long as the array. shape: of the uint8 array, in C order. Raises InvalidValue: there
    is no such block, or it is too small."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(f"{name[:80]!r} is not the name of a block of shared frames")
    size = int(np.prod(shape, dtype=object))
    try:
        mapping = _open_mapping(name, size) if os.name == "nt" else _map_file(name, size)
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidValue(
            f"the shared frames {name}, {size} bytes, cannot be opened ({_why(error)}); "
            "a worker on another computer needs the frames sent"
        ) from None
    return np.frombuffer(mapping, np.uint8, size).reshape(shape)


def remove_leftovers() -> list[str]:
    """Remove the blocks of processes that have died, and return their names. Windows removes them
    itself."""
    removed: list[str] = []
    if os.name == "nt":
        return removed
    try:
        found = [path for path in folder().iterdir() if _NAME.fullmatch(path.name)]
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


def _map_file(name: str, size: int) -> mmap.mmap:
    file = os.open(folder() / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return mmap.mmap(file, size, access=mmap.ACCESS_READ)
    finally:
        os.close(file)


def _open_mapping(name: str, size: int) -> mmap.mmap:
    """mmap alone would make a block of zeros where there is none of that name."""
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenFileMappingW.restype = ctypes.c_void_p
    handle = kernel.OpenFileMappingW(0x0004, False, name)  # FILE_MAP_READ
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        return mmap.mmap(-1, size, tagname=name, access=mmap.ACCESS_READ)
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


def _remove(file: int, path: Path, maker: int) -> None:
    if os.getpid() == maker:  # a forked child inherits the block, not the duty to remove it
        with contextlib.suppress(OSError):
            path.unlink()
    os.close(file)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
