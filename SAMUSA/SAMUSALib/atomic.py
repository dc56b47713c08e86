"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CannotWrite

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and save again",
    errno.EDQUOT: "the disk quota is used up; free some space and save again",
    errno.EFBIG: "the file is larger than this place allows; save it elsewhere",
    errno.EACCES: "there is no permission to write there; choose another folder",
    errno.EPERM: "there is no permission to write there; choose another folder",
    errno.EROFS: "that place is read-only; choose another folder",
}


def reason_of(error: OSError) -> str:
    """Why the system refused to write, in words, and what to do."""
    return _REASONS.get(error.errno) or error.strerror or str(error)


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there replaces `path` at the end.

    The temporary name ends in the same suffixes (libraries choose the format by them). When the
    block fails for whatever reason, the temporary file is removed and an existing `path` stays as
    it was. Raises CannotWrite where the system refuses to write.
    """
    path = Path(path)
    # A link stays a link: its target is replaced.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise CannotWrite(f"{path} is a folder; a file name is needed")
    if not target.parent.is_dir():
        raise CannotWrite(f"{path} cannot be written: there is no folder {target.parent}")
    suffixes = "".join(target.suffixes[-2:])
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}.tmp{suffixes}")
    try:
        yield temporary
        # Some file systems tell of a full disk only here.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, CannotWrite):
            reason = reason_of(error)
            raise CannotWrite(f"{path} could not be written: {reason}") from error
        raise


@contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; it becomes `folder` at the end, with all its files.

    When the block fails for whatever reason, nothing is left. Raises CannotWrite if `folder`
    exists and is not an empty folder, or where the system refuses to write.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CannotWrite(f"{folder} is a file; a folder is needed")
    if folder.exists() and any(folder.iterdir()):
        raise CannotWrite(f"{folder} is not empty; name a new folder")
    temporary = folder.parent / f".{uuid.uuid4().hex[:12]}.tmp"
    with made_folder(folder.parent):
        try:
            temporary.mkdir()
            yield temporary
            if folder.exists():
                folder.rmdir()  # not every system renames onto an empty folder
            os.replace(temporary, folder)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError) and not isinstance(error, CannotWrite):
                reason = reason_of(error)
                raise CannotWrite(f"{folder} could not be written: {reason}") from error
            raise


@contextmanager
def made_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Make a folder (and its parents); those that were made are removed when the block fails."""
    folder = Path(folder)
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = reason_of(error)
            raise CannotWrite(f"folder {folder} could not be made: {reason}") from error
        yield folder
    except BaseException:
        for part in missing:
            with contextlib.suppress(OSError):
                part.rmdir()  # refuses one that somebody else put files into
        raise
