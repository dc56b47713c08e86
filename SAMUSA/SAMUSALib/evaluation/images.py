"""The simulated image protocol: quality of the mask of a structure after 1, 2, … N clicks.

A simulated annotator clicks on every structure of every image; each method gets the clicks that
its own masks provoke (Podvin et al., SAMUSA, table 4).
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..atomic import atomic_write, made_folder
from ..datasets.manifest import Item
from ..datasets.structures import MIN_AREA
from ..engine.spline import spline_mask
from ..errors import InvalidValue
from ..prompts import FramePrompts
from ..training import clicks as annotator
from . import metrics


class Segmented(Protocol):
    """What a method returns: the mask, (H, W) bool, and whatever it wants to get back."""

    mask: np.ndarray


@dataclass(frozen=True)
class Method:
    """A way to turn clicks into a mask.

    segment: (frame uint8 (H, W) or (H, W, 3), FramePrompts, previous) -> Segmented; previous is
    what it returned after the click before, None at first. clicks: what the annotator clicks,
    "boundary" (on the border) or "region" (inside and outside). The segment method of an
    `engine.segmentation.FrameSegmenter` fits as it is.
    """

    name: str
    segment: Callable[[np.ndarray, FramePrompts, Any], Segmented]
    clicks: str = "boundary"


@dataclass(frozen=True)
class _Mask:
    mask: np.ndarray


def spline_method(name: str = "spline") -> Method:
    """The baseline: the curve through the boundary points, without a look at the image."""

    def segment(frame: np.ndarray, prompts: FramePrompts, previous: Any = None) -> _Mask:
        return _Mask(spline_mask(prompts.boundary, frame.shape[:2]))

    return Method(name, segment)


def _click_kind(method: Any) -> str:
    """Any object with `name` and `segment` is a method; without `clicks` its name decides."""
    kind = getattr(method, "clicks", "region" if method.name == "region" else "boundary")
    if kind not in ("boundary", "region"):
        raise InvalidValue(
            f"method {method.name!r} wants {kind!r} clicks; 'boundary' or 'region' is needed"
        )
    return kind


@dataclass(frozen=True)
class Row:
    """Dice and IoU of one method on one structure after so many clicks.

    structure: its place among the structures of the image, from 0.
    """

    image: str
    structure: int
    method: str
    clicks: int
    dice: float
    iou: float


def evaluate_images(
    items: Iterable[Item],
    methods: Sequence[Method],
    clicks: int = 10,
    jitter: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Click every structure of at least MIN_AREA pixels, and record each mask.

    Boundary methods get `next_boundary_click` against their own mask, region methods
    `next_region_click`. jitter: standard deviation of the annotator's error as a share of
    sqrt(area of the structure). All randomness is drawn anew from seed, image name and structure,
    so every boundary method starts with the same click and the order of items and methods does not
    matter. progress(done, total) is called after each image. Raises InvalidValue for no items, no
    structures, methods of one name, or a mask that does not fit its frame.
    """
    items = list(items)
    names = [method.name for method in methods]
    if not items or not methods:
        raise InvalidValue("there is nothing to evaluate: give at least one image and one method")
    if len(set(names)) != len(names):
        raise InvalidValue(f"methods are named {', '.join(names)}; each needs its own name")
    if clicks < 1:
        raise InvalidValue(f"clicks is {clicks!r}; at least 1 is needed")
    if not jitter >= 0:
        raise InvalidValue(f"jitter is {jitter!r}; a share of at least 0 is needed")
    rows: list[Row] = []
    for done, item in enumerate(items, start=1):
        rows += evaluate_image(item, methods, clicks, jitter, seed)
        if progress is not None:
            progress(done, len(items))
    if not rows:
        raise InvalidValue(
            f"none of the {len(items)} images holds a structure of at least {MIN_AREA} pixels"
        )
    return rows


def evaluate_image(
    item: Item,
    methods: Sequence[Method],
    clicks: int = 10,
    jitter: float = 0.0,
    seed: int = 0,
) -> list[Row]:
    """The rows of one image, see `evaluate_images`; none if it holds no structure."""
    rows: list[Row] = []
    labelled = item.load()
    frame = labelled.frames[0]
    for index, (truth,) in enumerate(labelled.structures()):
        for method in methods:
            # crc32, unlike hash(), is the same in every process
            rng = np.random.default_rng([seed, zlib.crc32(item.name.encode()), index])
            masks = _masks_by_click(method, frame, truth, clicks, jitter, rng)
            rows += [
                Row(
                    item.name,
                    index,
                    method.name,
                    count,
                    metrics.dice(truth, mask),
                    metrics.iou(truth, mask),
                )
                for count, mask in enumerate(masks, start=1)
            ]
    return rows


def _masks_by_click(
    method: Method,
    frame: np.ndarray,
    truth: np.ndarray,
    clicks: int,
    jitter: float,
    rng: np.random.Generator,
) -> Iterable[np.ndarray]:
    """The method's mask after each click."""
    kind = _click_kind(method)
    truth_border = annotator.border(truth)
    sd = jitter * float(np.sqrt(np.count_nonzero(truth)))
    points: dict[str, list[np.ndarray]] = {"boundary": [], "include": [], "exclude": []}
    previous, mask = None, None
    for _ in range(clicks):
        if kind == "boundary":
            to = "boundary"
            made = np.array(points[to]).reshape(-1, 2)
            click = annotator.next_boundary_click(truth_border, made, mask, rng)
        else:
            click, include = annotator.next_region_click(truth, mask, rng)
            to = "include" if include else "exclude"
        if sd > 0:
            click = annotator.jitter(click, rng, sd, truth.shape)
        points[to].append(click)
        prompts = FramePrompts(**{name: np.array(made) for name, made in points.items()})
        previous = method.segment(frame, prompts, previous)
        mask = np.asarray(previous.mask, dtype=bool)
        if mask.shape != truth.shape:
            raise InvalidValue(
                f"method {method.name!r} gave a mask of shape {mask.shape} "
                f"for a frame of {truth.shape}"
            )
        yield mask


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over all structures: {"n": structures, "dice": {method: {"1": mean, …}}, "iou": …}."""
    summary: dict[str, Any] = {"n": len({(row.image, row.structure) for row in rows})}
    for metric in ("dice", "iou"):
        values: dict[str, dict[str, list[float]]] = {}
        for row in rows:
            by_clicks = values.setdefault(row.method, {})
            by_clicks.setdefault(str(row.clicks), []).append(getattr(row, metric))
        summary[metric] = {
            method: {count: float(np.mean(v)) for count, v in by_clicks.items()}
            for method, by_clicks in values.items()
        }
    return summary


def write_evaluation(
    out_folder: Path | str, rows: Sequence[Row], dataset: str, model_name: str
) -> dict[str, Any]:
    """Write items.csv (one line a row) and summary.json into a folder, which is made if missing.

    summary.json, also returned: {"dataset", "model", "n", "dice", "iou"} as in `summarise`. Each
    file is either complete or as it was before. Raises CannotWrite.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [column.name for column in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    summary = {"dataset": dataset, "model": model_name, **summarise(rows)}
    texts = {"items.csv": table.getvalue(), "summary.json": json.dumps(summary, indent=1) + "\n"}
    with made_folder(out_folder) as folder:
        for name, text in texts.items():
            with atomic_write(folder / name) as part:
                part.write_text(text, encoding="utf-8")
    return summary
