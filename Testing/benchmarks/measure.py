"""What the benchmarks share: arguments, times with their spread, peaks of memory, simulated cines
and the results file, which every script updates with its own figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

MIB = 2**20


def arguments(description: str, out: str = "bench.json") -> argparse.ArgumentParser:
    """A parser with what all benchmarks take: --threads and --out."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores")
    parser.add_argument("--out", type=Path, default=Path(out), help="JSON file, updated")
    return parser


def record(out: Path, results: dict) -> None:
    """Print results and add them to those that other benchmarks left in the file."""
    before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    out.write_text(json.dumps(before | results, indent=1) + "\n", encoding="utf-8")
    for name, value in results.items():
        print(f"{name:<37} {value}")
    print(f"wrote {out}")


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def computer(threads: int) -> dict:
    import torch

    return {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def repeated(times: int, act: Callable[[], object]) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return seconds


def spread(name: str, values: list[float]) -> dict[str, float]:
    by_name = {"median": np.median(values), "min": min(values), "max": max(values)}
    return {f"{name}_{kind}": round(float(value), 4) for kind, value in by_name.items()}


def in_new_process(act: Callable, *args):
    """A new process inherits the peak of memory of the one that starts it: start those whose peak
    counts before this one has loaded much."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(act, *args).result()


def peak_bytes(children: bool = False) -> int:
    """Most memory that this process held so far; children: and its largest worker."""
    who = [resource.RUSAGE_SELF] + [resource.RUSAGE_CHILDREN] * children
    peak = sum(resource.getrusage(one).ru_maxrss for one in who)
    return peak if sys.platform == "darwin" else 1024 * peak


def cine(frames: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulated frames (T, H, W) uint8 and the masks (T, H, W) bool of the lesion in them."""
    from SAMUSALib.phantom import demo_spec, simulate

    demo = demo_spec()
    scale = height / demo.size[0]
    lesion = replace(
        demo.structures[0],
        centre=(width / 2, 0.6 * height),
        axes=tuple(scale * axis for axis in demo.structures[0].axes),
        visible=(),
    )
    spec = replace(demo, frames=frames, size=(height, width), structures=(lesion,), distractors=())
    phantom = simulate(spec)
    return phantom.frames, phantom.labels == 1
