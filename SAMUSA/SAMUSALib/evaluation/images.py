"""The simulated image protocol: quality of the mask of a structure after 1, 2, … N clicks.

A simulated annotator clicks on every structure of every image; each method gets the clicks that
its own masks provoke (Podvin et al., SAMUSA, table 4, figures 2 and 3).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..datasets.manifest import Item, Labelled
from ..datasets.structures import MIN_AREA
from ..errors import InvalidValue
from .annotator import Clicked, simulate_clicks
from .methods import Method
from .metrics import dice, iou, surface_distances


@dataclass(frozen=True)
class Row:
    """One method on one structure after so many clicks.

    structure: its place among the structures of the image, from 0. group: of the image. hd95,
    msd: 95 % Hausdorff and mean surface distance in pixels (`metrics.surface_distances`).
    """

    image: str
    group: str
    structure: int
    method: str
    clicks: int
    dice: float
    iou: float
    hd95: float
    msd: float


@dataclass(frozen=True)
class ImageProtocol:
    """How the annotator clicks.

    clicks: on each structure. jitter: standard deviation of the annotator's error as a share of
    sqrt(area of the structure). All randomness is drawn anew from seed, image name and structure,
    so every boundary method starts with the same click, and neither the order of items and
    methods nor the number of processes matters.
    """

    clicks: int = 10
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.clicks < 1:
            raise InvalidValue(f"clicks is {self.clicks!r}; at least 1 is needed")
        if not self.jitter >= 0:
            raise InvalidValue(f"jitter is {self.jitter!r}; a share of at least 0 is needed")


def evaluate_images(
    items: Iterable[Item], methods: Sequence[Method], protocol: ImageProtocol | None = None
) -> list[Row]:
    """Click every structure of at least MIN_AREA pixels, and judge each mask.

    Raises InvalidValue for no items, no structures, methods of one name, or a mask that does not
    fit its frame.
    """
    items, protocol = list(items), protocol or ImageProtocol()
    check_methods(methods)
    if not items:
        raise InvalidValue("there is nothing to evaluate: give at least one image")
    rows = [row for item in items for row in evaluate_image(item, methods, protocol)]
    if not rows:
        raise InvalidValue(
            f"none of the {len(items)} images holds a structure of at least {MIN_AREA} pixels"
        )
    return rows


def check_methods(methods: Sequence[Method]) -> None:
    """Raise InvalidValue unless there is a method and all have names of their own."""
    names = [method.name for method in methods]
    if not names:
        raise InvalidValue("there is nothing to evaluate: give at least one method")
    if len(set(names)) != len(names):
        raise InvalidValue(f"methods are named {', '.join(names)}; each needs its own name")


def evaluate_image(item: Item, methods: Sequence[Method], protocol: ImageProtocol) -> list[Row]:
    """The rows of one image, see `evaluate_images`; none if it holds no structure."""
    rows: list[Row] = []
    labelled = item.load()
    for index, (truth,) in enumerate(labelled.structures()):
        for method in methods:
            clicked = clicks_on(item.name, labelled, index, truth, method, protocol)
            for count, made in enumerate(clicked, start=1):
                scores = dice(truth, made.mask), iou(truth, made.mask)
                distances = surface_distances(truth, made.mask, labelled.aspect)
                place = item.name, item.group, index, method.name, count
                rows.append(Row(*place, *scores, *distances))
    return rows


def clicks_on(
    name: str,
    labelled: Labelled,
    index: int,
    truth: np.ndarray,
    method: Method,
    protocol: ImageProtocol,
) -> Iterator[Clicked]:
    """The clicks of the protocol on structure number `index`, truth (H, W) bool, of an image."""
    # crc32, unlike hash(), is the same in every process
    rng = np.random.default_rng([protocol.seed, zlib.crc32(name.encode()), index])
    endless = simulate_clicks(
        method.on_pixels(labelled.aspect),
        labelled.frames[0],
        truth,
        method.clicks,
        rng,
        protocol.jitter,
    )
    return islice(endless, protocol.clicks)
