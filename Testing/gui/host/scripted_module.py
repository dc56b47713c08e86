"""Loads scripted modules as the application does, and the base classes that they derive from."""

import importlib
import importlib.util
import os
import sys
import types
import unittest
from pathlib import Path

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from . import errors, shape
from .mrml_widgets import qSlicerWidget
from .properties import stored


def run_source(path: Path) -> types.ModuleType:
    """Import a module file under its own name, with its folder on sys.path."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@shape.stands_for("slicer.qSlicerScriptedLoadableModuleWidget")
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    moduleName = Property(str, lambda self: self._module.name)
    isEntered = Property(bool, lambda self: self._entered)

    def __init__(self, module):
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._module = module
        self._python = None
        self._entered = False
        self._create()

    def _create(self) -> None:
        name = f"{self._module.name}Widget"
        self._python = getattr(sys.modules[self._module.name], name)(self)
        setattr(slicer.modules, name, self._python)
        self._call("setup")
        if self._scene is not slicer.mrmlScene:
            self.setMRMLScene(slicer.mrmlScene)

    def _call(self, name: str, *arguments):
        return errors.call(self._python, name, *arguments)

    def self(self):
        return self._python

    def module(self):
        return self._module

    def reload(self) -> None:
        self._create()

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def setEditedNode(self, node, role="", context="") -> bool:
        return bool(self._call("setEditedNode", node, role, context))


@shape.stands_for("slicer.qSlicerScriptedLoadableModule")
class qSlicerScriptedLoadableModule(QtCore.QObject):
    name = stored(str, "")
    title = stored(str, "")
    path = stored(str, "")
    categories = stored("QStringList", ())
    dependencies = stored("QStringList", ())
    contributors = stored("QStringList", ())
    helpText = stored(str, "")
    acknowledgementText = stored(str, "")
    hidden = stored(bool, False)
    icon = stored(QtGui.QIcon, QtGui.QIcon())
    index = stored(int, -1)
    widgetRepresentationCreationEnabled = stored(bool, True)

    def __init__(self, path: Path):
        super().__init__()
        self.name, self.path = path.stem, str(path)
        source = run_source(path)
        if not hasattr(source, self.name):
            raise LookupError(f"{path}: class {self.name} was not found")
        self._widget = None
        self._python = getattr(source, self.name)(self)
        setattr(slicer.modules, f"{self.name}Instance", self._python)
        setattr(slicer.modules, self.name.lower(), self)
        setup = getattr(self._python, "setup", None)
        if setup is not None:
            setup()
        self.widgetRepresentationCreationEnabled = hasattr(source, f"{self.name}Widget")

    def createNewWidgetRepresentation(self):
        if not self.widgetRepresentationCreationEnabled:
            return None
        return qSlicerScriptedLoadableModuleWidget(self)

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def mrmlScene(self):
        return slicer.mrmlScene


@shape.stands_for("slicer.qSlicerModuleFactoryManager")
class qSlicerModuleFactoryManager(QtCore.QObject):
    moduleInstantiated = Signal(str)

    def __init__(self, manager):
        super().__init__(manager)
        self._manager = manager
        self._found = {}

    def loadedModuleNames(self) -> tuple[str, ...]:
        return self._manager.modulesNames()

    def registeredModuleNames(self) -> tuple[str, ...]:
        return self._manager.modulesNames()

    def isLoaded(self, name: str) -> bool:
        return name in self._manager.modulesNames()

    def registerModule(self, file: QtCore.QFileInfo) -> None:
        self._found[file.baseName()] = Path(file.absoluteFilePath())

    def loadModules(self, names) -> bool:
        for name in names:
            self._manager._load(self._found[name])
        return True


@shape.stands_for("slicer.qSlicerModuleManager")
class qSlicerModuleManager(QtCore.QObject):
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._modules = {}
        self._factory = qSlicerModuleFactoryManager(self)

    def _load(self, path: Path) -> qSlicerScriptedLoadableModule:
        module = qSlicerScriptedLoadableModule(path)
        self._modules[module.name] = module
        self.moduleLoaded.emit(module.name)
        return module

    def _unload_all(self) -> None:
        for name in reversed(list(self._modules)):
            self.moduleAboutToBeUnloaded.emit(name)
            module = self._modules.pop(name)
            if module._widget is not None and shiboken6.isValid(module._widget):
                module._widget.delete()
            for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
                slicer.modules.__dict__.pop(attribute, None)
            sys.modules.pop(name, None)

    def module(self, name: str):
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def factoryManager(self):
        return self._factory


# The base classes of Slicer's ScriptedLoadableModule.py, with the same public interface.


class ScriptedLoadableModule:
    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        for extension in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{extension}")
            if os.path.isfile(icon):
                parent.icon = QtGui.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        page = docPage or self.moduleName
        return f'<p><a href="{slicer.app.documentationBaseUrl}{page}">Documentation</a></p>'

    def runTest(self, msec=100, **kwargs):
        module = importlib.import_module(type(self).__module__)
        test = getattr(module, f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename):
        folder = os.path.dirname(slicer.util.modulePath(self.moduleName))
        return os.path.join(folder, "Resources", filename)

    def setup(self):
        """The host shows no developer section."""

    def cleanup(self):
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs):
        with slicer.util.tryWithErrorDisplay("Test failed."):
            slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs):
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                # Closing the scene may have taken the attribute away.
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args, **kwargs):
        self.moduleTestNames = []
        super().__init__(*args, **kwargs)
        self.messageDelay = None
        if not self.moduleTestNames:
            names = (name for name in dir(self) if "test" in name)
            self.moduleTestNames = [name for name in names if callable(getattr(self, name))]

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        delays = (self.messageDelay, msec, requestedDelay, 100)
        slicer.util.delayDisplay(message, next(delay for delay in delays if delay is not None))

    def takeScreenshot(self, name, description, type=-1):
        self.delayDisplay(description)

    def runTest(self):
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


def base_module() -> types.ModuleType:
    """What `from slicer.ScriptedLoadableModule import *` gives."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    module.__all__ = [cls.__name__ for cls in classes]
    module.__dict__.update({cls.__name__: cls for cls in classes})
    return module
