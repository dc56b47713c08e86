"""What works in a Slicer that is not set up: it has numpy and scipy, and none of our packages."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from SAMUSALib.app.install_plan import PACKAGES
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.prompts import FramePrompts, Window
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.session import Session
from SAMUSALib.worker.transport import SubprocessTransport

IMPORTED_AS = {"hydra-core": "hydra", "pynrrd": "nrrd", "pyyaml": "yaml", "scikit-image": "skimage"}
PATIENCE = 60.0  # s


def bare(*arguments: str) -> WorkerCommand:
    """`samusa` in a Python in which our packages cannot be imported."""
    names = [each.split(">")[0].split("[")[0] for each in PACKAGES]
    missing = ["torch", "sam2", *(IMPORTED_AS.get(name, name) for name in names)]
    code = (
        f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n"
        f"from SAMUSALib.cli.main import main\nsys.exit(main({list(arguments)!r}))"
    )
    return replace(WorkerCommand.python(sys.executable, os.environ), arguments=("-c", code))


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = bare(*arguments)
    return subprocess.run(
        [command.program, *command.arguments],
        env=dict(command.environment),
        capture_output=True,
        text=True,
    )


def test_the_spline_works_and_its_worker_stays(tmp_path):
    transport = SubprocessTransport()
    session = Session(transport, bare("worker"), "spline", tmp_path)
    geometry = Geometry.for_cine(4, 64, 64, np.eye(4))
    clip = session.open_clip(Clip(np.zeros((4, 64, 64), np.uint8), geometry))
    clip.set_segment("a", "lumen", windows=[Window(0, 3)])
    corners = FramePrompts(boundary=[[10, 10], [40, 10], [40, 40], [10, 40]])
    answers = [clip.segment_frame("a", 1, [corners])]
    end = time.monotonic() + PATIENCE
    while not all(answer.done for answer in answers):
        assert time.monotonic() < end, session.state_text
        transport.pump(0.05)
        session.tick()
        if len(answers) == 1 and answers[0].done:
            answers.append(session.ask_status())
    assert 900 < answers[0].result().mask.decode().sum() < 1800
    assert answers[1].result().model == "spline" and answers[1].result().memory == 0
    clip.close()
    session.stop(grace=0.0)
    while session.running:
        transport.pump(0.05)
        session.tick()


def test_models_are_listed():
    ran = run("models", "list")
    assert ran.returncode == 0 and "samusa-small" in ran.stdout


def test_what_needs_the_set_up_says_so_in_a_line(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"x")
    ran = run("models", "import", str(tmp_path / "x.pt"))
    assert ran.returncode == 2 and "`samusa doctor` lists what is missing" in ran.stderr
    assert "Traceback" not in ran.stderr
