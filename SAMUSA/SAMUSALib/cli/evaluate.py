"""`samusa evaluate`: how good the masks are after 1, 2, … simulated clicks on labelled images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..engine.registry import find_model
from ..errors import InvalidValue
from .common import add_model_options, check_output_folder, progress_bar, stopped_by_ctrl_c

METHODS = ("boundary", "region", "spline")


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure masks against labelled images with simulated clicks",
        description="Measure masks against known ones, with a simulated annotator.",
    )
    kinds = parser.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    images = kinds.add_parser(
        "images",
        parents=[common],
        help="labelled images: Dice and IoU after 1, 2, … clicks",
        description="Clicks every structure of every image of a set and writes OUT/summary.json "
        "(means) and OUT/items.csv (every structure). Ctrl-C keeps the finished images.",
    )
    images.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a folder with a manifest.json"
    )
    images.add_argument("--split", default="val", help="default: val")
    images.add_argument(
        "--methods",
        default="boundary,spline",
        metavar="LIST",
        help=f"of {', '.join(METHODS)} (default: boundary,spline)",
    )
    images.add_argument("--clicks", type=int, default=10, help="default: 10")
    images.add_argument(
        "--jitter",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="the annotator's error, as a share of the structure's size (default: 0)",
    )
    images.add_argument("--seed", type=int, default=0, help="default: 0")
    images.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_model_options(images)
    images.set_defaults(run=run_images)


def run_images(args: argparse.Namespace) -> int:
    """Exit status 130 after Ctrl-C, else 0."""
    names = [name.strip() for name in args.methods.split(",") if name.strip()]
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise InvalidValue(f"--methods is {args.methods!r}; choose from {', '.join(METHODS)}")
    if not 1 <= args.clicks <= 100:
        raise InvalidValue(f"--clicks is {args.clicks}; 1 to 100 are possible")
    if not 0 <= args.jitter <= 1:
        raise InvalidValue(f"--jitter is {args.jitter}; a share from 0 to 1 is needed")
    if args.seed < 0:
        raise InvalidValue(f"--seed is {args.seed}; a whole number of at least 0 is needed")
    check_output_folder(args.out)
    entry = find_model(args.model) if set(names) != {"spline"} else None

    from ..datasets.manifest import read_manifest
    from ..datasets.structures import MIN_AREA
    from ..evaluation.images import evaluate_image, summarise, write_evaluation

    items = read_manifest(args.data, args.split, "image")
    methods = make_methods(names, entry, args.device)
    rows, finished = [], 0
    with stopped_by_ctrl_c() as stopped, progress_bar(len(items), "evaluating", "image") as bar:
        try:
            for item in items:  # one at a time, so that what is finished can be kept
                rows += evaluate_image(item, methods, args.clicks, args.jitter, args.seed)
                finished += 1
                bar.update(1)
                if stopped.is_set():
                    break
        except KeyboardInterrupt:
            stopped.set()
    if not rows and stopped.is_set():
        print("samusa: stopped before the first image; nothing was written", file=sys.stderr)
        return 130
    if not rows:
        raise InvalidValue(
            f"none of the {len(items)} images of {args.data} holds a structure of at least "
            f"{MIN_AREA} pixels"
        )
    write_evaluation(args.out, rows, args.data.name, entry.name if entry else "spline")
    print_table(summarise(rows), args.clicks)
    print(f"wrote {args.out / 'summary.json'} and {args.out / 'items.csv'}")
    if finished < len(items):
        print(f"samusa: stopped; kept {finished} of {len(items)} images", file=sys.stderr)
        return 130
    return 0


def make_methods(names: list[str], entry, device: str) -> list:
    """The named methods. Boundary and region clicks share one model and its embeddings."""
    from ..evaluation.images import Method, spline_method

    segment = None
    if entry is not None and entry.architecture == "spline":
        if "region" in names:
            raise InvalidValue("the spline knows no region clicks; choose another --model")
        segment = spline_method().segment
    elif entry is not None:
        from ..engine.models import load_model
        from ..engine.segmentation import FrameSegmenter

        segmenter = FrameSegmenter(load_model(entry.path, device=device))
        last = [None, 0]  # the frame in work and its number, which is its key in the cache

        def segment(frame, prompts, previous=None):
            if frame is not last[0]:
                last[:] = [frame, last[1] + 1]
            return segmenter.segment(frame, prompts, previous, key=last[1])

    return [
        spline_method() if name == "spline" else Method(name, segment, clicks=name)
        for name in dict.fromkeys(names)
    ]


def print_table(summary: dict, clicks: int) -> None:
    """Mean Dice, one line a number of clicks and one column a method."""
    dice = summary["dice"]
    print(f"mean Dice of {summary['n']} structures")
    print("clicks  " + "  ".join(f"{name:>8}" for name in dice))
    for count in range(1, clicks + 1):
        print(f"{count:>6}  " + "  ".join(f"{dice[name][str(count)]:8.4f}" for name in dice))
