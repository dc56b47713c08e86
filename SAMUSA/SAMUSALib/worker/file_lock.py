"""One process at a time: a lock that the operating system takes back when its holder dies.

A Slicer without further packages must be able to use it, so it is the standard library's
flock and msvcrt alone.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..atomic import reason_of
from ..errors import CannotWrite, SamusaError

if os.name == "nt":
    import msvcrt
else:
    import fcntl

FAR = 2**31 - 2  # Windows locks bytes against reading too: one that nobody reads


class InUse(SamusaError):
    """Another process holds the lock."""


class FileLock:
    """Holds `path` (made if need be, removed at the end) until `release` or the process's end.

    Raises InUse, which names the process that holds it, and CannotWrite where the place does not
    let us lock. `what` is the thing that is locked, for the user.
    """

    def __init__(self, path: str | os.PathLike, what: str):
        self.path = Path(path)
        handle = None
        try:
            while handle is None:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
                if not _lock(handle):
                    raise InUse(f"{what} is open in {_holder(handle)}; close it there first")
                if not is_at(self.path, handle):  # the holder before has removed it meanwhile
                    os.close(handle)
                    handle = None
        except BaseException as error:
            if handle is not None:
                os.close(handle)
            if isinstance(error, OSError):
                raise CannotWrite(f"{what} cannot be locked: {reason_of(error)}") from error
            raise
        with contextlib.suppress(OSError):  # a full disk: it is only for the message above
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        self._handle: int | None = handle

    def release(self) -> None:
        """Let others have it. A second time does nothing."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if os.name == "nt":  # which does not remove what is open, by us or meanwhile by others
            os.close(handle)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if os.name != "nt":
            os.close(handle)


def is_at(path: str | os.PathLike, handle: int) -> bool:
    """Whether an open file is still the one of that name. Windows neither removes nor replaces an
    open file."""
    if os.name == "nt":
        return True
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def is_locked(path: str | os.PathLike) -> bool:
    """Whether a living process holds the lock. Asking takes it for an instant."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether we have it now. Raises OSError where the place knows no locks."""
    if os.name == "nt":
        os.lseek(handle, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> str:
    text = os.read(handle, 20).decode("ascii", "replace")
    return f"process {text}" if text.isdigit() else "another process"
