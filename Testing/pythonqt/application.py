"""What modules find in Slicer beside Qt: `slicer.app`, the scene, module logics, Slicer's own base
classes. MRML is slicer-core's; ScriptedLoadableModule and parameterNodeWrapper come from a checkout
of Slicer/Slicer. Imported by run.py inside slicer_shell; no main window, no views.
"""

import importlib.util
import os
import sys
import tempfile
import types
from pathlib import Path

LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "volumes": "vtkSlicerVolumesLogic",
}


class Listeners(list):
    """A signal of an object that is written in Python."""

    connect = list.append
    disconnect = list.remove

    def emit(self, *arguments):
        for listener in list(self):
            listener(*arguments)


class ModuleManager:
    def connect(self, _signal, _listener):
        """Nothing is unloaded before the end."""

    disconnect = connect


class Application:
    """slicer.app as far as the modules need it."""

    mainApplicationMajorVersion = majorVersion = 5
    mainApplicationMinorVersion = minorVersion = 13
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
    os, arch = "linux", "amd64"

    def __init__(self, shell, scene, logic, folder: Path):
        import qt

        self.aboutToQuit, self.startupCompleted = Listeners(), Listeners()
        self.processEvents = shell.processEvents
        self.temporaryPath = self.slicerHome = self.extensionsInstallPath = str(folder)
        self._scene, self._logic, self._modules = scene, logic, ModuleManager()
        self._settings = qt.QSettings(str(folder / "Slicer.ini"), qt.QSettings.IniFormat)

    def connect(self, signal, listener):
        getattr(self, signal.partition("(")[0]).connect(listener)

    def disconnect(self, signal, listener):
        getattr(self, signal.partition("(")[0]).disconnect(listener)

    def userSettings(self):
        return self._settings

    settings = revisionUserSettings = userSettings

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return None

    def testingEnabled(self):
        return True


class LoadedModule:
    """A module of Slicer's own, or one that was loaded here."""

    def __init__(self, logic=None, path=""):
        self._logic, self.path, self.icon = logic, path, None

    def logic(self):
        return self._logic


class ModuleWithStandIns(types.ModuleType):
    """parameterNodeWrapper names widgets of ctk and qMRML that nothing here shows."""

    def __getattr__(self, name):
        if not name.startswith(("ctk", "q")):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        import qt

        made = type(name, (qt.QWidget,), {})
        setattr(self, name, made)
        return made


def start(shell, slicer_checkout: Path, python: Path):
    """Fill `qt`, `ctk` and `slicer`; returns the module slicer. python: starts workers, as
    PythonSlicer does."""
    sys.executable = str(python)
    import PythonQt

    qt = sys.modules["qt"] = types.ModuleType("qt")
    for kit in (PythonQt.QtCore, PythonQt.QtGui):
        vars(qt).update({k: v for k, v in vars(kit).items() if not k.startswith("__")})
    ctk = sys.modules["ctk"] = ModuleWithStandIns("ctk")
    vars(ctk).update({k: v for k, v in vars(PythonQt.ctk).items() if k.startswith("ctk")})

    import slicer
    import slicer.util

    folder = Path(tempfile.mkdtemp(prefix="slicer-shell-"))
    os.environ.setdefault("SAMUSA_HOME", str(folder / "samusa"))
    scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(str(folder))
    (folder / "share" / "ColorFiles").mkdir(parents=True)
    logic.SetShareDirectory("share")
    logic.SetMRMLScene(scene)
    slicer.__class__ = ModuleWithStandIns
    slicer.mrmlScene, slicer.selfTests = scene, {}
    slicer.app = Application(shell, scene, logic, folder)
    slicer.qMRMLWidget = PythonQt.ctk.qMRMLWidget
    slicer.qMRMLNodeComboBox = PythonQt.ctk.qMRMLNodeComboBox
    slicer.modules = sys.modules["slicer.modules"] = types.ModuleType("slicer.modules")
    for name, class_name in LOGICS.items():
        made = getattr(slicer, class_name)()
        made.SetMRMLApplicationLogic(logic)
        made.SetMRMLScene(scene)
        logic.SetModuleLogic(name.capitalize(), made)
        setattr(slicer.modules, name, LoadedModule(made))
    _replace_utilities(slicer, shell)
    i18n = sys.modules["slicer.i18n"] = slicer.i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = lambda text: text, lambda _context, text: text
    i18n.getContext = lambda _file: ""
    sources = slicer_checkout / "Base" / "Python" / "slicer"
    slicer.__path__ = [*slicer.__path__, str(sources)]
    _import_file("slicer.ScriptedLoadableModule", sources / "ScriptedLoadableModule.py")
    return slicer


def _replace_utilities(slicer, shell) -> None:
    util = slicer.util
    util.loadUI = lambda path: shell.loadUi(str(path))
    util.mainWindow = lambda verbose=True: None
    util.startupEnvironment = lambda: {k: v for k, v in os.environ.items() if k != "PYTHONHOME"}
    util.modulePath = lambda name: getattr(slicer.modules, name.lower()).path
    util.getModuleWidget = lambda name: getattr(slicer.modules, f"{name}Widget")


def load_module(path: Path):
    """Load a scripted module, make its panel and enter it; returns its Python widget."""
    import qt
    import slicer

    name = path.stem
    sys.path.insert(0, str(path.parent))
    source = _import_file(name, path)
    module = LoadedModule(path=str(path))
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", getattr(source, name)(module))
    panel = slicer.qMRMLWidget()
    panel.setLayout(qt.QVBoxLayout())
    widget = getattr(source, f"{name}Widget")(panel)
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()
    widget.enter()
    return widget


def _import_file(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module
