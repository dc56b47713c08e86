"""The live picture of a run: its losses, its Dice on held-out structures, a few of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..atomic import atomic_write
from .validation import Judged

# Okabe and Ito 2008: told apart by all readers
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
TRUTH, PREDICTED, CLICKED = "#56B4E9", "#E69F00", "#ffffff"
EXAMPLES = 6
MARGIN = 0.6  # of the structure's extent, shown around it


def draw_picture(
    path: Path,
    name: str,
    step: int,
    steps: int,
    history: Sequence[dict[str, Any]],
    judged: Sequence[Judged],
    held_out: bool,
) -> None:
    """Write a PNG, atomically.

    history: rows with "step", "losses" (name -> value) and, at some, "validation" (clicks -> Dice).
    judged: structures as the network draws them now. held_out: whether they are.
    """
    shown = sorted(judged, key=_worst)[:EXAMPLES] if judged else []
    figure = Figure(figsize=(12, 7.6 if shown else 4.4), dpi=100, layout="constrained")
    figure.suptitle(f"{name}, step {step} of {steps}", fontsize=13)
    grid = figure.add_gridspec(2 if shown else 1, 1, height_ratios=[1.5, 1] if shown else [1])
    curves = grid[0].subgridspec(1, 2)
    _curves(figure.add_subplot(curves[0]), history)
    _validation(figure.add_subplot(curves[1]), history)
    if shown:
        pictures = grid[1].subgridspec(1, EXAMPLES)
        for index, each in enumerate(shown):
            _example(figure.add_subplot(pictures[index]), each)
        kind = "held-out structures" if held_out else "structures that it learns from"
        figure.supxlabel(f"{kind}, worst first: blue truth, orange model", fontsize=9)
    FigureCanvasAgg(figure)
    with atomic_write(path) as part:
        figure.savefig(part, format="png")


def _worst(each: Judged) -> float:
    return each.dice[max(each.dice)]


def _curves(axes, history: Sequence[dict[str, Any]]) -> None:
    """Dice loss of each kind of step: what the kinds have in common and everybody can read."""
    axes.set_title("Soft Dice loss in training", fontsize=10, loc="left")
    series: dict[str, list[tuple[int, float]]] = {}
    for row in history:
        for loss, value in row["losses"].items():
            if loss.endswith("_dice"):
                series.setdefault(loss.removesuffix("_dice"), []).append((row["step"], value))
    for (kind, points), colour in zip(sorted(series.items()), COLOURS, strict=False):
        steps, values = np.array(points).T
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
        axes.plot(steps, _smooth(values), color=colour, label=kind, linewidth=1.8)
    _finish(axes, bool(series))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the rows, at each row."""
    width = max(1, len(values) // 10)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    at = np.arange(1, len(values) + 1)
    start = np.maximum(at - width, 0)
    return (sums[at] - sums[start]) / (at - start)


def _validation(axes, history: Sequence[dict[str, Any]]) -> None:
    axes.set_title("Mean Dice on held-out structures", fontsize=10, loc="left")
    rows = [row for row in history if row.get("validation")]
    counts = sorted({int(count) for row in rows for count in row["validation"]})
    for count, colour in zip(counts, COLOURS, strict=False):
        points = [(row["step"], row["validation"].get(str(count))) for row in rows]
        steps, values = np.array([each for each in points if each[1] is not None]).T
        label = f"{count} clicks: {values[-1]:.3f}"
        axes.plot(steps, values, color=colour, marker="o", markersize=3, label=label)
    if not rows:
        axes.text(0.5, 0.5, "not validated yet", ha="center", va="center", color="#777777")
    _finish(axes, bool(rows))


def _finish(axes, legend: bool) -> None:
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(fontsize=8, frameon=False)


def _example(axes, each: Judged) -> None:
    """The surroundings of a structure with truth, mask and clicks; the worst come first."""
    frame, truth = each.example.frame, each.example.truth
    rows, columns = np.nonzero(truth | each.mask)
    height, width = frame.shape
    reach = MARGIN * max(np.ptp(rows), np.ptp(columns), 8)
    middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    half = max(np.ptp(rows), np.ptp(columns)) / 2 + reach
    axes.imshow(frame, cmap="gray", vmin=0, vmax=255)
    for mask, colour in ((truth, TRUTH), (each.mask, PREDICTED)):
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.5)
    x, y = each.prompts.boundary.T
    axes.scatter(x, y, s=14, color=CLICKED, edgecolors="black", linewidths=0.6, zorder=3)
    axes.set_xlim(max(middle[1] - half, -0.5), min(middle[1] + half, width - 0.5))
    axes.set_ylim(min(middle[0] + half, height - 0.5), max(middle[0] - half, -0.5))
    axes.set_axis_off()
    clicks = max(each.dice)
    axes.set_title(f"{clicks} clicks, Dice {each.dice[clicks]:.3f}", fontsize=9)
