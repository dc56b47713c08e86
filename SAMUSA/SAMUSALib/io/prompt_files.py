"""Prompts as files: our own JSON, and Slicer Markups (.mrk.json).

Our JSON (x = column, y = row, frame pixels, pixel centres at integers):

    {"version": 1, "segments": [SEGMENT, ...]}

Segments are as in `prompt_form`; "mask" is the name of a PNG or NRRD image of the frame's
size, its path relative to the JSON file; whatever is not 0 belongs to the mask.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..clip import Clip, Geometry
from ..errors import InvalidValue, SamusaError, UnreadableFile
from ..prompt_form import known, need, numbers, placed, read_segment, segment_form
from ..prompts import FramePrompts, SegmentPrompts
from .json_file import read_json

VERSION = 1
_FILE_KEYS = {"version", "segments"}


def read_prompts(path: str | os.PathLike, clip: Clip) -> list[SegmentPrompts]:
    """Prompts of a JSON file or of a Slicer Markups file (.mrk.json), checked against the clip.

    Markups: each list, line or curve becomes a segment of boundary points; a box ROI becomes a
    box on the frame of its centre. Points are given in RAS or LPS mm. In a volume the nearest
    slice is the frame. In a cine the frame is what the point's description (else its label)
    states as "frame=12", else 0. A description that says "include" or "exclude" makes a region
    point. Raises UnreadableFile (missing, not JSON) and InvalidValue (place and rule).
    """
    path = Path(path)
    content = _load_json(path)
    markups = isinstance(content, dict) and "markups" in content
    try:
        segments = _from_markups(content, path, clip) if markups else _from_ours(content, path)
        names = [segment.name for segment in segments]
        for name in names:
            if names.count(name) > 1:
                raise InvalidValue(f"there are {names.count(name)} segments {name!r}; rename them")
        place = "markups" if markups else "segments"
        for number, segment in enumerate(segments):
            _check(segment, f"{place}[{number}]", clip)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from None
    return segments


def _check(segment: SegmentPrompts, place: str, clip: Clip) -> None:
    """Raise InvalidValue, with the place in the file, unless the prompts fit the clip."""
    for index, prompts in segment.frames.items():
        try:
            prompts.check(clip.frame_size)
        except InvalidValue as error:
            raise InvalidValue(f'{place}.frames["{index}"]: {error}') from None
    try:
        segment.check(len(clip), clip.frame_size)
    except InvalidValue as error:
        raise InvalidValue(f"{place}: {error}") from None


def _load_json(path: Path):
    def no_twice(pairs):
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidValue(f"{path}: {twice!r} is there twice; merge or remove one")
        return dict(pairs)

    return read_json(path, no_twice)


def _from_ours(content, path: Path) -> list[SegmentPrompts]:
    need(content, dict, "the file", 'an object with "version" and "segments"')
    known(content, _FILE_KEYS, "")
    version = content.get("version")
    if version != VERSION or isinstance(version, bool):
        raise InvalidValue(f"version is {version!r}; {VERSION} is needed")
    segments = need(content.get("segments"), list, "segments", "a list")

    def find_mask(name, place: str) -> np.ndarray:
        need(name, str, place, "the path of an image")
        return _read_mask(path.parent / name, place)

    return [read_segment(form, f"segments[{n}]", find_mask) for n, form in enumerate(segments)]


def _read_mask(path: Path, place: str) -> np.ndarray:
    """(H, W) bool of a PNG (or other) image or of an NRRD of one slice."""
    try:
        if path.name.lower().endswith((".nrrd", ".nhdr")):
            from .nrrd_file import read_nrrd

            if not path.is_file():
                raise UnreadableFile(f"{path} does not exist; check the name")
            data, _ = read_nrrd(path)
            if data.ndim == 3 and 1 in data.shape:
                data = data.take(0, axis=max(a for a in range(3) if data.shape[a] == 1))
            mask = data.T
        else:
            from .image_folder import image_labels

            mask = image_labels(path)
    except SamusaError as error:
        raise UnreadableFile(f"{place}: {error}") from None
    if mask.ndim != 2:
        raise InvalidValue(f"{place}: {path} has {mask.ndim} axes; an image of one frame is needed")
    return mask != 0


def write_prompts(path: str | os.PathLike, segments: Sequence[SegmentPrompts]) -> None:
    """Write our JSON; mask prompts become PNG files beside it. All files appear, or none.

    Raises CannotWrite.
    """
    from PIL import Image

    path = Path(path)
    stem = path.name.removesuffix(".json")
    entries = []
    with ExitStack() as files:
        # Entered first, so put in place last: the JSON never names a mask that is not there.
        temporary = files.enter_context(atomic_write(path))
        for number, segment in enumerate(segments):

            def keep_mask(index: int, mask: np.ndarray, number=number) -> str:
                name = f"{stem}.segment{number}.frame{index}.png"
                image = files.enter_context(atomic_write(path.with_name(name)))
                with open(image, "wb") as out:
                    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
                return name

            entries.append(segment_form(segment, keep_mask))
        content = {"version": VERSION, "segments": entries}
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _from_markups(content: dict, path: Path, clip: Clip) -> list[SegmentPrompts]:
    listed = need(content["markups"], list, "markups", "a list")
    stem = re.sub(r"(\.mrk)?\.json$", "", path.name, flags=re.IGNORECASE)
    segments = []
    for number, markup in enumerate(listed):
        place = f"markups[{number}]"
        need(markup, dict, place, "an object")
        # A file of Slicer holds one markup, and most often only the file's name says which.
        name = markup.get("name") or (stem if len(listed) == 1 else f"{stem} {number + 1}")
        need(name, str, f"{place}.name", "a text")
        frames = markup_frames(markup, place, clip.geometry)
        segments.append(placed(place, SegmentPrompts, name, frames, (), _markup_color(markup)))
    return segments


def markup_frames(
    markup: dict, place: str, geometry: Geometry, shown: int = 0
) -> dict[int, FramePrompts]:
    """Prompts by frame of one markup in the form that Slicer writes it, as in `read_prompts`.

    shown: the frame of a cine that a point belongs to where it states none. Raises InvalidValue
    with the place.
    """
    system = markup.get("coordinateSystem", "LPS")
    if system not in ("LPS", "RAS"):
        raise InvalidValue(f"{place}.coordinateSystem is {system!r}; LPS or RAS is needed")
    to_ras = np.array([-1.0, -1.0, 1.0] if system == "LPS" else [1.0, 1.0, 1.0])
    kind = markup.get("type", "Fiducial")
    if kind == "ROI":
        return _roi(markup, place, to_ras, geometry, shown)
    if kind in ("Fiducial", "Line", "Curve", "ClosedCurve"):
        return _control_points(markup, place, to_ras, geometry, shown)
    raise InvalidValue(
        f"{place}.type is {kind!r}; Fiducial, Line, Curve, ClosedCurve or ROI can be used"
    )


def _control_points(
    markup, place: str, to_ras, geometry: Geometry, shown: int
) -> dict[int, FramePrompts]:
    collected: dict[int, dict[str, list]] = {}
    points = need(markup.get("controlPoints", []), list, f"{place}.controlPoints", "a list")
    for number, point in enumerate(points):
        here = f"{place}.controlPoints[{number}]"
        need(point, dict, here, "an object")
        if point.get("positionStatus", "defined") != "defined":
            continue
        position = numbers(point.get("position"), 3, f"{here}.position", "[x, y, z]")
        texts = [str(point.get(key) or "") for key in ("description", "label")]
        words = set(re.findall(r"[a-z]+", texts[0].lower()))
        kind = next((k for k in ("include", "exclude") if k in words), "boundary")
        stated = next(filter(None, (re.search(r"\bframe\s*=\s*(\d+)", t) for t in texts)), None)
        stated = int(stated.group(1)) if stated else shown
        x, y, frame = frame_of_point(np.array(position, float) * to_ras, stated, here, geometry)
        collected.setdefault(frame, {}).setdefault(kind, []).append([x, y])
    return {frame: placed(place, FramePrompts, **kinds) for frame, kinds in collected.items()}


def frame_of_point(
    ras: np.ndarray, stated: int, place: str, geometry: Geometry
) -> tuple[float, float, int]:
    """(x, y, frame) of a point in space (3,); stated: the frame it belongs to in a cine.

    Raises InvalidValue, with the place, for a point that is on no frame.
    """
    if not np.isfinite(ras).all():
        raise InvalidValue(f"{place}.position is {ras.tolist()}; finite numbers are needed")
    length = geometry.frame_shape[0]
    x, y, t = (float(v) for v in geometry.points_from_ras(ras)[0])
    if geometry.kind == "volume":
        if not -0.5 <= t <= length - 0.5:
            raise InvalidValue(
                f"{place} lies at slice {t:.1f}; the volume has slices 0..{length - 1}"
            )
        return x, y, min(max(int(np.floor(t + 0.5)), 0), length - 1)
    # Seen as a stack of images in Slicer, frame n lies n steps along the third axis.
    if min(abs(t), abs(t - stated)) > 0.5:
        raise InvalidValue(
            f"{place} lies {t:.1f} voxels off the image plane; place it on the image, with "
            '"frame=12" in its description for frame 12'
        )
    return x, y, stated


def _roi(markup, place: str, to_ras, geometry: Geometry, shown: int) -> dict[int, FramePrompts]:
    """A box around the ROI's outline, on the frame of its centre."""
    center = np.array(numbers(markup.get("center"), 3, f"{place}.center", "[x, y, z]"), float)
    size = np.array(numbers(markup.get("size"), 3, f"{place}.size", "three lengths"), float)
    turned = markup.get("orientation", [1, 0, 0, 0, 1, 0, 0, 0, 1])
    turned = np.array(numbers(turned, 9, f"{place}.orientation", "nine numbers"), float)
    stated = re.search(r"\bframe\s*=\s*(\d+)", str(markup.get("description") or ""))
    stated = int(stated.group(1)) if stated else shown
    _, _, frame = frame_of_point(center * to_ras, stated, f"{place}.center", geometry)
    corners = np.array(np.meshgrid(*[[-0.5, 0.5]] * 3)).reshape(3, 8) * size[:, None]
    corners = (center[:, None] + turned.reshape(3, 3) @ corners).T * to_ras
    xy = geometry.points_from_ras(corners)[:, :2]
    box = [*xy.min(axis=0), *xy.max(axis=0)]
    return {frame: placed(place, FramePrompts, box=box)}


def _markup_color(markup: dict) -> tuple[int, int, int]:
    display = markup.get("display")
    color = display.get("selectedColor") if isinstance(display, dict) else None
    try:
        values = [min(max(round(float(value) * 255), 0), 255) for value in color]
    except (TypeError, ValueError, OverflowError):
        values = []
    return tuple(values) if len(values) == 3 else (255, 0, 0)
