"""One HTML page about one annotation: what was found, where, and which frames need a look.

The page is one file: pictures are inside it, charts are inline SVG, nothing is loaded from
anywhere, so it can be mailed, archived and printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..annotation import Annotation, FrameState, SegmentAnnotation
from ..clip import Clip
from ..prompts import SegmentPrompts, Window
from .charts import nice_step, tick
from .pages import write_page
from .pictures import layer, picture, readable, rgb

SHOWN_FRAMES = 24
LOW_CONFIDENCE = 0.8
CHART_WIDTH, CHART_HEIGHT = 460, 250
CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 50, 10, 10, 26


@dataclass(frozen=True)
class Series:
    """What a segment did over the clip; arrays over all frames."""

    area: np.ndarray  # mm² or px, NaN where nothing was computed
    confidence: np.ndarray  # NaN where nothing was computed
    states: list[FrameState]


def write_report(
    folder: str | Path,
    clip: Clip,
    annotation: Annotation,
    prompts: Sequence[SegmentPrompts],
    model_name: str,
    timings: Mapping[str, float],
    device: str = "",
    title: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Write `folder/index.html` and return its path.

    timings: part -> seconds. device: where the model ran. notes: extra lines for the header, such
    as a Dice value. Raises CannotWrite; nothing half-written is left.
    """
    by_name = {segment.name: segment for segment in prompts}
    segments = [
        _segment(clip, segment, by_name.get(segment.name)) for segment in annotation.segments
    ]
    shown = frames_to_show(clip, annotation, prompts)
    return write_page(
        Path(folder) / "index.html",
        "annotation.html.j2",
        title=title or clip.name,
        facts=_facts(clip, model_name, device),
        timings=[(part, _seconds(spent)) for part, spent in timings.items()],
        total=_seconds(sum(timings.values())),
        notes=list(notes),
        segments=segments,
        cells=[_cell(clip, annotation, by_name, index) for index in shown],
        frame_count=len(clip),
        ratio=f"{_aspect(clip):.4f}",
        columns=_columns(clip, len(shown)),
        low=LOW_CONFIDENCE,
    )


def frames_to_show(
    clip: Clip, annotation: Annotation, prompts: Sequence[SegmentPrompts], most: int = SHOWN_FRAMES
) -> list[int]:
    """Frames of the contact sheet: prompted ones, both sides of the window ends, the least sure
    ones, and then evenly chosen ones inside the windows.

    At most `most` where the named ones allow it; never more than twice that.
    """
    length = len(clip)
    must: list[int] = []
    for segment in prompts:
        must += [index for index, given in segment.frames.items() if not given.is_empty]
    for segment in annotation.segments:
        computed = [i for i in range(length) if segment.frame(i).state is FrameState.PROPAGATED]
        if computed:
            must.append(min(computed, key=lambda i: segment.frame(i).confidence))
    windows = [window for segment in prompts for window in segment.windows_within(length)]
    for window in windows:
        must += [window.start, window.end, window.start - 1, window.end + 1]
    must = list(dict.fromkeys(index for index in must if 0 <= index < length))[: 2 * most]
    inside = sorted({i for w in windows for i in range(w.start, min(w.end + 1, length))})
    inside = inside or list(range(length))
    chosen, wanted = set(must), most
    while len(chosen) < most and wanted <= 4 * most:  # evenly chosen ones may be there already
        evenly = np.linspace(0, len(inside) - 1, max(1, wanted - len(must))).round().astype(int)
        chosen = set(must) | {inside[position] for position in evenly}
        if len(chosen) >= most or chosen >= set(inside):
            break
        wanted += 1
    return sorted(chosen)


# Numbers ----------------------------------------------------------------------------------------


def _series(clip: Clip, segment: SegmentAnnotation) -> Series:
    dx, dy = clip.geometry.pixel_spacing
    area = np.full(segment.length, np.nan)
    confidence = np.full(segment.length, np.nan)
    states = []
    for index in range(segment.length):
        frame = segment.frame(index)
        states.append(frame.state)
        if frame.state is not FrameState.EMPTY:
            area[index] = np.count_nonzero(frame.mask.decode()) * dx * dy
            confidence[index] = frame.confidence
    return Series(area, confidence, states)


def _area_unit(clip: Clip) -> str:
    return "mm²" if clip.geometry.calibrated else "px"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 100 or value == 0 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", " ")


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.1f} s"


def _facts(clip: Clip, model_name: str, device: str) -> list[tuple[str, str]]:
    height, width = clip.frame_size
    dx, dy = clip.geometry.pixel_spacing
    length = f"{len(clip)} frames"
    if clip.times is not None and len(clip) > 1:
        length += f" in {clip.times[-1] - clip.times[0]:.1f} s"
    if clip.geometry.kind == "volume":
        length = f"{len(clip)} slices along {'IJK'[clip.geometry.axis]}"
    pixel = f"{dx:.3g} × {dy:.3g} mm" if clip.geometry.calibrated else "not calibrated"
    facts = [
        ("Clip", f"{length}, {width} × {height} pixels"),
        ("Pixel", pixel),
        ("Model", model_name),
        ("Device", device),
        ("Intensity", clip.intensity_rule),
    ]
    return [(name, value) for name, value in facts if value]


def _windows(clip: Clip, prompts: SegmentPrompts | None) -> tuple[Window, ...]:
    return prompts.windows_within(len(clip)) if prompts else (Window(0, len(clip) - 1),)


def _segment(clip: Clip, segment: SegmentAnnotation, prompts: SegmentPrompts | None) -> dict:
    series = _series(clip, segment)
    unit = _area_unit(clip)
    found = np.flatnonzero(np.nan_to_num(series.area) > 0)
    areas = series.area[found] if found.size else np.array([np.nan])
    sure = series.confidence[np.isfinite(series.confidence)]
    # a prompted frame is the annotator's word, so doubt is looked for on the others first
    doubtful = [i for i, s in enumerate(series.states) if s is FrameState.PROPAGATED] or [
        i for i, s in enumerate(series.states) if s is FrameState.PROMPTED
    ]
    doubtful.sort(key=lambda i: series.confidence[i])
    windows = _windows(clip, prompts)
    stated = bool(prompts and prompts.windows)
    rows = [
        ("Windows", ", ".join(f"{w.start}–{w.end}" for w in windows) if stated else "whole clip"),
        ("Masks", f"{found.size} of {sum(len(w) for w in windows)} frames"),
        ("Mean area", f"{_number(areas.mean())} {unit}"),
        ("Smallest", _extreme(series.area, found, np.argmin, unit)),
        ("Largest", _extreme(series.area, found, np.argmax, unit)),
        ("Confidence", f"{sure.mean():.2f}" if sure.size else "–"),
        (
            "Least sure",
            ", ".join(f"{i} ({series.confidence[i]:.2f})" for i in doubtful[:2]) or "–",
        ),
    ]
    if clip.geometry.kind == "volume" and clip.geometry.calibrated and found.size:
        step = np.linalg.norm((clip.geometry.ijk_to_ras @ clip.geometry.frame_to_ijk)[:3, 2])
        rows.insert(2, ("Volume", f"{_number(np.nansum(series.area) * step / 1000)} ml"))
    return {
        "name": segment.name,
        "color": rgb(segment.color),
        "ink": rgb(readable(segment.color)),
        "rows": rows,
        "charts": [
            _chart(f"Area, {unit}", series.area, series, windows, clip, None),
            _chart("Confidence, 0 to 1", series.confidence, series, windows, clip, (0.0, 1.0)),
        ],
    }


def _extreme(area: np.ndarray, found: np.ndarray, pick, unit: str) -> str:
    if not found.size:
        return "–"
    index = int(found[pick(area[found])])
    return f"{_number(area[index])} {unit} (frame {index})"


# Frames -----------------------------------------------------------------------------------------


def _aspect(clip: Clip) -> float:
    """Width over height of a frame as it is in space."""
    height, width = clip.frame_size
    dx, dy = clip.geometry.pixel_spacing
    return (width * dx) / (height * dy)


def _columns(clip: Clip, cells: int) -> int:
    aspect = _aspect(clip)
    wide = 4 if aspect > 1.8 else 5 if aspect > 1.15 else 6
    return max(1, min(wide, cells))


def _cell(
    clip: Clip, annotation: Annotation, prompts: Mapping[str, SegmentPrompts], index: int
) -> dict:
    height, width = clip.frame_size
    layers, lines, badges = [], [], []
    inside = False
    unit = _area_unit(clip)
    dx, dy = clip.geometry.pixel_spacing
    for segment in annotation.segments:
        frame = segment.frame(index)
        said = prompts.get(segment.name)
        inside = inside or any(index in window for window in _windows(clip, said))
        if frame.state is FrameState.EMPTY:
            continue
        mask = frame.mask.decode()
        given = said.frames.get(index) if said else None
        prompted = given is not None and not given.is_empty
        layers.append(layer(mask, given if prompted else None, segment.color, max(height, width)))
        if prompted and "prompted" not in badges:
            badges.append("prompted")
        if frame.state is FrameState.REVIEWED and "reviewed" not in badges:
            badges.append("reviewed")
        lines.append(
            {
                "color": rgb(segment.color),
                "name": segment.name,
                "confidence": f"{frame.confidence:.2f}",
                "low": frame.confidence < LOW_CONFIDENCE and not prompted,
                "area": f"{_number(np.count_nonzero(mask) * dx * dy)} {unit}",
                "empty": not mask.any(),
            }
        )
    return {
        "index": index,
        "time": "" if clip.times is None else f"{clip.times[index]:.2f} s",
        "picture": picture(clip.frames[index], _aspect(clip)),
        "view": f"-0.5 -0.5 {width} {height}",
        "width": width,
        "height": height,
        "layers": layers,
        "lines": lines,
        "badges": badges,
        "inside": inside,
    }


# Charts -----------------------------------------------------------------------------------------


def _chart(
    title: str,
    values: np.ndarray,
    series: Series,
    windows: Sequence[Window],
    clip: Clip,
    limits: tuple[float, float] | None,
) -> dict:
    """A line over the frames with the windows shaded; lines break where nothing was computed."""
    length = len(values)
    known = np.flatnonzero(np.isfinite(values))
    if limits is None:
        top = float(np.nanmax(values)) if known.size else 1.0
        step = nice_step(top or 1.0, 3)
        limits = (0.0, step * max(1, np.ceil((top or 1.0) / step - 1e-9)))
    else:
        step = 0.25
    low, high = limits
    inner = CHART_WIDTH - CHART_LEFT - CHART_RIGHT
    tall = CHART_HEIGHT - CHART_TOP - CHART_BOTTOM

    def x(frame: float) -> float:
        return CHART_LEFT + inner * (frame + 0.5) / length

    def y(value: float) -> float:
        return CHART_TOP + tall * (1 - (value - low) / (high - low))

    runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if known.size else []
    lines = [" ".join(f"{x(i):.1f},{y(values[i]):.1f}" for i in run) for run in runs]
    single = [run[0] for run in runs if len(run) == 1]
    marks = []
    for index in known:
        if series.states[index] in (FrameState.PROMPTED, FrameState.REVIEWED):
            marks.append((x(index), y(values[index]), series.states[index].value))
    frame_step = max(1, int(np.ceil(nice_step(length, 8))))
    return {
        "title": title,
        "width": CHART_WIDTH,
        "height": CHART_HEIGHT,
        "left": CHART_LEFT,
        "right": CHART_WIDTH - CHART_RIGHT,
        "top": CHART_TOP,
        "bottom": CHART_HEIGHT - CHART_BOTTOM,
        "bands": [
            (x(w.start - 0.5), x(min(w.end, length - 1) + 0.5) - x(w.start - 0.5)) for w in windows
        ],
        "grid": [(y(v), tick(v)) for v in np.arange(low, high + step / 2, step)],
        "ticks": [(x(i), str(i)) for i in range(0, length, frame_step)],
        "lines": lines,
        "dots": [(x(i), y(values[i])) for i in single],
        "marks": marks,
        "unit": "slice" if clip.geometry.kind == "volume" else "frame",
    }
