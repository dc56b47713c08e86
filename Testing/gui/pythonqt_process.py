"""The part of PythonQt's `qt` that `app.qprocess` uses, on PySide6; any other name is refused.

The names are those of Slicer 5.13's QProcess, QProcessEnvironment, QByteArray and QTimer. As in
PythonQt, bytes go in as QByteArray and `data()` gives bytes.
"""

from __future__ import annotations

from PySide6 import QtCore

QByteArray = QtCore.QByteArray


class QProcessEnvironment:
    def __init__(self):
        self.wrapped = QtCore.QProcessEnvironment()

    def insert(self, name: str, value: str) -> None:
        self.wrapped.insert(name, value)


class QTimer:
    @staticmethod
    def singleShot(milliseconds: int, callback) -> None:
        QtCore.QTimer.singleShot(milliseconds, callback)


class QProcess:
    NotRunning = QtCore.QProcess.ProcessState.NotRunning
    FailedToStart = QtCore.QProcess.ProcessError.FailedToStart
    CrashExit = QtCore.QProcess.ExitStatus.CrashExit
    _SAME = {
        "blockSignals",
        "bytesToWrite",
        "bytesWritten",
        "deleteLater",
        "errorOccurred",
        "errorString",
        "exitCode",
        "exitStatus",
        "finished",
        "kill",
        "processId",
        "program",
        "readAllStandardError",
        "readAllStandardOutput",
        "readyReadStandardError",
        "readyReadStandardOutput",
        "state",
    }

    def __init__(self):
        self._wrapped = QtCore.QProcess()

    def __getattr__(self, name: str):
        if name not in self._SAME:
            raise AttributeError(f"PythonQt's QProcess is not known to have {name}")
        return getattr(self._wrapped, name)

    def setProcessEnvironment(self, environment: QProcessEnvironment) -> None:
        self._wrapped.setProcessEnvironment(environment.wrapped)

    def start(self, program: str, arguments: list[str]) -> None:
        if not isinstance(arguments, list):
            raise ValueError("PythonQt makes a QStringList of a list")
        self._wrapped.start(program, arguments)

    def write(self, data: QtCore.QByteArray) -> int:
        if not isinstance(data, QtCore.QByteArray):
            raise ValueError("bytes may be taken for a text that ends at the first zero")
        return self._wrapped.write(data)
