"""Stand-ins for the CTK widgets that modules use, on PySide6.

They are written in the same manner as the modules themselves: properties are attributes.
"""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from . import shape
from .properties import of_child, stored

HEADER = 24  # pixels, the height of a collapsed button


class Keeper:
    """Shows and hides its children as CTK's collapsible widgets do: what a child's owner wants is
    remembered while the widget is closed, and holds again when it opens."""

    _forcing = False

    def _show_contents(self, opened: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._apply(child)

    def _apply(self, child) -> None:
        wanted = child.property("visibilityToParent") is not False
        self._forcing = True
        child.setVisible(wanted and self.checked)
        self._forcing = False

    def childEvent(self, event) -> None:
        """At ChildAdded the child is still being made, and PySide6 would take it for a plain
        QWidget for ever."""
        if event.type() != QtCore.QEvent.ChildPolished:
            return
        child = event.child()
        if isinstance(child, QtWidgets.QWidget):
            explicit = child.testAttribute(Qt.WA_WState_ExplicitShowHide)
            child.setProperty("visibilityToParent", not (explicit and child.isHidden()))
            child.installEventFilter(self)
            if not self.checked:
                self._apply(child)

    def eventFilter(self, child, event) -> bool:
        kind = event.type()
        if not self._forcing and kind in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent):
            child.setProperty("visibilityToParent", kind == QtCore.QEvent.ShowToParent)
            if not self.checked:
                self._apply(child)
        return False


class Collapsible(Keeper, QtWidgets.QAbstractButton):
    """A header with a triangle over contents that it shows and hides."""

    def _build(self, text: str) -> None:
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(6, HEADER, 6, 6)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, opened: bool) -> None:
        self._show_contents(opened)
        self.setMaximumHeight(16777215 if opened else HEADER)
        self.contentsCollapsed.emit(not opened)

    def hitButton(self, position) -> bool:
        return position.y() < HEADER

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOption()
        option.initFrom(self)
        bar = QtCore.QRect(0, 0, self.width, HEADER - 2)
        painter.fillRect(bar, self.palette.color(QtGui.QPalette.Button))
        option.rect = QtCore.QRect(6, (HEADER - 12) // 2, 10, 10)
        arrow = QtWidgets.QStyle.PE_IndicatorArrowDown
        if not self.checked:
            arrow = QtWidgets.QStyle.PE_IndicatorArrowRight
        self.style().drawPrimitive(arrow, option, painter, self)
        painter.setPen(self.palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(bar.adjusted(24, 0, 0, 0), Qt.AlignVCenter, self.text)
        painter.end()


def _set_collapsed(self, collapsed: bool) -> None:
    self.setChecked(not collapsed)


@shape.stands_for("ctk.ctkCollapsibleButton")
class ctkCollapsibleButton(Collapsible):
    contentsCollapsed = Signal(bool)
    collapsed = Property(bool, lambda self: not self.checked, _set_collapsed)
    collapsedHeight = stored(int, 10)
    contentsFrameShape = stored(int, 0)
    contentsFrameShadow = stored(int, 0)
    contentsLineWidth = stored(int, 1)
    contentsMidLineWidth = stored(int, 0)
    flat = stored(bool, False)
    indicatorAlignment = stored(int, 0)
    buttonTextAlignment = stored(int, 0)

    def __init__(self, *arguments):
        texts = [value for value in arguments if isinstance(value, str)]
        parents = [value for value in arguments if isinstance(value, QtWidgets.QWidget)]
        super().__init__(*parents)
        self._build("".join(texts))


@shape.stands_for("ctk.ctkCollapsibleGroupBox")
class ctkCollapsibleGroupBox(Keeper, QtWidgets.QGroupBox):
    collapsedHeight = stored(int, 10)
    collapsed = Property(bool, lambda self: not self.checked, _set_collapsed)

    def __init__(self, *arguments):
        super().__init__(*[value for value in arguments if value is not None])
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, opened: bool) -> None:
        self._show_contents(opened)
        self.setMaximumHeight(16777215 if opened else HEADER)


@shape.stands_for("ctk.ctkPushButton")
class ctkPushButton(QtWidgets.QPushButton):
    buttonTextAlignment = stored(int, 0)
    elideMode = stored(int, 0)
    iconAlignment = stored(int, 0)


@shape.stands_for("ctk.ctkMenuButton")
class ctkMenuButton(QtWidgets.QPushButton):
    pass


@shape.stands_for("ctk.ctkCheckBox")
class ctkCheckBox(QtWidgets.QCheckBox):
    indicatorIcon = stored(QtGui.QIcon, QtGui.QIcon())
    indicatorIconSize = stored(QtCore.QSize, QtCore.QSize(0, 0))


@shape.stands_for("ctk.ctkDynamicSpacer")
class ctkDynamicSpacer(QtWidgets.QWidget):
    pass


@shape.stands_for("ctk.ctkExpandableWidget")
class ctkExpandableWidget(QtWidgets.QFrame):
    orientations = stored(int, 0)
    sizeGripInside = stored(bool, True)


@shape.stands_for("ctk.ctkFittedTextBrowser")
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    collapsed = Property(
        bool,
        lambda self: self.__dict__.get("_collapsed", True),
        lambda self, collapsed: self._put_collapsed(collapsed),
    )
    showDetailsText = stored(str, "Show details")
    hideDetailsText = stored(str, "Hide details")
    disableMouseScroll = stored(bool, True)

    def heightForWidth(self, width: int) -> int:
        """As high as its text."""
        text = self.document.clone()
        text.setTextWidth(width - 2 * self.frameWidth)
        return round(text.size.height()) + 2 * self.frameWidth

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(self.width, self.heightForWidth(self.width))

    def sizeHint(self) -> QtCore.QSize:
        return self.minimumSizeHint()

    def resizeEvent(self, event) -> None:
        super().resizeEvent(event)
        self.updateGeometry()

    def setCollapsibleText(self, text: str) -> None:
        """As the application: up to the first <br> while it is collapsed."""
        self._whole = text
        shown, line_break, rest = text.partition("<br>")
        if line_break and self.collapsed:
            shown += f"&hellip; <a href='#more'>{self.showDetailsText}</a></html>"
        else:
            shown += rest
        self.setHtml(shown)
        self.updateGeometry()

    def _put_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setCollapsibleText(self._whole)


@shape.stands_for("ctk.ctkSearchBox")
class ctkSearchBox(QtWidgets.QLineEdit):
    showSearchIcon = stored(bool, False)


@shape.stands_for("ctk.ctkComboBox")
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = Property(
        str, lambda self: self.placeholderText, lambda self, text: self.setPlaceholderText(text)
    )
    defaultIcon = stored(QtGui.QIcon, QtGui.QIcon())
    forceDefault = stored(bool, False)
    elideMode = stored(int, 0)
    scrollWheelEffect = stored(int, 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToContents)

    def _get_data(self) -> str:
        return "" if self.currentData is None else str(self.currentData)

    def setCurrentUserDataAsString(self, data: str) -> None:
        self.setCurrentIndex(self.findData(data))

    currentUserDataAsString = Property(str, _get_data, setCurrentUserDataAsString)


@shape.stands_for("ctk.ctkCheckableComboBox")
class ctkCheckableComboBox(QtWidgets.QComboBox):
    checkedIndexesChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.model().itemChanged.connect(lambda item: self.checkedIndexesChanged.emit())
        self.model().rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, parent, first: int, last: int) -> None:
        for row in range(first, last + 1):
            self.model().item(row).setCheckable(True)

    def checkedIndexes(self) -> tuple:
        model = self.model()
        return tuple(
            model.index(row, 0)
            for row in range(model.rowCount())
            if model.item(row).checkState() == Qt.Checked
        )

    def checkState(self, index):
        return self.model().item(index.row()).checkState()

    def setCheckState(self, index, state) -> None:
        self.model().item(index.row()).setCheckState(state)


class _SpinBox(QtWidgets.QWidget):
    """A spin box inside another widget, as CTK has it: the application shows fewer methods."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QDoubleSpinBox()
        row.addWidget(self._box)
        self._box.valueChanged.connect(lambda value: self.valueChanged.emit(value))
        self._box.editingFinished.connect(lambda: self.editingFinished.emit())


def spin_box(label: str) -> type:
    """ctkDoubleSpinBox and the class of Slicer that is one with units."""

    class Stand(_SpinBox):
        FixedDecimals, DecimalsByShortcuts, DecimalsByKey, DecimalsByValue = 0, 1, 2, 4
        SetIfDifferent, SetAlways = 0, 1
        valueChanged = Signal(float)
        editingFinished = Signal()
        decimalsChanged = Signal(int)
        value = of_child(float, "_box", "value")
        minimum = of_child(float, "_box", "minimum")
        maximum = of_child(float, "_box", "maximum")
        singleStep = of_child(float, "_box", "singleStep")
        decimals = of_child(int, "_box", "decimals")
        prefix = of_child(str, "_box", "prefix")
        suffix = of_child(str, "_box", "suffix")
        readOnly = of_child(bool, "_box", "readOnly")
        frame = of_child(bool, "_box", "frame")
        decimalsOption = stored(int, 0)
        invertedControls = stored(bool, False)
        setMode = stored(int, 0)
        sizeHintPolicy = stored(int, 0)

        def setValue(self, value: float) -> None:
            self._box.setValue(value)

        def setDecimals(self, decimals: int) -> None:
            self._box.setDecimals(decimals)

        def setReadOnly(self, read_only: bool) -> None:
            self._box.setReadOnly(read_only)

        def stepUp(self) -> None:
            self._box.stepUp()

        def stepDown(self) -> None:
            self._box.stepDown()

    Stand.__name__ = label.split(".")[-1]
    return Stand


ctkDoubleSpinBox = shape.stands_for("ctk.ctkDoubleSpinBox")(spin_box("ctk.ctkDoubleSpinBox"))


class _Slider(QtWidgets.QWidget):
    """A slider and a spin box that show one number."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._bar = QtWidgets.QSlider(Qt.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        row.addWidget(self._bar)
        row.addWidget(self._box)
        self._box.maximum = 99.0
        self._fit()
        self._box.valueChanged.connect(self._box_changed)
        self._bar.valueChanged.connect(self._bar_changed)
        self._bar.sliderReleased.connect(lambda: self.valueChanged.emit(self._box.value))

    def _fit(self) -> None:
        """The bar counts in single steps from the minimum."""
        blocked = self._bar.blockSignals(True)
        steps = (self._box.maximum - self._box.minimum) / self._box.singleStep
        self._bar.maximum = min(round(steps), 2**31 - 1)
        self._bar.value = round((self._box.value - self._box.minimum) / self._box.singleStep)
        self._bar.blockSignals(blocked)

    def _bar_changed(self, steps: int) -> None:
        self._box.value = self._box.minimum + steps * self._box.singleStep

    def _box_changed(self, value: float) -> None:
        self._fit()
        self.valueIsChanging.emit(value)
        if self.tracking or not self._bar.sliderDown:
            self.valueChanged.emit(value)

    def _put_range(self, name: str, value: float) -> None:
        setattr(self._box, name, value)
        self._fit()


def _range_property(name: str) -> Property:
    return Property(
        float,
        lambda self: getattr(self._box, name),
        lambda self, value: self._put_range(name, value),
    )


def slider_widget(label: str) -> type:
    """ctkSliderWidget and the class of Slicer that is one with units."""

    class Stand(_Slider):
        valueChanged = Signal(float)
        valueIsChanging = Signal(float)
        decimalsChanged = Signal(int)
        minimum = _range_property("minimum")
        maximum = _range_property("maximum")
        singleStep = _range_property("singleStep")
        value = of_child(float, "_box", "value")
        prefix = of_child(str, "_box", "prefix")
        suffix = of_child(str, "_box", "suffix")
        decimals = of_child(int, "_box", "decimals")
        pageStep = stored(float, 10.0)
        tickInterval = stored(float, 0.0)
        tracking = stored(bool, True)
        popupSlider = stored(bool, False)
        invertedAppearance = of_child(bool, "_bar", "invertedAppearance")
        invertedControls = of_child(bool, "_bar", "invertedControls")
        spinBoxVisible = Property(
            bool,
            lambda self: not self._box.isHidden(),
            lambda self, visible: self._box.setVisible(visible),
        )

        def setValue(self, value: float) -> None:
            self._box.setValue(value)

        def setDecimals(self, decimals: int) -> None:
            self._box.setDecimals(decimals)

        def setSpinBoxVisible(self, visible: bool) -> None:
            self._box.setVisible(visible)

        def reset(self) -> None:
            self._box.setValue(self._box.minimum)

    Stand.__name__ = label.split(".")[-1]
    return Stand


ctkSliderWidget = shape.stands_for("ctk.ctkSliderWidget")(slider_widget("ctk.ctkSliderWidget"))


class _RangeBar(QtWidgets.QWidget):
    """A line with two handles. Values are floats; the handles keep their order."""

    _edge = 8  # pixels from the widget's ends to those of the line

    def _start(self) -> None:
        self._low, self._high, self._first, self._last = 0.0, 99.0, 0.0, 99.0
        self._dragged = None
        self.setMinimumSize(80, 20)

    def _put_range(self, low: float, high: float) -> None:
        if high < low:
            high = low
        changed = (low, high) != (self._low, self._high)
        self._low, self._high = low, high
        if changed:
            self.rangeChanged.emit(low, high)
        self._put_values(self._first, self._last)

    def _put_values(self, first: float, last: float) -> None:
        first, last = sorted(min(max(v, self._low), self._high) for v in (first, last))
        old = self._first, self._last
        self._first, self._last = first, last
        self.update()
        if first != old[0]:
            self.minimumPositionChanged.emit(first)
            self.minimumValueChanged.emit(first)
        if last != old[1]:
            self.maximumPositionChanged.emit(last)
            self.maximumValueChanged.emit(last)
        if (first, last) != old:
            self.positionsChanged.emit(first, last)
            self.valuesChanged.emit(first, last)

    def _pixel(self, value: float) -> float:
        span = self._high - self._low or 1.0
        return self._edge + (value - self._low) / span * (self.width - 2 * self._edge)

    def _value_at(self, x: float) -> float:
        part = (x - self._edge) / max(self.width - 2 * self._edge, 1)
        value = self._low + min(max(part, 0.0), 1.0) * (self._high - self._low)
        return self._low + round((value - self._low) / self.singleStep) * self.singleStep

    def mousePressEvent(self, event) -> None:
        near_first = abs(event.localPos().x() - self._pixel(self._first))
        near_last = abs(event.localPos().x() - self._pixel(self._last))
        self._dragged = "first" if near_first < near_last else "last"
        self.sliderPressed.emit()
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event) -> None:
        value = self._value_at(event.localPos().x())
        if self._dragged == "first":
            self._put_values(min(value, self._last), self._last)
        elif self._dragged == "last":
            self._put_values(self._first, max(value, self._first))

    def mouseReleaseEvent(self, event) -> None:
        self._dragged = None
        self.sliderReleased.emit()

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        middle = self.height / 2
        first, last = self._pixel(self._first), self._pixel(self._last)
        painter.fillRect(
            QtCore.QRectF(self._edge, middle - 2, self.width - 2 * self._edge, 4),
            self.palette.color(QtGui.QPalette.Mid),
        )
        painter.fillRect(
            QtCore.QRectF(first, middle - 2, last - first, 4),
            self.palette.color(QtGui.QPalette.Highlight),
        )
        painter.setBrush(self.palette.color(QtGui.QPalette.Button))
        for x in (first, last):
            painter.drawRect(QtCore.QRectF(x - 4, middle - 8, 8, 16))
        painter.end()


@shape.stands_for("ctk.ctkDoubleRangeSlider")
class ctkDoubleRangeSlider(_RangeBar):
    rangeChanged = Signal(float, float)
    valuesChanged = Signal(float, float)
    positionsChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumPositionChanged = Signal(float)
    maximumPositionChanged = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    singleStep = stored(float, 1.0)
    tickInterval = stored(float, 0.0)
    tracking = stored(bool, True)
    symmetricMoves = stored(bool, False)
    orientation = stored(int, 1)

    def __init__(self, *arguments):
        super().__init__(*[value for value in arguments if isinstance(value, QtWidgets.QWidget)])
        self._start()

    minimum = Property(
        float, lambda self: self._low, lambda self, low: self._put_range(low, self._high)
    )
    maximum = Property(
        float, lambda self: self._high, lambda self, high: self._put_range(self._low, high)
    )

    def setRange(self, low: float, high: float) -> None:
        self._put_range(low, high)

    def setValues(self, first: float, last: float) -> None:
        self._put_values(first, last)

    def setMinimumValue(self, value: float) -> None:
        self._put_values(min(value, self._last), self._last)

    def setMaximumValue(self, value: float) -> None:
        self._put_values(self._first, max(value, self._first))

    minimumValue = Property(float, lambda self: self._first, setMinimumValue)
    maximumValue = Property(float, lambda self: self._last, setMaximumValue)
    minimumPosition = Property(float, lambda self: self._first, setMinimumValue)
    maximumPosition = Property(float, lambda self: self._last, setMaximumValue)


class _Range(QtWidgets.QWidget):
    """A range slider between two spin boxes."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._bar = ctkDoubleRangeSlider()
        self._boxes = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        row.addWidget(self._boxes[0])
        row.addWidget(self._bar)
        row.addWidget(self._boxes[1])
        self._show()
        self._bar.rangeChanged.connect(self._range_changed)
        self._bar.valuesChanged.connect(self._values_changed)
        self._bar.minimumValueChanged.connect(lambda value: self._value_changed("minimum", value))
        self._bar.maximumValueChanged.connect(lambda value: self._value_changed("maximum", value))
        self._before = None  # the values when a drag began, unless it is told of all along
        self._bar.sliderPressed.connect(self._pressed)
        self._bar.sliderReleased.connect(self._released)
        self._boxes[0].valueChanged.connect(lambda value: self._bar.setMinimumValue(value))
        self._boxes[1].valueChanged.connect(lambda value: self._bar.setMaximumValue(value))

    def _show(self) -> None:
        values = self._bar.minimumValue, self._bar.maximumValue
        for box, value in zip(self._boxes, values, strict=True):
            blocked = box.blockSignals(True)
            box.minimum, box.maximum = self._bar.minimum, self._bar.maximum
            box.value = value
            box.blockSignals(blocked)

    def _range_changed(self, low: float, high: float) -> None:
        self._show()
        self.rangeChanged.emit(low, high)

    def _values_changed(self, first: float, last: float) -> None:
        self._show()
        if self._before is None:
            self.valuesChanged.emit(first, last)

    def _value_changed(self, end: str, value: float) -> None:
        getattr(self, f"{end}ValueIsChanging").emit(value)
        if self._before is None:
            getattr(self, f"{end}ValueChanged").emit(value)

    def _pressed(self) -> None:
        if not self.tracking:
            self._before = self._bar.minimumValue, self._bar.maximumValue

    def _released(self) -> None:
        before, self._before = self._before, None
        now = self._bar.minimumValue, self._bar.maximumValue
        if before is not None and before != now:
            self.valuesChanged.emit(*now)
            for end, old, new in zip(("minimum", "maximum"), before, now, strict=True):
                if old != new:
                    getattr(self, f"{end}ValueChanged").emit(new)

    def _put_step(self, step: float) -> None:
        self._bar.singleStep = step
        for box in self._boxes:
            box.singleStep = step

    def _put_both(self, name: str, value) -> None:
        for box in self._boxes:
            setattr(box, name, value)
        self._show()


def _of_boxes(kind, name: str) -> Property:
    return Property(
        kind,
        lambda self: getattr(self._boxes[0], name),
        lambda self, value: self._put_both(name, value),
    )


@shape.stands_for("ctk.ctkRangeWidget")
class ctkRangeWidget(_Range):
    rangeChanged = Signal(float, float)
    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueIsChanging = Signal(float)
    minimum = of_child(float, "_bar", "minimum")
    maximum = of_child(float, "_bar", "maximum")
    minimumValue = of_child(float, "_bar", "minimumValue")
    maximumValue = of_child(float, "_bar", "maximumValue")
    singleStep = Property(
        float, lambda self: self._bar.singleStep, lambda self, s: self._put_step(s)
    )
    decimals = _of_boxes(int, "decimals")
    prefix = _of_boxes(str, "prefix")
    suffix = _of_boxes(str, "suffix")
    tickInterval = stored(float, 0.0)
    tracking = stored(bool, True)
    symmetricMoves = stored(bool, False)
    autoSpinBoxWidth = stored(bool, True)

    def setRange(self, low: float, high: float) -> None:
        self._bar.setRange(low, high)

    def setValues(self, first: float, last: float) -> None:
        self._bar.setValues(first, last)

    def setMinimumValue(self, value: float) -> None:
        self._bar.setMinimumValue(value)

    def setMaximumValue(self, value: float) -> None:
        self._bar.setMaximumValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._put_both("decimals", decimals)

    def reset(self) -> None:
        self._bar.setValues(self._bar.minimum, self._bar.maximum)


@shape.stands_for("ctk.ctkPathLineEdit")
class ctkPathLineEdit(QtWidgets.QWidget):
    Dirs, Files, Drives, Readable, Writable, Executable = 0x1, 0x2, 0x4, 0x10, 0x20, 0x40
    Hidden, NoDot, NoDotDot, NoDotAndDotDot = 0x100, 0x2000, 0x4000, 0x6000
    NoFilter = -1
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    filters = stored(int, 0x2)
    label = stored(str, "")
    nameFilters = stored("QStringList", ())
    options = stored(int, 0)
    settingKey = stored(str, "")
    minimumContentsLength = stored(int, 0)
    showHistoryButton = stored(bool, True)
    sizeAdjustPolicy = stored(int, 0)

    def __init__(self, *arguments):
        super().__init__(*[value for value in arguments if isinstance(value, QtWidgets.QWidget)])
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QLineEdit()
        self._button = QtWidgets.QToolButton()
        self._button.text = "..."
        row.addWidget(self._edit)
        row.addWidget(self._button)
        self._valid = False
        self._edit.textChanged.connect(self._changed)
        self._button.clicked.connect(lambda: self.browse())

    def _changed(self, path: str) -> None:
        info = QtCore.QFileInfo(path)
        wanted = (self.filters & 0x1 and info.isDir()) or (self.filters & 0x2 and info.isFile())
        valid = bool(path and (wanted or self.filters & 0x20))
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(path)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    currentPath = Property(str, lambda self: self._edit.text, setCurrentPath)
    showBrowseButton = Property(
        bool,
        lambda self: not self._button.isHidden(),
        lambda self, visible: self._button.setVisible(visible),
    )

    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        if self.filters & 0x1 and not self.filters & 0x2:
            path = dialog.getExistingDirectory(self, "Select a directory", self.currentPath)
        elif self.filters & 0x20:
            path = dialog.getSaveFileName(self, "Save file", self.currentPath)
        else:
            path = dialog.getOpenFileName(self, "Open a file", self.currentPath)
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        settings = QtCore.QSettings()
        known = settings.value(self.settingKey) or []
        settings.setValue(self.settingKey, [self.currentPath, *known][:10])

    def retrieveHistory(self) -> None:
        known = QtCore.QSettings().value(self.settingKey)
        if known:
            self.setCurrentPath(known[0])


@shape.stands_for("ctk.ctkDirectoryButton")
class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    caption = stored(str, "")
    acceptMode = stored(int, 0)
    options = stored(int, 0)

    def __init__(self, *arguments):
        super().__init__(*[value for value in arguments if isinstance(value, QtWidgets.QWidget)])
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton()
        column.addWidget(self._button)
        self._button.clicked.connect(lambda: self.browse())
        self._put(next((value for value in arguments if isinstance(value, str)), "."))

    def _put(self, directory: str) -> None:
        old = self._button.text
        self._button.setText(QtCore.QDir(directory).absolutePath())
        if old and old != self._button.text:
            self.directoryChanged.emit(self._button.text)

    directory = Property(str, lambda self: self._button.text, lambda self, path: self._put(path))
    text = of_child(str, "_button", "text")

    def browse(self) -> None:
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self.directorySelected.emit(path)
            self._put(path)


@shape.stands_for("ctk.ctkColorPickerButton")
class ctkColorPickerButton(QtWidgets.QPushButton):
    colorChanged = Signal(QtGui.QColor)
    displayColorName = stored(bool, True)
    dialogOptions = stored(int, 0)

    def __init__(self, *arguments):
        super().__init__(*[value for value in arguments if not isinstance(value, QtGui.QColor)])
        colors = [value for value in arguments if isinstance(value, QtGui.QColor)]
        self._color = colors[0] if colors else QtGui.QColor("black")

    def setColor(self, color) -> None:
        if color != self._color:
            self._color = color
            self.setText(color.name())
            self.colorChanged.emit(color)

    color = Property(QtGui.QColor, lambda self: self._color, setColor)


@shape.stands_for("ctk.ctkMessageBox")
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = stored(bool, False)
    dontShowAgainVisible = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")


@shape.stands_for("ctk.ctkWidgetsUtils")
class ctkWidgetsUtils:
    @staticmethod
    def grabWidget(widget, rectangle=None):
        return widget.grab().toImage()
