"""Journals: what an annotator has accepted on a clip, on disk at the moment of accepting."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from ..annotation import FrameAnnotation
from ..atomic import atomic_write, made_folder, reason_of
from ..errors import CannotWrite, InvalidValue, UnreadableFile
from ..prompts import FramePrompts, Window
from .accepted import AcceptedWork, ClipIdentity
from .file_lock import FileLock, is_at, is_locked
from .journal_records import (
    SUFFIX,
    LiveRecords,
    MaskRecord,
    PromptsRecord,
    Reading,
    Record,
    SegmentRecord,
    SegmentRemoved,
    StaleRecord,
    live_records,
    read_journal,
)

# A write reaches the system at once and survives our end; fsync (1 to 30 ms) lets it survive the
# machine's. Masks of a propagation share one, at most so often and for at most a tenth of the time.
SYNC_SECONDS = 0.1
SYNC_SHARE = 10
LEAST_COMPACTED = 1 << 20  # bytes below which a journal is left as it is
RETRY_SECONDS = 2.0  # after a disk refused
LEFTOVER_SECONDS = 3600.0  # age at which a temporary file has nobody who still writes it


class Journal:
    """The journal of a clip that is being annotated, open for this process alone.

    What `set_...` and `remove_...` are given is in `work` at once, and on disk when they return
    True. False: the disk refused; `trouble` says why, and what waits is written by the next call
    or `tick` that finds the disk willing. They raise InvalidValue for what makes no sense, and
    then nothing has changed. live: the records that say what is in `work`.
    """

    def __init__(
        self,
        path: Path,
        reading: Reading,
        lock: FileLock,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Not to be called: see `create` and `open`."""
        self.path = path
        self.work = reading.work
        self.trouble: CannotWrite | None = None
        self.set_aside: Path | None = None
        self._clock = clock
        self._lock = lock
        self.live = reading.live
        self._size = reading.good
        self._waiting: list[bytes] = []
        self._rewrite = False
        self._handle: int | None = None
        self._unsynced = False
        self._next_sync = self._next_try = -np.inf

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike,
        work: AcceptedWork,
        clock: Callable[[], float] = time.monotonic,
        live: LiveRecords | None = None,
    ) -> Journal:
        """A new journal of what has been accepted so far, most often nothing; the folder is made
        if need be. `work` is the journal's from then on, and so are the records that say the same,
        where an earlier journal has left them: to encode 700 masks takes 60 ms. Raises
        CannotWrite."""
        folder = Path(folder)
        words = re.sub(r"[^A-Za-z0-9]+", "-", work.clip.name).strip("-")[:40] or "clip"
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{words}-{uuid.uuid4().hex[:6]}{SUFFIX}"
        path = folder / name
        with made_folder(folder):
            lock = FileLock(_lock_path(path), str(path))
            try:
                reading = Reading(work, live=live or live_records(work))
                data = reading.live.joined()
                with atomic_write(path) as temporary:
                    temporary.write_bytes(data)
                _sync_folder(folder)
                reading.good = len(data)
                journal = cls(path, reading, lock, clock)
                journal._open()
            except BaseException as error:
                lock.release()
                if isinstance(error, OSError) and not isinstance(error, CannotWrite):
                    reason = reason_of(error)
                    raise CannotWrite(f"{path} could not be made: {reason}") from error
                raise
        return journal

    @classmethod
    def open(
        cls, path: str | os.PathLike, clock: Callable[[], float] = time.monotonic
    ) -> tuple[Journal, Reading]:
        """Go on with a journal. What is damaged in it is moved into a file beside it first, named
        by `set_aside`. Raises UnreadableFile, InUse and CannotWrite."""
        path = Path(path)
        if not path.is_file():
            raise UnreadableFile(f"{path} does not exist; `samusa recover list` names them")
        lock = FileLock(_lock_path(path), str(path))
        try:
            reading = read_journal(path)
            journal = cls(path, reading, lock, clock)
            if reading.damaged:
                journal.set_aside = _set_aside(path, reading.good)
            journal._open()
        except BaseException:
            lock.release()
            raise
        return journal, reading

    def set_segment(
        self,
        segment: str,
        name: str,
        color: tuple[int, int, int] = (255, 0, 0),
        windows: Iterable[Window] = (),
    ) -> bool:
        """Add a segment, or rename, recolour and give windows to the one of that identity."""
        self.work.set_segment(segment, name, color, windows)
        return self._append(SegmentRecord.of(segment, self.work.segment(segment)))

    def remove_segment(self, segment: str) -> bool:
        self.work.remove_segment(segment)
        return self._append(SegmentRemoved(segment))

    def set_steps(self, segment: str, frame: int, steps: Iterable[FramePrompts]) -> bool:
        """The prompts on a frame after each click, oldest first; none removes them."""
        self.work.set_steps(segment, frame, steps)
        kept = self.work.segment(segment).steps.get(frame, ())
        return self._append(PromptsRecord(segment, int(frame), kept))

    def set_frame(self, segment: str, frame: int, accepted: FrameAnnotation) -> bool:
        """A mask with its state; state EMPTY removes it."""
        self.work.set_frame(segment, frame, accepted)
        return self._append(MaskRecord.of(segment, frame, accepted))

    def set_frames(
        self,
        segment: str,
        frames: Collection[MaskRecord],
        stale: Collection[int] | None = None,
    ) -> bool:
        """`set_frame` of several, with what a propagation has to do then (None: as before), in one
        write: a process that is killed leaves all or none."""
        known = self.work.segment(segment).stale
        self.work.set_frames(segment, {each.frame: each.accepted for each in frames}, stale)
        told = [] if stale is None or known == stale else [StaleRecord.of(segment, stale)]
        return self._append(*frames, *told)

    def set_stale(self, segment: str, frames: Collection[int]) -> bool:
        """What a propagation still has to do."""
        self.work.set_stale(segment, frames)
        return self._append(StaleRecord.of(segment, frames))

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._size

    def tick(self) -> None:
        """To be called about every half second: makes durable what is written, and tries again
        what a disk refused."""
        if self._waiting or self._rewrite or self._unsynced:
            self._write()

    def close(self, remove: bool = False) -> None:
        """End: what is written is made durable, and others may open it. remove: the work is safe
        elsewhere; a journal without a segment is removed in any case. Raises CannotWrite if
        something could not be written or removed; it is closed all the same."""
        if self._lock is None:
            return
        remove = remove or not self.work.segments
        if not remove:
            self._next_try = self._next_sync = -np.inf
            self._write()
        self._close_handle()
        lock, self._lock = self._lock, None
        try:
            if remove:
                self.path.unlink(missing_ok=True)
            elif self.trouble is not None:
                raise self.trouble
        except CannotWrite:
            raise
        except OSError as error:
            raise CannotWrite(f"{self.path} could not be removed: {reason_of(error)}") from error
        finally:
            lock.release()

    # What is written ----------------------------------------------------------------------

    def _append(self, *records: Record) -> bool:
        for record in records:
            self.live.keep(record, record.encoded)
            self._waiting.append(record.encoded)
        return self._write()

    def _write(self) -> bool:
        """Everything that waits, and fsync if it is due. Whether that worked."""
        now = self._clock()
        if self.trouble is not None and now < self._next_try:
            return False
        try:
            if self._rewrite:
                self._compact()
            elif self._waiting:
                self._append_waiting()
            if self._unsynced and now >= self._next_sync:
                self._sync()
        except OSError as error:
            self._next_try = self._clock() + RETRY_SECONDS
            reason = str(error) if isinstance(error, CannotWrite) else reason_of(error)
            self.trouble = CannotWrite(
                f"what you accept is in memory only, the journal {self.path} cannot be written: "
                f"{reason}; it goes on by itself when it can"
            )
            return False
        self.trouble = None
        if self._size > max(LEAST_COMPACTED, 2 * self.live.size) and now >= self._next_try:
            try:
                self._compact()
            except OSError:  # nothing is lost: the long journal goes on
                self._next_try = now + RETRY_SECONDS
        return True

    def _append_waiting(self) -> None:
        if self._handle is None:
            self._open()
        data = memoryview(b"".join(self._waiting))
        try:
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError:
            self._rewrite = True  # unless half a record can be taken back
            os.ftruncate(self._handle, self._size)
            self._rewrite = False
            raise
        self._size += sum(map(len, self._waiting))
        self._waiting.clear()
        self._unsynced = True

    def _sync(self) -> None:
        if self._handle is None:
            self._open()
        start = self._clock()
        # After a failed fsync nobody knows what is on the disk, and a file that somebody has
        # removed, replaced or cut would take records nowhere: all is written anew.
        self._rewrite = True
        os.fsync(self._handle)
        whole = os.fstat(self._handle).st_size == self._size
        if not (whole and is_at(self.path, self._handle)):
            raise OSError(errno.EIO, "somebody else has changed it")
        self._rewrite = False
        self._unsynced = False
        end = self._clock()
        self._next_sync = end + max(SYNC_SECONDS, SYNC_SHARE * (end - start))

    def _compact(self) -> None:
        """Replace the file by one of the live records alone: atomically, so that a kill at any
        moment leaves the old or the new."""
        data = self.live.joined()
        self._close_handle()  # Windows does not replace an open file
        try:
            with made_folder(self.path.parent), atomic_write(self.path) as temporary:
                temporary.write_bytes(data)
            self._size = len(data)
            self._waiting.clear()
            self._rewrite = self._unsynced = False
            _sync_folder(self.path.parent)
        finally:
            self._open()

    def _open(self) -> None:
        """Open for appending after the last whole record."""
        rewrite, self._rewrite = self._rewrite, True  # unless all is as we left it
        self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        if os.fstat(self._handle).st_size < self._size:
            raise OSError(errno.EIO, "somebody else has changed it")
        os.ftruncate(self._handle, self._size)
        self._rewrite = rewrite

    def _close_handle(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _set_aside(path: Path, start: int) -> Path:
    """Copies what follows `start` into a file beside the journal."""
    numbers = (path.with_name(f"{path.stem}.damaged-{n}") for n in range(1, 1_000_000))
    aside = next(each for each in numbers if not each.exists())
    with open(path, "rb") as damaged, atomic_write(aside) as temporary:
        damaged.seek(start)
        with open(temporary, "wb") as out:
            shutil.copyfileobj(damaged, out)
    return aside


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Windows does so by itself, and some file systems of
    networks know no way to ask for it."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# All of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class JournalSummary:
    """A journal in a list. modified: seconds since 1970. size: bytes. clip and counts are None
    where it cannot be read, and then `trouble` says why; it also tells of damage within."""

    path: Path
    modified: float
    size: int
    is_open: bool
    clip: ClipIdentity | None = None
    segments: int | None = None
    masks: int | None = None
    trouble: str = ""


def list_journals(folder: str | os.PathLike) -> list[JournalSummary]:
    """The journals of a folder, the newest first. Removes temporary files that a process which
    was killed while compacting has left."""
    folder = Path(folder)
    summaries = []
    for path in folder.glob(f"*{SUFFIX}") if folder.is_dir() else ():
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed meanwhile
            continue
        if path.name.startswith("."):
            if stat.st_mtime < time.time() - LEFTOVER_SECONDS:
                with contextlib.suppress(OSError):
                    path.unlink()
            continue
        summaries.append(summary_of(path))
    return sorted(summaries, key=lambda each: each.modified, reverse=True)


def summary_of(path: str | os.PathLike) -> JournalSummary:
    """What a journal holds, in short; never fails for what is in the file."""
    path = Path(path)
    stat = path.stat()
    common = (path, stat.st_mtime, stat.st_size, is_locked(_lock_path(path)))
    try:
        reading = read_journal(path)
    except UnreadableFile as error:
        return JournalSummary(*common, trouble=str(error))
    segments = reading.work.segments.values()
    masks = sum(len(segment.frames) for segment in segments)
    return JournalSummary(*common, reading.work.clip, len(segments), masks, reading.trouble)


def remove_journal(path: str | os.PathLike) -> None:
    """Delete a journal and what was set aside from it. Raises UnreadableFile where there is none,
    InvalidValue for another file, InUse, CannotWrite."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist; `samusa recover list` names them")
    if path.suffix != SUFFIX:
        raise InvalidValue(f"{path} is no journal; their names end in {SUFFIX}")
    lock = FileLock(_lock_path(path), str(path))
    try:
        path.unlink()
        for aside in path.parent.glob(f"{glob.escape(path.stem)}.damaged-*"):
            aside.unlink()
    except OSError as error:
        raise CannotWrite(f"{path} could not be removed: {reason_of(error)}") from error
    finally:
        lock.release()
