"""Means over structures, how sure they are, and which method is better.

Structures of one patient (group) are not independent of each other: intervals come from drawing
whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata, wilcoxon

from .images import Row

METRICS = ("dice", "iou", "hd95", "msd")
ENOUGH = 0.90  # Dice at which an annotator would stop
LEVEL = 0.95
DRAWS = 2000
AT_ONCE = 100  # draws held in memory together

Table = dict[str, dict[str, float]]


class Scores:
    """The rows of an evaluation as an array; a structure has the same place for all methods.

    values: (metrics, methods, clicks, structures). groups: (structures,) numbers from 0.
    """

    def __init__(self, rows: Sequence[Row]):
        self.methods = list(dict.fromkeys(row.method for row in rows))
        self.clicks = max(row.clicks for row in rows)
        places = {(row.image, row.structure): row.group for row in rows}
        self.structures = list(places)
        self.groups = np.unique(list(places.values()), return_inverse=True)[1]
        column = {place: index for index, place in enumerate(places)}
        shape = (len(METRICS), len(self.methods), self.clicks, len(column))
        self.values = np.full(shape, np.nan)
        for row in rows:
            at = self.methods.index(row.method), row.clicks - 1, column[row.image, row.structure]
            self.values[(slice(None), *at)] = [getattr(row, metric) for metric in METRICS]

    def of(self, metric: str, method: str) -> np.ndarray:
        """(clicks, structures)."""
        return self.values[METRICS.index(metric), self.methods.index(method)]


def summarise(rows: Sequence[Row]) -> dict:
    """What summary.json says of images; see docs/evaluation.md.

    {"n": structures, metric: {method: {"1": mean, …}}, "clicks_to_90": …, "ci": …,
    "wilcoxon": …}.
    """
    scores = Scores(rows)
    summary: dict = {"n": len(scores.structures)}
    for metric in METRICS:
        summary[metric] = {
            method: _by_clicks(scores.of(metric, method).mean(axis=1)) for method in scores.methods
        }
    summary["clicks_to_90"] = {
        method: clicks_to(scores.of("dice", method)) for method in scores.methods
    }
    summary["ci"] = intervals(scores)
    summary["wilcoxon"] = comparisons(scores)
    return summary


def _by_clicks(values) -> dict:
    return {str(count): value for count, value in enumerate(np.asarray(values).tolist(), start=1)}


def clicks_to(dice: np.ndarray, enough: float = ENOUGH) -> dict[str, float]:
    """Clicks until the Dice of (clicks, structures) first reaches `enough`.

    {"mean": over all structures, where one that never reaches it counts as all clicks;
    "reached": share of structures that do}.
    """
    reached = dice >= enough
    first = np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, len(dice))
    return {"mean": float(first.mean()), "reached": float(reached.any(axis=0).mean())}


def drawn_units(groups: np.ndarray) -> str:
    """What a bootstrap draws: "groups"; "structures" where all lie in one group; "nothing" where
    there is only one structure. groups: (structures,)."""
    if len(np.unique(groups)) > 1:
        return "groups"
    return "structures" if len(groups) > 1 else "nothing"


def bootstrap(
    values: np.ndarray, groups: np.ndarray, seed: int = 0, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (LEVEL) of the mean over structures, from drawing groups with return
    (`drawn_units`).

    values: (…, structures). groups: (structures,) whole numbers from 0. Returns two arrays (…).
    """
    if drawn_units(groups) != "groups":
        groups = np.arange(values.shape[-1])
    flat = values.reshape(-1, values.shape[-1])
    sums = np.stack([np.bincount(groups, row) for row in flat])  # (…, groups)
    sizes = np.bincount(groups)
    rng, count, means = np.random.default_rng(seed), len(sizes), []
    for start in range(0, draws, AT_ONCE):
        block = min(AT_ONCE, draws - start)
        places = rng.integers(count, size=(block, count)) + count * np.arange(block)[:, None]
        drawn = np.bincount(places.ravel(), minlength=block * count).reshape(block, count).T
        means.append(sums @ drawn / (sizes @ drawn))
    means = np.concatenate(means, axis=1)  # (…, draws)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=1)
    return low.reshape(values.shape[:-1]), high.reshape(values.shape[:-1])


def intervals(scores: Scores) -> dict:
    """{"level", "drawn": see `drawn_units`, "groups": their number,
    metric: {method: {"1": [low, high], …}}}; None instead of a pair where nothing is drawn."""
    drawn = drawn_units(scores.groups)
    found: dict = {"level": LEVEL, "drawn": drawn, "groups": int(scores.groups.max()) + 1}
    low, high = bootstrap(scores.values, scores.groups)
    for metric, lows, highs in zip(METRICS, low, high, strict=True):
        pairs = np.stack([lows, highs], axis=-1).tolist()  # (methods, clicks, 2)
        if drawn == "nothing":
            pairs = [[None] * scores.clicks] * len(scores.methods)
        found[metric] = {
            method: {str(count): pair for count, pair in enumerate(by_clicks, start=1)}
            for method, by_clicks in zip(scores.methods, pairs, strict=True)
        }
    return found


def compare(first: str, second: str, a: np.ndarray, b: np.ndarray) -> dict:
    """Wilcoxon signed-rank test, two-sided, of paired values (structures,) of two methods.

    {"p", "difference": mean of a - b, "effect": matched-pairs rank-biserial correlation from -1
    (b always larger) to 1, "better": the method that the ranks favour, None where they favour
    none}. Equal pairs are left out; where all are equal, p is 1.
    """
    difference = np.asarray(a) - np.asarray(b)
    unequal = difference[difference != 0]
    if not len(unequal):
        return {"p": 1.0, "difference": 0.0, "effect": 0.0, "better": None}
    ranks = rankdata(np.abs(unequal))
    effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
    return {
        "p": float(wilcoxon(unequal).pvalue),
        "difference": float(difference.mean()),
        "effect": effect,
        "better": first if effect > 0 else second if effect < 0 else None,
    }


def comparisons(scores: Scores) -> dict:
    """{"boundary - spline": {"1": `compare` of their Dice, …}, …} of every pair of methods."""
    found = {}
    for position, first in enumerate(scores.methods):
        for second in scores.methods[position + 1 :]:
            pairs = zip(scores.of("dice", first), scores.of("dice", second), strict=True)
            found[f"{first} - {second}"] = {
                str(count): compare(first, second, a, b)
                for count, (a, b) in enumerate(pairs, start=1)
            }
    return found
