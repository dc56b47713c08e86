"""What the worker costs beside the bare engine: a click's way there and back, and its start.

    make bench                  or: python Testing/benchmarks/worker.py --out bench.json

Clicks on frames of 1024 x 768 are computed by turns in this process and by a worker, each time the
same prompts, on a frame whose embedding is kept and on new frames; the overhead is the median of
the differences. Beside it stands what of the worker's clicks was spent outside its engine, which
other programs on the computer disturb less. The start is taken from the call that starts the
process to the loaded model, warmed up, and to the first mask; the first start may also have to
read torch from the disk.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from engine import clicks_on
from measure import arguments, cine, computer, record, spread

from SAMUSALib.engine.registry import find_model
from SAMUSALib.prompts import FramePrompts
from SAMUSALib.worker.client import Client, Pending
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.messages import Event, LoadModel, SegmentFrame
from SAMUSALib.worker.transport import SubprocessTransport

HEIGHT, WIDTH = 768, 1024
NUDGE = 0.003  # pixels between one click and the next, so that no result is merely looked up
PAUSE = 0.3  # s before each measurement: torch's threads spin for a while after work


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="samusa-small", help="name or checkpoint file")
    parser.add_argument("--repeats", type=int, default=30, help="of clicks; starts: 3 times")
    args = parser.parse_args()
    new_frames = max(2, args.repeats // 4)
    frames, truth = cine(1 + new_frames, HEIGHT, WIDTH)
    prompts = FramePrompts(boundary=clicks_on(truth[0]))
    starts = [measure_start(args, frames, prompts) for _ in range(3)]
    results = spread("worker_ready_seconds", [ready for ready, _ in starts])
    results |= spread("worker_first_mask_seconds", [first for _, first in starts])
    results |= measure_clicks(args, frames, prompts)
    results["ready_s"] = results["worker_ready_seconds_median"]
    results["click_overhead_ms"] = results["click_overhead_kept_ms_median"]
    record(args.out, computer(args.threads) | {"model": args.model} | results)
    return 0


class Worker:
    """A worker, asked and waited for."""

    def __init__(self, threads: int):
        command = WorkerCommand.this_python()
        environment = dict(command.environment, OMP_NUM_THREADS=str(threads))
        self.transport = SubprocessTransport()
        self.client = Client(self.transport)
        self.client.on_notice = lambda text: print(f"worker: {text}")
        self.welcome = self.client.start(replace(command, environment=environment))

    def wait(self, pending: Pending) -> Event:
        while not pending.done:
            self.transport.pump(0.5)
            self.client.tick()
        return pending.result()

    def stop(self) -> None:
        self.client.stop()
        while self.client.running:
            self.transport.pump(0.1)
            self.client.tick()


def measure_start(args, frames: np.ndarray, prompts: FramePrompts) -> tuple[float, float]:
    """Seconds from the start of the process to the loaded model and to the first mask."""
    time.sleep(PAUSE)
    begin = time.perf_counter()
    worker = Worker(args.threads)
    loading = worker.client.ask(LoadModel(args.model, "cpu"))
    worker.client.send_clip("clip", frames)
    click = worker.client.ask(SegmentFrame("clip", "lesion", 0, (prompts,)))
    worker.wait(loading)
    ready = time.perf_counter() - begin
    worker.wait(click)
    first = time.perf_counter() - begin
    worker.stop()
    return ready, first


def measure_clicks(args, frames: np.ndarray, prompts: FramePrompts) -> dict:
    import torch

    from SAMUSALib.engine.models import load_model
    from SAMUSALib.engine.segmentation import FrameSegmenter

    torch.set_num_threads(args.threads)
    segmenter = FrameSegmenter(load_model(find_model(args.model).path, "cpu"))
    worker = Worker(args.threads)
    worker.wait(worker.client.ask(LoadModel(args.model, "cpu")))
    worker.wait(worker.client.send_clip("clip", frames))

    def bare(frame: int, clicks: FramePrompts) -> np.ndarray:
        return segmenter.segment(frames[frame], clicks, key=frame).mask

    in_engine = []

    def through_the_worker(frame: int, clicks: FramePrompts) -> np.ndarray:
        asked = SegmentFrame("clip", "lesion", frame, (clicks,))
        found = worker.wait(worker.client.ask(asked))
        in_engine.append(found.seconds)
        return found.mask.decode()

    for act in (bare, through_the_worker):
        act(0, prompts)  # frame 0 is the one whose embedding is kept
    kept = compare(bare, through_the_worker, [0] * args.repeats, prompts)
    outside = 1000 * (np.array(kept[1]) - np.array(in_engine[1:]))
    new = compare(bare, through_the_worker, range(1, len(frames)), prompts)
    worker.stop()
    return (
        report("kept", *kept)
        | report("new", *new)
        | spread("click_outside_engine_ms", list(outside))
    )


def compare(bare: Callable, through: Callable, frames, prompts: FramePrompts):
    """Seconds of both ways to each mask, first one, then the other first."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn, frame in enumerate(frames, start=1):
        clicks = replace(prompts, boundary=prompts.boundary + NUDGE * turn)
        masks = [None, None]
        for way in (0, 1) if turn % 2 else (1, 0):
            time.sleep(PAUSE)
            begin = time.perf_counter()
            masks[way] = (bare, through)[way](frame, clicks)
            seconds[way].append(time.perf_counter() - begin)
        if not np.array_equal(*masks):
            raise SystemExit("the worker's mask differs from the engine's")
    return seconds


def report(name: str, bare: list[float], through: list[float]) -> dict:
    overhead = 1000 * (np.array(through) - np.array(bare))
    return (
        spread(f"click_bare_{name}_seconds", bare)
        | spread(f"click_worker_{name}_seconds", through)
        | spread(f"click_overhead_{name}_ms", list(overhead))
    )


if __name__ == "__main__":
    sys.exit(main())
