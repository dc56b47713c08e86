"""Axes of charts in reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 460, 270  # of a line chart
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 40
INSET = 0.03  # share of the width left free on both sides of the curves


def nice_step(span: float, parts: int) -> float:
    raw = max(span, 1e-12) / parts
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999))


def tick(value: float) -> str:
    value = round(value, 9) + 0.0  # never "-0"
    return f"{value:g}" if abs(value) < 10000 else f"{value / 1000:g}k"


@dataclass(frozen=True)
class Line:
    """A curve of a chart: y over x, with a band from low to high where they are given."""

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False


def line_chart(
    title: str, x_title: str, lines: Sequence[Line], limits: tuple[float, float]
) -> dict:
    """Numbers for the chart macro of parts.html.j2; whole numbers on the x axis.

    What lies outside the limits (of y) is cut off by the chart's frame.
    """
    low, high = limits
    first, last = min(min(line.x) for line in lines), max(max(line.x) for line in lines)
    span = max(last - first, 1)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        across = wide * (INSET + (1 - 2 * INSET) * (x - first) / span)
        return f"{across:.1f},{tall * (1 - (y - low) / (high - low)):.1f}"

    def path(x: Sequence[float], y: Sequence[float]) -> str:
        return " ".join(place(*point) for point in zip(x, y, strict=True))

    drawn = []
    for line in lines:
        band = ""
        if line.low is not None:
            band = path(line.x, line.high) + " " + path(line.x[::-1], line.low[::-1])
        dots = [place(*point).split(",") for point in zip(line.x, line.y, strict=True)]
        drawn.append(
            {
                "name": line.name,
                "color": line.color,
                "band": band,
                "points": path(line.x, line.y),
                "dots": dots,
                "dashed": line.dashed,
            }
        )
    step = nice_step(high - low, 5)
    values = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
    every = max(1, int(np.ceil(span / 15)))
    return {
        "title": title,
        "x_title": x_title,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "top": TOP,
        "wide": wide,
        "tall": tall,
        "grid": [(tall * (1 - (value - low) / (high - low)), tick(value)) for value in values],
        "ticks": [
            (float(place(x, low).split(",")[0]), f"{x:g}")
            for x in np.arange(first, last + 1e-9, every)
        ],
        "lines": drawn,
    }


def limits_around(values: np.ndarray, highest: float = 1.0) -> tuple[float, float]:
    """Limits for shares (up to `highest`) that show the differences between them."""
    lowest = float(np.min(values))
    step = nice_step(max(highest - lowest, 0.02), 5)
    return max(0.0, float(np.floor(lowest / step + 1e-9) * step)), highest
