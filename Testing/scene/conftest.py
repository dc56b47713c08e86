"""A scene with Slicer's logics for each test; without slicer-core they are skipped."""

import pytest


@pytest.fixture
def working():
    pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")
    from scene_nodes import WorkingScene

    made = WorkingScene()
    yield made
    made.scene.Clear(True)
