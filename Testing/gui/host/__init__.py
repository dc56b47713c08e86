"""A stand-in for the 3D Slicer application: its modules run in a pytest process, unchanged.

    import host

    with host.running():
        widget = host.load_module("SAMUSA/SAMUSA.py")   # the module's Python widget
        widget.ui.applyButton.click()
        host.grab(widget.parent, "panel.png")

MRML nodes, logics and displayable managers are Slicer's own (slicer-core); Qt is PySide6 in
PythonQt's form, offscreen; ctk and qMRML widgets are stand-ins. See docs/gui-testing.md.
"""

import importlib
import sys
import time
import types
from contextlib import contextmanager
from pathlib import Path

from . import errors, packaging, table

_session = None


def __getattr__(name: str):
    """host.dialogs and host.events need Qt, which may be missing."""
    if name in ("dialogs", "events"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'host' has no attribute {name!r}")


def missing() -> str | None:
    """Why the host cannot run here, or None: tests skip with this reason."""
    try:
        import slicer  # noqa: F401
    except ImportError as error:
        return f"needs slicer-core (3D Slicer's libraries): {error}"
    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return f"needs PySide6 and its system libraries (libEGL, libGL, libxkbcommon): {error}"
    return None


class _Session:
    """What start() put into sys.modules and into the module slicer, to be taken out again."""

    def __init__(self, main_window: bool):
        import slicer

        from . import application, qt_module

        self.slicer = slicer
        self.before = dict(vars(slicer))
        self.modules_before = dict(sys.modules)
        self.path_before = list(sys.path)
        self.rules_before = _conversion_rules().GetConverterRules()
        self.folder = application.temporary_folder()
        sys.modules["qt"] = _qt()
        self.excepthook, sys.excepthook = sys.excepthook, errors.excepthook
        self.unraisable, sys.unraisablehook = sys.unraisablehook, errors.unraisable
        try:
            self._fill(application, qt_module, main_window)
        except BaseException:
            application.remove_folder(self.folder)
            raise

    def _fill(self, application, qt_module, main_window: bool) -> None:
        from . import (
            ctk_widgets,
            i18n,
            mrml_widgets,
            parameter_nodes,
            sample_data,
            scripted_module,
            segment_editor,
            slice_views,
            ui_files,
        )

        slicer = self.slicer
        ctk = qt_module.TableModule("ctk", "CTK as the application shows it to Python.")
        homes = (ctk_widgets, mrml_widgets, slice_views, segment_editor, scripted_module)
        for home in (*homes, application):
            for cls in list(vars(home).values()):
                label = _label(cls)
                if label is None:
                    continue
                module, name = label.split(".")
                if module == "ctk" or name.startswith("q"):
                    setattr(ctk if module == "ctk" else slicer, name, cls)
                if _is_widget(cls):
                    ui_files.register(cls)
        sys.modules["ctk"] = ctk
        sys.modules.update(segment_editor.modules())
        for name, module in (
            ("ScriptedLoadableModule", scripted_module.base_module()),
            ("parameterNodeWrapper", parameter_nodes.build()),
            ("packaging", packaging.build()),
            ("i18n", i18n.build()),
        ):
            sys.modules[f"slicer.{name}"] = module
            setattr(slicer, name, module)
        scene = slicer.vtkMRMLScene()
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetHomeDirectory(str(self.folder))
        (self.folder / "share" / "ColorFiles").mkdir(parents=True)
        logic.SetShareDirectory("share")
        logic.SetMRMLScene(scene)
        remote = slicer.vtkMRMLRemoteIOLogic()  # scene bundles are unpacked in its cache
        remote.GetCacheManager().SetRemoteCacheDirectory(str(self.folder / "remote"))
        remote.SetMRMLScene(scene)
        remote.AddDataIOToScene()
        self.remote = remote
        slicer.mrmlScene = scene
        slicer.selfTests = {}
        slicer.app = _application()
        slicer.modules = sys.modules["slicer.modules"] = application.built_in_modules(scene, logic)
        sys.modules["SampleData"] = sample_data.build()
        slicer.__getattr__ = lambda name: _refuse(name)
        slicer.app._open(scene, logic, self.folder, main_window)

    def end(self) -> None:
        from . import application

        self.slicer.app._close()
        self.remote.RemoveDataIOFromScene()
        # The logic of Segmentations adds its rules to a list of the process, and what copies a
        # segmentation looks at all pairs of them.
        rules = _conversion_rules()
        for rule in rules.GetConverterRules():
            if rule not in self.rules_before:
                rules.UnregisterConverterRule(rule)
        sys.excepthook, sys.unraisablehook = self.excepthook, self.unraisable
        for name in set(sys.modules) - set(self.modules_before):
            ours = ("qt", "ctk", "SegmentEditorEffects", "SampleData")
            if name in ours or name.startswith("slicer."):
                del sys.modules[name]
        sys.modules.pop("qSlicerSegmentationsEditorEffectsPythonQt", None)
        sys.path[:] = self.path_before
        for name in set(vars(self.slicer)) - set(self.before):
            delattr(self.slicer, name)
        vars(self.slicer).update(self.before)
        application.remove_folder(self.folder)


def _conversion_rules():
    import slicer

    return slicer.vtkSegmentationConverterFactory.GetInstance()


_made: dict[str, object] = {}  # what exists once a process: Qt's application and module


def _qt() -> types.ModuleType:
    if "qt" not in _made:
        from . import qt_module

        _made["qt"] = qt_module.build()
        from . import ui_files

        _made["qt"].QUiLoader = ui_files.QUiLoader
    return _made["qt"]


def _application():
    if "app" not in _made:
        from . import application

        _made["app"] = application.qSlicerApplication(["Slicer"])
        _prepare_qt(_made["app"])
    return _made["app"]


def _prepare_qt(app) -> None:
    """The same look on every machine, and nothing written into the user's own folders."""
    from PySide6 import QtCore, QtGui

    QtCore.QStandardPaths.setTestModeEnabled(True)
    app.setStyle("Fusion")
    families = set(QtGui.QFontDatabase.families())
    for family in ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial"):
        if family in families:
            app.setFont(QtGui.QFont(family, 10))
            break
    set_palette("light")


def _label(cls) -> str | None:
    from . import shape

    if not isinstance(cls, type) or cls not in shape._stand_ins:
        return None
    return shape.entry_of(cls).label


def _is_widget(cls) -> bool:
    from PySide6 import QtWidgets

    return issubclass(cls, QtWidgets.QWidget)


def _refuse(name: str):
    if name.startswith("__"):
        raise AttributeError(f"module 'slicer' has no attribute {name!r}")
    raise AttributeError(table.refusal("slicer", name))


def start(main_window: bool = True) -> None:
    """Make `import qt, ctk, slicer` give the application; one at a time. main_window: False is
    the application's --no-main-window: no views either."""
    global _session
    reason = missing()
    if reason is not None:
        raise RuntimeError(reason)
    if _session is not None:
        raise RuntimeError("the host is already running")
    _session = _Session(main_window)


def stop() -> None:
    """Quit the application: modules are cleaned up, the scene is cleared."""
    global _session
    session, _session = _session, None
    session.end()
    __getattr__("dialogs").forget()
    packaging.forget()


@contextmanager
def running(main_window: bool = True):
    """The host for the time of a with block."""
    start(main_window)
    try:
        yield
    finally:
        stop()


def load_module(path):
    """Load a scripted module's file and show its panel; returns its Python widget, None for a
    module without one."""
    import slicer

    module = slicer.app.moduleManager()._load(Path(path).resolve())
    if not module.widgetRepresentationCreationEnabled:
        return None
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule(module.name)
    return module.widgetRepresentation().self()


def load_segment_editor():
    """Load the stand-in for Slicer's module Segment Editor; returns its Python widget."""
    return load_module(Path(__file__).parent / "SegmentEditor.py")


def process_events(seconds: float = 0.0) -> None:
    """Let Qt work, for at least so long."""
    import slicer

    end = time.monotonic() + seconds
    slicer.app.processEvents()
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.001)


def wait_until(condition, seconds: float = 10.0, what: str = "the condition") -> None:
    """Let Qt work until condition() holds; an AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        process_events(0.005)


def grab(widget, path, size: tuple[int, int] | None = None) -> Path:
    """Write a picture of a widget (PNG), with its slice views freshly rendered."""
    from PySide6.QtWidgets import QWidget

    from . import slice_views

    limits = QWidget.minimumSize(widget), QWidget.maximumSize(widget)
    if size is not None:
        widget.setFixedSize(*size)  # also in the main window, whose layout gives it another one
    shown = widget.isVisible()
    widget.show()
    process_events()
    views = widget.findChildren(slice_views.qMRMLSliceView)
    for view in [widget, *views] if isinstance(widget, slice_views.qMRMLSliceView) else views:
        view.forceRender()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget.grab().save(str(path)):
        raise OSError(f"{path}: the picture could not be written")
    widget.setMinimumSize(limits[0])
    widget.setMaximumSize(limits[1])
    if not shown:
        widget.hide()
    return path


def set_palette(name: str) -> None:
    """'light' or 'dark', as Slicer's styles of that name."""
    from PySide6 import QtGui

    dark = {"light": False, "dark": True}[name]
    colours = {
        "Window": ("#efefef", "#323232"),
        "WindowText": ("#000000", "#ffffff"),
        "Base": ("#ffffff", "#1e1e1e"),
        "AlternateBase": ("#f7f7f7", "#2a2a2a"),
        "Text": ("#000000", "#ffffff"),
        "Button": ("#e1e1e1", "#444444"),
        "ButtonText": ("#000000", "#ffffff"),
        "Mid": ("#b8b8b8", "#5a5a5a"),
        "Highlight": ("#308cc6", "#2a82da"),
        "HighlightedText": ("#ffffff", "#ffffff"),
        "ToolTipBase": ("#ffffdc", "#444444"),
        "ToolTipText": ("#000000", "#ffffff"),
        "PlaceholderText": ("#808080", "#9a9a9a"),
    }
    palette = QtGui.QPalette()
    for role, pair in colours.items():
        palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(pair[dark]))
    for role in ("WindowText", "Text", "ButtonText"):
        colour = QtGui.QColor("#8c8c8c")
        palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), colour)
    _application().setPalette(palette)
