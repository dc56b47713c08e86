"""A long cine in Slicer's process: opening, propagation, undo and memory, on Slicer's own nodes.

    make bench                  or: python Testing/benchmarks/in_slicer.py --out bench.json

A sequence of 700 frames of 640 x 480 is opened, clicked on its middle frame, propagated, undone
and redone, each time in a process of its own with a worker beside it. The curve stands for the
model: it is the quickest, so that frames come faster than any model sends them, and what is
measured is this side. Seconds of the processor are those of the thread that Slicer's GUI has.
Left out where slicer-core is not installed (`pip install .[scene]`).
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import MIB, arguments, computer, in_new_process, record, spread

HEIGHT, WIDTH = 480, 640
RADIUS, CENTRE = 100.0, (320.0, 240.0)
PATIENCE = 600.0  # s


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if importlib.util.find_spec("slicer") is None:
        print("slicer-core is not installed: what happens in Slicer's process is not measured")
        return 0
    found = [in_new_process(measure, args.frames) for _ in range(args.repeats)]
    results = {"slicer_frames": args.frames}
    for name in found[0]:
        results |= spread(f"slicer_{name}", [one[name] for one in found])
    record(args.out, computer(args.threads) | results)
    return 0


class Desk:
    """The event loop that Slicer would run."""

    def __init__(self, journals: Path):
        from SAMUSALib.worker.command import WorkerCommand
        from SAMUSALib.worker.session import Session
        from SAMUSALib.worker.transport import SubprocessTransport

        self.transport = SubprocessTransport()
        self.session = Session(self.transport, WorkerCommand.this_python(), "spline", journals)

    def work_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"nothing happens any more: {self.session.state_text}")
            self.transport.pump(0.0)
            self.session.tick()
            time.sleep(0.001)

    def seconds(self, name: str, act: Callable[[], object], condition: Callable[[], bool]) -> dict:
        """Seconds from the act until the condition holds, and processor time of this thread."""
        wall, processor = time.perf_counter(), time.thread_time()
        act()
        self.work_until(condition)
        return {
            f"{name}_seconds": time.perf_counter() - wall,
            f"{name}_cpu_seconds": time.thread_time() - processor,
        }


def measure(frames: int) -> dict[str, float]:
    import psutil

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scene"))
    from scene_nodes import WorkingScene

    from SAMUSALib.app.workspaces import Workspaces
    from SAMUSALib.prompts import FramePrompts
    from SAMUSALib.worker.session import WorkerState

    working = WorkingScene()
    noise = np.random.default_rng(0).integers(0, 255, (WIDTH, HEIGHT, 1), np.uint8)
    browser, sequence = working.sequence([np.roll(noise, n, axis=0) for n in range(frames)])
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        spaces = Workspaces(desk.session, desk.transport.soon, working.scene)
        desk.session.start()
        desk.work_until(lambda: desk.session.state is WorkerState.READY)
        process = psutil.Process()
        memory = process.memory_info().rss
        opened = []
        found = desk.seconds(
            "open",
            lambda: opened.append(spaces.open(browser.GetProxyNode(sequence))),
            lambda: opened[0].is_open,
        )
        (space,) = opened
        segment = space.masks.add_segment("disc")
        angles = np.linspace(0, 2 * np.pi, 5, endpoint=False)
        border = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1) + CENTRE
        steps = [FramePrompts(boundary=border)]
        pending = space.segment(segment, frames // 2, steps)
        desk.work_until(lambda: pending.done)
        space.accept(segment, frames // 2, steps, pending.result().mask.decode())
        found |= desk.seconds("propagate", space.propagate, lambda: not space.is_propagating)
        expect(space, segment, frames)
        found["memory_mib"] = (process.memory_info().rss - memory) / MIB
        found |= desk.seconds("undo", space.undo, lambda: not space.is_replaying)
        expect(space, segment, 1)
        found |= desk.seconds("redo", space.redo, lambda: not space.is_replaying)
        expect(space, segment, frames)
        found |= desk.seconds("journal", lambda: None, lambda: not space.is_journaling)
        spaces.end()
        desk.session.stop(grace=0.0)
        desk.work_until(lambda: not desk.session.running)
    working.scene.Clear(True)
    return found


def expect(space, segment: str, count: int) -> None:
    drawn = sum(space.masks.mask(segment, n).any() for n in range(len(space.source)))
    if drawn != count:
        raise SystemExit(f"{drawn} frames have a mask; {count} were expected")


if __name__ == "__main__":
    sys.exit(main())
