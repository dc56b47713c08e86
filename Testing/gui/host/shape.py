"""Gives PySide6 classes the form that PythonQt gives Qt classes in 3D Slicer.

Checked against PythonQt's sources (PythonQtInstanceWrapper, PythonQtSignal, PythonQtClassInfo):
a property of a class is found before a method of the same name, so it is an attribute and cannot
be called; signals have connect, disconnect and emit, and obj.connect("name(types)", f) works too;
a Python function gets as many of a signal's arguments as it takes; an exception in a slot is
printed, not raised; new attributes cannot be set on C++ objects; a trailing underscore is ignored
(exec_). Names that the application's class lacks are taken away from the PySide6 class.

PySide6 classes are changed in place, for the whole process: widgets that Qt makes itself (from .ui
files, for instance) follow the same rules, and Python code can derive from them.
"""

import enum
import inspect
import types
from dataclasses import replace
from functools import cache

import shiboken6
from PySide6 import QtCore

from . import errors, table

_plain_setattr = shiboken6.Shiboken.Object.__setattr__
_entries: dict[type, table.Entry] = {}  # every class that stands for one of the application
_stand_ins: set[type] = set()  # those among them written in Python
_natives: dict[tuple[type, str], object] = {}  # what PySide6 had before
_connections: dict[int, list] = {}  # address of the sender: (signature, callable, how to undo)

# PySide6 looks these up itself, the last three for overrides of methods that Qt 6 added.
_KEPT = {"staticMetaObject", "event", "metaObject", "connectNotify", "disconnectNotify"}
_KEPT |= {"initViewItemOption", "multiData", "clearItemData"}
# PythonQt's own additions to every QObject, besides what the table lists.
_ALWAYS = {"name", "delete", "className", "help"}


def entry_of(cls: type) -> table.Entry | None:
    """The application's class that a class is, or that it derives from."""
    return next((_entries[base] for base in cls.__mro__ if base in _entries), None)


def shaped() -> set[type]:
    """All classes that stand for one of the application's."""
    return set(_entries)


def native(cls: type, name: str):
    """PySide6's own attribute of a class, as it was before shaping; None where it had none."""
    for base in cls.__mro__:
        if (base, name) in _natives:
            return _natives[base, name]
        if name in base.__dict__ and base not in _entries:
            return base.__dict__[name]
    return None


class QtProperty:
    """A Qt property as an attribute of instances; the class itself keeps its static method."""

    def __init__(self, cls: type, name: str):
        self.name = name
        capital = name[0].upper() + name[1:]
        getters = (native(cls, spelling) for spelling in (name, f"is{capital}", f"has{capital}"))
        self.getter = next((g for g in getters if callable(g) and not _is_static(g)), None)
        self.setter = native(cls, f"set{capital}")
        self.of_class = native(cls, name)

    def __get__(self, instance, owner=None):
        if instance is None:
            if self.of_class is None:
                raise AttributeError(f"property {self.name!r} is read from an instance")
            return self.of_class.__get__(None, owner)
        if self.getter is not None:
            return self.getter(instance)
        return native(QtCore.QObject, "property")(instance, self.name)

    def __set__(self, instance, value):
        label = entry_of(type(instance)).class_name
        if self.setter is not None:
            self.setter(instance, value)
        elif not native(QtCore.QObject, "setProperty")(instance, self.name, value):
            raise AttributeError(f"Property {self.name!r} of {label} object is not writable")


def _is_static(getter) -> bool:
    return isinstance(getter, (staticmethod, types.BuiltinFunctionType))


def _is_signal(attribute) -> bool:
    # Not isinstance: PySide6 6.12's check of Signal releases Python's False once too often.
    return type(attribute) is QtCore.Signal


class Name:
    """obj.name, PythonQt's short form of objectName."""

    def __get__(self, instance, owner=None):
        if instance is None:
            raise AttributeError("name is read from an instance")
        return native(QtCore.QObject, "objectName")(instance)

    def __set__(self, instance, value):
        native(QtCore.QObject, "setObjectName")(instance, value)


class Refused:
    """A name that PySide6 has and the application lacks."""

    def __init__(self, label: str, name: str):
        self.name = name
        self.message = f"the application's {label} has no attribute {name!r}"

    def __get__(self, instance, owner=None):
        if instance is not None and not self.applies_to(owner):
            return native(owner, self.name).__get__(instance, owner)
        raise AttributeError(self.message)

    def applies_to(self, cls: type) -> bool:
        """What a base class lacks, a derived one may have."""
        return self.name not in entry_of(cls).members


class QtSignal:
    """A signal of a class: bound to an object, it is a BoundSignal."""

    def __init__(self, name: str, signal):
        self.name = name
        self.signal = signal

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.signal
        return BoundSignal(instance, self.name, self.signal.__get__(instance, owner))

    def __set__(self, instance, value):
        # PySide6 keeps a bound signal on its object, where it would hide this descriptor.
        if type(value) is not QtCore.SignalInstance:  # not isinstance, see _is_signal
            label = entry_of(type(instance)).class_name
            raise AttributeError(f"Signal {self.name!r} can not be overwritten on {label} object")


class BoundSignal:
    """signal.connect(f), signal.disconnect([f]), signal.emit(...), signal(...)."""

    def __init__(self, sender, name: str, instance):
        self._sender = sender
        self._name = name
        self._instance = instance

    def connect(self, function) -> bool:
        _link(self._sender, self._name, _overloads(self._sender, self._name)[-1], function)
        return True

    def disconnect(self, function=None) -> bool:
        return _disconnect(self._sender, self._name, function)

    def emit(self, *arguments) -> None:
        self._instance.emit(*arguments)

    __call__ = emit


def _overloads(sender, name: str) -> list[str]:
    """The signatures of a signal, that with the fewest arguments first."""
    meta = native(QtCore.QObject, "metaObject")(sender)
    methods = (meta.method(index) for index in range(meta.methodCount()))
    found = [
        (method.parameterCount(), bytes(method.methodSignature()).decode())
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.Signal
        and bytes(method.name()).decode() == name
    ]
    return [signature for _, signature in sorted(found)]


def _link(sender, known_as: str, signature: str, function, convert=None) -> None:
    """Connect, and remember how to undo it. convert: for each argument."""
    receive = guarded(function)
    if convert is not None:
        receive = _converted(receive, convert)
    connect = native(QtCore.QObject, "connect").__get__(None, QtCore.QObject)
    connection = connect(sender, QtCore.SIGNAL(signature), receive)
    disconnect = native(QtCore.QObject, "disconnect").__get__(None, QtCore.QObject)
    _remember(sender, known_as, function, lambda: disconnect(connection))


def accepted_arguments(function) -> int | None:
    """How many positional arguments PythonQt passes at most; None: all that there are.

    Only plain functions and methods are looked into, as in PythonQtSignalTarget::call.
    """
    bound = isinstance(function, types.MethodType)
    code = getattr(function.__func__ if bound else function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - bound


def guarded(function):
    """function, called as PythonQt calls a slot: fewer arguments, exceptions printed."""
    if not callable(function):
        raise TypeError(f"{function!r} cannot be connected: it is not callable")
    count = accepted_arguments(function)

    def call(*arguments):
        try:
            function(*arguments[:count])
        except Exception as error:
            errors.report(error)

    return call


def _converted(receive, convert):
    return lambda *arguments: receive(*map(convert, arguments))


def _remember(sender, signature: str, function, undo) -> None:
    address = shiboken6.getCppPointer(sender)[0]
    if address not in _connections:
        _connections[address] = []
        native(QtCore.QObject, "destroyed").__get__(sender, type(sender)).connect(
            lambda *_: _connections.pop(address, None)
        )
    _connections[address].append((signature, function, undo))


def _disconnect(sender, signature: str, function=None) -> bool:
    """Undo the connections of a signal, given by name or signature; True if there were any."""
    if not shiboken6.isValid(sender):  # its connections went with it
        return False
    kept, undone = [], []
    for known in _connections.get(shiboken6.getCppPointer(sender)[0], []):
        same = (
            known[0] == signature or "(" not in signature and known[0].startswith(signature + "(")
        )
        same = same or ("(" in signature and known[0] == signature.split("(")[0])
        (undone if same and function in (None, known[1]) else kept).append(known)
    if undone:
        _connections[shiboken6.getCppPointer(sender)[0]] = kept
    for _, _, undo in undone:
        undo()
    return bool(undone)


def _normal(signature: str) -> str:
    text = signature[1:] if signature[:1] == "2" else signature
    return bytes(QtCore.QMetaObject.normalizedSignature(text)).decode()


def _connect(self, signal: str, receiver, slot: str | None = None) -> bool:
    """obj.connect("clicked(bool)", f) or obj.connect("clicked()", other, "close()")."""
    if isinstance(signal, QtCore.QObject):  # PySide6 itself: connect(sender, signal, function)
        return native(QtCore.QObject, "connect").__get__(None, QtCore.QObject)(
            signal, receiver, slot
        )
    function = receiver if slot is None else getattr(receiver, slot.split("(")[0])
    signature = _normal(signal)
    known = entry_of(type(self))
    there = _overloads(self, signature.split("(")[0])
    if known.signals and not known.has_signal(signature) or not there:
        raise AttributeError(f"the application's {known.label} has no signal {signal!r}")
    if signature in there:
        exact, convert = signature, None
    elif _is_stand_in(type(self)):
        exact = there[-1]  # its arguments are Python objects, whatever they are in C++
        convert = bool if signature.endswith("(bool)") else None
    else:
        raise AttributeError(
            f"{known.label}: the signal {signal!r} is there with Qt 5 only; write neutral code"
        )
    _link(self, signature, exact, function, convert)
    return True


def _is_stand_in(cls: type) -> bool:
    return any(base in _stand_ins for base in cls.__mro__)


def _disconnect_method(self, signal: str | None = None, receiver=None, slot: str | None = None):
    if signal is None:
        raise TypeError("disconnect needs the signal: the host does not undo all connections")
    function = receiver if slot is None else getattr(receiver, slot.split("(")[0])
    return _disconnect(self, _normal(signal), function)


def _getattr(self, name: str):
    """Called when nothing else has the name."""
    cls = type(self)
    known = entry_of(cls)
    if name.endswith("_") and not name.endswith("__"):
        plain = name[:-1]
        if plain in known.members and hasattr(cls, plain):
            return getattr(self, plain)
    if isinstance(self, QtCore.QObject) and not name.startswith("__"):
        value = native(QtCore.QObject, "property")(self, name)
        if value is not None:
            return value
        for child in native(QtCore.QObject, "children")(self):
            if native(QtCore.QObject, "objectName")(child) == name:
                return child
    if name in known.members:
        raise AttributeError(
            f"the stand-in host lacks {known.label}.{name}; the application has it, on Qt 5 maybe"
        )
    raise AttributeError(f"the application's {known.label} has no attribute named {name!r}")


@cache
def _refused(cls: type) -> frozenset[str]:
    names = {name for base in cls.__mro__ for name in base.__dict__}
    found = {name: inspect.getattr_static(cls, name) for name in names}
    return frozenset(
        name
        for name, attribute in found.items()
        if type(attribute) is Refused and attribute.applies_to(cls)
    )


def _getattribute_over(native_lookup):
    """PySide6 finds connect and disconnect before any attribute of the class."""

    def __getattribute__(self, name: str):
        if name in ("connect", "disconnect"):
            return types.MethodType(_OBJECT_METHODS[name], self)
        if name in _refused(type(self)):  # PySide6 would find it among Qt's meta methods
            raise AttributeError(name)
        return native_lookup(self, name)

    return __getattribute__


def _setattr(self, name: str, value) -> None:
    cls = type(self)
    found = inspect.getattr_static(cls, name, None)
    if type(found) is QtCore.Property:
        if found.fset is None:
            raise AttributeError(f"Property {name!r} of {cls.__name__} object is not writable")
        found.fset(self, value)
    elif hasattr(type(found), "__set__"):
        _plain_setattr(self, name, value)
    elif cls not in _entries or (cls in _stand_ins and name.startswith("_")):
        _plain_setattr(self, name, value)
    elif native(QtCore.QObject, "property")(self, name) is not None:
        native(QtCore.QObject, "setProperty")(self, name, value)
    elif callable(found):
        raise AttributeError(f"Slot {name!r} can not be overwritten on {cls.__name__} object")
    else:
        raise AttributeError(
            f"'{name}' does not exist on {cls.__name__} "
            "and creating new attributes on C++ objects is not allowed"
        )


def _find_class(kind):
    """A class given as PythonQt takes it: as a class or by its name."""
    if not isinstance(kind, str):
        return QtCore.QObject if kind is None else kind
    for cls, known in _entries.items():
        if known.class_name == kind:
            return cls
    raise ValueError(f"no class {kind!r} in the host")


def _find_child(self, kind=None, name: str = ""):
    arguments = (_find_class(kind), name) if name else (_find_class(kind),)
    return native(QtCore.QObject, "findChild")(self, *arguments)


def _find_children(self, kind=None, name: str = ""):
    arguments = (_find_class(kind), name) if name else (_find_class(kind),)
    return native(QtCore.QObject, "findChildren")(self, *arguments)


def _class_name(self) -> str:
    return entry_of(type(self)).class_name


def _inherits(self, name: str) -> bool:
    return any(
        known in _entries and _entries[known].class_name == name for known in type(self).__mro__
    )


def _delete(self) -> None:
    if shiboken6.isValid(self):
        shiboken6.delete(self)


_OBJECT_METHODS = {
    "connect": _connect,
    "disconnect": _disconnect_method,
    "findChild": _find_child,
    "findChildren": _find_children,
    "className": _class_name,
    "inherits": _inherits,
    "delete": _delete,
    "name": Name(),
}


def shape(cls: type, label: str) -> None:
    """Give one PySide6 class the form of the application's class. Bases come before it."""
    known = _complete(cls, table.entry(label))
    for name, attribute in list(cls.__dict__.items()):
        if name.startswith("_"):
            continue
        _natives[cls, name] = attribute
        if isinstance(attribute, type) and issubclass(attribute, enum.Enum):
            _refuse_new_values(cls, attribute, known)
        if _is_signal(attribute):
            setattr(cls, name, QtSignal(name, attribute))
        if name not in known.members and name.rstrip("_") not in known.members | _KEPT:
            setattr(cls, name, Refused(label, name))
    _entries[cls] = known
    for base in cls.__mro__[1:]:
        if base not in _entries and base.__module__.startswith("PySide6"):
            _refuse_names_of(base, cls, known)
    for name in known.properties:
        if not isinstance(inspect.getattr_static(cls, name, None), QtProperty):
            setattr(cls, name, QtProperty(cls, name))
    cls.__getattr__ = _getattr
    if issubclass(cls, QtCore.QObject) and "__getattribute__" in cls.__dict__:
        cls.__getattribute__ = _getattribute_over(cls.__dict__["__getattribute__"])
    if issubclass(cls, QtCore.QObject):
        cls.__setattr__ = _setattr
    if cls is QtCore.QObject:
        for name, method in _OBJECT_METHODS.items():
            setattr(cls, name, method)


def _complete(cls: type, known: table.Entry) -> table.Entry:
    """The table has no properties of classes that could not be made on their own: Qt knows them."""
    if known.properties or not issubclass(cls, QtCore.QObject):
        return known
    meta = cls.staticMetaObject
    names = [meta.property(index).name() for index in range(meta.propertyCount())]
    return replace(known, properties=tuple(name for name in names if name in known.members))


def _refuse_new_values(cls: type, values: type, known: table.Entry) -> None:
    """Values that Qt 6 added: PySide6 would find them as attributes of the class."""
    for value in values.__members__:
        if value not in known.members and value not in cls.__dict__:
            setattr(cls, value, Refused(known.label, value))


def override(cls: type, name: str, attribute) -> None:
    """Put another method in place of Qt's, for the host's own needs (dialogs)."""
    _natives.setdefault((cls, name), cls.__dict__.get(name))
    setattr(cls, name, attribute)


def stands_for(label: str):
    """Class decorator: this Python class stands for one of the application.

    Its public names must be names of the application's class; anything else is an error here.
    """

    def mark(cls: type) -> type:
        known = table.entry(label)
        if known is None:
            raise LookupError(f"{cls.__name__}: {table.refusal(*label.split('.'))}")
        for name, attribute in list(cls.__dict__.items()):
            if name.startswith("_") or name == "staticMetaObject":
                continue
            if name not in known.members | _ALWAYS:
                raise AttributeError(f"the application's {label} has no {name!r}")
            if _is_signal(attribute):
                _natives[cls, name] = attribute
                setattr(cls, name, QtSignal(name, attribute))
        _entries[cls] = _complete(cls, known)
        _stand_ins.add(cls)
        if not issubclass(cls, QtCore.QObject):
            cls.__getattr__ = _getattr
        _hide_inherited(cls, known)
        return cls

    return mark


def _hide_inherited(cls: type, known: table.Entry) -> None:
    """A stand-in may derive from a richer class than the application's does."""
    for base in cls.__mro__[1:]:
        if base in _entries:
            _refuse_names_of(base, cls, known)


def _refuse_names_of(base: type, cls: type, known: table.Entry) -> None:
    allowed = known.members | _ALWAYS | _KEPT
    for name in base.__dict__:
        if name.startswith("_") or name in cls.__dict__ or name in allowed:
            continue
        if name.rstrip("_") not in known.members:
            setattr(cls, name, Refused(known.label, name))
