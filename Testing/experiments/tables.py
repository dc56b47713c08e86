"""Tables and curves of the experiment from its results.json (see run.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLICKS = ("1", "2", "3", "4", "5", "7", "10")


def write_tables(results: dict, path: Path) -> None:
    """All tables as Markdown."""
    runs = results["runs"]
    parts = [
        f"{results['start_steps']} steps on simulated clips, then {results['steps']} steps a run.",
        "**Dice by clicks, exact**\n\n" + _prompts(results, "dice", "exact"),
        "**IoU by clicks, exact**\n\n" + _prompts(results, "iou", "exact"),
        "**Dice by clicks that miss by 3 % of the root of the area**\n\n"
        + _prompts(results, "dice", "inexact"),
        "**Each set left out, Dice**\n\n" + _left_out(results),
        "**Boundary loss, Dice, mean of the sets**\n\n" + _losses(runs),
        "**Simulated clips, mean over 8 propagations**\n\n" + _clips(runs),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def curve(runs: dict, clicks: str, method: str, seen: bool, metric: str, kind: str) -> np.ndarray:
    """Mean over the runs that left a set out, 1 to 10 clicks: (10,). seen: on the sets that they
    were trained on, else on the one left out; each set counts the same."""
    curves = []
    for name, run in runs.items():
        if "without" not in name or run["clicks"] != clicks:
            continue
        for data, judged in run["images"].items():
            if (data in run["sets"]) == seen:
                curves.append(_all(judged[kind][metric][method]))
    return np.mean(curves, axis=0)


def _all(means: dict[str, float]) -> list[float]:
    return [means[str(count)] for count in range(1, 11)]


def rows(results: dict, metric: str, kind: str) -> dict[str, np.ndarray]:
    """The curves of the comparison, by their name."""
    runs, spline = results["runs"], results["spline"]
    return {
        "boundary, seen": curve(runs, "boundary", "boundary", True, metric, kind),
        "region, seen": curve(runs, "region", "region", True, metric, kind),
        "boundary, unseen": curve(runs, "boundary", "boundary", False, metric, kind),
        "region, unseen": curve(runs, "region", "region", False, metric, kind),
        "spline": np.mean([_all(judged[kind][metric]["spline"]) for judged in spline.values()], 0),
    }


def _prompts(results: dict, metric: str, kind: str) -> str:
    lines = [
        [name, *(_number(values[int(count) - 1]) for count in CLICKS)]
        for name, values in rows(results, metric, kind).items()
    ]
    return _table(["clicks", *CLICKS], lines)


def _left_out(results: dict) -> str:
    lines = []
    for name, run in results["runs"].items():
        if "without" not in name:
            continue
        left_out = name.split("without ")[1]
        for kind in ("exact", "inexact"):
            means = (
                run["images"][left_out][kind]["dice"] | results["spline"][left_out][kind]["dice"]
            )
            for method, values in means.items():
                lines.append(
                    [left_out, kind, method, *(_number(values[count]) for count in CLICKS)]
                )
    return _table(
        ["left out", "clicks are", "method", *CLICKS], sorted(map(list, set(map(tuple, lines))))
    )


def _losses(runs: dict) -> str:
    lines = []
    for name, run in runs.items():
        if not name.startswith("lambda"):
            continue
        for kind in ("exact", "inexact"):
            means = [
                np.mean([judged[kind]["dice"]["boundary"][c] for judged in run["images"].values()])
                for c in CLICKS
            ]
            lines.append([name, kind, *map(_number, means)])
    return _table(["loss", "clicks are", *CLICKS], lines)


def _clips(runs: dict) -> str:
    lines = []
    for windows, label in (("no_windows", "without"), ("windows", "with")):
        for clicks in ("boundary", "region"):
            found = [
                run["clips"]["clips"][windows][clicks]
                for name, run in runs.items()
                if "without" in name and run["clicks"] == clicks
            ]
            lines.append(
                [
                    clicks,
                    label,
                    *(_number(np.mean([f[m]["mean"] for f in found])) for m in ("dice", "iou")),
                    f"{np.mean([f['interventions'] for f in found]):.1f}",
                ]
            )
    return _table(["trained with", "windows", "Dice", "IoU", "interventions"], lines)


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _table(header: list[str], lines: list[list[str]]) -> str:
    texts = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in texts)


def draw_curves(results: dict, path: Path) -> None:
    """Dice against clicks, exact and inexact, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colors = {"boundary": "#1f77b4", "region": "#d62728", "spline": "#555555"}
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    titles = {"exact": "exact clicks", "inexact": "clicks that miss by 3 % of √area"}
    for axis, (kind, title) in zip(axes, titles.items(), strict=True):
        for name, values in rows(results, "dice", kind).items():
            dashes = "--" if "unseen" in name else ":" if name == "spline" else "-"
            axis.plot(range(1, 11), values, dashes, color=colors[name.split(",")[0]], label=name)
        axis.set(title=title, xlabel="clicks", xticks=range(1, 11))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="mean Dice", ylim=(0, 1))
    axes[1].legend(loc="lower right", framealpha=1.0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
