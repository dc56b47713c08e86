"""Slice views with Slicer's own slice logic, nodes and displayable managers, rendered offscreen."""

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal
from vtk.util.numpy_support import vtk_to_numpy

from . import shape
from .mrml_widgets import SceneWidget, qMRMLWidget
from .properties import stored

SIZE = (400, 400)  # pixels of a new slice view
NAMES = ("Red", "Green", "Yellow")
_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)


@shape.stands_for("ctk.ctkVTKOpenGLNativeWidget")
class ctkVTKOpenGLNativeWidget(QtWidgets.QWidget):
    """The part of a slice view that shows the image. Mouse and keys reach VTK through it alone, as
    through QVTKOpenGLNativeWidget: of a double click the second press is no press."""

    def __init__(self, view):
        super().__init__(view)
        self._view = view
        self._interactor = view._interactor
        self.setFocusPolicy(Qt.StrongFocus)
        self.setMouseTracking(True)

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, self._view.backgroundColor)
        if self._view._image is not None:
            painter.drawImage(0, 0, self._view._image)
        painter.end()

    def _tell(self, event) -> None:
        position, ratio = event.pos(), self.devicePixelRatioF()
        modifiers = event.modifiers()
        self._interactor.SetEventInformationFlipY(
            round(position.x() * ratio),
            round(position.y() * ratio),
            bool(modifiers & Qt.ControlModifier),
            bool(modifiers & Qt.ShiftModifier),
        )
        self._interactor.SetAltKey(bool(modifiers & Qt.AltModifier))

    def _button(self, event, what: str) -> None:
        self._tell(event)
        names = {Qt.LeftButton: "Left", Qt.RightButton: "Right", Qt.MiddleButton: "Middle"}
        if event.button() in names:
            self._interactor.InvokeEvent(f"{names[event.button()]}Button{what}Event")

    def mousePressEvent(self, event) -> None:
        self._button(event, "Press")

    def mouseReleaseEvent(self, event) -> None:
        self._button(event, "Release")

    def mouseDoubleClickEvent(self, event) -> None:
        self._button(event, "DoubleClick")

    def mouseMoveEvent(self, event) -> None:
        self._tell(event)
        self._interactor.InvokeEvent("MouseMoveEvent")

    def keyPressEvent(self, event) -> None:
        self._key(event, "KeyPressEvent")

    def keyReleaseEvent(self, event) -> None:
        self._key(event, "KeyReleaseEvent")

    def _key(self, event, what: str) -> None:
        modifiers = event.modifiers()
        symbol = _KEY_SYMBOLS.get(event.key(), event.text())
        self._interactor.SetKeyEventInformation(
            bool(modifiers & Qt.ControlModifier),
            bool(modifiers & Qt.ShiftModifier),
            event.text()[:1] or "\0",
            1,
            symbol,
        )
        self._interactor.InvokeEvent(what)
        if what == "KeyPressEvent":
            self._interactor.InvokeEvent("CharEvent")


@shape.stands_for("slicer.qMRMLSliceView")
class qMRMLSliceView(SceneWidget, QtWidgets.QWidget):
    """An offscreen render window with a real interactor; its widget shows the last image."""

    resized = Signal(QtCore.QSize)
    backgroundColor = stored(QtGui.QColor, QtGui.QColor("black"))
    cornerAnnotationText = stored(str, "")
    renderEnabled = stored(bool, True)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self._image = None
        self._managers = None
        self._rendering = False
        self._paused = 0
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*SIZE)
        self._renderer = vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        picture = vtk.vtkActor2D()
        picture.SetMapper(self._mapper)
        picture.GetProperty().SetDisplayLocationToBackground()
        self._picture = picture
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetSize(*SIZE)
        self._style = vtk.vtkInteractorStyleUser()
        self._interactor.SetInteractorStyle(self._style)
        self._annotation = vtk.vtkCornerAnnotation()
        self.setMinimumSize(120, 120)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._vtk_widget = ctkVTKOpenGLNativeWidget(self)
        column.addWidget(self._vtk_widget)

    def _displayable_managers(self):
        """Made at the first rendering: most tests render nothing."""
        if self._managers is None and self._node is not None:
            factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
            factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            for name in _MANAGERS:
                if not factory.IsDisplayableManagerRegistered(name):
                    factory.RegisterDisplayableManager(name)
            self._managers = factory.InstantiateDisplayableManagers(self._renderer)
            self._managers.SetMRMLDisplayableNode(self._node)
        return self._managers

    def forceRender(self) -> None:
        if self._paused or self._rendering or not self.renderEnabled:
            return
        self._rendering = True
        self._displayable_managers()
        self._mapper.Update()
        has_picture = self._mapper.GetInput() is not None
        shown = self._renderer.HasViewProp(self._picture)
        if has_picture and not shown:
            self._renderer.AddViewProp(self._picture)
        elif not has_picture and shown:
            self._renderer.RemoveViewProp(self._picture)
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
        data = pixels[..., :3].copy()
        self._image = QtGui.QImage(
            data.tobytes(), width, height, 3 * width, QtGui.QImage.Format_RGB888
        ).copy()
        self._image.setDevicePixelRatio(self.devicePixelRatioF())
        self._rendering = False
        self._vtk_widget.update()

    def scheduleRender(self) -> None:
        """Pictures are rendered when a test takes them: most tests look at none."""

    def resizeEvent(self, event) -> None:
        ratio = self.devicePixelRatioF()  # VTK counts the screen's own pixels
        size = round(self.width * ratio), round(self.height * ratio)
        self._window.SetSize(*size)
        self._interactor.SetSize(*size)
        if self._node is not None:
            self._node.SetDimensions(*size, 1)
        self.resized.emit(self.size)

    # the application's interface

    def setMRMLScene(self, scene) -> None:
        self._put_scene(scene)

    def setMRMLSliceNode(self, node) -> None:
        self._node = node
        node.SetDimensions(*self._window.GetSize(), 1)

    def mrmlSliceNode(self):
        return self._node

    def setImageDataConnection(self, connection) -> None:
        self._mapper.SetInputConnection(connection)

    def renderWindow(self):
        return self._window

    def VTKWidget(self):
        return self._vtk_widget

    def interactor(self):
        return self._interactor

    def interactorStyle(self):
        return self._style

    def cornerAnnotation(self):
        return self._annotation

    def displayableManagerByClassName(self, name: str):
        return self._displayable_managers().GetDisplayableManagerByClassName(name)

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        self._paused -= 1

    def setViewCursor(self, cursor) -> None:
        self.setCursor(cursor)

    def unsetViewCursor(self) -> None:
        self.unsetCursor()

    def setDefaultViewCursor(self, cursor) -> None:
        self.setCursor(cursor)

    def convertDeviceToXYZ(self, xy) -> tuple[float, float, float]:
        return float(xy[0]), float(xy[1]), 0.0

    def convertXYZToRAS(self, xyz) -> tuple[float, ...]:
        return tuple(self._node.GetXYToRAS().MultiplyPoint([*xyz, 1.0])[:3])

    def convertRASToXYZ(self, ras) -> tuple[float, ...]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return tuple(inverse.MultiplyPoint([*ras, 1.0])[:3])


_KEY_SYMBOLS = {
    Qt.Key_Return: "Return",
    Qt.Key_Enter: "KP_Enter",
    Qt.Key_Escape: "Escape",
    Qt.Key_Delete: "Delete",
    Qt.Key_Backspace: "BackSpace",
    Qt.Key_Tab: "Tab",
    Qt.Key_Space: "space",
    Qt.Key_Left: "Left",
    Qt.Key_Right: "Right",
    Qt.Key_Up: "Up",
    Qt.Key_Down: "Down",
    Qt.Key_Home: "Home",
    Qt.Key_End: "End",
    Qt.Key_Control: "Control_L",
    Qt.Key_Shift: "Shift_L",
    Qt.Key_Alt: "Alt_L",
}


@shape.stands_for("slicer.qMRMLSliceControllerWidget")
class qMRMLSliceControllerWidget(qMRMLWidget):
    """The bar above a slice view: its offset slider."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = None
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._bar = QtWidgets.QSlider(Qt.Horizontal)
        row.addWidget(self._bar)
        self._bar.valueChanged.connect(lambda step: self.setSliceOffsetValue(step / 10))

    def _put_logic(self, logic) -> None:
        self._logic = logic
        self._observe(logic, vtk.vtkCommand.ModifiedEvent, self._show)

    def _show(self) -> None:
        low_high, resolution = [0.0, 0.0], vtk.reference(0.0)
        self._logic.GetSliceOffsetRangeResolution(low_high, resolution)
        blocked = self._bar.blockSignals(True)
        self._bar.minimum, self._bar.maximum = (round(value * 10) for value in low_high)
        self._bar.value = round(self._logic.GetSliceOffset() * 10)
        self._bar.blockSignals(blocked)

    def setSliceOffsetValue(self, offset: float) -> None:
        self._logic.SetSliceOffset(offset)

    def sliceOffsetSlider(self):
        return self._bar

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@shape.stands_for("slicer.qMRMLSliceWidget")
class qMRMLSliceWidget(qMRMLWidget):
    sliceViewName = Property(str, lambda self: self._logic.GetSliceNode().GetLayoutName())
    sliceViewLabel = Property(str, lambda self: self._logic.GetSliceNode().GetLayoutLabel())
    sliceOrientation = Property(
        str,
        lambda self: self._logic.GetSliceNode().GetOrientation(),
        lambda self, orientation: self.setSliceOrientation(orientation),
    )

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = None
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self._controller = qMRMLSliceControllerWidget()
        self._view = qMRMLSliceView()
        column.addWidget(self._controller)
        column.addWidget(self._view, 1)

    def _put_logic(self, logic) -> None:
        self._logic = logic
        self._controller._put_logic(logic)
        self._view.setMRMLSliceNode(logic.GetSliceNode())
        self._view.setImageDataConnection(logic.GetImageDataConnection())
        self._observe(logic, vtk.vtkCommand.ModifiedEvent, self._logic_modified)

    def _logic_modified(self) -> None:
        self._view.setImageDataConnection(self._logic.GetImageDataConnection())
        self._view.scheduleRender()

    def setSliceOrientation(self, orientation: str) -> None:
        self._logic.GetSliceNode().SetOrientation(orientation)

    def sliceLogic(self):
        return self._logic

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._controller

    def controllerWidget(self):
        return self._controller

    def viewWidget(self):
        return self._view

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlAbstractViewNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@shape.stands_for("slicer.qSlicerLayoutManager")
class qSlicerLayoutManager(QtCore.QObject):
    """Red, Green and Yellow slice views side by side, and a plot below; no 3D views."""

    layoutChanged = Signal(int)

    def __init__(self, application_logic, scene):
        super().__init__()
        self._scene = scene
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(scene)
        self._logics = vtk.vtkCollection()
        self._slices = {}
        self._viewport = QtWidgets.QWidget()
        self._viewport.setObjectName("LayoutViewport")
        grid = QtWidgets.QGridLayout(self._viewport)
        for place, name in enumerate(NAMES):
            node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            logic.SetSliceNode(node)
            self._logics.AddItem(logic)
            widget = qMRMLSliceWidget()
            widget.setObjectName(f"qMRMLSliceWidget{name}")
            widget.setMRMLScene(scene)
            widget._put_logic(logic)
            self._slices[name] = widget
            grid.addWidget(widget, 0, place)
        application_logic.SetSliceLogics(self._logics)

    def _close(self) -> None:
        for widget in self._slices.values():
            widget._observe_none()
            widget.sliceView()._managers = None
            widget.sliceLogic().SetMRMLScene(None)
        self._layout_logic.SetMRMLScene(None)

    def _put_layout(self, number: int) -> None:
        """A layout with one slice view hides the others."""
        node = self._layout_logic.GetLayoutNode()
        if node.GetViewArrangement() != number:
            node.SetViewArrangement(number)
            alone = {getattr(node, f"SlicerLayoutOneUp{name}SliceView"): name for name in NAMES}
            for name, widget in self._slices.items():
                widget.setVisible(alone.get(number, name) == name)
            self.layoutChanged.emit(number)

    layout = Property(
        int,
        lambda self: self._layout_logic.GetLayoutNode().GetViewArrangement(),
        lambda self, number: self._put_layout(number),
    )

    def setLayout(self, number: int) -> None:
        self._put_layout(number)

    def layoutLogic(self):
        return self._layout_logic

    def mrmlScene(self):
        return self._scene

    def sliceViewNames(self) -> tuple[str, ...]:
        return NAMES

    def sliceWidget(self, name: str):
        return self._slices.get(name)

    def mrmlSliceLogics(self):
        return self._logics

    def threeDViewCount(self) -> int:
        return 0

    def plotViewCount(self) -> int:
        return 0

    def tableViewCount(self) -> int:
        return 0

    def viewport(self):
        return self._viewport

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        pass

    def pauseRender(self) -> None:
        for widget in self._slices.values():
            widget.sliceView().pauseRender()

    def resumeRender(self) -> None:
        for widget in self._slices.values():
            widget.sliceView().resumeRender()
