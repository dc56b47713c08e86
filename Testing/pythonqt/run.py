"""The modules' panels and self-tests on the real PythonQt, Qt 5 and CTK (docs/gui-testing.md).

    slicer_shell Testing/pythonqt/run.py SLICER PYTHON [PICTURES]

SLICER: a checkout of Slicer/Slicer, for its Python files. PYTHON: an interpreter with torch and
sam2, which starts workers, such as .venv/bin/python; slicer-core's packages are looked for beside
it. PICTURES: a folder for pictures of the panels. What Slicer would print as an error fails here.
"""

import os
import subprocess
import sys
import traceback
import unittest
from pathlib import Path

CHECKOUT = Path(sys.argv[0]).resolve().parents[2]
SLICER, PYTHON = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
PICTURES = Path(sys.argv[3]) if len(sys.argv) > 3 else None
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
sys.path[:0] = [
    str(CHECKOUT / "Testing" / "pythonqt"),
    str(CHECKOUT / "SAMUSA"),
    str(PYTHON.parents[1] / "lib" / VERSION / "site-packages"),
]

import application  # noqa: E402

shell = sys.modules["__main__"].shell
slicer = application.start(shell, SLICER, PYTHON)

import ctk  # noqa: E402
import qt  # noqa: E402

unseen: list[str] = []


def remember(kind, error, trace) -> None:
    """Exceptions in slots, timers and overridden methods: PythonQt prints them and goes on."""
    unseen.append("".join(traceback.format_exception(kind, error, trace)))


sys.excepthook = remember


def turn(times: int = 30) -> None:
    for _ in range(times):
        slicer.app.processEvents()


class Modules(unittest.TestCase):
    def tearDown(self):
        turn()
        self.assertEqual(unseen, [])

    def self_test(self, name: str, only: tuple[str, ...]) -> None:
        """Some tests of the module's class, on its panel."""
        widget = application.load_module(CHECKOUT / name / f"{name}.py")
        cases = getattr(sys.modules[name], f"{name}Test")
        suite = unittest.TestSuite(map(cases, only))
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
        self.assertTrue(result.wasSuccessful())
        self.look_at(widget.parent, name)
        widget.exit()
        widget.cleanup()  # Slicer unloads its modules before it tells anybody else
        slicer.app.aboutToQuit.emit()
        turn()
        children = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "-f", "SAMUSALib"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(children.stdout, "", "a worker outlived the application")

    def look_at(self, panel, name: str) -> None:
        for section in panel.findChildren(ctk.ctkCollapsibleButton):
            section.collapsed = False
        panel.resize(460, panel.sizeHint.height())
        panel.show()
        turn()
        if PICTURES is not None:
            PICTURES.mkdir(parents=True, exist_ok=True)
            self.assertTrue(panel.grab().save(str(PICTURES / f"{name}.png")))

    def test_home(self):
        self.self_test(
            "SAMUSA", ("test_the_panel_tells_the_state", "test_the_worker_answers_a_click")
        )

    def test_temporal(self):
        self.self_test("SAMUSATemporal", ("test_from_one_click_to_approved_masks",))

    def test_timeline_is_clicked_and_dragged(self):
        from SAMUSALib.annotation import FrameState
        from SAMUSALib.app.timeline import Timeline
        from SAMUSALib.app.timeline_layout import Shown
        from SAMUSALib.prompts import Window

        chosen: list[int] = []
        strip = Timeline(chosen.append)
        strip.show_segment(
            Shown(40, (Window(3, 21),), {5: FrameState.PROMPTED}, {5: 0.9}, frozenset({5}), 7)
        )
        strip.resize(400, strip.height)
        strip.show()
        turn()
        mouse, left = qt.QMouseEvent, qt.Qt.LeftButton
        at = [qt.QPointF(x, 20) for x in (100, 200)]
        for kind, point, button in (
            (qt.QEvent.MouseButtonPress, at[0], left),
            (qt.QEvent.MouseMove, at[1], qt.Qt.NoButton),
        ):
            qt.QApplication.sendEvent(strip, mouse(kind, point, button, left, qt.Qt.NoModifier))
        self.assertEqual(chosen, [10, 20])
        self.assertEqual(strip.toolTip, "Frame 20: no mask, in window 3 to 21")

    def test_options_of_the_effect(self):
        from types import SimpleNamespace

        from SAMUSALib.app.click_options import KINDS, ClickOptions

        names = (
            *(*KINDS, "accept", "clear", "previous_frame"),
            *("next_frame", "unlock", "timeline", "keys"),
        )
        done: list[str] = []
        actions = {name: lambda name=name: done.append(name) for name in names}
        actions["start_from_mask"] = lambda: done.append("start_from_mask")
        frame = qt.QFrame()
        rows = qt.QFormLayout(frame)
        options = ClickOptions(SimpleNamespace(addOptionsWidget=rows.addRow), actions)
        frame.show()
        options.show_kind("include")
        options.show_lock(3)
        options.show_start_from_mask(True)
        self.assertEqual(done, [])
        for button in (
            *options.kind_buttons.values(),
            options.accept_button,
            options.clear_button,
            options.previous_button,
            options.next_button,
            options.unlock_button,
            options.timeline_button,
        ):
            button.click()
        options.mask_box.click()
        self.assertEqual(done, [*names[:-1], "start_from_mask"])
        frame.delete()
        turn()
        self.assertTrue(options.is_gone)

    def test_keys_window(self):
        from SAMUSALib.app.settings import Settings
        from SAMUSALib.app.shortcut_dialog import ShortcutDialog

        window = qt.QMainWindow()
        keys = ShortcutDialog(Settings(slicer.app.userSettings()), window)
        keys.open()
        keys.put("accept", "Ctrl+K")
        self.assertEqual(keys.settings.shortcut("accept"), "Ctrl+K")
        keys.fields["clear"].setKeySequence(qt.QKeySequence("Ctrl+K"))
        keys.take("clear")
        self.assertIn("already", keys.message.text)
        keys.restore()
        keys.close()
        self.assertFalse(keys.dialog.visible)

    def test_keys_that_others_have_rest_meanwhile(self):
        from SAMUSALib.app.shortcuts import Shortcuts

        window = qt.QMainWindow()
        view = qt.QWidget(window)
        theirs = qt.QShortcut(qt.QKeySequence("Ctrl+Z"), window)
        ours = Shortcuts()
        ours.install(window, {"Ctrl+Z": lambda: None}, [view], {"Return": lambda: None})
        self.assertFalse(theirs.isEnabled())
        view.delete()
        turn()
        ours.remove()
        self.assertTrue(theirs.isEnabled())


program = unittest.main(argv=["run.py"], exit=False, verbosity=2)
sys.exit(0 if program.result.wasSuccessful() else 1)
