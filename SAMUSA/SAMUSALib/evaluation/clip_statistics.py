"""Means over the structures of clips, their intervals, and which method is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .clips import ClipResult
from .statistics import LEVEL, bootstrap, compare, drawn_units

WINDOWS = {True: "windows", False: "no_windows"}
COLUMNS = ("dice", "iou", "dice_visible", "iou_visible", "hd95", "msd")


def summarise_clips(results: Sequence[ClipResult]) -> dict:
    """What summary.json says of clips; see docs/evaluation.md.

    {"n": structures, "windows": {method: …}, "no_windows": {method: …}, "wilcoxon": …,
    "each": [one line a structure, method and setting]}.
    """
    summary: dict = {"n": len({(result.clip, result.structure) for result in results})}
    wilcoxon: dict = {}
    for windows, name in WINDOWS.items():
        by_method = _by_method([result for result in results if result.windows is windows])
        if by_method:
            summary[name] = {method: _method(found) for method, found in by_method.items()}
            wilcoxon[name] = _comparisons(by_method)
    summary["wilcoxon"] = wilcoxon
    summary["each"] = [_line(result) for result in results]
    return summary


def _by_method(results: Sequence[ClipResult]) -> dict[str, list[ClipResult]]:
    found: dict[str, list[ClipResult]] = {}
    for result in results:
        found.setdefault(result.method, []).append(result)
    return found


def _method(results: Sequence[ClipResult]) -> dict:
    """One method: the curve over the propagations, its means (table 5) and the loop's."""
    summary: dict = {}
    for column in COLUMNS:
        values = [[getattr(p, column) for p in result.propagations] for result in results]
        by_propagation = np.mean(values, axis=0)
        summary[column] = {
            str(number): float(value) for number, value in enumerate(by_propagation, start=1)
        }
        summary[column]["mean"] = float(by_propagation.mean())
    summary["interventions"] = _mean(results, lambda r: r.interventions)
    summary["clicks"] = _mean(results, lambda r: r.propagations[-1].clicks)
    summary["loop"] = _loop(results)
    summary["ci"] = _intervals(results)
    return summary


def _mean(results: Sequence[ClipResult], value: Callable[[ClipResult], float]) -> float:
    return float(np.mean([value(result) for result in results]))


def _loop(results: Sequence[ClipResult]) -> dict:
    """Interventions a structure; the fall of Dice and the clicks of an intervention, over those
    that there were (None without any)."""
    count = sum(result.loop.interventions for result in results)
    drops = sum(r.loop.drop * r.loop.interventions for r in results if r.loop.interventions)
    return {
        "interventions": count / len(results),
        "drop": drops / count if count else None,
        "clicks": sum(result.loop.clicks for result in results) / count if count else None,
        "first_clicks": _mean(results, lambda r: r.loop.first_clicks),
        "dice": _mean(results, lambda r: r.loop.dice),
    }


def _intervals(results: Sequence[ClipResult]) -> dict:
    groups = np.unique([result.group for result in results], return_inverse=True)[1]
    values = np.array([[r.dice, r.iou, r.interventions, r.loop.interventions] for r in results])
    low, high = bootstrap(values.T, groups)
    names = ("dice", "iou", "interventions", "loop_interventions")
    drawn = drawn_units(groups)
    pairs = [None] * len(names) if drawn == "nothing" else np.stack([low, high], axis=1).tolist()
    found: dict = {"level": LEVEL, "drawn": drawn, "groups": int(groups.max()) + 1}
    return found | dict(zip(names, pairs, strict=True))


def _comparisons(by_method: dict[str, list[ClipResult]]) -> dict:
    """Every pair of methods, by the mean Dice of a structure over all propagations."""
    found, names = {}, list(by_method)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            values = [np.array([r.dice for r in by_method[name]]) for name in (first, second)]
            found[f"{first} - {second}"] = compare(first, second, *values)
    return found


def _line(result: ClipResult) -> dict:
    return {
        "clip": result.clip,
        "structure": result.structure,
        "method": result.method,
        "windows": result.windows,
        "dice": result.dice,
        "iou": result.iou,
        "last_dice": result.propagations[-1].dice,
        "interventions": result.interventions,
        "loop_interventions": result.loop.interventions,
    }
