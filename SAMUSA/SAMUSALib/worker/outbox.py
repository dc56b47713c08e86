"""Events on their way to the client: a thread writes them, a bound keeps a slow client from filling
the memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

# Bytes that wait before whoever sends has to wait too: some 2000 masks. More would only make a
# cancel over a slow line take longer.
MOST_WAITING = 4 * 2**20


class Outbox:
    """Writes to a descriptor in the order of sending; safe to use from several threads.

    gone: called once, on the writing thread, when the reader has gone; what is sent from then on
    is dropped.
    """

    def __init__(self, descriptor: int, gone: Callable[[], None]):
        self._descriptor, self._gone = descriptor, gone
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Queue bytes; waits while too much is queued."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= MOST_WAITING or self._closed)
            if not self._closed:
                self._queue.append(data)
                self._waiting += len(data)
                self._changed.notify_all()

    def send_if_idle(self, data: bytes) -> None:
        """Queue bytes unless others wait, which tell the reader as much as these."""
        with self._changed:
            idle = not self._waiting
        if idle:
            self.send(data)

    def finish(self, seconds: float) -> None:
        """Write what is queued, for so long at most; what is sent later is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                data = self._queue.popleft()
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                self._drop_all()
                self._gone()
                return
            with self._changed:
                self._waiting -= len(data)
                self._changed.notify_all()

    def _drop_all(self) -> None:
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
