"""SAMUSATemporal's self-test in the real application; with pytest alone it is skipped.

Slicer --testing --no-main-window --python-script Testing/slicer/test_samusa_temporal.py
"""

import sys
import unittest

try:
    import slicer
except ImportError:
    slicer = None


@unittest.skipUnless(hasattr(slicer, "app"), "needs the application 3D Slicer")
class SamusaTemporalInSlicer(unittest.TestCase):
    def test_from_one_click_to_approved_masks(self):
        slicer.util.selectModule("SAMUSATemporal")
        slicer.selfTests["SAMUSATemporal"]()


if __name__ == "__main__" and hasattr(slicer, "app"):
    result = unittest.TextTestRunner(verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(SamusaTemporalInSlicer)
    )
    sys.stdout.flush()
    slicer.util.exit(0 if result.wasSuccessful() else 1)
