"""Throughput and memory of training on this computer: who waits for whom.

    make bench-training         or: python Testing/benchmarks/training.py --out bench-training.json

Trains for a few dozen steps as a recipe says, on simulated clips alone (or on sets, with --data),
and measures steps and samples a second, the share of the time in which the trainer waits for
samples, in which it simulates the annotator (clicks and curves, on the processor) and in which the
network works, the peak of memory, and with a GPU how busy it was. Before that, how many samples a
second one worker prepares. Nothing is saved.
"""

from __future__ import annotations

import argparse
import inspect
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import MIB, arguments, peak_bytes, processor, record

WARM_UP = 3  # steps that are not counted: the first ones set up kernels and fill caches


def main() -> int:
    args = parse_arguments()
    record(args.out, measure(args))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = arguments(__doc__, "bench-training.json")
    parser.set_defaults(threads=None)  # what the recipe says
    parser.add_argument("--config", default="samusa-small", help="a recipe or a .yaml file")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="sets beside phantoms")
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, help="images at a time; half as many clips")
    parser.add_argument("--workers", type=int, help="default: chosen for the computer")
    parser.add_argument("--precision", help="bf16, fp16 or float32")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def configuration(args: argparse.Namespace):
    from SAMUSALib.training.config import read_config

    changes = {
        "steps": args.steps + WARM_UP,
        "device": args.device,
        "threads": args.threads,
        "data.phantoms": {"count": args.phantoms},
        "data.sets": [{"folder": folder} for folder in args.data],
        "data.workers": args.workers,
    }
    if args.batch:
        changes["optimiser.batch"] = args.batch
        changes["optimiser.clip_batch"] = max(1, args.batch // 2)
    if args.precision:
        changes["optimiser.precision"] = args.precision
    return read_config(args.config, changes)


def measure(args: argparse.Namespace) -> dict:
    import torch

    from SAMUSALib.training.data import Batches, choose_workers, gather, read_batches
    from SAMUSALib.training.run import starting_network
    from SAMUSALib.training.trainer import Trainer, join

    config = configuration(args)
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator = join(config)
    device = accelerator.device
    torch.manual_seed(config.seed)
    network, _ = starting_network(config.model)
    trainer = Trainer(network.to(device), config, accelerator)
    workers = choose_workers(config.data.workers)
    a = network.architecture
    batches = Batches(gather(config.data, config.seed), config, a.image_size, a.zoom, 0, 1, workers)
    for source in batches.material.images.sources:  # reading files is not what is measured
        batches.cache.load(source)

    results = describe(config, accelerator, workers) | preparation(batches)
    parts = config.optimiser.accumulation
    stream = read_batches(batches, 0, config.steps, workers, device.type == "cuda")
    waited, samples, by_kind = 0.0, 0, {}
    with annotator_clock() as annotator, GpuWatch(device) as gpu:
        for step in range(config.steps):
            if step == WARM_UP:
                began, waited, samples = time.perf_counter(), 0.0, 0
                annotator.seconds = 0.0
                by_kind.clear()
                gpu.readings.clear()
            start = time.perf_counter()
            drawn = [next(stream) for _ in range(parts)]
            ready = time.perf_counter()
            trainer.step(drawn)
            waited += ready - start
            samples += sum(len(batch.samples) for batch in drawn)
            by_kind.setdefault(drawn[0].plan.kind, []).append(time.perf_counter() - ready)
        spent = time.perf_counter() - began
    results |= {
        "steps_per_second": round(args.steps / spent, 3),
        "samples_per_second": round(samples / spent, 2),
        "share_waiting_for_samples": round(waited / spent, 4),
        "share_simulating_annotator": round(annotator.seconds / spent, 4),
        "peak_memory_mib": round(peak_bytes(children=True) / MIB),
    }
    for kind, seconds in sorted(by_kind.items()):
        results[f"seconds_{kind}_step"] = round(sum(seconds) / len(seconds), 4)
    if device.type == "cuda":
        results["gpu_peak_memory_mib"] = round(torch.cuda.max_memory_allocated() / MIB)
        results["gpu_busy_percent"] = gpu.mean()
    return results


def describe(config, accelerator, workers: int) -> dict:
    import torch

    device = accelerator.device
    return {
        "recipe": config.model.name,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": config.optimiser.precision,
        "batch": config.optimiser.batch,
        "clip_batch": config.optimiser.clip_batch,
        "workers": workers,
    }


def preparation(batches, least: float = 3.0) -> dict:
    """Samples a second that one process prepares, by itself."""
    counts = {"images": 0, "clips": 0}
    seconds = {"images": 0.0, "clips": 0.0}
    index, start = 0, time.perf_counter()
    while time.perf_counter() - start < least or not (seconds["images"] and seconds["clips"]):
        began = time.perf_counter()
        batch = batches[index]
        kind = "clips" if batch.plan.kind == "clip" else "images"
        seconds[kind] += time.perf_counter() - began
        counts[kind] += len(batch.samples)
        index += 1
        if index > 2000:  # a recipe without one of the two
            break
    return {
        f"prepared_{kind}_per_second": round(counts[kind] / seconds[kind], 1)
        for kind in counts
        if seconds[kind]
    }


class Clock:
    seconds = 0.0


@contextmanager
def annotator_clock() -> Iterator[Clock]:
    """Seconds spent in what `rounds` calls of the simulated annotator and of curves."""
    from SAMUSALib.engine import spline
    from SAMUSALib.training import clicks, rounds

    clock = Clock()

    def timed(function: Callable) -> Callable:
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                clock.seconds += time.perf_counter() - start

        return call

    wrapped = {
        name: value
        for name, value in vars(rounds).items()
        if inspect.isfunction(value) and value.__module__ in (clicks.__name__, spline.__name__)
    }
    for name, function in wrapped.items():
        setattr(rounds, name, timed(function))
    try:
        yield clock
    finally:
        for name, function in wrapped.items():
            setattr(rounds, name, function)


class GpuWatch:
    """How busy the GPU is, by nvidia-smi, five times a second; nothing without one."""

    def __init__(self, device):
        self.wanted = device.type == "cuda" and shutil.which("nvidia-smi") is not None
        self.readings: list[float] = []

    def __enter__(self):
        if self.wanted:
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self.process = subprocess.Popen(
                ["nvidia-smi", *query, "-i", os.environ.get("LOCAL_RANK", "0"), "-lms", "200"],
                stdout=subprocess.PIPE,
                text=True,
            )
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.readings.append(float(line))

    def __exit__(self, *_):
        if self.wanted:
            self.process.terminate()
            self.process.wait()

    def mean(self) -> float | None:
        return round(sum(self.readings) / len(self.readings), 1) if self.readings else None


if __name__ == "__main__":
    sys.exit(main())
