"""Stand-ins for Slicer's own widgets: real MRML nodes behind plain PySide6 widgets."""

import weakref

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from . import ctk_widgets, errors, shape
from .properties import stored

_observers = weakref.WeakSet()


def end_observations() -> None:
    """Nothing may be called by VTK objects that die after the session."""
    for observer in list(_observers):
        observer._observe_none()


class Observing:
    """VTK observers that do not keep their widget alive and end with it."""

    def _observe(self, subject, event, method, priority: float = 0.0) -> None:
        if subject is None:
            return
        method = weakref.WeakMethod(method)

        def call(caller, name):
            bound = method()
            if bound is None or not shiboken6.isValid(bound.__self__):
                return
            try:
                bound()
            except Exception as error:
                errors.report(error)

        _observers.add(self)
        known = self.__dict__.setdefault("_observations", [])
        known.append((subject, subject.AddObserver(event, call, priority)))

    def _observe_none(self) -> None:
        for subject, tag in self.__dict__.get("_observations", []):
            subject.RemoveObserver(tag)
        self._observations = []


_NODE_EVENTS = (
    slicer.vtkMRMLScene.NodeAddedEvent,
    slicer.vtkMRMLScene.NodeRemovedEvent,
    slicer.vtkMRMLScene.EndBatchProcessEvent,
)


class SceneWidget(Observing):
    """setMRMLScene, mrmlScene and mrmlSceneChanged; derived classes have _scene_changed()."""

    _scene = None

    def _put_scene(self, scene) -> None:
        if scene is self._scene:
            return
        self._observe_none()
        self._scene = scene
        for event in _NODE_EVENTS:
            self._observe(scene, event, self._scene_changed)
        self._scene_changed()
        if hasattr(type(self), "mrmlSceneChanged"):
            self.mrmlSceneChanged.emit(scene)

    def _scene_changed(self) -> None:
        pass


def scene_widget(label: str, base: type) -> type:
    class Stand(SceneWidget, base):
        mrmlSceneChanged = Signal(object)

        def setMRMLScene(self, scene) -> None:
            self._put_scene(scene)

    if "mrmlScene" in shape.table.entry(label).members:
        Stand.mrmlScene = lambda self: self._scene
    Stand.__name__ = Stand.__qualname__ = label.split(".")[-1]
    return shape.stands_for(label)(Stand)


qMRMLWidget = scene_widget("slicer.qMRMLWidget", QtWidgets.QWidget)
qSlicerWidget = scene_widget("slicer.qSlicerWidget", QtWidgets.QWidget)


@shape.stands_for("slicer.qMRMLCollapsibleButton")
class qMRMLCollapsibleButton(SceneWidget, ctk_widgets.ctkCollapsibleButton):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene) -> None:
        self._put_scene(scene)


def _with_units(label: str, base: type) -> type:
    class Stand(SceneWidget, base):
        quantity = stored(str, "")
        unitAwareProperties = stored(int, 0)

        def setMRMLScene(self, scene) -> None:
            self._put_scene(scene)

        def mrmlScene(self):
            return self._scene

    Stand.__name__ = Stand.__qualname__ = label.split(".")[-1]
    return shape.stands_for(label)(Stand)


qMRMLSliderWidget = _with_units(
    "slicer.qMRMLSliderWidget", ctk_widgets.slider_widget("slicer.qMRMLSliderWidget")
)
qMRMLSpinBox = _with_units("slicer.qMRMLSpinBox", ctk_widgets.spin_box("slicer.qMRMLSpinBox"))


@shape.stands_for("slicer.qMRMLNodeComboBox")
class qMRMLNodeComboBox(SceneWidget, QtWidgets.QWidget):
    """A choice of the scene's nodes, with None and actions below where they are enabled."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeTypes = stored("QStringList", (), "_scene_changed")
    noneEnabled = stored(bool, False, "_scene_changed")
    noneDisplay = stored(str, "None", "_scene_changed")
    addEnabled = stored(bool, True, "_scene_changed")
    removeEnabled = stored(bool, True, "_scene_changed")
    renameEnabled = stored(bool, False, "_scene_changed")
    editEnabled = stored(bool, False, "_scene_changed")
    showHidden = stored(bool, False, "_scene_changed")
    showChildNodeTypes = stored(bool, True, "_scene_changed")
    hideChildNodeTypes = stored("QStringList", (), "_scene_changed")
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    interactionNodeSingletonTag = stored(str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        row.addWidget(self._box)
        self._attributes = {}
        self._current = None
        self._told = ""
        self._filling = False
        self._box.activated.connect(self._activated)

    # what is in the list

    def _fits(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for kind in self.nodeTypes:
            exact = node.GetClassName() == kind
            child = self.showChildNodeTypes and node.IsA(kind)
            if not (exact or child) or node.GetClassName() in self.hideChildNodeTypes:
                continue
            wanted = self._attributes.get(kind, {})
            have = ((node.GetAttribute(name), value) for name, value in wanted.items())
            if all(got is not None and value in (None, got) for got, value in have):
                return True
        return False

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        every = (self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if self._fits(node)]

    def _scene_changed(self) -> None:
        if self._filling or (self._scene is not None and self._scene.IsBatchProcessing()):
            return
        self._filling = True
        nodes = self._nodes()
        self._watch(nodes)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in nodes:
            self._box.addItem(node.GetName() or "", node.GetID())
        for allowed, text, action in (
            (self.addEnabled, "Create new", "add"),
            (self.renameEnabled and nodes, "Rename current", "rename"),
            (self.removeEnabled and nodes, "Delete current", "remove"),
        ):
            if allowed:
                self._box.addItem(text, f"action:{action}")
        self._filling = False
        self._select(self._current if any(node is self._current for node in nodes) else None)

    def _watch(self, nodes: list) -> None:
        self._observe_none()
        for event in _NODE_EVENTS:
            self._observe(self._scene, event, self._scene_changed)
        # The widget hears of it before the module, which has made its observer later.
        self._observe(self._scene, slicer.vtkMRMLScene.EndImportEvent, self._imported, 1.0)
        for node in nodes:
            self._observe(node, vtk.vtkCommand.ModifiedEvent, self._renamed)

    def _imported(self) -> None:
        """qMRMLSceneModel::updateScene makes all rows anew; nobody chooses the node again."""
        self._select(None)

    def _renamed(self) -> None:
        for row in range(self._box.count):
            node = self._node_of(self._box.itemData(row))
            if node is not None and node.GetName() != self._box.itemText(row):
                self._box.setItemText(row, node.GetName())
                if node is self._current:
                    self.currentNodeRenamed.emit(node.GetName())
                    self._tell()

    def _node_of(self, data: str):
        plain = data and not data.startswith("action:")
        return self._scene.GetNodeByID(data) if plain and self._scene is not None else None

    # what is chosen

    def _select(self, node) -> None:
        if node is None and not self.noneEnabled:
            node = next(iter(self._nodes()), None)  # something is chosen where None cannot be
        row = -1 if node is None else self._box.findData(node.GetID())
        if row < 0:
            node = None
            row = 0 if self.noneEnabled else -1
        self._box.setCurrentIndex(row)
        self._current = node
        self._tell()

    def _tell(self) -> None:
        """Slicer 5.12's signals come with the box's text: not for a node of the same name, but
        for the one that is chosen when it gets another name."""
        if self._box.currentText != self._told:
            self._told = self._box.currentText
            self.currentNodeChanged.emit(self._current)
            self.currentNodeIDChanged.emit(self._current.GetID() if self._current else "")

    def _activated(self, row: int) -> None:
        data = self._box.itemData(row)
        if data.startswith("action:"):
            self._select(self._current)
            action = data.removeprefix("action:")
            {"add": self.addNode, "rename": self.renameCurrentNode}.get(
                action, self.removeCurrentNode
            )()
        else:
            node = self._node_of(data)
            self._select(node)
            self.nodeActivated.emit(node)

    # the application's interface

    def setMRMLScene(self, scene) -> None:
        self._put_scene(scene)

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        self._select(self._node_of(node) if isinstance(node, str) else node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._select(self._node_of(node_id or ""))

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self.nodeFromIndex(index))

    def _get_id(self) -> str:
        return self._current.GetID() if self._current is not None else ""

    currentNodeID = Property(str, _get_id, setCurrentNodeID)
    currentNodeId = Property(str, _get_id)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value=None) -> None:
        self._attributes.setdefault(node_type, {})[name] = None if value is None else str(value)
        self._scene_changed()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.get(node_type, {}).pop(name, None)
        self._scene_changed()

    def addNode(self, node_type: str = ""):
        node_type = node_type or self.nodeTypes[0]
        name = self.baseName or node_type.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(name))
        for key, value in self._attributes.get(node_type, {}).items():
            node.SetAttribute(key, value or "")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self._select(node)
        self.nodeAdded.emit(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self.nodeAboutToBeRemoved.emit(self._current)
            self._scene.RemoveNode(self._current)

    def renameCurrentNode(self) -> None:
        name = QtWidgets.QInputDialog.getText(self, "Rename node", "New name:")
        if name and self._current is not None:
            self._current.SetName(name)


_SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


class SegmentsWidget(Observing):
    """Follows the segments of one segmentation node; derived classes have _fill()."""

    _node = None

    def _put_segmentation(self, node) -> None:
        self._observe_none()
        self._node = node
        if node is not None:
            for name in _SEGMENT_EVENTS:
                event = getattr(slicer.vtkSegmentation, name)
                self._observe(node, event, self._fill)  # also of a segmentation it gets later
            self._observe(node, node.SegmentationChangedEvent, self._refill)
        self._fill()

    def _refill(self) -> None:
        """The node has got another segmentation, as with each image of a sequence: as in the
        application no other choice is told of."""
        blocked = self.blockSignals(True)
        self._fill()
        self.blockSignals(blocked)

    def _ids(self) -> tuple[str, ...]:
        return () if self._node is None else tuple(self._node.GetSegmentation().GetSegmentIDs())

    def _segment(self, segment_id: str):
        return self._node.GetSegmentation().GetSegment(segment_id)


@shape.stands_for("slicer.qMRMLSegmentSelectorWidget")
class qMRMLSegmentSelectorWidget(SegmentsWidget, qMRMLWidget):
    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal("QStringList")
    editEnabled = stored(bool, False)
    multiSelection = stored(bool, False)
    selectNodeUponCreation = stored(bool, True)
    noneEnabled = stored(bool, False, "_none_changed")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._row = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.TopToBottom, self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._selector = qMRMLNodeComboBox()
        self._selector.nodeTypes = ("vtkMRMLSegmentationNode",)
        self._selector.addEnabled = self._selector.removeEnabled = False
        self._box = QtWidgets.QComboBox()
        self._row.addWidget(self._selector)
        self._row.addWidget(self._box)
        self._segment_id = ""
        self._selector.currentNodeChanged.connect(self._node_changed)
        self._box.activated.connect(lambda row: self._choose(self._box.itemData(row)))

    def _none_changed(self) -> None:
        self._selector.noneEnabled = self.noneEnabled
        self._fill()

    def _scene_changed(self) -> None:
        self._selector.setMRMLScene(self._scene)

    def _node_changed(self, node) -> None:
        self._put_segmentation(node)
        self.currentNodeChanged.emit(node)

    def _fill(self) -> None:
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem("None", "")
        for segment_id in self._ids():
            self._box.addItem(self._segment(segment_id).GetName(), segment_id)
        self._choose(self._segment_id)

    def _choose(self, segment_id: str) -> None:
        if segment_id not in self._ids():
            segment_id = "" if self.noneEnabled or not self._ids() else self._ids()[0]
        self._box.setCurrentIndex(self._box.findData(segment_id))
        if segment_id != self._segment_id:
            self._segment_id = segment_id
            self.currentSegmentChanged.emit(segment_id)

    def _turn(self, horizontal: bool) -> None:
        box = QtWidgets.QBoxLayout
        self._row.setDirection(box.LeftToRight if horizontal else box.TopToBottom)

    segmentationNodeSelectorVisible = Property(
        bool,
        lambda self: not self._selector.isHidden(),
        lambda self, visible: self._selector.setVisible(visible),
    )
    horizontalLayout = Property(bool, lambda self: False, lambda self, on: self._turn(on))

    def currentNode(self):
        return self._selector.currentNode()

    def currentNodeID(self) -> str:
        return self._selector.currentNodeID

    def setCurrentNode(self, node) -> None:
        self._selector.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._selector.setCurrentNodeID(node_id)

    def currentSegmentID(self) -> str:
        return self._segment_id

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._choose(segment_id or "")

    def segmentIDs(self) -> tuple[str, ...]:
        return self._ids()


@shape.stands_for("slicer.qMRMLSegmentsTableView")
class qMRMLSegmentsTableView(SegmentsWidget, qMRMLWidget):
    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = Signal(str)
    readOnly = stored(bool, False)
    headerVisible = stored(bool, True)
    visibilityColumnVisible = stored(bool, True)
    colorColumnVisible = stored(bool, True)
    opacityColumnVisible = stored(bool, True)
    statusColumnVisible = stored(bool, False)
    layerColumnVisible = stored(bool, False)
    filterBarVisible = stored(bool, False)
    textFilter = stored(str, "", "_fill")
    jumpToSelectedSegmentEnabled = stored(bool, False)
    useTerminologySelector = stored(bool, True)
    segmentCount = Property(int, lambda self: len(self._shown()))
    selectionMode = Property(
        int,
        lambda self: self._table.selectionMode().value,
        lambda self, mode: self.setSelectionMode(mode),
    )

    def __init__(self, parent=None):
        super().__init__(parent)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._hidden = ()
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        column.addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(
            lambda new, old: self.selectionChanged.emit(new, old)
        )

    def _shown(self) -> tuple[str, ...]:
        text = self.textFilter.lower()
        return tuple(
            segment_id
            for segment_id in self._ids()
            if segment_id not in self._hidden
            and text in self._segment(segment_id).GetName().lower()
        )

    def _fill(self) -> None:
        if not hasattr(self, "_table"):
            return
        chosen = [key for key in self.selectedSegmentIDs() if key in self._shown()]
        model = self._table.selectionModel()
        before = self.selectedSegmentIDs()
        blocked = model.blockSignals(True)
        self._table.setRowCount(0)
        for row, segment_id in enumerate(self._shown()):
            segment = self._segment(segment_id)
            self._table.insertRow(row)
            colour = QtWidgets.QTableWidgetItem()
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            name = QtWidgets.QTableWidgetItem(segment.GetName())
            name.setData(Qt.UserRole, segment_id)
            self._table.setItem(row, 0, colour)
            self._table.setItem(row, 1, name)
        self.setSelectedSegmentIDs(chosen)
        model.blockSignals(blocked)
        if before != tuple(chosen):
            self.selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection())

    def tableWidget(self):
        return self._table

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node) -> None:
        self._put_segmentation(node)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({index.row() for index in self._table.selectionModel().selectedRows()})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids) -> None:
        self._table.clearSelection()
        for segment_id in segment_ids:
            row = self.rowForSegmentID(segment_id)
            if row >= 0:
                self._table.selectRow(row)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return self._shown()

    def segmentIDForRow(self, row: int) -> str:
        item = self._table.item(row, 1)
        return item.data(Qt.UserRole) if item is not None else ""

    def rowForSegmentID(self, segment_id: str) -> int:
        return self._shown().index(segment_id) if segment_id in self._shown() else -1

    def setHideSegments(self, segment_ids) -> None:
        self._hidden = tuple(segment_ids)
        self._fill()

    def hideSegments(self) -> tuple[str, ...]:
        return self._hidden

    def setSelectionMode(self, mode) -> None:
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode))

    def setReadOnly(self, read_only: bool) -> None:
        self.readOnly = read_only

    def setHeaderVisible(self, visible: bool) -> None:
        self._table.horizontalHeader().setVisible(visible)

    def setVisibilityColumnVisible(self, visible: bool) -> None:
        self.visibilityColumnVisible = visible

    def setColorColumnVisible(self, visible: bool) -> None:
        self._table.setColumnHidden(0, not visible)

    def setOpacityColumnVisible(self, visible: bool) -> None:
        self.opacityColumnVisible = visible

    def setStatusColumnVisible(self, visible: bool) -> None:
        self.statusColumnVisible = visible

    def setFilterBarVisible(self, visible: bool) -> None:
        self.filterBarVisible = visible


class _Browsing(Observing):
    """Follows one sequence browser node; derived classes have _show()."""

    _browser = None

    def _put_browser(self, node) -> None:
        self._observe_none()
        self._browser = node
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self._show)
        self._show()

    def _count(self) -> int:
        return self._browser.GetNumberOfItems() if self._browser is not None else 0


@shape.stands_for("slicer.qMRMLSequenceBrowserSeekWidget")
class qMRMLSequenceBrowserSeekWidget(_Browsing, qMRMLWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._bar = QtWidgets.QSlider(Qt.Horizontal)
        self._label = QtWidgets.QLabel()
        row.addWidget(self._bar)
        row.addWidget(self._label)
        self._bar.valueChanged.connect(lambda item: self.setSelectedItemNumber(item))
        self._show()

    def _show(self) -> None:
        if not hasattr(self, "_bar"):
            return
        self.setEnabled(self._count() > 0)
        blocked = self._bar.blockSignals(True)
        self._bar.maximum = max(self._count() - 1, 0)
        if self._count():
            number = self._browser.GetSelectedItemNumber()
            self._bar.value = number
            self._label.text = self._browser.GetFormattedIndexValue(number)
        self._bar.blockSignals(blocked)

    def setMRMLSequenceBrowserNode(self, node) -> None:
        self._put_browser(node)

    def setSelectedItemNumber(self, number: int) -> None:
        if self._browser is not None and number >= 0:
            self._browser.SetSelectedItemNumber(number)

    def slider(self):
        return self._bar


@shape.stands_for("slicer.qMRMLSequenceBrowserPlayWidget")
class qMRMLSequenceBrowserPlayWidget(_Browsing, qMRMLWidget):
    RecordingControlsVisible = stored(bool, True)
    PlayPauseShortcut = stored(str, "")
    PreviousFrameShortcut = stored(str, "")
    NextFrameShortcut = stored(str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for text, slot in (
            ("|<", self.onVcrFirst),
            ("<", self.onVcrPrevious),
            ("play", self.onVcrPlayPause),
            (">", self.onVcrNext),
            (">|", self.onVcrLast),
        ):
            button = QtWidgets.QPushButton(text)
            button.clicked.connect(slot)
            row.addWidget(button)

    def _show(self) -> None:
        self.setEnabled(self._count() > 0)

    def setMRMLSequenceBrowserNode(self, node) -> None:
        self._put_browser(node)

    def onVcrFirst(self) -> None:
        if self._browser is not None:
            self._browser.SelectFirstItem()

    def onVcrLast(self) -> None:
        if self._browser is not None:
            self._browser.SelectLastItem()

    def onVcrNext(self) -> None:
        if self._browser is not None:
            self._browser.SelectNextItem(1)

    def onVcrPrevious(self) -> None:
        if self._browser is not None:
            self._browser.SelectNextItem(-1)

    def onVcrPlayPause(self) -> None:
        """Only the node's state: nothing plays by itself here."""
        self.setPlaybackEnabled(not self._browser.GetPlaybackActive())

    def setPlaybackEnabled(self, playing: bool) -> None:
        self._browser.SetPlaybackActive(playing)

    def setPlaybackRateFps(self, rate: float) -> None:
        self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        self._browser.SetPlaybackLooped(loop)


class _Plot(QtWidgets.QWidget):
    """Draws the series of a plot view's chart as lines; for screenshots."""

    _view = None

    def _series(self):
        chart = self._view.GetPlotChartNode() if self._view is not None else None
        for number in range(chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0):
            series = chart.GetNthPlotSeriesNode(number)
            table = series.GetTableNode() and series.GetTableNode().GetTable()
            if table is None:
                continue
            x = table.GetColumnByName(series.GetXColumnName() or "")
            y = table.GetColumnByName(series.GetYColumnName() or "")
            if y is not None:
                rows = range(y.GetNumberOfTuples())
                values = [(x.GetTuple1(n) if x is not None else n, y.GetTuple1(n)) for n in rows]
                yield QtGui.QColor.fromRgbF(*series.GetColor()), values

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtGui.QColor("white"))
        area = QtCore.QRectF(self.rect).adjusted(40, 10, -10, -25)
        painter.drawRect(area)
        series = list(self._series())
        points = [point for _, values in series for point in values]
        if points:
            left, right = min(x for x, _ in points), max(x for x, _ in points)
            low, high = min(y for _, y in points), max(y for _, y in points)
            painter.drawText(QtCore.QPointF(2, area.bottom()), f"{low:.3g}")
            painter.drawText(QtCore.QPointF(2, area.top() + 10), f"{high:.3g}")
            for colour, values in series:
                painter.setPen(QtGui.QPen(colour, 2))
                line = [
                    QtCore.QPointF(
                        area.left() + (x - left) / ((right - left) or 1) * area.width(),
                        area.bottom() - (y - low) / ((high - low) or 1) * area.height(),
                    )
                    for x, y in values
                ]
                painter.drawPolyline(QtGui.QPolygonF(line))
        painter.end()


@shape.stands_for("slicer.qMRMLPlotView")
class qMRMLPlotView(SceneWidget, _Plot):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene) -> None:
        self._put_scene(scene)

    def setMRMLPlotViewNode(self, node) -> None:
        self._view = node
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self._redraw)
        self._redraw()

    def _redraw(self) -> None:
        self.update()

    def fitToContent(self) -> None:
        self._redraw()


@shape.stands_for("slicer.qMRMLPlotWidget")
class qMRMLPlotWidget(qMRMLWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._plot = qMRMLPlotView()
        self._plot.setMinimumSize(200, 120)
        column.addWidget(self._plot)

    def _scene_changed(self) -> None:
        self._plot.setMRMLScene(self._scene)

    def plotView(self):
        return self._plot

    def mrmlPlotViewNode(self):
        return self._plot._view

    def setMRMLPlotViewNode(self, node) -> None:
        self._plot.setMRMLPlotViewNode(node)
