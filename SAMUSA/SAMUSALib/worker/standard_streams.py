"""The protocol's own ends of standard input and output, out of reach of whatever prints."""

from __future__ import annotations

import io
import os
import sys

from ..errors import InvalidValue


class LogStream(io.TextIOBase):
    """Text to a file descriptor. What cannot be written (a full disk, a reader that has gone) is
    lost: a log must never end the work."""

    encoding = "utf-8"

    def __init__(self, descriptor: int):
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            pass
        return len(text)


def take_standard_streams() -> tuple[int, int]:
    """Descriptors (incoming, outgoing) of what were standard input and output, in binary mode.

    From then on standard input is empty, and standard output, of Python as of C libraries and of
    processes that are started, goes to standard error. Raises InvalidValue if they are closed.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # None under pythonw, or closed by who started us
    try:
        incoming, outgoing = os.dup(0), os.dup(1)
    except OSError:
        raise InvalidValue(
            "standard input or output is closed; the worker speaks to its client through them"
        ) from None
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.fstat(2)
    except OSError:
        os.dup2(nothing, 2)
    os.dup2(2, 1)
    if nothing > 2:
        os.close(nothing)
    sys.stdout = sys.stderr = LogStream(2)
    for descriptor in (incoming, outgoing):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.setmode(descriptor, os.O_BINARY)
        else:
            os.set_blocking(descriptor, True)
    return incoming, outgoing
