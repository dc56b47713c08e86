"""The way to a worker's process: bytes in, bytes out, its end. `SubprocessTransport` needs no Qt.

A transport starts one process at a time, for one receiver. Nothing here blocks, and every call
of the receiver comes on the owner's thread: from inside `pump` here, from Qt's event loop in
`app.qprocess`.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .command import WorkerCommand

LOW_WATER = 2**20  # bytes; with fewer than these unwritten, more may be written
LINGER = 1.0  # s without output, after which a process that has ended has said all
KILL_SECONDS = 3.0  # s; a killed process that has not ended by then is given up
_PIECE = 2**16  # bytes, what a pipe usually holds
_MOST_UNREAD = 32 * 2**20  # bytes read ahead of `pump`; then the worker has to wait
_MOST_EVENTS = 64  # pieces handed on by one `pump`


class Receiver(Protocol):
    """What a transport tells; `Client` is one."""

    def received(self, data: bytes) -> None:
        """Bytes of the worker's standard output, in pieces of any size."""

    def logged(self, text: str) -> None:
        """Text of its standard error, in pieces of any size."""

    def drained(self) -> None:
        """The backlog fell below LOW_WATER."""

    def ended(self, reason: str) -> None:
        """The process has gone or could not start; called exactly once per start, after the last
        `received`. reason: how, in words that follow "the worker"."""


class Transport(Protocol):
    """A way to start a worker's process and to talk with it."""

    def start(self, command: WorkerCommand, receiver: Receiver) -> None:
        """Start the process; returns at once. RuntimeError where one has not `ended` yet."""

    def write(self, data: bytes) -> None:
        """Queue bytes for its standard input; never blocks. Without a process: nothing."""

    @property
    def backlog(self) -> int:
        """Bytes written that the process has not taken yet."""

    def kill(self) -> None:
        """End the process and its children at once; `ended` follows, even if it cannot die."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back from the owner's event loop, after what waits there now."""


def ending(status: int) -> str:
    """Words for `Receiver.ended`. status: as Popen.returncode: negative for a signal; Windows
    tells crashes by statuses from 0xC0000000 up."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"was ended by {name}"
    if status >= 0xC0000000:
        return f"crashed (0x{status:08X})"
    return f"ended with status {status}"


def kill_tree(process: int) -> None:
    """Kill a running child and all that it has started: its process group where it leads one,
    else its descendants. A launcher, such as Slicer's PythonSlicer, has the real worker as its
    child, and that outlives a launcher that is killed alone."""
    if os.name == "nt":
        with contextlib.suppress(OSError):  # where taskkill may not be run
            subprocess.Popen(
                ["taskkill", "/PID", str(process), "/T", "/F"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended
        if os.getpgid(process) == process:
            os.killpg(process, signal.SIGKILL)
            return
        # Stopped before its children are listed, so that it cannot start more.
        os.kill(process, signal.SIGSTOP)
        for child in _children(process):
            kill_tree(child)
        os.kill(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    if sys.platform.startswith("linux"):
        found: list[int] = []
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # that thread has just ended
                found += [int(each) for each in task.read_text().split()]
        return found
    answer = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True)
    return [int(each) for each in answer.stdout.split()]


class SubprocessTransport:
    """A worker behind pipes that threads read and write; the owner calls `pump`."""

    def __init__(self):
        self._calls: deque[Callable[[], None]] = deque()
        self._run: _Run | None = None

    def start(self, command: WorkerCommand, receiver: Receiver) -> None:
        if self._run is not None:
            raise RuntimeError("the last process has not ended yet")
        self._run = _Run(command, receiver)

    def write(self, data: bytes) -> None:
        if self._run is not None:
            self._run.write(data)

    @property
    def backlog(self) -> int:
        return 0 if self._run is None else self._run.backlog

    @property
    def process(self) -> int | None:
        """Id of the process, None where none runs."""
        return None if self._run is None else self._run.process

    def kill(self) -> None:
        if self._run is not None:
            self._run.kill()

    def soon(self, callback: Callable[[], None]) -> None:
        self._calls.append(callback)

    def pump(self, timeout: float) -> None:
        """Hand on what has come, waiting up to `timeout` s for it; the receiver and the callbacks
        of `soon` are called from in here."""
        calls, self._calls = self._calls, deque()
        for call in calls:
            call()
        wait = 0.0 if calls or self._calls else timeout
        run = self._run
        if run is None:
            time.sleep(wait)
        elif run.hand_on(wait):
            self._run = None
            run.receiver.ended(run.ending)


class _Run:
    """One process from its start to its end. Threads put events into a queue; all else happens
    on the owner's thread."""

    def __init__(self, command: WorkerCommand, receiver: Receiver):
        self.receiver = receiver
        self.ending = "could not be killed"
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._counting = threading.Condition()
        self._backlog = 0
        self._unread = 0
        self._reaping = threading.Lock()
        self._reaped = False
        self._open = {"output", "log"}
        self._exited = False
        self._killed = False
        self._deadline: float | None = None  # for what is still to come after an end
        self._process: subprocess.Popen | None = None
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        try:
            self._process = subprocess.Popen(
                [command.program, *command.arguments],
                env=dict(command.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                **_apart(),
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.ending = f"could not be started, {command.program}: {why}"
            return
        atexit.register(self.kill)
        for work, *arguments in (
            (self._write,),
            (self._read, "output", self._process.stdout),
            (self._read, "log", self._process.stderr),
            (self._wait,),
        ):
            threading.Thread(target=work, args=arguments, daemon=True).start()

    @property
    def process(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def backlog(self) -> int:
        return self._backlog

    def write(self, data: bytes) -> None:
        if self._process is not None:
            with self._counting:
                self._backlog += len(data)
            self._outgoing.put(data)

    def kill(self) -> None:
        if self._process is None or self._killed:
            return
        self._killed = True
        self._deadline = time.monotonic() + KILL_SECONDS
        with self._reaping:
            if not self._reaped:
                kill_tree(self._process.pid)

    def hand_on(self, wait: float) -> bool:
        """Give the receiver what has come, waiting for the first of it; True: all is over."""
        if self._process is None:
            return True
        until = time.monotonic() + wait
        for _ in range(_MOST_EVENTS):
            left = max(0.0, until - time.monotonic())
            # With a deadline set the process may be over without any further event.
            pause = left if self._deadline is None else min(left, 0.05)
            try:
                kind, value = self._events.get(pause > 0, pause or None)
            except queue.Empty:
                if self._is_over() or left <= pause:
                    break
                continue
            until = 0.0
            self._take(kind, value)
        return self._is_over()

    def _take(self, kind: str, value: Any) -> None:
        now = time.monotonic()
        if kind == "output" or kind == "log":
            with self._counting:
                self._unread -= len(value)
                self._counting.notify_all()
            if self._exited:
                self._deadline = now + LINGER
            if kind == "output":
                self.receiver.received(value)
            else:
                self.receiver.logged(self._decode(value))
        elif kind == "drained":
            self.receiver.drained()
        elif kind == "closed":
            self._open.discard(value)
            if value == "output" and self._deadline is None:
                self._deadline = now + LINGER
        elif kind == "exited":
            self._exited = True
            self._deadline = now + LINGER
            self.ending = ending(value)

    def _is_over(self) -> bool:
        if not self._events.empty() or self._deadline is None:
            return False
        if not (self._exited and not self._open):
            if time.monotonic() < self._deadline:
                return False
            if not self._exited and not self._killed:  # alive, but it has closed its output
                self.kill()
                return False
        atexit.unregister(self.kill)
        self._outgoing.put(None)
        return True

    def _write(self) -> None:
        stdin = self._process.stdin
        try:
            while (data := self._outgoing.get()) is not None:
                view = memoryview(data)
                while view:
                    taken = stdin.write(view[:_PIECE])
                    view = view[taken:]
                    with self._counting:
                        before, self._backlog = self._backlog, self._backlog - taken
                    if before >= LOW_WATER > before - taken:
                        self._events.put(("drained", None))
        except OSError:
            pass  # it reads no more: its end will be told by `_wait`
        with contextlib.suppress(OSError):
            stdin.close()

    def _read(self, name: str, stream) -> None:
        try:
            while data := stream.read(_PIECE):
                with self._counting:
                    self._counting.wait_for(lambda: self._unread < _MOST_UNREAD)
                    self._unread += len(data)
                self._events.put((name, data))
        except OSError:
            pass
        stream.close()
        self._events.put(("closed", name))

    def _wait(self) -> None:
        process = self._process
        if hasattr(os, "waitid"):
            # While it is not reaped its id, and so its group's, cannot be another's.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self._reaping:
            if os.name != "nt":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # what it has left behind
            status = process.wait()
            self._reaped = True
        self._events.put(("exited", status))


def _apart() -> dict[str, Any]:
    """A group of its own: Ctrl-C in a terminal is the client's, and the group can be killed."""
    if os.name == "nt":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": flags}
    return {"start_new_session": True}
