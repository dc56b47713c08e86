"""What is in a journal: its records as bytes, and reading them. `journal` writes them.

A journal is a file of records, one after the other:

    4 bytes   b"SMSJ"
    4 bytes   length of the payload, unsigned, big-endian, at most MAX_PAYLOAD
    4 bytes   CRC-32 of the payload
    4 bytes   CRC-32 of the twelve bytes before
    payload   a message of `protocol`: its header holds "record": NAME and the fields of the class
              of that name below, its parts the bits of masks

The first is a ClipRecord. Each later one replaces or removes one thing, so reading them in order
gives the work. A record that ends before its length says was being written when the process or
the machine stopped; anything else that is not as above is damage: what is before it counts, it and
what follows is set aside.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar, get_args

import numpy as np

from ..annotation import FrameAnnotation, FrameState
from ..clip import Geometry
from ..errors import SamusaError, UnreadableFile
from ..masks import EncodedMask
from ..prompts import FramePrompts, SegmentPrompts
from .accepted import AcceptedSegment, AcceptedWork, ClipIdentity
from .messages import read_value, value_message
from .protocol import MAX_BODY, MAX_HEADER, Decoder, encode

VERSION = 1
SUFFIX = ".journal"
MAGIC = b"SMSJ"
HEAD = struct.Struct(">4sIII")
MAX_PAYLOAD = MAX_HEADER + MAX_BODY + 8


# Records --------------------------------------------------------------------------------------


class _Record:
    """What the classes below share."""

    @cached_property
    def encoded(self) -> bytes:
        """As in the file. It is kept: many masks can be made ready in pieces (0.1 ms each) and
        then written together."""
        payload = encode(value_message("record", None, self))
        head = HEAD.pack(MAGIC, len(payload), zlib.crc32(payload), 0)[:12]
        return head + zlib.crc32(head).to_bytes(4, "big") + payload


@dataclass(frozen=True)
class ClipRecord(_Record):
    """Always first. Matrices row by row, see `clip.Geometry`."""

    NAME: ClassVar[str] = "clip"
    version: int
    created: str
    name: str
    source: str
    fingerprint: str
    frame_to_ijk: tuple[float, ...]
    ijk_to_ras: tuple[float, ...]
    source_shape: tuple[int, ...]
    kind: str
    calibrated: bool


@dataclass(frozen=True)
class SegmentRecord(_Record):
    """A segment is there, of this name, colour and windows."""

    NAME: ClassVar[str] = "segment"
    segment: str
    about: SegmentPrompts

    @classmethod
    def of(cls, segment: str, known: AcceptedSegment) -> SegmentRecord:
        return cls(segment, SegmentPrompts(known.name, {}, known.windows, known.color))


@dataclass(frozen=True)
class SegmentRemoved(_Record):
    NAME: ClassVar[str] = "segment_removed"
    segment: str


@dataclass(frozen=True)
class PromptsRecord(_Record):
    """The prompts on a frame after each click, oldest first; none: they are removed."""

    NAME: ClassVar[str] = "prompts"
    segment: str
    frame: int
    steps: tuple[FramePrompts, ...]


@dataclass(frozen=True)
class MaskRecord(_Record):
    """A mask and its state; state EMPTY: it is removed."""

    NAME: ClassVar[str] = "mask"
    segment: str
    frame: int
    mask: EncodedMask
    state: FrameState
    confidence: float

    @classmethod
    def of(cls, segment: str, frame: int, accepted: FrameAnnotation) -> MaskRecord:
        confidence = float(accepted.confidence)
        return cls(segment, int(frame), accepted.mask, accepted.state, confidence)

    @property
    def accepted(self) -> FrameAnnotation:
        return FrameAnnotation(self.mask, self.state, self.confidence)


@dataclass(frozen=True)
class StaleRecord(_Record):
    """What a propagation still has to do. spans: the first and the last frame of each stretch, one
    after the other."""

    NAME: ClassVar[str] = "stale"
    segment: str
    spans: tuple[int, ...]

    @classmethod
    def of(cls, segment: str, frames: Collection[int]) -> StaleRecord:
        firsts = (n for n in sorted(frames) if n - 1 not in frames)
        lasts = (n for n in sorted(frames) if n + 1 not in frames)
        return cls(segment, tuple(end for span in zip(firsts, lasts, strict=True) for end in span))

    def frames(self, length: int) -> set[int]:
        """Raises _Damaged for spans that are not in a clip of this length."""
        firsts, lasts = self.spans[::2], self.spans[1::2]
        if len(firsts) != len(lasts) or any(not 0 <= n < length for n in self.spans):
            raise _Damaged(f"spans are {self.spans}; pairs of frames 0 to {length - 1} are needed")
        return {
            n for first, last in zip(firsts, lasts, strict=True) for n in range(first, last + 1)
        }


Record = ClipRecord | SegmentRecord | SegmentRemoved | PromptsRecord | MaskRecord | StaleRecord
_KINDS = {kind.NAME: kind for kind in get_args(Record)}


def live_records(work: AcceptedWork) -> LiveRecords:
    """Those that say all of it."""
    live = LiveRecords()
    for record in _records_of(work):
        live.keep(record, record.encoded)
    return live


def _records_of(work: AcceptedWork) -> Iterator[Record]:
    yield _clip_record(work.clip)
    for segment, known in work.segments.items():
        yield SegmentRecord.of(segment, known)
        for frame, steps in known.steps.items():
            yield PromptsRecord(segment, frame, steps)
        for frame, accepted in known.frames.items():
            yield MaskRecord.of(segment, frame, accepted)
        if known.stale is not None:
            yield StaleRecord.of(segment, known.stale)


def _clip_record(clip: ClipIdentity) -> ClipRecord:
    geometry = clip.geometry
    return ClipRecord(
        VERSION, clip.created, clip.name, clip.source, clip.fingerprint,
        tuple(geometry.frame_to_ijk.ravel().tolist()),
        tuple(geometry.ijk_to_ras.ravel().tolist()),
        geometry.source_shape, geometry.kind, geometry.calibrated,
    )  # fmt: skip


class _Torn(Exception):
    """The file ends within a record."""


class _Damaged(Exception):
    """Bytes that are no record, or a record that makes no sense where it is."""


def _read_record(file: BinaryIO) -> tuple[Record, bytes] | None:
    """The record at the file's position and its bytes; None at the end."""
    head = file.read(HEAD.size)
    if not head:
        return None
    if not head.startswith(MAGIC[: len(head)]):
        raise _Damaged("what is there is no record")
    if len(head) < HEAD.size:
        raise _Torn
    _, length, payload_sum, head_sum = HEAD.unpack(head)
    if zlib.crc32(head[:12]) != head_sum or length > MAX_PAYLOAD:
        raise _Damaged("the checksum of a record's head is wrong")
    payload = file.read(length)
    if len(payload) < length:
        raise _Torn
    if zlib.crc32(payload) != payload_sum:
        raise _Damaged("the checksum of a record is wrong")
    try:
        decoder = Decoder()
        (message,) = decoder.feed(payload)
        _, record = read_value("record", message, _KINDS)
    except (SamusaError, ValueError) as error:
        raise _Damaged(f"a record cannot be understood: {error}") from None
    return record, head + payload


class LiveRecords:
    """The records that count, in order, as bytes: a compacted journal is these and no others."""

    def __init__(self):
        self.size = 0  # bytes
        self._records: dict[tuple, bytes] = {}

    def keep(self, record: Record, data: bytes) -> None:
        """A record comes; those that it replaces or removes go."""
        if isinstance(record, SegmentRemoved):
            for key in [key for key in self._records if key[1] == record.segment]:
                self.size -= len(self._records.pop(key))
            return
        key = (record.NAME, getattr(record, "segment", None), getattr(record, "frame", None))
        self.size -= len(self._records.get(key, b""))
        gone = isinstance(record, PromptsRecord) and not record.steps
        gone |= isinstance(record, MaskRecord) and record.state is FrameState.EMPTY
        if gone:
            self._records.pop(key, None)
        else:
            self._records[key] = data
            self.size += len(data)

    def joined(self) -> bytes:
        return b"".join(self._records.values())


def _clip_identity(record: ClipRecord) -> ClipIdentity:
    matrices = []
    for values in (record.frame_to_ijk, record.ijk_to_ras):
        if len(values) != 16:
            raise _Damaged(f"a matrix has {len(values)} values; 16 are needed")
        matrices.append(np.array(values).reshape(4, 4))
    geometry = Geometry(*matrices, record.source_shape, record.kind, record.calibrated)
    return ClipIdentity(record.name, record.source, record.fingerprint, geometry, record.created)


# Reading --------------------------------------------------------------------------------------


@dataclass
class Reading:
    """What a journal says. good: bytes up to which it is whole. unfinished: bytes after these of
    a record that was being written. damaged: bytes after these that are damage, and `reason`."""

    work: AcceptedWork
    good: int = 0
    unfinished: int = 0
    damaged: int = 0
    reason: str = ""
    live: LiveRecords = field(default_factory=LiveRecords, repr=False)

    @property
    def trouble(self) -> str:
        """A sentence for the user; empty where nothing but an unfinished record is lost."""
        if not self.damaged:
            return ""
        return (
            f"it is damaged after {self.good} of {self.good + self.damaged} bytes ({self.reason}); "
            "what was accepted before that is here, what came after it is not"
        )


def read_journal(path: str | os.PathLike) -> Reading:
    """Reads without changing anything, also while another process writes it. Raises
    UnreadableFile where there is no journal, or none whose beginning can be read."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _read_all(file, path)
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist; `samusa recover list` names them") from None
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from None


def _read_all(file: BinaryIO, path: Path) -> Reading:
    size = os.fstat(file.fileno()).st_size
    reading = _read_first(file, path)
    while True:
        reading.good = file.tell()
        try:
            found = _read_record(file)
            if found is None:
                return reading
            _apply(reading.work, found[0])
            reading.live.keep(*found)
        except _Torn:
            reading.unfinished = max(size, file.tell()) - reading.good
            return reading
        except (_Damaged, SamusaError) as error:
            reading.damaged = max(size, file.tell()) - reading.good
            reading.reason = str(error)
            return reading


def _read_first(file: BinaryIO, path: Path) -> Reading:
    try:
        found = _read_record(file)
        if found is None:
            raise _Torn
        record, data = found
        if not isinstance(record, ClipRecord):
            raise _Damaged("its first record is not about a clip")
        if record.version != VERSION:
            raise UnreadableFile(
                f"{path} is a journal of version {record.version}; this SAMUSA reads version "
                f"{VERSION}; use the SAMUSA that wrote it"
            )
        work = AcceptedWork(_clip_identity(record))
    except _Torn:
        raise UnreadableFile(f"{path} holds nothing: it was cut off while it was begun") from None
    except _Damaged as error:
        raise UnreadableFile(f"{path} is no journal, or damaged from its start: {error}") from None
    except UnreadableFile:
        raise
    except SamusaError as error:
        raise UnreadableFile(f"{path} is damaged from its start: {error}") from None
    reading = Reading(work)
    reading.live.keep(record, data)
    return reading


def _apply(work: AcceptedWork, record: Record) -> None:
    """Raises InvalidValue, and _Damaged for a second beginning."""
    if isinstance(record, SegmentRecord):
        about = record.about
        work.set_segment(record.segment, about.name, about.color, about.windows)
    elif isinstance(record, SegmentRemoved):
        work.remove_segment(record.segment)
    elif isinstance(record, PromptsRecord):
        work.set_steps(record.segment, record.frame, record.steps)
    elif isinstance(record, MaskRecord):
        work.set_frame(record.segment, record.frame, record.accepted)
    elif isinstance(record, StaleRecord):
        work.set_stale(record.segment, record.frames(work.clip.length))
    else:
        raise _Damaged("it begins a second time")
