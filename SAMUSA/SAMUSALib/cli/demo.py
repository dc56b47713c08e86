"""`samusa demo`: the whole job on a simulated cine whose truth is known."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from ..annotation import Annotation
from ..clip import Clip
from ..engine.registry import ModelEntry, find_model
from ..io.write_clip import write_clip
from ..prompts import FramePrompts, SegmentPrompts, Window
from .annotate import Engine, empty_annotation, fill
from .common import Stopwatch, add_model_options, check_output_folder
from .phantom import as_clip

CLICKS = 5
COLOR = (230, 159, 0)


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="the whole job on a simulated cine",
        description="Simulate a cine in which a lesion comes and goes, click its boundary on one "
        "frame, propagate, write the masks and a report, and compare with the known truth.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: demo-output"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 130 after Ctrl-C, else 0."""
    from ..atomic import made_folder

    check_output_folder(args.out)
    entry = find_model(args.model)
    with made_folder(args.out):
        return run_demo(args, entry)


def run_demo(args: argparse.Namespace, entry: ModelEntry) -> int:
    """Every part is timed; the folder is there."""
    watch = Stopwatch()

    with watch.part("simulate"):
        from ..phantom import demo_spec, simulate

        phantom = simulate(demo_spec())
    truth = phantom.labels == 1
    window = Window(*phantom.windows[0][0])
    middle = (window.start + window.end) // 2
    print(
        f"a simulated cine of {len(truth)} frames, {truth.shape[2]} x {truth.shape[1]} pixels; "
        f"the lesion is there in frames {window.start} to {window.end}"
    )
    with watch.part("write clip"):
        write_clip(args.out / "clip.seq.nrrd", as_clip(phantom, "clip"))
    with watch.part("read clip"):
        from ..io.read_clip import read_clip

        clip = read_clip(args.out / "clip.seq.nrrd")
    with watch.part("load model"):
        engine = Engine(entry, args.device)
    print(f"model: {engine.text}")

    with watch.part("clicks"):
        clicks = simulated_clicks(engine, clip.frames[middle], truth[middle])
        segments = [
            SegmentPrompts("lesion", {middle: FramePrompts(boundary=clicks)}, (window,), COLOR)
        ]
        from ..io.prompt_files import write_prompts

        write_prompts(args.out / "prompts.json", segments)
    print(f"{len(clicks)} clicks on the boundary in frame {middle}, and the window")

    annotation = empty_annotation(clip, segments)
    with watch.part("propagate"):
        finished, wanted, stopped = fill(annotation, engine, clip, segments)
    with watch.part("write masks"):
        from ..io.write_segmentation import write_seg_nrrd

        write_seg_nrrd(args.out / "masks.seg.nrrd", clip, annotation)
    dice, empty_outside = compare(annotation, truth, window)
    note = f"Dice against the known truth: {dice:.3f} over the window."
    write_page(args, clip, annotation, segments, engine, watch, note)
    save_summary(args.out / "demo.json", dice, empty_outside, watch.seconds, entry.name)

    speed = finished / max(watch.seconds["propagate"], 1e-9)
    print(f"{finished} masks, {speed:.1f} frames a second")
    print(f"Dice over the window: {dice:.3f}; masks outside it: {'none' if empty_outside else '!'}")
    for part, spent in watch.seconds.items():
        print(f"  {part:<12} {spent:6.2f} s")
    print(f"  {'in all':<12} {sum(watch.seconds.values()):6.2f} s")
    print(f"look at {args.out / 'report' / 'index.html'}")
    if stopped:
        print(f"samusa: stopped; kept {finished} of {wanted} masks", file=sys.stderr)
        return 130
    return 0


def simulated_clicks(engine: Engine, frame: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(CLICKS, 2) clicks on the true border, each where the mask so far is worst."""
    from ..evaluation.annotator import simulate_clicks
    from ..evaluation.methods import model_methods, spline_method

    if engine.model is None:
        method = spline_method()
    else:
        (method,) = model_methods(engine.model, ["boundary"])
    rng = np.random.default_rng(0)
    clicked = simulate_clicks(method.segment, frame, truth, method.clicks, rng)
    *_, last = islice(clicked, CLICKS)
    return last.prompts.boundary


def compare(annotation: Annotation, truth: np.ndarray, window: Window) -> tuple[float, bool]:
    """(mean Dice over the window, whether every mask outside it is empty)."""
    from ..evaluation.metrics import dice

    segment = annotation.segments[0]
    inside = [
        dice(segment.mask(index), truth[index]) for index in range(window.start, window.end + 1)
    ]
    outside = [index for index in range(len(truth)) if index not in window]
    return float(np.mean(inside)), all(segment.frame(index).mask.is_empty for index in outside)


def write_page(args, clip: Clip, annotation, segments, engine: Engine, watch, note: str) -> None:
    """The report, timed as a part of its own from the second run on."""
    from ..evaluation.report import write_report

    with watch.part("report"):
        write_report(
            args.out / "report",
            clip,
            annotation,
            segments,
            engine.entry.name,
            dict(watch.seconds),
            device=engine.device,
            title="SAMUSA demo: a lesion that comes and goes",
            notes=[note],
        )


def save_summary(
    path: Path, dice: float, empty_outside: bool, seconds: dict[str, float], model: str
) -> None:
    """demo.json."""
    from ..atomic import atomic_write

    summary = {
        "model": model,
        "dice_window_mean": round(dice, 4),
        "empty_outside": empty_outside,
        "seconds": {part: round(spent, 3) for part, spent in seconds.items()},
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
