"""The application object, its main window and the modules that Slicer itself brings."""

import shutil
import tempfile
import types
from pathlib import Path

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from . import shape, table
from .files import qSlicerCoreIOManager
from .mrml_widgets import end_observations
from .scripted_module import qSlicerModuleManager
from .slice_views import qSlicerLayoutManager


@shape.stands_for("slicer.qSlicerModuleSelectorToolBar")
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    moduleSelected = Signal(str)

    def __init__(self, window):
        super().__init__(window)
        self._window = window
        self._selected = ""

    selectedModule = Property(str, lambda self: self._selected)

    def selectModule(self, name: str) -> None:
        manager = slicer.app.moduleManager()
        module = manager.module(name)
        if module is None or name == self._selected:
            return
        old = manager.module(self._selected)
        self._selected = name
        if old is not None and old._widget is not None:
            old._widget.exit()
        self._window._show_panel(module.widgetRepresentation())
        module.widgetRepresentation().enter()
        self.moduleSelected.emit(name)


@shape.stands_for("slicer.qSlicerMainWindow")
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The module panel on the left, the views on the right."""

    def __init__(self, layout_manager):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._panel = QtWidgets.QScrollArea()
        self._panel.setWidgetResizable(True)
        dock = QtWidgets.QDockWidget("Modules", self)
        dock.setObjectName("PanelDockWidget")
        dock.setWidget(self._panel)
        self.addDockWidget(Qt.LeftDockWidgetArea, dock)
        self.setCentralWidget(layout_manager.viewport())
        self.statusBar()
        self.resize(1400, 800)

    def _show_panel(self, widget) -> None:
        self._panel.takeWidget()
        if widget is not None:
            self._panel.setWidget(widget)
            widget.show()

    def moduleSelector(self):
        return self._selector


@shape.stands_for("slicer.app")
class qSlicerApplication(QtWidgets.QApplication):
    mrmlSceneChanged = Signal(object)
    startupCompleted = Signal()
    aboutToQuit = Signal()  # Qt's own cannot be emitted while its event loop does not run

    def __init__(self, arguments):
        super().__init__(arguments)
        self.setApplicationName("Slicer")
        self.setOrganizationName("NA-MIC")
        self._testing = False
        self._scene = None
        self._folder = None
        self._layout = None
        self._window = None

    # a session: from host.start() to host.stop()

    def _open(self, scene, logic, folder: Path, main_window: bool) -> None:
        self._scene, self._logic, self._folder = scene, logic, folder
        self._testing = False
        ini = QtCore.QSettings.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.UserScope, str(folder))
        self._modules = qSlicerModuleManager(self)
        self._files = qSlicerCoreIOManager(self)
        self.aboutToQuit.connect(self._unload)  # before anybody else can
        if main_window:
            self._layout = qSlicerLayoutManager(logic, scene)
            self._window = qSlicerMainWindow(self._layout)
            self._window.show()

    def _unload(self) -> None:
        """qSlicerCoreApplication::onAboutToQuit: all modules go, Slicer's own too."""
        self._modules._unload_all()
        for name in [name for name, each in vars(slicer.modules).items() if type(each) is _BuiltIn]:
            delattr(slicer.modules, name)
        self.processEvents()

    def _close(self) -> None:
        """What Slicer's main() does when the event loop has ended."""
        self.aboutToQuit.emit()
        self.aboutToQuit.disconnect(self._unload)
        if self._window is not None:
            self._layout._close()
            self._window.delete()
        for widget in self.topLevelWidgets():  # a test's own would slow the next session down
            if shiboken6.isValid(widget):
                shiboken6.delete(widget)
        self._scene.Clear(False)  # with the singletons, slice logics would follow dead nodes
        end_observations()
        for part in (self._modules, self._files):
            part.delete()
        self._scene = self._layout = self._window = None

    # the application's interface

    temporaryPath = Property(str, lambda self: str(self._made("temporary")))
    slicerHome = Property(str, lambda self: str(self._made("home")))
    cachePath = Property(str, lambda self: str(self._made("cache")))
    extensionsInstallPath = Property(str, lambda self: str(self._made("extensions")))
    slicerUserSettingsFilePath = Property(str, lambda self: self.userSettings().fileName())
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    mainApplicationName = Property(str, lambda self: "Slicer")
    mainApplicationMajorVersion = Property(int, lambda self: 5)
    mainApplicationMinorVersion = Property(int, lambda self: 13)
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 13)
    revision = Property(str, lambda self: "0")
    repositoryRevision = Property(str, lambda self: "0")
    os = Property(str, lambda self: "linux")
    arch = Property(str, lambda self: "amd64")
    platform = Property(str, lambda self: "linux-amd64")

    def _made(self, name: str) -> Path:
        path = self._folder / name
        path.mkdir(exist_ok=True)
        return path

    def userSettings(self):
        return QtCore.QSettings()

    def revisionUserSettings(self):
        path = str(self._folder / "Slicer-0.ini")
        return QtCore.QSettings(path, QtCore.QSettings.IniFormat)

    def settings(self):
        return self.revisionUserSettings()

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def layoutManager(self):
        return self._layout

    def moduleManager(self):
        return self._modules

    def moduleLogic(self, name: str):
        return getattr(slicer.modules, name.lower()).logic()

    def coreIOManager(self):
        return self._files

    def ioManager(self):
        return self._files

    def testingEnabled(self) -> bool:
        return self._testing

    def moduleDocumentationUrl(self, name: str) -> str:
        return self.documentationBaseUrl + name

    def pauseRender(self) -> None:
        if self._layout is not None:
            self._layout.pauseRender()

    def resumeRender(self) -> None:
        if self._layout is not None:
            self._layout.resumeRender()

    def setRenderPaused(self, paused: bool) -> None:
        (self.pauseRender if paused else self.resumeRender)()

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def openUrl(self, url: str) -> None:
        QtGui.QDesktopServices.openUrl(QtCore.QUrl(url))


class _BuiltIn:
    """One of Slicer's own modules: its logic, no panel."""

    def __init__(self, name: str, logic):
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        raise NotImplementedError(f"the host has no panel for the module {self.name}")


_LOGICS = {
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "colors": "vtkSlicerColorLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "plots": "vtkSlicerPlotsLogic",
    "tables": "vtkSlicerTablesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "transforms": "vtkSlicerTransformLogic",
}


class Modules(types.ModuleType):
    """slicer.modules: what it lacks here is refused with the reason."""

    def __getattr__(self, name: str):
        if name in table.whole("slicer.modules"):
            raise AttributeError(f"the stand-in host has no module {name!r} (the application has)")
        raise AttributeError(f"module 'slicer.modules' has no attribute {name!r}")


def built_in_modules(scene, application_logic) -> Modules:
    modules = Modules("slicer.modules")
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name.capitalize(), logic)
        setattr(modules, name, _BuiltIn(name, logic))
    modules.segmenteditorscriptedeffectnames = []
    return modules


def temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="slicer-host-"))


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
