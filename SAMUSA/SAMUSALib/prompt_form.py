"""The JSON form of prompts, wherever they are written: files, the worker's messages, journals and
Slicer scenes. x = column, y = row, frame pixels, pixel centres at integers:

    {"name": "lumen", "color": [255, 0, 0], "windows": [[0, 23]],
     "frames": {"0": {"boundary": [[212.5, 190.0]], "include": [], "exclude": [],
                      "box": [x0, y0, x1, y1], "mask": REFERENCE}}}

Only "name" is needed. Where the pixels of a mask prompt are kept differs from place to place, so
its REFERENCE is made and read by the caller. Readers take any JSON and raise InvalidValue that
names the place and what is needed there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import InvalidValue
from .prompts import FramePrompts, SegmentPrompts, Window

POINT_KINDS = ("boundary", "include", "exclude")
SEGMENT_KEYS = {"name", "color", "windows", "frames"}
FRAME_KEYS = {*POINT_KINDS, "box", "mask"}

KeepMask = Callable[[int, np.ndarray], Any]  # frame and (H, W) bool -> REFERENCE
FindMask = Callable[[Any, str], np.ndarray]  # REFERENCE and its place -> (H, W)


def segment_form(segment: SegmentPrompts, keep_mask: KeepMask) -> dict[str, Any]:
    """A segment's prompts as JSON."""
    return {
        "name": segment.name,
        "color": list(segment.color),
        "windows": [[window.start, window.end] for window in segment.windows],
        "frames": {
            str(index): frame_form(prompts, lambda mask, index=index: keep_mask(index, mask))
            for index, prompts in segment.frames.items()
        },
    }


def frame_form(prompts: FramePrompts, keep_mask: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The prompts of one frame as JSON; keep_mask: (H, W) bool -> REFERENCE."""
    form: dict[str, Any] = {kind: getattr(prompts, kind).tolist() for kind in POINT_KINDS}
    form["box"] = None if prompts.box is None else prompts.box.tolist()
    form["mask"] = None if prompts.mask is None else keep_mask(prompts.mask)
    return form


def read_segment(form: Any, place: str, find_mask: FindMask) -> SegmentPrompts:
    """What `segment_form` wrote. Raises InvalidValue."""
    need(form, dict, place, "an object")
    known(form, SEGMENT_KEYS, place)
    name = need(form.get("name"), str, f"{place}.name", "a text")
    color = form.get("color", [255, 0, 0])
    numbers(color, 3, f"{place}.color", "[red, green, blue], whole numbers 0..255,")
    windows = []
    listed = [] if form.get("windows") is None else form["windows"]
    need(listed, list, f"{place}.windows", "a list of [start, end]")
    for n, ends in enumerate(listed):
        here = f"{place}.windows[{n}]"
        numbers(ends, 2, here, "[start, end], whole frame numbers,")
        windows.append(placed(here, Window, *ends))
    frames = {}
    listed = need(form.get("frames", {}), dict, f"{place}.frames", "an object of frames")
    for key, prompts in listed.items():
        here = f'{place}.frames["{key}"]'
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key):
            raise InvalidValue(f"{here}: the key must be a frame number such as 12")
        frames[int(key)] = read_frame(prompts, here, find_mask)
    return placed(place, SegmentPrompts, name, frames, tuple(windows), tuple(color))


def read_frame(form: Any, place: str, find_mask: FindMask) -> FramePrompts:
    """What `frame_form` wrote. Raises InvalidValue."""
    need(form, dict, place, "an object")
    known(form, FRAME_KEYS, place)
    values: dict[str, Any] = {}
    for kind in POINT_KINDS:
        points = [] if form.get(kind) is None else form[kind]
        need(points, list, f"{place}.{kind}", "a list of [x, y]")
        for n, point in enumerate(points):
            numbers(point, 2, f"{place}.{kind}[{n}]", "[x, y]")
        values[kind] = placed(f"{place}.{kind}", np.array, points or np.zeros((0, 2)), float)
    box = form.get("box")
    if box is not None:
        values["box"] = numbers(box, 4, f"{place}.box", "[x0, y0, x1, y1]")
    if form.get("mask") is not None:
        values["mask"] = find_mask(form["mask"], f"{place}.mask")
    return placed(place, FramePrompts, **values)


def need(value: Any, type_, place: str, what: str):
    """The value, or InvalidValue that names the place and what is needed there."""
    if not isinstance(value, type_) or isinstance(value, bool):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise InvalidValue(f"{place} is {shown}; {what} is needed")
    return value


def known(form: dict, allowed: set[str], place: str) -> None:
    """Raise InvalidValue for a key that nobody reads."""
    unknown = sorted(set(form) - allowed)
    if unknown:
        where = f"{place}.{unknown[0]}" if place else unknown[0]
        raise InvalidValue(f"{where} is not known; known here: {', '.join(sorted(allowed))}")


def numbers(value: Any, count: int, place: str, what: str) -> list[float]:
    """A list of so many numbers, or InvalidValue."""
    need(value, list, place, what)
    if len(value) != count:
        raise InvalidValue(f"{place} has {len(value)} values; {what} is needed")
    for number in value:
        need(number, (int, float), place, what)
    return value


def placed(place: str, make: Callable, *args, **kwargs):
    """make(...), its errors as InvalidValue preceded by the place."""
    try:
        return make(*args, **kwargs)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"{place}: {error}") from None
