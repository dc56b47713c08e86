"""A worker behind Qt's QProcess: `worker.transport.Transport` for Slicer, whose event loop calls.

The names are PythonQt's. Bytes are wrapped in QByteArray before they are written: PythonQt also
offers `write(const char*)`, which would end at the first zero.
"""

from __future__ import annotations

import atexit
import codecs
import os
from collections.abc import Callable

from ..worker.command import WorkerCommand
from ..worker.transport import KILL_SECONDS, LOW_WATER, Receiver, ending, kill_tree


class QProcessTransport:
    """Starts a process, reads and writes it by Qt's signals; for the GUI thread alone."""

    def __init__(self):
        import qt

        self._qt = qt
        self._process = None
        self._receiver: Receiver | None = None
        self._decode: Callable[[bytes], str] | None = None
        self._filled = False  # the backlog has reached LOW_WATER since it was `drained`
        self._undead: list = []  # given up; destroying a QProcess that runs waits for its end

    def start(self, command: WorkerCommand, receiver: Receiver) -> None:
        if self._process is not None:
            raise RuntimeError("the last process has not ended yet")
        self._undead = [each for each in self._undead if not self._ended(each)]
        environment = self._qt.QProcessEnvironment()
        for name, value in command.environment.items():
            environment.insert(name, value)
        process = self._qt.QProcess()
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._read_output)
        process.readyReadStandardError.connect(self._read_log)
        process.bytesWritten.connect(self._written)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        self._process, self._receiver, self._filled = process, receiver, False
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        atexit.register(self._at_exit)
        process.start(command.program, list(command.arguments))

    def write(self, data: bytes) -> None:
        if self._process is None or self._ended(self._process):
            return
        self._process.write(self._qt.QByteArray(data))
        self._filled = self._filled or self.backlog >= LOW_WATER

    @property
    def backlog(self) -> int:
        return 0 if self._process is None else int(self._process.bytesToWrite())

    @property
    def process(self) -> int | None:
        """Id of the process, None where none runs."""
        return None if self._process is None else int(self._process.processId()) or None

    def kill(self) -> None:
        if self._process is None:
            return
        self._at_exit()
        process = self._process
        if os.name != "nt":  # there the tree is found by its root, so that must not go before
            process.kill()
        self._qt.QTimer.singleShot(int(KILL_SECONDS * 1000), lambda: self._give_up(process))

    def close(self) -> None:
        """The application quits: kill the process and see its end, KILL_SECONDS at most. A QProcess
        that outlived the event loop would be destroyed while it runs."""
        self.kill()
        if self._process is not None:
            self._process.waitForFinished(int(KILL_SECONDS * 1000))

    def soon(self, callback: Callable[[], None]) -> None:
        self._qt.QTimer.singleShot(0, callback)

    def _at_exit(self) -> None:
        """Nothing of Qt that needs an event loop, which may be gone."""
        if self.process is not None:
            kill_tree(self.process)

    def _read_output(self) -> None:
        if self._process is not None:
            data = self._process.readAllStandardOutput().data()
            if data:
                self._receiver.received(data)

    def _read_log(self) -> None:
        if self._process is not None:
            data = self._process.readAllStandardError().data()
            if data:
                self._receiver.logged(self._decode(data))

    def _written(self, _count: int) -> None:
        if self._filled and self.backlog < LOW_WATER:
            self._filled = False
            self._receiver.drained()

    def _failed(self, error: object) -> None:
        """Only a process that did not start has no `finished`."""
        process = self._process
        if process is not None and error == self._qt.QProcess.FailedToStart:
            reason = f"could not be started, {process.program()}: {process.errorString()}"
            # QProcess may say so from within `start`.
            self.soon(lambda: self._over(process, reason))

    def _finished(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        self._read_output()
        self._read_log()
        if process.exitStatus() == self._qt.QProcess.CrashExit:
            self._over(process, "crashed or was killed")
        else:
            self._over(process, ending(int(process.exitCode())))

    def _give_up(self, process) -> None:
        if self._process is process:
            process.kill()
        self._over(process, "could not be killed")

    def _over(self, process, reason: str) -> None:
        if self._process is not process:
            return
        atexit.unregister(self._at_exit)
        receiver, self._process, self._receiver = self._receiver, None, None
        process.blockSignals(True)
        if self._ended(process):
            # Not here: one of its signals may be calling, and PythonQt destroys what nobody holds.
            self.soon(lambda: process.deleteLater())
        else:
            self._undead.append(process)
        receiver.ended(reason)

    def _ended(self, process) -> bool:
        return process.state() == self._qt.QProcess.NotRunning
