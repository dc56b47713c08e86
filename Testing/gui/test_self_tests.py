"""Testing/slicer/run.py in the stand-in host: what the application runs, without a main window.

With one, each module's self-test runs in the tests of that module.
"""

import runpy
from pathlib import Path

import pytest

from SAMUSALib.places import journals_folder
from SAMUSALib.worker.journal import list_journals

RUN = Path(__file__).resolve().parents[1] / "slicer" / "run.py"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("running", [False], indirect=True, ids=["no main window"])
def test_the_self_tests_pass_and_only_what_needs_views_is_skipped(running):
    result = runpy.run_path(str(RUN))["run"]()
    assert result.wasSuccessful(), [text for _, text in (*result.errors, *result.failures)]
    assert [reason for _, reason in result.skipped] == [
        "needs slice views; run it with a main window"
    ]
    assert result.testsRun >= 7
    assert list_journals(journals_folder()) == [], "a self-test must leave no unfinished work"


@pytest.mark.parametrize("running", [False], indirect=True, ids=["no main window"])
@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 1)])
def test_the_script_s_exit_status_tells_how_they_went(running, monkeypatch, passed, status):
    import unittest

    import slicer

    class Result:
        def wasSuccessful(self):
            return passed

    statuses = []
    monkeypatch.setattr(slicer.util, "exit", statuses.append)
    monkeypatch.setattr(unittest.TextTestRunner, "run", lambda self, suite: Result())
    runpy.run_path(str(RUN), run_name="__main__")
    assert statuses == [status]


def test_the_effect_s_self_test_passes_with_a_main_window(running):
    import slicer

    runpy.run_path(str(RUN))["load_modules"]()
    slicer.selfTests["SegmentEditorBoundaryPoints"](msec=1)
    slicer.mrmlScene.Clear()
    running.process_events(0.1)
    left = list_journals(journals_folder())
    assert left == [], "a self-test must leave no unfinished work"
