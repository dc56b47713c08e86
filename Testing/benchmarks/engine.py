"""Speed and memory of the engine on this computer's processor, on simulated ultrasound.

    make bench                  or: python Testing/benchmarks/engine.py --out bench.json

One run measures everything that can be compared: the time to load the model, a click on a frame of
1024 x 768 (new frame, and with its embedding kept), propagation and the spline engine over 60
frames of 512 x 512 from five clicks on the middle one, and how the peak of memory grows over a
long clip. Times are medians with the smallest and the largest value.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from measure import (
    MIB,
    arguments,
    cine,
    computer,
    in_new_process,
    peak_bytes,
    record,
    repeated,
    spread,
)

CLICKS = 5
CINE_FRAMES = 60
SAMPLED_AT = 100  # frame at which the memory of a long clip is read for the first time
PERIOD = 20  # a long clip is this many simulated frames, repeated


def main() -> int:
    args = parse_arguments()
    from SAMUSALib.engine.registry import find_model

    model_file = find_model(args.model).path
    # First, and in processes of their own: this one must not have loaded torch yet.
    results = measure_memory(model_file, args.frames, args.threads) if args.frames else {}
    described = {"model": args.model, "cine_frames": args.cine, "long_clip_frames": args.frames}
    results = computer(args.threads) | described | measure_speed(model_file, args) | results
    record(args.out, results)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="samusa-small", help="name or checkpoint file")
    parser.add_argument(
        "--frames", type=int, default=700, help="of the long clip; 0 leaves memory out"
    )
    parser.add_argument("--cine", type=int, default=CINE_FRAMES, help="frames of the cine")
    parser.add_argument("--repeats", type=int, default=3, help="of propagation; clicks: 10 times")
    return parser.parse_args()


# What is annotated ----------------------------------------------------------------------------


def clicks_on(truth: np.ndarray) -> np.ndarray:
    """(CLICKS, 2) clicks on the true border, each where the curve through the others is worst:
    the same clicks for every engine."""
    from SAMUSALib.evaluation.annotator import simulate_clicks
    from SAMUSALib.evaluation.methods import spline_method

    frame, rng = np.zeros(truth.shape, np.uint8), np.random.default_rng(0)
    clicked = simulate_clicks(spline_method().segment, frame, truth, "boundary", rng)
    *_, last = islice(clicked, CLICKS)
    return last.prompts.boundary


def as_job(frames: np.ndarray, truth: np.ndarray):
    """A clip, and its lesion clicked on the middle frame and visible on every frame."""
    from SAMUSALib.clip import Clip, Geometry
    from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window

    middle = len(frames) // 2
    prompts = FramePrompts(boundary=clicks_on(truth[middle % len(truth)]))
    segment = SegmentPrompts("lesion", {middle: prompts}, (Window(0, len(frames) - 1),))
    return Clip(frames, Geometry.for_cine(*frames.shape)), [segment]


# Speed ----------------------------------------------------------------------------------------


def measure_speed(model_file: Path, args: argparse.Namespace) -> dict:
    import torch

    from SAMUSALib.engine.models import load_model
    from SAMUSALib.engine.propagation import propagate
    from SAMUSALib.engine.segmentation import FrameSegmenter
    from SAMUSALib.engine.spline import propagate_spline
    from SAMUSALib.prompts import FramePrompts

    torch.set_num_threads(args.threads)
    results = spread("load_seconds", repeated(args.repeats, lambda: load_model(model_file, "cpu")))
    model = load_model(model_file, "cpu")
    results |= {"parameters": model.info.parameters, "input_size": model.info.input_size}

    frames, truth = cine(1, 768, 1024)
    frame, prompts = frames[0], FramePrompts(boundary=clicks_on(truth[0]))
    segmenter = FrameSegmenter(model)
    segmenter.segment(frame, prompts)  # the very first call also sets torch up
    results |= spread("click_cold_seconds", repeated(10, lambda: segmenter.segment(frame, prompts)))
    segmenter.segment(frame, prompts, key="frame")
    results |= spread(
        "click_warm_seconds", repeated(10, lambda: segmenter.segment(frame, prompts, key="frame"))
    )

    frames, truth = cine(args.cine, 512, 512)
    clip, segments = as_job(frames, truth)
    results |= run_engine("propagation", args, truth, lambda: propagate(model, clip, segments))
    results |= run_engine("spline", args, truth, lambda: propagate_spline(clip, segments))
    return results


def run_engine(name: str, args: argparse.Namespace, truth: np.ndarray, start: Callable) -> dict:
    """Frames a second, and the mean Dice: speed says little about masks that are wrong."""
    from SAMUSALib.evaluation.metrics import dice

    found = []
    seconds = repeated(args.repeats, lambda: found.extend(start()))
    values = [dice(result.mask, truth[result.frame]) for result in found]
    speeds = [args.cine / spent for spent in seconds]
    return spread(f"{name}_frames_per_second", speeds) | {
        f"{name}_dice": round(float(np.mean(values)), 4)
    }


# Memory ---------------------------------------------------------------------------------------


def measure_memory(model_file: Path, frames: int, threads: int) -> dict:
    """Peaks of a short and of a long clip, each in a process of its own, and the growth within
    the long one. The clip's own array is counted out."""
    early = min(SAMPLED_AT, frames // 2)
    short = in_new_process(peaks, model_file, early, early, threads)
    long = in_new_process(peaks, model_file, frames, early, threads)
    return {
        f"memory_mib_clip_of_{early}": short[-1],
        f"memory_mib_clip_of_{frames}": long[-1],
        f"memory_mib_at_frame_{early}": long[0],
        f"memory_mib_at_frame_{frames}": long[1],
        "memory_growth": round(long[1] / long[0] - 1, 4),
    }


def peaks(model_file: Path, count: int, early: int, threads: int) -> list[float]:
    """MiB at most in use until `early` frames and until all `count` frames were propagated."""
    import torch

    from SAMUSALib.engine.models import load_model
    from SAMUSALib.engine.propagation import propagate

    torch.set_num_threads(threads)
    frames, truth = cine(PERIOD, 512, 512)
    frames = frames[np.arange(count) % PERIOD]
    clip, segments = as_job(frames, truth)
    model = load_model(model_file, "cpu")
    found = []
    for done, _ in enumerate(propagate(model, clip, segments), start=1):
        if done in (early, count):
            found.append(round((peak_bytes() - frames.nbytes) / MIB, 1))
    return found


if __name__ == "__main__":
    sys.exit(main())
