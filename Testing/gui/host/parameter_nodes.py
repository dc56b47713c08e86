"""slicer.parameterNodeWrapper: typed parameters in a scripted module's node, tied to widgets.

The part of the application's that modules use most: bool, int, float, str, paths, enums, nodes
(also unions of them), lists and tuples of these; Default, WithinRange, Minimum, Maximum, Choice,
Decimals, SingleStep. Values are written as the application writes them, so that its scenes can be
read and the other way round. Any other type is refused when the class is made.
"""

import enum
import pathlib
import types
import typing
from collections.abc import MutableSequence
from dataclasses import dataclass

import slicer
import vtk
from PySide6 import QtWidgets

from . import ctk_widgets, mrml_widgets

PROPERTY = "SlicerParameterName"  # the dynamic property that ties a widget to a parameter


class Default:
    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float


class Validator:
    def validate(self, value) -> None:
        raise NotImplementedError


@dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"Value must be within range [{self.minimum}, {self.maximum}], is {value}"
            )


@dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


@dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be less than {self.maximum}, is {value}")


@dataclass
class Choice(Validator):
    choices: typing.Sequence

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of {self.choices}")


def _split(kind) -> tuple[type, tuple]:
    """A type and its annotations."""
    if typing.get_origin(kind) is typing.Annotated:
        plain, *annotations = typing.get_args(kind)
        return plain, tuple(annotations)
    return kind, ()


def _find(annotations, cls):
    return next((value for value in annotations if isinstance(value, cls)), None)


def _is_node(kind) -> bool:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return all(_is_node(part) for part in typing.get_args(kind) if part is not type(None))
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _node_types(kind) -> tuple[str, ...]:
    parts = typing.get_args(kind) or (kind,)
    return tuple(part.__name__ for part in parts if part is not type(None))


class _Text:
    """Parameters that are one text in the node."""

    def __init__(self, kind, accepts, to_text=str, from_text=None, default=None):
        self.accepts = accepts
        self.to_text = to_text
        self.from_text = from_text or kind
        self.first = kind() if default is None else default

    def default(self):
        return self.first

    def is_in(self, node, name) -> bool:
        return node.HasParameter(name)

    def write(self, node, name, value) -> None:
        if not isinstance(value, self.accepts):
            raise TypeError(f"{name} must be of type {self.accepts}, is {value!r}")
        node.SetParameter(name, self.to_text(value))

    def read(self, node, name):
        return self.from_text(node.GetParameter(name))

    def remove(self, node, name) -> None:
        node.UnsetParameter(name)


class _Node:
    def __init__(self, kind):
        self.kinds = _node_types(kind)

    def default(self):
        return None

    def is_in(self, node, name) -> bool:
        return node.HasParameter(name)

    def write(self, node, name, value) -> None:
        if value is not None and not any(value.IsA(kind) for kind in self.kinds):
            raise TypeError(f"{name} must be a {' or '.join(self.kinds)}, is {value!r}")
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ObservedList(MutableSequence):
    """A list that writes itself into its node whenever it changes."""

    def __init__(self, values, save):
        self._values = list(values)
        self._save = save

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value):
        self._values[index] = value
        self._save(self._values)

    def __delitem__(self, index):
        del self._values[index]
        self._save(self._values)

    def insert(self, index, value):
        self._values.insert(index, value)
        self._save(self._values)

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    def __repr__(self):
        return f"ObservedList({self._values})"


class _List:
    def __init__(self, element):
        self.element = element

    def default(self):
        return []

    def is_in(self, node, name) -> bool:
        return node.HasParameter(f"{name}.len")

    def write(self, node, name, values) -> None:
        with slicer.util.NodeModify(node):
            old = int(node.GetParameter(f"{name}.len") or 0)
            for index, value in enumerate(values):
                self.element.write(node, f"{name}.{index}", value)
            node.SetParameter(f"{name}.len", str(len(values)))
            for index in range(len(values), old):
                self.element.remove(node, f"{name}.{index}")

    def read(self, node, name):
        count = int(node.GetParameter(f"{name}.len") or 0)
        values = [self.element.read(node, f"{name}.{index}") for index in range(count)]
        return ObservedList(values, lambda new: self.write(node, name, new))

    def remove(self, node, name) -> None:
        self.write(node, name, [])
        node.UnsetParameter(f"{name}.len")


class _Tuple:
    def __init__(self, elements):
        self.elements = elements

    def default(self):
        return tuple(element.default() for element in self.elements)

    def is_in(self, node, name) -> bool:
        return self.elements[0].is_in(node, f"{name}.0")

    def write(self, node, name, values) -> None:
        with slicer.util.NodeModify(node):
            for index, (element, value) in enumerate(zip(self.elements, values, strict=True)):
                element.write(node, f"{name}.{index}", value)

    def read(self, node, name):
        return tuple(e.read(node, f"{name}.{index}") for index, e in enumerate(self.elements))

    def remove(self, node, name) -> None:
        for index, element in enumerate(self.elements):
            element.remove(node, f"{name}.{index}")


def _serializer(kind):
    kind, _ = _split(kind)
    if kind is bool:
        return _Text(bool, bool, lambda value: "True" if value else "False", "True".__eq__)
    if kind in (int, float):
        return _Text(kind, (int, float) if kind is float else int)
    if kind is str:
        return _Text(str, str)
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return _Text(kind, pathlib.PurePath)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        first = next(iter(kind))
        return _Text(kind, kind, lambda value: value.name, kind.__getitem__, first)
    if _is_node(kind):
        return _Node(kind)
    if typing.get_origin(kind) is list:
        return _List(_serializer(typing.get_args(kind)[0]))
    if typing.get_origin(kind) is tuple:
        return _Tuple([_serializer(part) for part in typing.get_args(kind)])
    raise TypeError(f"the host's parameterNodeWrapper does not have the type {kind}")


class _Connector:
    """One widget tied to one parameter."""

    def __init__(self, widget, signal, read, write):
        self.widget, self.signal, self.read, self.write = widget, signal, read, write

    def connect(self, callback) -> None:
        self.callback = lambda *_: callback()
        self.signal.connect(self.callback)

    def disconnect(self) -> None:
        self.signal.disconnect(self.callback)


def _limits(widget, annotations) -> None:
    limits = _find(annotations, WithinRange)
    low = limits or _find(annotations, Minimum)
    high = limits or _find(annotations, Maximum)
    if type(widget) in (ctk_widgets.ctkSliderWidget, mrml_widgets.qMRMLSliderWidget) and not (
        low and high
    ):
        raise RuntimeError(
            "Cannot have a connection to ctkSliderWidget where the float types is unbounded."
        )
    if _find(annotations, Decimals):
        widget.decimals = _find(annotations, Decimals).value
    if _find(annotations, SingleStep):
        widget.singleStep = _find(annotations, SingleStep).value
    if low:
        widget.minimum = low.minimum
    if high:
        widget.maximum = high.maximum


def _attribute(widget, signal, name, convert=lambda value: value, back=lambda value: value):
    return _Connector(
        widget,
        signal,
        lambda: convert(getattr(widget, name)),
        lambda value: setattr(widget, name, back(value)),
    )


def _connector(widget, kind) -> _Connector:
    plain, annotations = _split(kind)
    cls = type(widget)
    if plain is bool and cls in (QtWidgets.QCheckBox, ctk_widgets.ctkCheckBox):
        return _attribute(widget, widget.toggled, "checked")
    if plain is bool and isinstance(widget, QtWidgets.QAbstractButton) and widget.checkable:
        return _attribute(widget, widget.toggled, "checked")
    if plain is int and cls in (QtWidgets.QSpinBox, QtWidgets.QSlider):
        _limits(widget, annotations)
        return _attribute(widget, widget.valueChanged, "value")
    numbers = (
        QtWidgets.QDoubleSpinBox,
        ctk_widgets.ctkSliderWidget,
        ctk_widgets.ctkDoubleSpinBox,
        mrml_widgets.qMRMLSliderWidget,
        mrml_widgets.qMRMLSpinBox,
    )
    if plain in (int, float) and cls in numbers:
        if plain is int:
            widget.decimals = 0
        _limits(widget, annotations)
        return _attribute(widget, widget.valueChanged, "value", plain)
    if plain is str and cls is QtWidgets.QLineEdit:
        return _attribute(widget, widget.textChanged, "text")
    if cls in (QtWidgets.QComboBox, ctk_widgets.ctkComboBox):
        return _combo(widget, plain, annotations)
    if cls is ctk_widgets.ctkPathLineEdit and issubclass(plain, pathlib.PurePath):
        return _attribute(widget, widget.currentPathChanged, "currentPath", plain, str)
    if cls is ctk_widgets.ctkDirectoryButton and issubclass(plain, pathlib.PurePath):
        return _attribute(widget, widget.directoryChanged, "directory", plain, str)
    if cls is mrml_widgets.qMRMLNodeComboBox and _is_node(plain):
        widget.nodeTypes = _node_types(plain)
        return _Connector(
            widget, widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        )
    raise RuntimeError(f"the host ties no {cls.__name__} to a parameter of type {plain}")


def _combo(widget, plain, annotations) -> _Connector:
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        names = [member.name for member in plain]
        widget.clear()
        for member in plain:
            widget.addItem(
                member.label() if hasattr(member, "label") else member.value, member.name
            )
        return _Connector(
            widget,
            widget.currentIndexChanged,
            lambda: plain[names[widget.currentIndex]],
            lambda value: widget.setCurrentIndex(names.index(value.name)),
        )
    choice = _find(annotations, Choice)
    if choice is not None:
        widget.clear()
        widget.addItems([str(value) for value in choice.choices])
    return _Connector(
        widget,
        widget.currentIndexChanged,
        lambda: plain(widget.currentText),
        lambda value: widget.setCurrentIndex(widget.findText(str(value))),
    )


class _Parameter:
    """A parameter as an attribute of the wrapper."""

    def __init__(self, name, kind, default):
        _, annotations = _split(kind)
        self.name, self.kind = name, kind
        self.serializer = _serializer(kind)
        self.checks = [value for value in annotations if isinstance(value, Validator)]
        found = default or _find(annotations, Default)
        self.default = found or Default(generator=self.serializer.default)

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        if not self.serializer.is_in(wrapper.parameterNode, self.name):  # the scene was closed
            self.__set__(wrapper, self.default.value)
        return self.serializer.read(wrapper.parameterNode, self.name)

    def __set__(self, wrapper, value) -> None:
        for check in self.checks:
            check.validate(value)
        with slicer.util.NodeModify(wrapper.parameterNode):
            self.serializer.write(wrapper.parameterNode, self.name, value)


class _Wrapper:
    """What the decorator adds to the class."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis = {}
        self._updating = False
        for name, parameter in self.allParameters.items():
            if not parameter.serializer.is_in(parameterNode, name):
                setattr(self, name, parameter.default.value)

    def default(self, name):
        return self.allParameters[name].default

    def dataType(self, name):
        return self.allParameters[name].kind

    def getValue(self, name):
        return getattr(self, self._checked(name))

    def setValue(self, name, value) -> None:
        setattr(self, self._checked(name), value)

    def _checked(self, name) -> str:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return name

    def connectGui(self, gui) -> int:
        widgets = (
            gui.findChildren(QtWidgets.QWidget)
            if isinstance(gui, QtWidgets.QWidget)
            else vars(gui).values()
        )
        named = {widget.property(PROPERTY): widget for widget in widgets}
        named.pop(None, None)
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping) -> int:
        connectors = {
            self._checked(name): _connector(widget, self.dataType(name))
            for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(
                lambda name=name, connector=connector: self._from_gui(name, connector)
            )
        tag = len(self._guis)
        observer = self.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._to_gui(connectors)
        )
        self._guis[tag] = connectors, observer
        return tag

    def _from_gui(self, name, connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _to_gui(self, connectors) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag) -> None:
        connectors, observer = self._guis.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.disconnect()
        if observer is not None:
            self.RemoveObserver(observer)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(cls=None):
    """Class decorator: annotated members become parameters."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {}
    for name, kind in hints.items():
        default = Default(cls.__dict__[name]) if name in cls.__dict__ else None
        parameters[name] = _Parameter(name, kind, default)
        setattr(cls, name, parameters[name])
    for name, value in vars(_Wrapper).items():
        if name in cls.__dict__ and not name.startswith("__"):
            raise ValueError(f"Cannot use reserved name {name!r} in a parameterNodeWrapper")
        if callable(value):
            setattr(cls, name, value)
    cls.allParameters = parameters
    cls._is_parameter_node_wrapper = True
    return cls


def isParameterNodeWrapper(value) -> bool:
    return getattr(value, "_is_parameter_node_wrapper", False)


def build() -> types.ModuleType:
    """What `from slicer.parameterNodeWrapper import ...` finds."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    public = (
        Default, Decimals, SingleStep, Validator, WithinRange, Minimum, Maximum, Choice,
        ObservedList, parameterNodeWrapper, isParameterNodeWrapper,
    )  # fmt: skip
    module.__dict__.update({value.__name__: value for value in public})
    module.__all__ = [value.__name__ for value in public]
    return module
