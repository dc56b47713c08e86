"""The paper's comparison at our scale: boundary clicks or region clicks, and the boundary loss.

    python Testing/experiments/run.py --data DIR --out OUT

DIR holds the folders of SETS (docs/datasets.md). One network is trained on simulated clips alone;
from it start runs of one length, on the same images in the same order: with boundary clicks and
with region clicks, leaving out each set in turn, and with three forms of the loss on all sets. Each
is judged on up to JUDGED images of the `val` split of every set, evenly taken, and on simulated
clips that none has seen; so is the spline, which is the same for all. OUT/results.json holds every
mean, OUT/tables.md the tables of docs/experiments.md, OUT/curves.png the curves. What OUT holds
already is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SETS = ("fetal_head", "nerve_vessel", "carotid")
JUDGED = 25  # images of a set: 25 heads, 60 nerves and vessels, 25 carotids
JITTERS = {"exact": "0", "inexact": "0.03"}
BASE = Path(__file__).parent / "base.yaml"
BOUNDARY: dict[str, object] = {}
REGION = {"curriculum.share_region": 0.85, "curriculum.share_single": 0.0}
LOSSES = {
    "lambda 0": {"loss.boundary": 0.0},
    "lambda 2, border": {"loss.boundary": 2.0, "loss.blur_repeats": 20},
    "lambda 2, literal": {
        "loss.boundary": 2.0, "loss.boundary_form": "literal", "loss.blur_repeats": 20,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training and how it is judged. clicks: what the annotator clicks, in both."""

    name: str
    sets: tuple[str, ...]
    clicks: str
    changes: dict[str, object] = field(default_factory=dict)


def planned() -> list[Run]:
    """All runs but the common start."""
    runs = []
    for left_out in SETS:
        sets = tuple(name for name in SETS if name != left_out)
        runs.append(Run(f"boundary, without {left_out}", sets, "boundary", BOUNDARY))
        runs.append(Run(f"region, without {left_out}", sets, "region", REGION))
    return runs + [Run(name, SETS, "boundary", loss) for name, loss in LOSSES.items()]


def main() -> int:
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    start = args.out / "start.safetensors"
    train(args, Run("start", (), "boundary", {"curriculum.share_region": 0.4}), start, None)
    held_out = {name: thinned(args.data / name, args.out / "held_out" / name) for name in SETS}
    results = {"steps": args.steps, "start_steps": args.start_steps, "spline": {}, "runs": {}}
    for name, folder in held_out.items():
        results["spline"][name] = {
            kind: evaluated(
                args, args.out / "spline" / f"{name}-{kind}", "images", "--data", str(folder),
                "--methods", "spline", "--jitter", jitter,
            )
            for kind, jitter in JITTERS.items()
        }  # fmt: skip
    for run in planned():
        folder = args.out / run.name.replace(", ", "-").replace(" ", "_")
        folder.mkdir(exist_ok=True)
        train(args, run, folder / "model.safetensors", start)
        results["runs"][run.name] = {
            "sets": run.sets,
            "clicks": run.clicks,
            "images": {name: judge_images(args, run, folder, held_out[name]) for name in SETS},
            "clips": judge_clips(args, run, folder),
        }
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    from tables import draw_curves, write_tables

    write_tables(results, args.out / "tables.md")
    draw_curves(results, args.out / "curves.png")
    print(f"wrote {args.out}/results.json, tables.md and curves.png")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument("--steps", type=int, default=200, help="of each run (default: 200)")
    parser.add_argument("--start-steps", type=int, default=500, help="of the start (default: 500)")
    parser.add_argument("--phantoms", type=int, default=3, help="clips to judge on (default: 3)")
    parser.add_argument("--processes", type=int, default=2, help="to train with (default: 2)")
    return parser.parse_args()


def train(args: argparse.Namespace, run: Run, out: Path, start: Path | None) -> None:
    """Train one run into a checkpoint, unless it is there."""
    if out.exists():
        return
    changes = dict(run.changes)
    changes["steps"] = args.start_steps if start is None else args.steps
    if start is not None:
        changes |= {"model.architecture": None, "model.checkpoint": str(start)}
    partial = out.with_suffix(".part.safetensors")
    data = [str(args.data / name) for name in run.sets]
    processes(
        args, "train", str(BASE), "--out", str(partial), "--resume",
        *(["--use", "images", "--data", *data] if data else []),
        *[part for key, value in changes.items() for part in ("--set", f"{key}={text(value)}")],
        "--set", "threads=1",
    )  # fmt: skip
    partial.rename(out)


def thinned(data: Path, out: Path) -> Path:
    """A set that names every so many-th image of another's `val` split."""
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    items = [item for item in manifest["items"] if item["split"] == "val"]
    items = [
        item | {key: str((data / item[key]).resolve()) for key in ("image", "mask")}
        for item in items[:: -(-len(items) // JUDGED)]
    ]
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest | {"items": items})
    (out / "manifest.json").write_text(text, encoding="utf-8")
    return out


def judge_images(args: argparse.Namespace, run: Run, folder: Path, data: Path) -> dict:
    """Summaries of 1 to 10 clicks on the held-out images of a set, exact and inexact."""
    return {
        kind: evaluated(
            args, folder / f"{data.name}-{kind}", "images", "--data", str(data), "--model",
            str(folder / "model.safetensors"), "--methods", run.clicks, "--jitter", jitter,
        )
        for kind, jitter in JITTERS.items()
    }  # fmt: skip


def judge_clips(args: argparse.Namespace, run: Run, folder: Path) -> dict:
    """Summary of the clip protocol on simulated clips of another seed, with windows and without."""
    return evaluated(
        args, folder / "clips", "clips", "--phantoms", str(args.phantoms), "--seed", "977",
        "--model", str(folder / "model.safetensors"), "--methods", run.clicks,
    )  # fmt: skip


def evaluated(args: argparse.Namespace, out: Path, what: str, *options: str) -> dict:
    summary = out / "summary.json"
    if not summary.exists():
        processes(args, "evaluate", what, *options, "--out", str(out))
    return json.loads(summary.read_text(encoding="utf-8"))


def processes(args: argparse.Namespace, *arguments: str) -> None:
    """A command of SAMUSA, shared among processes."""
    command(
        "torch.distributed.run", "--standalone", "--nproc-per-node", str(args.processes),
        "-m", "SAMUSALib.cli", *arguments,
    )  # fmt: skip


def command(module: str, *arguments: str) -> None:
    print("$ python -m", module, *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{module} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")


def text(value: object) -> str:
    """A value as YAML on the command line."""
    return "null" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
