"""Qt properties of stand-ins, which .ui files and Python set alike."""

import itertools

from PySide6 import QtCore

_count = itertools.count()


def stored(kind, default, changed: str | None = None) -> QtCore.Property:
    """A property that keeps its value; changed names a method called after a new value.

    kind: a Python type or the name of a C++ type.
    """

    key = f"_property_{next(_count)}"

    def get(self):
        return self.__dict__.get(key, default)

    def put(self, value):
        if value != get(self):
            self.__dict__[key] = value
            if changed is not None:
                getattr(self, changed)()

    return QtCore.Property(kind, get, put)


def of_child(kind, child: str, name: str) -> QtCore.Property:
    """A property that a widget inside the stand-in has: self.<child>.<name>."""
    return QtCore.Property(
        kind,
        lambda self: getattr(getattr(self, child), name),
        lambda self, value: setattr(getattr(self, child), name, value),
    )
