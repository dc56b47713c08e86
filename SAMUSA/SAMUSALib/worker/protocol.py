"""The worker's protocol: bytes to messages and back, no process and no file (sans-IO, after h11).

A message on the wire is

    4 bytes   b"SMSA"
    4 bytes   length of the header, unsigned, big-endian, at most MAX_HEADER
    header    a JSON object in UTF-8; its "parts" lists the lengths of the binary parts
    parts     the bytes of each part, one after the other, at most MAX_PARTS of MAX_BODY in all

What headers say is in `messages`; docs/protocol.md tells the whole. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from ..errors import SamusaError

VERSION = 1
MAGIC = b"SMSA"
PREFIX = struct.Struct(">4sI")
MAX_HEADER = 4 * 2**20
MAX_PARTS = 8192
MAX_BODY = 256 * 2**20


class BrokenStream(SamusaError):
    """The bytes are not this protocol; nothing that follows can be understood."""


@dataclass(frozen=True)
class Message:
    """header: JSON object without "parts"; parts: binary, in the order that the header means."""

    header: dict[str, Any]
    parts: tuple[bytes, ...] = ()


def encode(message: Message) -> bytes:
    """Bytes of a message. Raises BrokenStream for what the other side would refuse: a header that
    is no JSON, "parts" in it, or sizes above the bounds."""
    if "parts" in message.header:
        raise BrokenStream('a header must not hold "parts"; the encoder writes them')
    lengths = [len(part) for part in message.parts]
    if len(lengths) > MAX_PARTS or sum(lengths) > MAX_BODY:
        raise BrokenStream(
            f"a message of {len(lengths)} parts and {sum(lengths)} bytes; "
            f"at most {MAX_PARTS} parts and {MAX_BODY} bytes are allowed"
        )
    header = dict(message.header, parts=lengths) if lengths else message.header
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise BrokenStream(f"the header is no JSON: {error}") from None
    if len(text) > MAX_HEADER:
        raise BrokenStream(f"a header of {len(text)} bytes; at most {MAX_HEADER} are allowed")
    return b"".join([PREFIX.pack(MAGIC, len(text)), text, *message.parts])


class Decoder:
    """Bytes in, in pieces of any size; messages out.

    It never holds more than one unfinished message beyond the bytes of the last piece, and
    after BrokenStream it answers every further piece with the same error.
    """

    def __init__(self):
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None
        self._lengths: list[int] = []
        self._wanted = PREFIX.size
        self._in_header = False
        self._broken: BrokenStream | None = None

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and not ended: the stream must not end here."""
        return bool(self._buffer) or self._in_header or self._header is not None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete. Raises BrokenStream; messages completed by the
        same piece before the error are lost with it."""
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        messages: list[Message] = []
        start = 0
        try:
            with memoryview(self._buffer) as view:
                while len(view) - start >= self._wanted:
                    piece = view[start : start + self._wanted]
                    start += self._wanted
                    message = self._take(piece)
                    if message is not None:
                        messages.append(message)
                    piece.release()
        except BrokenStream as error:
            self._broken = error
            self._buffer = bytearray()
            raise
        del self._buffer[:start]
        return messages

    def _take(self, piece: memoryview) -> Message | None:
        """A prefix, a header or all parts; sets what is wanted next."""
        if self._header is not None:
            return self._finish(piece)
        if self._in_header:
            self._in_header = False
            header = _parse_header(bytes(piece))
            self._lengths = _part_lengths(header)
            self._header = header
            if self._lengths:
                self._wanted = sum(self._lengths)
                return None
            return self._finish(piece[:0])
        magic, length = PREFIX.unpack(piece)
        if magic != MAGIC:
            raise BrokenStream(
                f"a message begins with {MAGIC!r}, not {magic!r}; "
                "something else writes to this stream, or the versions do not fit"
            )
        if not 2 <= length <= MAX_HEADER:
            raise BrokenStream(f"a header of {length} bytes; 2 to {MAX_HEADER} are allowed")
        self._in_header, self._wanted = True, length
        return None

    def _finish(self, body: memoryview) -> Message:
        parts, at = [], 0
        for length in self._lengths:
            parts.append(bytes(body[at : at + length]))
            at += length
        message = Message(self._header, tuple(parts))
        self._header, self._lengths, self._wanted = None, [], PREFIX.size
        return message


def _parse_header(text: bytes) -> dict[str, Any]:
    def no_constant(name: str):
        raise ValueError(f"{name} is not JSON")

    try:
        header = json.loads(text.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenStream(f"a header is no JSON: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise BrokenStream("a header is no JSON object")
    return header


def _part_lengths(header: dict[str, Any]) -> list[int]:
    """Takes "parts" out of the header. A message of parts of no bytes alone has a body of none."""
    lengths = header.pop("parts", [])
    if not isinstance(lengths, list) or len(lengths) > MAX_PARTS:
        raise BrokenStream(f'"parts" is no list of at most {MAX_PARTS} lengths')
    if not all(type(length) is int and 0 <= length <= MAX_BODY for length in lengths):
        raise BrokenStream(f'"parts" holds a length that is not from 0 to {MAX_BODY}')
    if sum(lengths) > MAX_BODY:
        raise BrokenStream(f"a body of {sum(lengths)} bytes; at most {MAX_BODY} are allowed")
    return lengths
