"""A folder on disk for what this worker keeps, gone with it: at its end, or, where it was killed,
when the next one starts."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from ..atomic import reason_of
from ..errors import CannotWrite
from .file_lock import FileLock, is_locked

PREFIX = "samusa-worker-"


class CacheFolder:
    """`path` lies in `parent`, which workers may share and is made if need be; a lock beside it
    tells that its worker lives. Raises CannotWrite."""

    def __init__(self, parent: Path):
        name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self.path = parent / name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(parent)
            self._lock = FileLock(_lock_of(self.path), str(self.path))
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise CannotWrite(
                f"the cache folder {parent} cannot be used: {reason_of(error)}"
            ) from None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _remove_leftovers(parent: Path) -> None:
    """Folders are made after their lock, so one without a living lock is nobody's."""
    for folder in parent.glob(f"{PREFIX}*"):
        if folder.is_dir() and not is_locked(_lock_of(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)
