"""The page about an evaluation on images: curves, tables, tests, and the worst cases drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.manifest import Item
from .charts import Line, limits_around, line_chart, tick
from .drawings import draw, method_color
from .images import ImageProtocol, Row, clicks_on
from .methods import Method
from .pages import write_page
from .statistics import ENOUGH, Scores

WORST = 6  # drawn of each method
WORST_AFTER = 5  # clicks
P_SHOWN = 0.05


def write_image_report(
    path: Path,
    summary: dict,
    rows: Sequence[Row],
    items: Sequence[Item],
    methods: Sequence[Method],
    protocol: ImageProtocol,
) -> Path:
    """Write the page. summary: as `results.write_images` returns it; rows: what it was made from.

    The worst cases are clicked once more, which gives the same masks. Raises CannotWrite.
    """
    scores = Scores(rows)
    names, counts = scores.methods, list(range(1, scores.clicks + 1))
    groups = summary["ci"]["groups"]
    shown = min(WORST_AFTER, scores.clicks)
    return write_page(
        path,
        "images.html.j2",
        title=summary["dataset"],
        facts=[
            ("Model", summary["model"]),
            ("Structures", summary["n"]),
            ("Images", len({row.image for row in rows})),
            ("Groups", groups),
            ("Annotator's error", f"{protocol.jitter:.0%} of √area" if protocol.jitter else "none"),
            ("Seed", protocol.seed),
        ],
        headline={
            "text": f"mean Dice, {names[0]}, {shown} clicks",
            "value": f"{summary['dice'][names[0]][str(shown)]:.3f}",
        },
        notes=interval_notes(summary["ci"]),
        lines=[(name, method_color(name), False) for name in names],
        band=interval_text(summary["ci"]),
        charts=_charts(summary, scores),
        methods=names,
        means=[_means(summary, names, count) for count in counts],
        counts=sorted({min(2, scores.clicks), shown, scores.clicks}),
        methods_table=[_method(summary, scores, name, shown) for name in names],
        all_counts=counts,
        comparisons=[_comparison(pair, found) for pair, found in summary["wilcoxon"].items()],
        shown=shown,
        worst=[
            {
                "method": method.name,
                "cases": _worst(scores, items, method, protocol, shown),
            }
            for method in methods
        ],
        columns=WORST,
    )


def interval_text(ci: dict) -> str:
    """What a band is, in words."""
    if ci["drawn"] == "nothing":
        return "none, for one structure"
    return f"{ci['level']:.0%} bootstrap interval of the mean, drawing {ci['drawn']}"


def interval_notes(ci: dict) -> list[str]:
    """What must be said about the intervals."""
    if ci["groups"] > 1:
        return []
    return [
        "All structures lie in one group (patient or sweep): intervals and tests say nothing "
        "about other patients."
    ]


def pair_text(pair: tuple[float, float] | None) -> str:
    """An interval in small print."""
    return "" if pair is None else f"{pair[0]:.3f}–{pair[1]:.3f}"


def _charts(summary: dict, scores: Scores) -> list[dict]:
    counts = list(range(1, scores.clicks + 1))

    def chart(title: str, metric: str, limits) -> dict:
        lines = []
        for name in scores.methods:
            pairs = list(summary["ci"][metric][name].values())
            low, high = (None, None) if None in pairs else np.array(pairs).T
            means = list(summary[metric][name].values())
            lines.append(Line(name, method_color(name), counts, means, low, high))
        if min(min(line.y) for line in lines) < limits[0]:
            title += f", from {tick(limits[0])} up"
        return line_chart(title, "clicks", lines, limits)

    settled = slice(1 if scores.clicks > 1 else 0, None)  # one click is a world of its own
    means = {
        metric: np.array([list(summary[metric][name].values()) for name in scores.methods])
        for metric in ("dice", "iou", "msd")
    }
    reached = [
        Line(
            name,
            method_color(name),
            counts,
            np.maximum.accumulate(scores.of("dice", name) >= ENOUGH, axis=0).mean(axis=1),
        )
        for name in scores.methods
    ]
    top = 1.1 * float(means["msd"][:, settled].max()) or 1.0
    return [
        chart("mean Dice", "dice", limits_around(means["dice"][:, settled])),
        chart("mean IoU", "iou", limits_around(means["iou"][:, settled])),
        chart("mean surface distance, pixels", "msd", (0.0, top)),
        line_chart("share of structures that reached Dice 0.90", "clicks", reached, (0.0, 1.0)),
    ]


def _means(summary: dict, names: Sequence[str], count: int) -> dict:
    row: dict = {"clicks": count}
    for metric in ("dice", "iou"):
        values = [summary[metric][name][str(count)] for name in names]
        row[metric] = []
        for name, value in zip(names, values, strict=True):
            row[metric].append(
                {
                    "mean": f"{value:.3f}",
                    "interval": pair_text(summary["ci"][metric][name][str(count)]),
                    "best": len(names) > 1 and value == max(values),
                }
            )
    return row


def _method(summary: dict, scores: Scores, name: str, shown: int) -> dict:
    to_90 = summary["clicks_to_90"][name]
    distances = []
    for count in sorted({min(2, scores.clicks), shown, scores.clicks}):
        distances += [f"{summary[m][name][str(count)]:.2f}" for m in ("hd95", "msd")]
    return {
        "name": name,
        "clicks": f"{to_90['mean']:.2f}",
        "reached": f"{to_90['reached']:.1%}",
        "distances": distances,
    }


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _comparison(pair: str, found: dict) -> dict:
    first = pair.split(" - ")[0]
    cells = []
    for result in found.values():
        sure = result["p"] < P_SHOWN and result["better"] is not None
        cells.append(
            {
                "difference": f"{100 * result['difference']:+.2f}",
                "p": p_text(result["p"]),
                "kind": "" if not sure else "first" if result["better"] == first else "second",
            }
        )
    return {"name": pair.replace(" - ", " – "), "cells": cells}


def _worst(
    scores: Scores, items: Sequence[Item], method: Method, protocol: ImageProtocol, shown: int
) -> list[dict]:
    by_name = {item.name: item for item in items}
    dice = scores.of("dice", method.name)[shown - 1]
    cases = []
    for column in np.argsort(dice, kind="stable")[:WORST]:
        name, index = scores.structures[column]
        labelled = by_name[name].load()
        (truth,) = labelled.structures()[index]
        clicked = clicks_on(name, labelled, index, truth, method, protocol)
        made = next(made for count, made in enumerate(clicked, start=1) if count == shown)
        label = f"{name}, structure {index + 1}"
        drawing = draw(
            labelled.frames[0], truth, made.mask, made.prompts, method.name, label, labelled.aspect
        )
        count = f"{shown} click" + "s" * (shown > 1)
        cases.append(drawing | {"dice": f"{dice[column]:.3f}", "name": label, "clicks": count})
    return cases
