"""The files of an evaluation: items.csv (every measurement) and summary.json (means)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from ..atomic import atomic_write, made_folder
from .clip_statistics import summarise_clips
from .clips import ClipResult, Propagation
from .images import Row
from .statistics import summarise


def write_images(folder: Path, rows: Sequence[Row], dataset: str, model: str) -> dict:
    """Write items.csv (one line a structure, method and click) and summary.json into a folder,
    made if missing; returns the summary. Each file is whole or as it was. Raises CannotWrite."""
    summary = {"dataset": dataset, "model": model, **summarise(rows), "clips": {}}
    header = [column.name for column in fields(Row)]
    _write(folder, {"items.csv": _table(header, map(asdict, rows))}, summary)
    return summary


def write_clips(folder: Path, results: Sequence[ClipResult], dataset: str, model: str) -> dict:
    """Write items.csv (one line a propagation), loop.csv (one line a loop) and summary.json, as
    `write_images`. The means of images, "dice" and "iou", are empty."""
    clips = summarise_clips(results)
    summary = {"dataset": dataset, "model": model, "n": clips["n"], "dice": {}, "iou": {}}
    summary["clips"] = clips
    place = ("clip", "group", "structure", "method", "windows", "frames")
    columns = [column.name for column in fields(Propagation)]
    propagations = [
        {name: getattr(result, name) for name in place}
        | {"propagation": number}
        | asdict(propagation)
        for result in results
        for number, propagation in enumerate(result.propagations, start=1)
    ]
    loops = [
        {name: getattr(result, name) for name in place} | asdict(result.loop) for result in results
    ]
    tables = {
        "items.csv": _table([*place, "propagation", *columns], propagations),
        "loop.csv": _table(list(loops[0]), loops),
    }
    _write(folder, tables, summary)
    return summary


def _table(header: Sequence[str], lines: Iterable[dict]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        nothing = {name for name, v in line.items() if isinstance(v, float) and math.isnan(v)}
        writer.writerow({name: "" if name in nothing else v for name, v in line.items()})
    return text.getvalue()


def _write(folder: Path, tables: dict[str, str], summary: dict) -> None:
    texts = {**tables, "summary.json": json.dumps(summary, indent=1, allow_nan=False) + "\n"}
    with made_folder(folder):
        for name, text in texts.items():
            with atomic_write(folder / name) as part:
                part.write_text(text, encoding="utf-8")
