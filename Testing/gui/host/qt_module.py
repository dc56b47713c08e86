"""The module `qt`: PySide6's classes under the names and rules of the application's."""

import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets  # noqa: E402

from . import dialogs, shape, table  # noqa: E402

_HOMES = (QtCore, QtGui, QtWidgets, QtUiTools)


class TableModule(types.ModuleType):
    """A module that says why it lacks a name."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise AttributeError(table.refusal(self.__name__, name))


def _shaped_classes() -> dict[str, type]:
    """PySide6's classes that the table knows, in the application's form; bases first."""
    found = {}
    for name in table.names("qt"):
        cls = next((getattr(home, name) for home in _HOMES if hasattr(home, name)), None)
        if isinstance(cls, type) and table.entry(f"qt.{name}") is not None:
            found[name] = cls
    for name, cls in sorted(found.items(), key=lambda item: len(item[1].__mro__)):
        shape.shape(cls, f"qt.{name}")
    return found


def _single_shot(*arguments) -> None:
    """QTimer.singleShot(ms, f), with PythonQt's way of calling f."""
    *when, function = arguments
    _native_single_shot(*when, shape.guarded(function))


def build() -> types.ModuleType:
    """The module, made once a process."""
    global _native_single_shot
    module = TableModule("qt", "Qt as the application shows it to Python.")
    _native_single_shot = QtCore.QTimer.singleShot
    module.__dict__.update(_shaped_classes())
    dialogs.install()
    QtCore.QTimer.__dict__["singleShot"].of_class = staticmethod(_single_shot)
    module.__dict__.update(
        Signal=QtCore.Signal,
        Slot=QtCore.Slot,
        Property=QtCore.Property,
        SIGNAL=QtCore.SIGNAL,
        SLOT=QtCore.SLOT,
        qVersion=QtCore.qVersion,
        os=os,
        sys=sys,
    )
    return module
