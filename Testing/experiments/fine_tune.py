"""Fine-tuning on one's own clips: five annotated sweeps, judged on sweeps that were held out.

    python Testing/experiments/fine_tune.py --data DIR --model MODEL --out OUT

DIR is a set whose groups are sweeps (docs/datasets.md); MODEL has not seen it. The five smallest
sweeps are the annotator's own; the recipe `fine-tune` trains on them, and the model before and
after is judged on all other sweeps by the clip protocol and on their images by clicks.
OUT/table.md holds the comparison.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

OWN = 5
IMAGES = ("1", "2", "3")


def main() -> int:
    args = parse_arguments()
    sets = divide(args.data, args.out)
    tuned = args.out / "tuned.safetensors"
    started = time.monotonic()
    samusa("train", "fine-tune", "--data", sets["own"], "--use", "images,sweeps",
           "--set", f"model.checkpoint={args.model}", "--out", tuned)  # fmt: skip
    minutes = (time.monotonic() - started) / 60
    judged = {
        name: judge(args, sets["others"], model, args.out / name)
        for name, model in (("before", args.model), ("after", tuned))
    }
    table = write_table(judged, args.out / "table.md", minutes)
    print(table)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    return parser.parse_args()


def divide(data: Path, out: Path) -> dict[str, Path]:
    """Two sets that name the images of DIR: the annotator's own sweeps, and the others."""
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    sizes = Counter(item["group"] for item in manifest["items"])
    sweeps = sorted((group for group in sizes if sizes[group] >= 4), key=lambda g: (sizes[g], g))
    folders = {}
    for name, groups, split in (("own", sweeps[:OWN], "train"), ("others", sweeps[OWN:], "val")):
        items = [
            item | {key: str((data / item[key]).resolve()) for key in ("image", "mask")}
            | {"split": split}
            for item in manifest["items"]
            if item["group"] in groups
        ]  # fmt: skip
        folders[name] = out / name
        folders[name].mkdir(parents=True, exist_ok=True)
        part = manifest | {"items": items}
        (folders[name] / "manifest.json").write_text(json.dumps(part), encoding="utf-8")
        print(f"{name}: {len(items)} images of {', '.join(groups)}")
    return folders


def judge(args: argparse.Namespace, others: Path, model: Path, out: Path) -> dict:
    """Summaries of the clip protocol (boundary clicks, windows) and of clicks on the images."""
    shared = ["--data", others, "--model", model, "--methods", "boundary"]
    samusa("evaluate", "clips", *shared, "--sweeps", "--windows", "with", "--out", out / "clips")
    samusa("evaluate", "images", *shared, "--clicks", len(IMAGES), "--out", out / "images")
    return {
        kind: json.loads((out / kind / "summary.json").read_text(encoding="utf-8"))
        for kind in ("clips", "images")
    }


def samusa(*arguments) -> None:
    print("$ samusa", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "SAMUSALib.cli", *map(str, arguments)])
    if done.returncode:
        sys.exit(done.returncode)


def write_table(judged: dict, path: Path, minutes: float) -> str:
    clicks = " | ".join(f"{count} clicks" for count in IMAGES)
    lines = [
        f"{minutes:.1f} minutes of training.",
        "",
        f"| model | 1st propagation | mean of 8 | interventions | {clicks} |",
        "|" + "---|" * (4 + len(IMAGES)),
    ]
    for name, found in judged.items():
        clips = found["clips"]["clips"]["windows"]["boundary"]
        images = found["images"]["dice"]["boundary"]
        values = [clips["dice"]["1"], clips["dice"]["mean"]]
        cells = [f"{value:.3f}" for value in values] + [f"{clips['interventions']:.1f}"]
        cells += [f"{images[count]:.3f}" for count in IMAGES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
