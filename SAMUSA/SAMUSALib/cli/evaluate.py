"""`samusa evaluate`: how good the masks are, by simulated clicks on labelled images and clips."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..engine.registry import ModelEntry, find_model
from ..errors import InvalidValue
from .common import add_model_options, check_output_folder, progress_bar, stopped_by_ctrl_c

METHODS = ("boundary", "region", "box", "spline")
WINDOWS = {"both": (True, False), "with": (True,), "without": (False,)}
DIRECTIONS = ("both", "forward", "backward")


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure masks against labelled images and clips with simulated clicks",
        description="Measure masks against known ones, with a simulated annotator.",
    )
    kinds = parser.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    _add_images(kinds, common)
    _add_clips(kinds, common)


def _add_images(kinds, common) -> None:
    images = kinds.add_parser(
        "images",
        parents=[common],
        help="labelled images: Dice, IoU and distances after 1, 2, … clicks",
        description="Clicks every structure of every image of a set and writes OUT/summary.json "
        "(means), OUT/items.csv (every structure) and OUT/report.html. Ctrl-C keeps the finished "
        "images. Under torchrun the images are dealt to the processes.",
    )
    images.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a folder with a manifest.json"
    )
    images.add_argument("--clicks", type=int, default=10, help="default: 10")
    _add_shared(images, "boundary,spline")
    images.set_defaults(run=run_images)


def _add_clips(kinds, common) -> None:
    clips = kinds.add_parser(
        "clips",
        parents=[common],
        help="labelled clips: clicks, propagation, and clicks where it fails",
        description="Clicks a frame of every structure of every clip, propagates, clicks the first "
        "frame that fails, and so on, with and without temporal windows. Writes OUT/summary.json, "
        "OUT/items.csv (every propagation), OUT/loop.csv (a correction wherever Dice falls below "
        "0.90) and OUT/report.html. Ctrl-C keeps the finished clips. Under torchrun the clips are "
        "dealt to the processes.",
    )
    source = clips.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="DIR", help="a folder with a manifest.json")
    source.add_argument("--phantoms", type=int, metavar="N", help="so many simulated clips instead")
    clips.add_argument(
        "--sweeps", action="store_true", help="take the images of each group as a clip"
    )
    clips.add_argument("--clicks", type=int, default=5, help="on a frame (default: 5)")
    clips.add_argument(
        "--threshold",
        type=float,
        default=0.75,
        metavar="IOU",
        help="the first frame below it is clicked (default: 0.75)",
    )
    clips.add_argument("--repeats", type=int, default=7, help="corrections (default: 7)")
    clips.add_argument(
        "--windows", choices=WINDOWS, default="both", help="temporal windows (default: both)"
    )
    clips.add_argument("--direction", choices=DIRECTIONS, default="both", help="default: both")
    _add_shared(clips, "boundary,region,spline")
    clips.set_defaults(run=run_clips)


def _add_shared(parser: argparse.ArgumentParser, methods: str) -> None:
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument(
        "--methods",
        default=methods,
        metavar="LIST",
        help=f"of {', '.join(METHODS)} (default: {methods})",
    )
    parser.add_argument(
        "--jitter",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="the annotator's error, as a share of the structure's size (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_model_options(parser)


def run_images(args: argparse.Namespace) -> int:
    """Exit status 130 after Ctrl-C, else 0."""
    names, entry = check_shared(args)
    if not 1 <= args.clicks <= 100:
        raise InvalidValue(f"--clicks is {args.clicks}; 1 to 100 are possible")

    from ..datasets.manifest import read_manifest
    from ..evaluation.images import ImageProtocol, evaluate_image

    protocol = ImageProtocol(args.clicks, args.jitter, args.seed)
    items = read_manifest(args.data, args.split, "image")

    def write(rows: list, methods: list) -> None:
        from ..evaluation.image_report import write_image_report
        from ..evaluation.results import write_images

        summary = write_images(args.out, rows, args.data.name, model_name(entry))
        write_image_report(args.out / "report.html", summary, rows, items, methods, protocol)
        print_dice(summary, args.clicks)

    def act(item, methods: list) -> list:
        return evaluate_image(item, methods, protocol)

    return evaluate(args, names, entry, items, act, write, "image")


def run_clips(args: argparse.Namespace) -> int:
    """Exit status 130 after Ctrl-C, else 0."""
    names, entry = check_shared(args)
    if args.phantoms is not None and not 1 <= args.phantoms <= 10_000:
        raise InvalidValue(f"--phantoms is {args.phantoms}; 1 to 10000 are possible")
    if not 2 <= args.clicks <= 100:
        raise InvalidValue(f"--clicks is {args.clicks}; 2 to 100 are possible")
    if not 0 < args.threshold < 1:
        raise InvalidValue(f"--threshold is {args.threshold}; an IoU between 0 and 1 is needed")
    if not 0 <= args.repeats <= 100:
        raise InvalidValue(f"--repeats is {args.repeats}; 0 to 100 are possible")

    from ..evaluation.clips import ClipProtocol, evaluate_clip

    protocol = ClipProtocol(
        args.clicks,
        args.threshold,
        args.repeats,
        WINDOWS[args.windows],
        args.direction,
        args.jitter,
        args.seed,
    )
    items = clip_items(args)
    dataset = "phantoms" if args.data is None else args.data.name

    def write(results: list, methods: list) -> None:
        from ..evaluation.clip_report import write_clip_report
        from ..evaluation.results import write_clips

        summary = write_clips(args.out, results, dataset, model_name(entry))
        write_clip_report(args.out / "report.html", summary, results, items, protocol)
        print_clips(summary["clips"])

    def act(item, methods: list) -> list:
        return evaluate_clip(item, methods, protocol)

    return evaluate(args, names, entry, items, act, write, "clip")


def check_shared(args: argparse.Namespace) -> tuple[list[str], ModelEntry | None]:
    """The methods and the model that they need; refuses what cannot be, before anything is read."""
    names = list(dict.fromkeys(name.strip() for name in args.methods.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise InvalidValue(f"--methods is {args.methods!r}; choose from {', '.join(METHODS)}")
    if not 0 <= args.jitter <= 1:
        raise InvalidValue(f"--jitter is {args.jitter}; a share from 0 to 1 is needed")
    if args.seed < 0:
        raise InvalidValue(f"--seed is {args.seed}; a whole number of at least 0 is needed")
    check_output_folder(args.out)
    if names == ["spline"]:
        return names, None
    entry = find_model(args.model)
    if entry.architecture == "spline":
        raise InvalidValue(
            "the spline is a method, not a model to be clicked in several ways: "
            "use --methods spline, or choose another --model"
        )
    return names, entry


def model_name(entry: ModelEntry | None) -> str:
    return entry.name if entry else "spline"


def clip_items(args: argparse.Namespace) -> list:
    """Clips of a set, groups of its images as clips, or simulated ones."""
    if args.phantoms is not None:
        from ..evaluation.phantoms import phantom_items

        return phantom_items(args.phantoms, args.seed)
    from ..datasets.manifest import read_manifest, sweeps

    if not args.sweeps:
        return read_manifest(args.data, args.split, "clip")
    found = sweeps(read_manifest(args.data, args.split, "image"))
    if not found:
        raise InvalidValue(
            f"{args.data} has no group of at least 4 images of one size in split {args.split!r}"
        )
    return found


def make_methods(names: Sequence[str], entry: ModelEntry | None, device: str) -> list:
    """The named methods, in that order; those of the model share its embeddings."""
    from ..evaluation.methods import model_methods, spline_method

    made = {"spline": spline_method()}
    if entry is not None:
        from ..engine.models import load_model

        model = load_model(entry.path, device=device)
        kinds = [name for name in names if name != "spline"]
        made |= {method.name: method for method in model_methods(model, kinds)}
    return [made[name] for name in names]


def evaluate(
    args: argparse.Namespace,
    names: Sequence[str],
    entry: ModelEntry | None,
    items: Sequence,
    act: Callable[[object, list], list],
    write: Callable[[list, list], None],
    unit: str,
) -> int:
    """act on every item, in this process or dealt to those of torchrun, and write what was found.

    Ctrl-C ends it after the item in work and keeps what is finished. Under torchrun, which kills
    its processes 30 s after a Ctrl-C, the item in work is given up.
    """
    from ..atomic import made_folder
    from ..datasets.structures import MIN_AREA
    from ..evaluation.shards import joined

    with joined() as shard:
        methods = make_methods(names, entry, args.device)
        share = len(range(shard.rank, len(items), shard.count))
        working = shard.count > 1
        with (
            stopped_by_ctrl_c(unit, lambda: working) as stopped,
            progress_bar(share, "evaluating", unit) as bar,
        ):

            def advance() -> None:
                if shard.writes:  # a bar without updates does not show
                    bar.update(1)

            done = shard.work(items, lambda item: act(item, methods), stopped.is_set, advance)
            working = False
            found, finished = shard.gather(done)
        if not shard.writes:
            return 0
        if not found and finished < len(items):
            print(f"samusa: stopped before the first {unit}; nothing was written", file=sys.stderr)
            return 130
        if not found:
            raise InvalidValue(
                f"none of the {len(items)} {unit}s holds a structure of at least {MIN_AREA} pixels"
            )
        with made_folder(args.out):
            write(found, methods)
        print(f"wrote {args.out / 'report.html'}, summary.json and items.csv")
        if finished < len(items):
            print(f"samusa: stopped; kept {finished} of {len(items)} {unit}s", file=sys.stderr)
            return 130
    return 0


def print_dice(summary: dict, clicks: int) -> None:
    """Mean Dice, one line a number of clicks and one column a method."""
    dice = summary["dice"]
    print(f"mean Dice of {summary['n']} structures")
    print("clicks  " + "  ".join(f"{name:>8}" for name in dice))
    for count in range(1, clicks + 1):
        print(f"{count:>6}  " + "  ".join(f"{dice[name][str(count)]:8.4f}" for name in dice))


def print_clips(clips: dict) -> None:
    """Means over the propagations and interventions, one line a method and setting."""
    print(f"mean over all propagations, {clips['n']} structures")
    print("windows  method      Dice    IoU  interventions  |  loop: interventions  Dice")
    for setting, text in (("windows", "with"), ("no_windows", "without")):
        for name, found in clips.get(setting, {}).items():
            loop = found["loop"]
            print(
                f"{text:<8} {name:<8}  {found['dice']['mean']:.4f} {found['iou']['mean']:.4f}  "
                f"{found['interventions']:13.2f}  |  {loop['interventions']:19.2f}  "
                f"{loop['dice']:.4f}"
            )
