"""Loads .ui files as the application's QUiLoader does, with the stand-ins for its own widgets.

Stricter than Qt, which warns and goes on: an unknown class, a property that the class lacks, a
signal or slot that does not exist, and an enum spelled in a way that Qt 5 cannot read are errors.
"""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import shape, table

_LAYOUT_PROPERTIES = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "margin", "spacing"}
_stand_ins: dict[str, type] = {}


def register(cls: type) -> None:
    """A class that .ui files may name."""
    _stand_ins[shape.entry_of(cls).class_name] = cls


class UiError(RuntimeError):
    """A .ui file that the application could not load faithfully."""


class _Loader(QtUiTools.QUiLoader):
    def __init__(self):
        super().__init__()
        self._top = []  # PySide6 would delete a top widget that only C++ knows

    def createWidget(self, class_name, parent=None, name=""):
        cls = _stand_ins.get(class_name)
        if cls is None:
            return super().createWidget(class_name, parent, name)
        widget = cls(parent)
        widget.setObjectName(name)
        if parent is None:
            self._top.append(widget)
        return widget


@shape.stands_for("qt.QUiLoader")
class QUiLoader(QtCore.QObject):
    def load(self, device, parent=None):
        content = bytes(device.readAll())
        tree = ElementTree.fromstring(content)
        _check(tree)
        connections = [_connection(element) for element in tree.iter("connection")]
        for parent_element in tree.iter():
            for element in parent_element.findall("connections"):
                parent_element.remove(element)
        buffer = QtCore.QBuffer(self)
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.ReadOnly)
        loader = _Loader()
        widget = shape.native(QtUiTools.QUiLoader, "load")(loader, buffer, parent)
        if widget is None:
            raise UiError(shape.native(QtUiTools.QUiLoader, "errorString")(loader))
        for connection in connections:
            _connect(widget, *connection)
        return widget


def _known(class_name: str) -> table.Entry | None:
    cls = _stand_ins.get(class_name) or getattr(QtWidgets, class_name, None)
    return shape.entry_of(cls) if cls in shape.shaped() else None


def _check(tree) -> None:
    for element in tree.iter("widget"):
        class_name = element.get("class")
        known = _known(class_name)
        if known is None:
            raise UiError(f"{class_name} ({element.get('name')}): the host knows no such widget")
        for prop in element.findall("property"):
            name = prop.get("name")
            if prop.get("stdset") != "0" and name not in known.properties:
                raise UiError(f"{class_name} ({element.get('name')}) has no property {name!r}")
    for kind in ("enum", "set"):
        for value in tree.iter(kind):
            for part in (value.text or "").split("|"):
                if part.count("::") > 1:
                    raise UiError(f"Qt 5 cannot read {part!r}: write Class::Value")


def _connection(element) -> tuple[str, str, str, str]:
    return tuple(element.find(tag).text for tag in ("sender", "signal", "receiver", "slot"))


def _connect(top, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = _named(top, sender), _named(top, receiver)
    known = shape.entry_of(type(target))
    function = getattr(target, slot.split("(")[0], None)
    if not callable(function):
        raise UiError(f"{known.label} ({receiver}) has no slot {slot!r}")
    source.connect(signal, function)


def _named(top, name: str):
    found = top if top.objectName == name else top.findChild(QtCore.QObject, name)
    if found is None:
        raise UiError(f"a connection names {name!r}, which is not in the file")
    return found
