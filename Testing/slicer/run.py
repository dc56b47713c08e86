"""All self-tests of the extension, in the application; its exit status is 1 where one fails.

Slicer --testing --no-main-window --python-script Testing/slicer/run.py

What needs slice views is skipped there; leave --no-main-window out to run it too. Modules that the
application has not found are taken from this checkout.
"""

import sys
import unittest
from pathlib import Path

# qt and slicer are imported where used: in the pytest environment slicer-core imports every file
# of a folder named slicer, while it is imported itself.
MODULES = ("SAMUSA", "SAMUSATemporal", "SegmentEditorBoundaryPoints")
CHECKOUT = Path(__file__).resolve().parents[2]


def load_modules() -> None:
    """Raises RuntimeError for a module that cannot be loaded."""
    import qt
    import slicer

    factory = slicer.app.moduleManager().factoryManager()
    missing = [name for name in MODULES if not factory.isLoaded(name)]
    for name in missing:
        factory.registerModule(qt.QFileInfo(str(CHECKOUT / name / f"{name}.py")))
    if missing and not factory.loadModules(missing):
        raise RuntimeError(f"not all of {', '.join(missing)} could be loaded; see the log above")
    if "SegmentEditorBoundaryPoints" in missing:
        # It waits for the end of the start-up, which is over.
        slicer.modules.SegmentEditorBoundaryPointsInstance.register_effect()


def run() -> unittest.TestResult:
    """Run the test class of each module."""
    load_modules()
    suite = unittest.TestSuite()
    for name in MODULES:
        case = getattr(sys.modules[name], f"{name}Test")
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return unittest.TextTestRunner(verbosity=2).run(suite)


if __name__ == "__main__":
    import slicer

    slicer.util.exit(0 if run().wasSuccessful() else 1)
