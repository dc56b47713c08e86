"""`samusa train`: train a model as a configuration says."""

from __future__ import annotations

import _thread
import argparse
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InvalidValue, UnreadableFile
from .common import DEVICES, check_output_file, progress_bar

EPILOG = """examples:
  samusa train fine-tune --data my-set --out mine.safetensors
  samusa train fine-tune --data scene.mrb --out mine.safetensors
  samusa train fine-tune --data cine.seq.nrrd cine.seg.nrrd --out mine.safetensors
  samusa train config.yaml --set steps=2000 --set optimiser.rate=3e-4
  samusa train config.yaml --resume
  torchrun --nproc-per-node 4 -m SAMUSALib.cli train config.yaml --resume

docs/training.md explains every key.
"""


def add_parser(commands, common) -> None:
    """Add this command to the command line.

    No option may be a beginning of one of torchrun's, which would take it for its own.
    """
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model on annotated sets and simulated clips",
        description="Train a model as a YAML file or a recipe says. Checkpoint and state are saved "
        "now and then; Ctrl-C and SIGTERM end the run after the current step, saved, and --resume "
        "goes on exactly there. Under torchrun all processes share the work.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a .yaml file, or the name of a recipe"
    )
    parser.add_argument(
        "--list-recipes", action="store_true", help="show the recipes that come with SAMUSA"
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="DIR|FILE",
        help="sets to train on instead of the configuration's; or scenes of 3D Slicer (.mrb, "
        ".mrml) and pairs of an image and its segmentation, which become a set beside --out",
    )  # fmt: skip
    parser.add_argument(
        "--use", default="images,clips", metavar="LIST",
        help="what to make of --data, of images, clips and sweeps (default: images,clips)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE.safetensors", help="the checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change one value, such as optimiser.rate=3e-4",
    )  # fmt: skip
    parser.add_argument("--device", choices=DEVICES, help="where it trains")
    parser.add_argument(
        "--end-with-input", action="store_true",
        help="end as with Ctrl-C when standard input says anything or ends; for programs that "
        "start this one",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the configuration, train."""
    from ..training.recipes import list_recipes

    if args.list_recipes:
        for name, purpose in list_recipes().items():
            print(f"{name:15} {purpose}")
        return 0
    if args.config is None:
        raise InvalidValue("give a .yaml file or a recipe; --list-recipes shows those")

    from ..training.config import read_config

    config = read_config(args.config, _changes(args))
    out = config.outputs.file
    if out is None:
        raise InvalidValue("say where the checkpoint goes with --out FILE.safetensors")
    check_output_file(out)
    files = [path for path in args.data if not path.is_dir()]
    if files:
        config = _with_imported(config, files, args)

    from ..training.run import run_training

    if args.end_with_input:
        # whoever started us may have been started deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_wait_for_input, daemon=True).start()
    bar = progress_bar(config.steps, "training", unit="step")
    main_process = os.environ.get("RANK", "0") == "0"

    def report(step: int, losses: dict[str, float]) -> None:
        bar.update(step - bar.n)
        bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with bar:
        outcome = run_training(config, args.resume, report, say)
    if outcome.stopped:
        say(f"stopped after step {outcome.steps} of {config.steps}; --resume goes on there")
        return 130
    if main_process:
        print(f"wrote {outcome.checkpoint}")
    return 0


def _wait_for_input() -> None:
    """Ctrl-C for what runs on the main thread; a killed parent leaves nothing running either.
    Not by sys.stdin, whose lock would be held when the interpreter ends before the input does."""
    os.read(sys.stdin.fileno(), 1)
    _thread.interrupt_main()


def _use(args: argparse.Namespace) -> list[str]:
    return [each.strip() for each in args.use.split(",")]


def _with_imported(config, files: list[Path], args: argparse.Namespace):
    """Training on what was annotated in 3D Slicer besides the sets of the configuration. The set
    that is made of it stays beside the checkpoint; a run that goes on takes it as it is."""
    from ..datasets.import_slicer import import_slicer
    from ..datasets.splits import SplitRule
    from ..datasets.write_set import About
    from ..training.config import DataSet

    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UnreadableFile(f"there is no set or file {missing[0]}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValue(
            "several processes cannot import at the same time; run `samusa data import slicer` "
            "first and give the set to --data"
        )
    out = config.outputs.file
    folder = out.with_name(f"{out.stem}-data")
    if not (args.resume and (folder / "manifest.json").is_file()):
        # all of it is learned from: what is held out is somebody's decision (samusa data import)
        for note in import_slicer(files, folder, About(folder.name), SplitRule(val=0.0)):
            print(f"samusa: {note}", file=sys.stderr)
    imported = DataSet(folder, use=tuple(_use(args)))
    return replace(config, data=replace(config.data, sets=(*config.data.sets, imported)))


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the options change, by key."""
    import yaml

    changes: dict[str, Any] = {}
    for text in args.changes:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidValue(f"--set {text}: KEY=VALUE is needed, such as steps=2000")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InvalidValue(f"--set {text}: the value cannot be read as YAML") from None
    if args.data:
        changes["data.sets"] = [
            {"folder": folder, "use": _use(args)} for folder in args.data if folder.is_dir()
        ]
    if args.out:
        changes["outputs.file"] = args.out
    if args.device:
        changes["device"] = args.device
    return changes
