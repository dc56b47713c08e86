"""The page about an evaluation on clips: curves, tables, tests, and the worst clips drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.manifest import Item
from .charts import Line, limits_around, line_chart
from .clip_statistics import WINDOWS
from .clips import ClipProtocol, ClipResult
from .drawings import draw, method_color
from .image_report import P_SHOWN, interval_notes, interval_text, p_text, pair_text
from .metrics import dice
from .pages import write_page

WORST = 2  # structures drawn of each method and setting
FRAMES = 8  # drawn of each
LISTED = 60  # structures in the table of all
SETTINGS = {"windows": "with windows", "no_windows": "without"}


def write_clip_report(
    path: Path,
    summary: dict,
    results: Sequence[ClipResult],
    items: Sequence[Item],
    protocol: ClipProtocol,
) -> Path:
    """Write the page. summary: as `results.write_clips` returns it; results: what it was made
    from. Raises CannotWrite."""
    clips = summary["clips"]
    methods = list(dict.fromkeys(result.method for result in results))
    settings = [setting for setting in SETTINGS if setting in clips]
    ci = clips[settings[0]][methods[0]]["ci"]
    best = clips[settings[0]][methods[0]]
    return write_page(
        path,
        "clips.html.j2",
        title=summary["dataset"],
        facts=[
            ("Model", summary["model"]),
            ("Structures", clips["n"]),
            ("Clips", len({result.clip for result in results})),
            ("Groups", ci["groups"]),
            ("Clicks on a frame", protocol.clicks),
            ("Clicked again below", f"IoU {protocol.threshold:g}"),
            ("Corrections", f"at most {protocol.repeats}"),
            ("Annotator's error", f"{protocol.jitter:.0%} of √area" if protocol.jitter else "none"),
            ("Seed", protocol.seed),
        ],
        headline={
            "text": f"mean Dice, {methods[0]}, {SETTINGS[settings[0]]}",
            "value": f"{best['dice']['mean']:.3f}",
        },
        notes=interval_notes(ci),
        lines=[
            (f"{name}, {SETTINGS[setting]}", method_color(name), setting == "no_windows")
            for name in methods
            for setting in settings
        ],
        charts=[
            _chart(clips, methods, settings, metric, f"mean {title}, all frames")
            for metric, title in (("dice", "Dice"), ("iou", "IoU"))
        ],
        band=interval_text(ci),
        rows=[
            _row(name, setting, clips[setting][name]) for setting in settings for name in methods
        ],
        comparisons=[
            _comparison(pair, SETTINGS[setting], found)
            for setting in settings
            for pair, found in clips["wilcoxon"][setting].items()
        ],
        each=_each(results, methods, settings),
        listed=LISTED,
        columns_each=[f"{n}, {SETTINGS[s]}" for n in methods for s in settings],
        worst=[
            found
            for name in methods
            for setting in settings
            for found in _worst(
                [r for r in results if r.method == name and WINDOWS[r.windows] == setting], items
            )
        ],
        columns=FRAMES,
    )


def _chart(clips: dict, methods, settings, metric: str, title: str) -> dict:
    lines = []
    for name in methods:
        for setting in settings:
            curve = {k: v for k, v in clips[setting][name][metric].items() if k != "mean"}
            numbers, color = [int(k) for k in curve], method_color(name)
            dashed = setting == "no_windows"
            lines.append(Line(name, color, numbers, list(curve.values()), dashed=dashed))
    values = np.array([value for line in lines for value in line.y])
    return line_chart(title, "propagation", lines, limits_around(values))


def _row(name: str, setting: str, found: dict) -> dict:
    loop = found["loop"]
    last = max(int(k) for k in found["dice"] if k != "mean")
    return {
        "name": f"{name}, {SETTINGS[setting]}",
        "interval": pair_text(found["ci"]["dice"]),
        "cells": [
            f"{found['iou']['mean']:.3f}",
            f"{found['dice_visible']['mean']:.3f}",
            f"{found['dice']['1']:.3f}",
            f"{found['dice'][str(last)]:.3f}",
            f"{found['hd95']['mean']:.1f}",
            f"{found['msd']['mean']:.1f}",
            f"{found['interventions']:.2f}",
            f"{found['clicks']:.1f}",
        ],
        "dice": f"{found['dice']['mean']:.3f}",
        "loop": [
            f"{loop['interventions']:.2f}",
            "–" if loop["drop"] is None else f"{100 * loop['drop']:.1f}",
            "–" if loop["clicks"] is None else f"{loop['clicks']:.1f}",
            f"{loop['dice']:.3f}",
        ],
    }


def _comparison(pair: str, setting: str, found: dict) -> dict:
    sure = found["p"] < P_SHOWN and found["better"] is not None
    first = pair.split(" - ")[0]
    return {
        "name": f"{pair.replace(' - ', ' – ')}, {setting}",
        "difference": f"{100 * found['difference']:+.2f}",
        "p": p_text(found["p"]),
        "kind": "" if not sure else "first" if found["better"] == first else "second",
    }


def _each(results: Sequence[ClipResult], methods, settings) -> list[dict]:
    """One line a structure, those with the lowest Dice first."""
    places: dict[tuple[str, int], dict] = {}
    for result in results:
        cells = places.setdefault((result.clip, result.structure), {"frames": result.frames})
        cells[result.method, WINDOWS[result.windows]] = result
    rows = []
    for (clip, structure), cells in places.items():
        found = [cells[name, setting] for name in methods for setting in settings]
        rows.append(
            {
                "name": f"{clip}, structure {structure + 1}",
                "frames": cells["frames"],
                "lowest": min(result.dice for result in found),
                "cells": [(f"{result.dice:.3f}", result.interventions) for result in found],
            }
        )
    return sorted(rows, key=lambda row: row["lowest"])


def _worst(results: Sequence[ClipResult], items: Sequence[Item]) -> list[dict]:
    by_name = {item.name: item for item in items}
    drawn = []
    for result in sorted(results, key=lambda result: result.dice)[:WORST]:
        labelled = by_name[result.clip].load()
        truth = labelled.structures()[result.structure]
        masks = [mask.decode() for mask in result.masks]
        values = np.array([dice(*pair) for pair in zip(truth, masks, strict=True)])
        cells = []
        for index in _frames_to_show(values, sorted(result.prompts)):
            prompts = result.prompts.get(index)
            label = f"frame {index}"
            drawing = draw(
                labelled.frames[index],
                truth[index],
                masks[index],
                prompts,
                result.method,
                label,
                labelled.aspect,
            )
            clicked = prompts is not None
            cells.append(
                drawing | {"dice": f"{values[index]:.3f}", "clicked": clicked, "index": index}
            )
        where = "with windows" if result.windows else "without windows"
        drawn.append(
            {
                "name": f"{result.method}, {where}: {result.clip}, structure "
                f"{result.structure + 1}",
                "text": f"mean Dice over the propagations {result.dice:.3f}, at the end "
                f"{values.mean():.3f}; corrections: {result.interventions}",
                "cells": cells,
            }
        )
    return drawn


def _frames_to_show(values: np.ndarray, clicked: Sequence[int]) -> list[int]:
    """The first clicked frame, the worst ones apart from each other, and evenly chosen others."""
    chosen = list(clicked[:1])
    apart = max(1, len(values) // (2 * FRAMES))
    for index in np.argsort(values, kind="stable").tolist():
        if len(chosen) < FRAMES // 2 and all(abs(index - other) > apart for other in chosen):
            chosen.append(index)
    evenly = np.linspace(0, len(values) - 1, 2 * FRAMES).round().astype(int).tolist()
    for index in evenly[::2] + evenly[1::2]:
        if len(chosen) < FRAMES and index not in chosen:
            chosen.append(index)
    return sorted(chosen)
