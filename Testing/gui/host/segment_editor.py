"""The Segment Editor: Slicer's own editor logic under a plain widget, and scripted effects.

The order of calls follows qMRMLSegmentEditorWidget.cxx and qSlicerSegmentEditorScriptedEffect.cxx.
"""

import importlib.util
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from . import ctk_widgets, errors, shape
from .mrml_widgets import (
    qMRMLNodeComboBox,
    qMRMLSegmentsTableView,
    qMRMLWidget,
)
from .properties import stored
from .slice_views import qMRMLSliceWidget

_EVENTS = (
    "LeftButtonPressEvent",
    "LeftButtonReleaseEvent",
    "LeftButtonDoubleClickEvent",
    "RightButtonPressEvent",
    "RightButtonReleaseEvent",
    "RightButtonDoubleClickEvent",
    "MiddleButtonPressEvent",
    "MiddleButtonReleaseEvent",
    "MiddleButtonDoubleClickEvent",
    "MouseMoveEvent",
    "MouseWheelForwardEvent",
    "MouseWheelBackwardEvent",
    "MouseWheelLeftEvent",
    "MouseWheelRightEvent",
    "KeyPressEvent",
    "KeyReleaseEvent",
    "EnterEvent",
    "LeaveEvent",
)
_MODES = (
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeSet,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemove,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemoveAll,
)


@shape.stands_for("slicer.qSlicerSegmentEditorScriptedEffect")
class qSlicerSegmentEditorScriptedEffect(QtCore.QObject):
    ModificationModeSet, ModificationModeAdd = 0, 1
    ModificationModeRemove, ModificationModeRemoveAll = 2, 3
    NotConfirmed, ConfirmedWithoutDialog, ConfirmedWithDialog = 0, 1, 2
    name = stored(str, "UnnamedScriptedEffect")
    title = Property(
        str,
        lambda self: self.__dict__.get("_title") or self.name,
        lambda self, title: self.__dict__.__setitem__("_title", title),
    )
    perSegment = stored(bool, True)
    requireSegments = stored(bool, True)
    showEffectCursorInSliceView = stored(bool, True)
    showEffectCursorInThreeDView = stored(bool, False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._python = None
        self._source = ""
        self._node = None
        self._logic = None
        self._editor = None
        self._active = False
        self._hidden_segment = ""  # one that may be worked on though it is hidden
        self._frame = QtWidgets.QFrame()
        self._rows = QtWidgets.QFormLayout(self._frame)
        self._rows.setContentsMargins(4, 4, 4, 4)

    # the Python side

    def setPythonSource(self, path: str) -> bool:
        source = Path(path)
        class_name = source.stem if source.stem.endswith("Effect") else f"{source.stem}Effect"
        module_name = source.parent.name  # as the application: the folder names the module
        module = sys.modules.get(module_name)
        if module is None or not hasattr(module, class_name):
            spec = importlib.util.spec_from_file_location(module_name, source)
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
        self._python = getattr(module, class_name)(self)
        self._source = str(path)
        setattr(slicer, module_name, self._python)
        return True

    def pythonSource(self) -> str:
        return self._source

    def self(self):
        return self._python

    def _call(self, name: str, *arguments):
        return errors.call(self._python, name, *arguments)

    def _interaction(self, interactor, event: int, view) -> bool:
        result = self._call("processInteractionEvents", interactor, event, view)
        if result is not None and not isinstance(result, bool):
            errors.report(TypeError(f"{self.name}: processInteractionEvents gave {result!r}"))
        return result is True

    def activate(self) -> None:
        self._frame.setVisible(True)
        self._active = True
        self.updateGUIFromMRML()
        self._call("activate")

    def deactivate(self) -> None:
        self._frame.setVisible(False)
        self._active = False
        self._call("deactivate")

    def active(self) -> bool:
        return self._active

    def cleanup(self) -> None:
        self._call("cleanup")

    def helpText(self) -> str:
        return self._call("helpText") or ""

    def createCursor(self, view):
        return self._call("createCursor", view) or QtGui.QCursor()

    def updateGUIFromMRML(self) -> None:
        if self._active:
            self._call("updateGUIFromMRML")

    def updateMRMLFromGUI(self) -> None:
        self._call("updateMRMLFromGUI")

    # options

    def optionsFrame(self):
        return self._frame

    def optionsLayout(self):
        return self._rows

    def addOptionsWidget(self, widget) -> None:
        self._rows.addRow(self._adopted(widget))

    def addLabeledOptionsWidget(self, label: str, widget):
        text = QtWidgets.QLabel(label)
        self._rows.addRow(text, self._adopted(widget))
        return text

    def _adopted(self, widget):
        """As the application has it: every option may grow in height."""
        widget.setParent(self._frame)
        widget.setSizePolicy(
            QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.MinimumExpanding
        )
        return widget

    # parameters: attributes of the editor node, prefixed with the effect's name

    def parameterSetNode(self):
        return self._node

    def setParameterSetNode(self, node) -> None:
        self._node = node

    def scene(self):
        return self._node.GetScene() if self._node is not None else None

    def parameter(self, name: str) -> str:
        for key in (f"{self.name}.{name}", name):
            value = self._node.GetAttribute(key)
            if value is not None:
                return value
        errors.report(KeyError(f"parameter {name!r} of effect {self.name!r} is not set"))
        return ""

    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name) or 0)

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name) or 0.0)

    def parameterDefined(self, name: str) -> bool:
        return self.commonParameterDefined(f"{self.name}.{name}")

    def commonParameterDefined(self, name: str) -> bool:
        return bool(self._node is not None and self._node.GetAttribute(name))

    def setParameter(self, name: str, value) -> None:
        self.setCommonParameter(f"{self.name}.{name}", value)

    def setParameterDefault(self, name: str, value) -> None:
        self.setCommonParameterDefault(f"{self.name}.{name}", value)

    def setCommonParameter(self, name: str, value) -> None:
        text, old = str(value), self._node.GetAttribute(name)
        if old == text or (old is None and not text):
            return
        disabled = self._node.GetDisableModifiedEvent()
        self._node.SetDisableModifiedEvent(1)
        self._node.SetAttribute(name, text)
        self._node.SetDisableModifiedEvent(disabled)
        self._node.InvokeCustomModifiedEvent(
            slicer.vtkMRMLSegmentEditorNode.EffectParameterModified
        )

    def setCommonParameterDefault(self, name: str, value) -> None:
        if not self.commonParameterDefined(name):
            self.setCommonParameter(name, value)

    def nodeReference(self, name: str):
        own = self._node.GetNodeReference(f"{self.name}.{name}")
        return own if own is not None else self._node.GetNodeReference(name)

    def setNodeReference(self, name: str, node) -> None:
        self.setCommonNodeReference(f"{self.name}.{name}", node)

    def setCommonNodeReference(self, name: str, node) -> None:
        self._node.SetNodeReferenceID(name, node.GetID() if node is not None else None)

    # volumes and editing: Slicer's editor logic does the work

    def defaultModifierLabelmap(self):
        if not self._logic.ResetModifierLabelmapToDefault():
            return None
        return self._logic.GetModifierLabelmap()

    def modifierLabelmap(self):
        return self._logic.GetModifierLabelmap()

    def maskLabelmap(self):
        return self._logic.GetMaskLabelmap() if self._logic.UpdateMaskLabelmap() else None

    def sourceVolumeImageData(self):
        if not self._logic.UpdateAlignedSourceVolume():
            return None
        return self._logic.GetAlignedSourceVolume()

    def selectedSegmentLabelmap(self):
        if not self._logic.UpdateSelectedSegmentLabelmap():
            return None
        return self._logic.GetSelectedSegmentLabelmap()

    def referenceGeometryImage(self):
        if not self._logic.UpdateReferenceGeometryImage():
            return None
        return self._logic.GetReferenceGeometryImage()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def modifySelectedSegmentByLabelmap(self, labelmap, mode, *more) -> None:
        self.modifySegmentByLabelmap(
            self._node.GetSegmentationNode(),
            self._node.GetSelectedSegmentID() or "",
            labelmap,
            mode,
            *more,
        )

    def modifySegmentByLabelmap(self, node, segment_id, labelmap, mode, *more) -> None:
        """more: [extent,] [bypass masking]."""
        extent = next((list(value) for value in more if not isinstance(value, bool)), None)
        bypass = any(value for value in more if isinstance(value, bool))
        if extent is not None and len(extent) != 6:
            raise ValueError("extent must have 6 int values")
        self._logic.ModifySegmentByLabelmap(
            node, segment_id, labelmap, _MODES[mode], extent or [0, -1] * 3, self.perSegment, bypass
        )

    def segmentationDisplayableInView(self, node) -> bool:
        return self._logic.IsSegmentationDisplayableInView(node)

    def confirmCurrentSegmentVisible(self) -> int:
        """Asks where the segment is hidden; after a No not again for that segment."""
        segmentation, segment_id = (
            self._node.GetSegmentationNode(),
            self._node.GetSelectedSegmentID(),
        )
        if segmentation is None or not segment_id or segment_id == self._hidden_segment:
            return self.ConfirmedWithoutDialog
        display = segmentation.GetDisplayNode()
        if display.GetVisibility() and display.GetSegmentVisibility(segment_id):
            return self.ConfirmedWithoutDialog
        box = QtWidgets.QMessageBox
        answer = box.question(
            None,
            "Operate on invisible segment?",
            "The currently selected segment is hidden. Would you like to make it visible?",
            box.Yes | box.No | box.Cancel,
        )
        if answer == box.Yes:
            display.SetVisibility(True)
            display.SetSegmentVisibility(segment_id, True)
        if answer == box.No:
            self._hidden_segment = segment_id
        return self.NotConfirmed if answer == box.Cancel else self.ConfirmedWithDialog

    def selectEffect(self, name: str) -> None:
        self._editor.setActiveEffectByName(name)

    # views

    def renderWindow(self, view):
        return view.sliceView().renderWindow()

    def renderer(self, view):
        return view.sliceView().renderWindow().GetRenderers().GetItemAsObject(0)

    def viewNode(self, view):
        return view.mrmlSliceNode()

    def addActor2D(self, view, actor) -> None:
        self.renderer(view).AddViewProp(actor)

    def removeActor2D(self, view, actor) -> None:
        self.renderer(view).RemoveViewProp(actor)

    def addActor3D(self, view, actor) -> None:
        self.renderer(view).AddViewProp(actor)

    def removeActor3D(self, view, actor) -> None:
        self.renderer(view).RemoveViewProp(actor)

    def forceRender(self, view) -> None:
        view.sliceView().forceRender()

    def scheduleRender(self, view) -> None:
        view.sliceView().scheduleRender()

    def cursorOff(self, view) -> None:
        view.sliceView().unsetViewCursor()

    def cursorOn(self, view) -> None:
        view.sliceView().setViewCursor(self.createCursor(view))

    def sliceSpacing(self, view) -> float:
        return slicer.vtkSlicerSegmentEditorLogic.GetSliceSpacing(
            view.mrmlSliceNode(), view.sliceLogic()
        )

    # coordinates: xy are whole pixels, as the application's QPoint makes them

    def xyToRas(self, xy, view):
        return self.xyzToRas(QtGui.QVector3D(xy.x(), xy.y(), 0.0), view)

    def xyzToRas(self, xyz, view):
        point = [xyz.x(), xyz.y(), xyz.z(), 1.0]
        return QtGui.QVector3D(*view.mrmlSliceNode().GetXYToRAS().MultiplyPoint(point)[:3])

    def rasToXy(self, ras, view):
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(view.mrmlSliceNode().GetXYToRAS(), inverse)
        x, y = inverse.MultiplyPoint([ras.x(), ras.y(), ras.z(), 1.0])[:2]
        return QtCore.QPoint(int(x + 0.5), int(y + 0.5))

    def xyToIjk(self, xy, view, image, transform=None):
        return self.xyzToIjk(QtGui.QVector3D(xy.x(), xy.y(), 0.0), view, image, transform)

    def xyzToIjk(self, xyz, view, image, transform=None):
        ijk = [0, 0, 0]
        slicer.vtkSlicerSegmentEditorLogic.XyzToIjk(
            [xyz.x(), xyz.y(), xyz.z()], ijk, view.mrmlSliceNode(), image, transform
        )
        return QtGui.QVector3D(*ijk)


@shape.stands_for("slicer.qSlicerSegmentEditorEffectFactory")
class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    effectRegistered = Signal(str)
    _one = None

    def __init__(self, parent=None):
        super().__init__(parent)
        self._effects = []

    @classmethod
    def instance(cls):
        if qSlicerSegmentEditorEffectFactory._one is None:
            qSlicerSegmentEditorEffectFactory._one = cls()
        return qSlicerSegmentEditorEffectFactory._one

    def registerEffect(self, effect) -> bool:
        """An effect of the same name as an earlier one is refused."""
        if effect.name in [other.name for other in self._effects]:
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def registeredEffects(self) -> tuple:
        return tuple(self._effects)


@shape.stands_for("slicer.qMRMLSegmentEditorWidget")
class qMRMLSegmentEditorWidget(qMRMLWidget):
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    maskingSectionVisible = stored(bool, True)
    readOnly = stored(bool, False)
    undoEnabled = stored(bool, True)
    autoShowSourceVolumeNode = stored(bool, True)
    unorderedEffectsVisible = stored(bool, True)
    effectColumnCount = stored(int, 2)
    switchToSegmentationsButtonVisible = stored(bool, True)
    specifyGeometryButtonVisible = stored(bool, True)
    addRemoveSegmentButtonsVisible = stored(bool, True)
    show3DButtonVisible = stored(bool, True)
    jumpToSelectedSegmentEnabled = stored(bool, False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node = None
        self._shown = None, "", None  # segmentation, segment, source volume
        self._effects = []
        self._active = None
        self._view_observers = []
        self._order = ()
        self._shortcuts = []
        column = QtWidgets.QVBoxLayout(self)
        form = QtWidgets.QFormLayout()
        form.setRowWrapPolicy(QtWidgets.QFormLayout.DontWrapRows)
        column.addLayout(form)
        self._segmentation = self._selector("vtkMRMLSegmentationNode", "SegmentationNodeComboBox")
        self._source = self._selector("vtkMRMLScalarVolumeNode", "SourceVolumeNodeComboBox")
        self._segments = qMRMLSegmentsTableView()
        self._segments.setObjectName("SegmentsTableView")
        self._help = ctk_widgets.ctkFittedTextBrowser()
        self._help.setObjectName("EffectHelpBrowser")
        self._help.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Minimum)
        self._help.setFrameShape(QtWidgets.QFrame.NoFrame)
        self._options = QtWidgets.QGroupBox("Options")
        self._options.setObjectName("OptionsGroupBox")
        options = QtWidgets.QVBoxLayout(self._options)
        options.setContentsMargins(4, 4, 4, 4)
        options.addWidget(self._help)
        self._buttons = QtWidgets.QFrame()
        self._buttons.setObjectName("EffectsGroupBox")
        QtWidgets.QGridLayout(self._buttons)
        form.addRow("Segmentation:", self._segmentation)
        form.addRow("Source volume:", self._source)
        form.addRow(self._segments)
        self._undo_redo = QtWidgets.QFrame()
        self._undo_redo.setObjectName("UndoRedoGroupBox")
        grid = QtWidgets.QGridLayout(self._undo_redo)
        icons = QtWidgets.QStyle.SP_ArrowBack, QtWidgets.QStyle.SP_ArrowForward
        slots = (("Undo", self.undo), ("Redo", self.redo))
        for place, ((name, slot), icon) in enumerate(zip(slots, icons, strict=True)):
            button = QtWidgets.QToolButton(text=name)
            button.setObjectName(f"{name}Button")
            button.setIcon(self.style().standardIcon(icon))
            button.clicked.connect(slot)
            grid.addWidget(button, 0, place)
        effects = QtWidgets.QVBoxLayout()
        effects.addWidget(self._buttons)
        effects.addWidget(self._undo_redo)
        effects.addStretch(1)
        chosen = QtWidgets.QVBoxLayout()
        chosen.addWidget(self._options)
        chosen.addSpacerItem(
            QtWidgets.QSpacerItem(
                20, 40, QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Expanding
            )
        )
        beside = QtWidgets.QHBoxLayout()
        beside.addLayout(effects)
        beside.addLayout(chosen)
        column.addLayout(beside, 1)  # what is left in a high panel is below the effect
        self._segmentation.currentNodeChanged.connect(self.setSegmentationNode)
        self._source.currentNodeChanged.connect(self.setSourceVolumeNode)
        self._segments.selectionChanged.connect(self._row_chosen)
        self.updateEffectList()

    def _selector(self, kind: str, name: str):
        box = qMRMLNodeComboBox()
        box.setObjectName(name)
        box.nodeTypes = (kind,)
        box.noneEnabled = True
        return box

    def _row_chosen(self, new, old) -> None:
        if self._node is None:
            return
        chosen = self._segments.selectedSegmentIDs()
        segment_id = chosen[0] if chosen else ""
        if segment_id == (self._node.GetSelectedSegmentID() or ""):
            return
        self.setCurrentSegmentID(segment_id)
        if not segment_id and self._active is not None and self._active.perSegment:
            self.setActiveEffect(None)

    def _scene_changed(self) -> None:
        self._logic.SetMRMLScene(self._scene)
        self._segmentation.setMRMLScene(self._scene)
        self._source.setMRMLScene(self._scene)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().layoutChanged.connect(self._layout_changed)

    # effects

    def updateEffectList(self) -> None:
        have = {effect.name for effect in self._effects}
        for registered in qSlicerSegmentEditorEffectFactory.instance().registeredEffects():
            if registered.name in have:
                continue
            effect = registered._call("clone")
            if effect is None:
                errors.report(RuntimeError(f"{registered.name}: clone() gave no effect"))
                continue
            effect.setParent(self)
            effect._editor = self
            effect._logic = self._logic
            self._effects.append(effect)
            if self._node is not None:
                effect.setParameterSetNode(self._node)
                effect._call("setMRMLDefaults")
            effect._call("setupOptionsFrame")
            effect.optionsFrame().setVisible(False)
            self._options.layout().addWidget(effect.optionsFrame())
            self._add_button(effect)

    def _add_button(self, effect) -> None:
        button = QtWidgets.QToolButton()
        button.setObjectName(effect.name)
        button.text = effect.title
        button.toolTip = effect.title
        button.checkable = True
        icon = effect._call("icon")
        if icon is not None:
            button.setIcon(icon)
        name = effect.name
        button.clicked.connect(lambda on: self.setActiveEffectByName(name if on else ""))
        count = self._buttons.layout().count()
        columns = self.effectColumnCount
        self._buttons.layout().addWidget(button, count // columns, count % columns)

    def availableEffectNames(self) -> tuple[str, ...]:
        return tuple(effect.name for effect in self._effects)

    def effectCount(self) -> int:
        return len(self._effects)

    def effectByIndex(self, index: int):
        return self._effects[index]

    def effectByName(self, name: str):
        return next((effect for effect in self._effects if effect.name == name), None)

    def setEffectNameOrder(self, names) -> None:
        self._order = tuple(names)

    def effectNameOrder(self) -> tuple[str, ...]:
        return self._order

    def activeEffect(self):
        return self._active

    def setActiveEffect(self, effect) -> None:
        self._node.SetActiveEffectName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

    def _switch_effect(self) -> None:
        name = self._node.GetActiveEffectName() if self._node is not None else ""
        wanted = self.effectByName(name or "")
        if wanted is self._active:
            return
        if self._active is not None:
            self._active.deactivate()
        self._active = None
        if wanted is not None:
            if self._logic.IsSegmentationNodeValid():
                self._logic.SetSourceRepresentationToBinaryLabelMap()
            self.setupViewObservations()
            wanted.activate()
            self._active = wanted
            self._options.title = wanted.title
            self._help.setCollapsibleText(wanted.helpText())
        for button in self._buttons.findChildren(QtWidgets.QToolButton):
            button.checked = wanted is not None and button.name == wanted.name

    # the parameter set node and what it names

    def mrmlSegmentEditorNode(self):
        return self._node

    def setMRMLSegmentEditorNode(self, node) -> None:
        if node is self._node:
            return
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._observe_none()
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self.updateWidgetFromMRML)
        self._observe(
            self._logic, self._logic.SegmentationHistoryChangedEvent, self._show_undo_redo
        )
        self._show_undo_redo()
        if node is not None:
            changed = slicer.vtkMRMLSegmentEditorNode.EffectParameterModified
            self._observe(node, changed, self._parameters_changed)
        for effect in self._effects:
            effect.setParameterSetNode(node)
            if node is not None:
                effect._call("setMRMLDefaults")
        self.updateWidgetFromMRML()

    def _parameters_changed(self) -> None:
        for effect in self._effects:
            effect.updateGUIFromMRML()

    def updateWidgetFromMRML(self) -> None:
        node = self._node
        if node is None or self._scene is None or self._scene.IsClosing():
            self._show(None, "", None)
            return
        segmentation, source = node.GetSegmentationNode(), node.GetSourceVolumeNode()
        self._show(segmentation, node.GetSelectedSegmentID() or "", source)
        self._switch_effect()

    def _show(self, segmentation, segment_id: str, source) -> None:
        old = self._shown
        self._shown = segmentation, segment_id, source
        if segmentation is not old[0]:
            self._segmentation.setCurrentNode(segmentation)
            blocked = self._segments.blockSignals(True)
            self._segments.setSegmentationNode(segmentation)
            self._segments.blockSignals(blocked)
            self.segmentationNodeChanged.emit(segmentation)
        if segment_id != old[1]:
            if segment_id and self._segments.selectedSegmentIDs() != (segment_id,):
                self._segments.setSelectedSegmentIDs([segment_id])
            self.currentSegmentIDChanged.emit(segment_id)
        if source is not old[2]:
            self._source.setCurrentNode(source)
            for effect in self._effects:
                effect._call("sourceVolumeNodeChanged")
                effect._call("referenceGeometryChanged")
            self.sourceVolumeNodeChanged.emit(source)

    def segmentationNode(self):
        return self._node.GetSegmentationNode() if self._node is not None else None

    def segmentationNodeID(self) -> str:
        node = self.segmentationNode()
        return node.GetID() if node is not None else ""

    def setSegmentationNode(self, node) -> None:
        if self._node is None or node is self.segmentationNode():
            return
        if node is not None and node.GetNumberOfDisplayNodes() == 0:
            node.CreateDefaultDisplayNodes()
        self._logic.SetSegmentationNode(node)
        self.updateWidgetFromMRML()

    def setSegmentationNodeID(self, node_id: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def sourceVolumeNodeID(self) -> str:
        node = self.sourceVolumeNode()
        return node.GetID() if node is not None else ""

    def setSourceVolumeNode(self, node) -> None:
        if self._node is None or node is self.sourceVolumeNode():
            return
        self._logic.SetSourceVolumeNode(node)
        if node is not None and self.autoShowSourceVolumeNode:
            self.showSourceVolumeInSliceViewers()
        self.updateWidgetFromMRML()

    def setSourceVolumeNodeID(self, node_id: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def showSourceVolumeInSliceViewers(self, force_show=False, fit_slice=False) -> None:
        """Where it is shown already, views stay as they are."""
        volume, layout = self.sourceVolumeNode(), slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            logic = layout.sliceWidget(name).sliceLogic()
            layers = logic.GetSliceCompositeNode()
            shown = (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID())
            if volume.GetID() in shown and not force_show:
                continue
            layers.SetBackgroundVolumeID(volume.GetID())
            layers.SetForegroundVolumeID(None)
            layers.SetLabelVolumeID(None)
            if fit_slice:
                logic.FitSliceToBackground()

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._logic.SetCurrentSegmentID(segment_id)
        self.updateWidgetFromMRML()

    def selectNextSegment(self) -> None:
        self._logic.SelectNextSegment(False)

    def selectPreviousSegment(self) -> None:
        self._logic.SelectPreviousSegment(False)

    # undo

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    def _show_undo_redo(self) -> None:
        for name, can in (("Undo", self._logic.CanUndo()), ("Redo", self._logic.CanRedo())):
            self.findChild(QtWidgets.QToolButton, f"{name}Button").enabled = can

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def installKeyboardShortcuts(self, parent=None) -> None:
        """Those of the application but for the next and the previous segment, and masking."""
        self.uninstallKeyboardShortcuts()
        slots = {"Z": self.undo, "Ctrl+Z": self.undo, "Y": self.redo, "Ctrl+Shift+Z": self.redo}
        for number, effect in enumerate(self._effects[:9]):
            name = effect.name
            slots[str(number + 1)] = lambda name=name: self.setActiveEffectByName(name)
        slots["Esc"] = lambda: self.setActiveEffect(None)
        for keys, slot in slots.items():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(keys), parent or slicer.util.mainWindow())
            shortcut.activated.connect(slot)
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.delete()
        self._shortcuts = []

    # events of the slice views go to the active effect first

    def setupViewObservations(self) -> None:
        self.removeViewObservations()
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames() if layout is not None else ():
            view = layout.sliceWidget(name)
            if not self._logic.IsSegmentationDisplayableInView(view.mrmlSliceNode()):
                continue
            interactor = view.sliceView().interactor()
            for event in _EVENTS:
                self._watch(interactor, event, self._interaction_with(view))
            self._watch(view.mrmlSliceNode(), "ModifiedEvent", self._view_event_with(view))

    def _layout_changed(self) -> None:
        if self._view_observers:
            self.setupViewObservations()
            for effect in self._effects:
                effect._call("layoutChanged")

    def _watch(self, subject, event: str, call) -> None:
        tag = subject.AddObserver(event, call, 1.0)
        if hasattr(call, "tag"):
            call.tag[0] = tag
        self._view_observers.append((subject, tag))

    def _interaction_with(self, view: qMRMLSliceWidget):
        def process(interactor, event: str) -> None:
            if self._active is None or self._scene.IsClosing():
                return
            number = vtk.vtkCommand.GetEventIdFromString(event)
            if self._active._interaction(interactor, number, view):
                interactor.GetCommand(process.tag[0]).AbortFlagOn()

        process.tag = [0]
        return process

    def _view_event_with(self, view: qMRMLSliceWidget):
        def process(node, event: str) -> None:
            if self._active is not None and not self._scene.IsClosing():
                number = vtk.vtkCommand.GetEventIdFromString(event)
                self._active._call("processViewNodeEvents", node, number, view)

        return process

    def removeViewObservations(self) -> None:
        for subject, tag in self._view_observers:
            subject.RemoveObserver(tag)
        self._view_observers = []


class AbstractScriptedSegmentEditorEffect:
    """Base of effects written in Python, as the module SegmentEditorEffects has it."""

    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self):
        qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self):
        """Overridden where an effect has connections to undo."""

    def rasToXy(self, ras, viewWidget):
        xy = self.scriptedEffect.rasToXy(QtGui.QVector3D(*ras), viewWidget)
        return [xy.x(), xy.y()]

    def xyzToRas(self, xyz, viewWidget):
        ras = self.scriptedEffect.xyzToRas(QtGui.QVector3D(*xyz), viewWidget)
        return [ras.x(), ras.y(), ras.z()]

    def xyToRas(self, xy, viewWidget):
        ras = self.scriptedEffect.xyToRas(QtCore.QPoint(*xy), viewWidget)
        return [ras.x(), ras.y(), ras.z()]

    def xyzToIjk(self, xyz, viewWidget, image, parentTransformNode=None):
        point = QtGui.QVector3D(*xyz)
        ijk = self.scriptedEffect.xyzToIjk(point, viewWidget, image, parentTransformNode)
        return [int(ijk.x()), int(ijk.y()), int(ijk.z())]

    def xyToIjk(self, xy, viewWidget, image, parentTransformNode=None):
        point = QtCore.QPoint(*xy)
        ijk = self.scriptedEffect.xyToIjk(point, viewWidget, image, parentTransformNode)
        return [int(ijk.x()), int(ijk.y()), int(ijk.z())]


def modules() -> dict[str, types.ModuleType]:
    """The modules that effects import, by name."""
    effects = types.ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
    adaptors = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    adaptors.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect
    return {module.__name__: module for module in (effects, adaptors)}
