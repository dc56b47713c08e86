"""A scene that was annotated and saved by real MRML nodes is trained on as it is."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from test_import_scene import Annotated  # noqa: E402

from SAMUSALib.cli.main import main  # noqa: E402
from SAMUSALib.engine.checkpoints import write_checkpoint  # noqa: E402
from SAMUSALib.engine.models import load_model  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402


def test_a_model_is_fine_tuned_on_a_scene(tmp_path):
    annotated = Annotated()
    annotated.add_cine()
    scene = annotated.save(tmp_path / "scene.mrb")
    start, out = tmp_path / "start.safetensors", tmp_path / "mine.safetensors"
    write_checkpoint(start, tiny_checkpoint())
    command = ["train", "fine-tune", "--data", str(scene), "--out", str(out)]
    command += ["--set", f"model.checkpoint={start}", "--set", "steps=2", "--device", "cpu"]
    assert main([*command, "--set", "data.workers=0"]) == 0
    before, after = (load_model(path, "cpu").network.state_dict() for path in (start, out))
    assert any(not np.array_equal(before[name], after[name]) for name in before)
