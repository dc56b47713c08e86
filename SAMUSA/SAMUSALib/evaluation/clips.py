"""The simulated clip protocols: clicks on one frame, propagation, clicks where it fails, again.

`evaluate_clip` runs both on every structure of a clip: the one of the paper (Podvin et al., SAMUSA,
table 5), with and without temporal windows, and the loop of SonoSAMTrack (Ravishankar et al.), in
which a frame is corrected as soon as its Dice falls below 0.90.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ..clip import Clip, Geometry
from ..datasets.manifest import Item, Labelled
from ..datasets.structures import MIN_AREA
from ..engine.plan import DIRECTIONS
from ..errors import InvalidValue
from ..masks import EncodedMask
from ..prompts import FramePrompts, SegmentPrompts, Window
from .annotator import Clicked, simulate_clicks
from .methods import Method
from .metrics import dice, iou, surface_distances

ENOUGH = 0.90  # Dice below which SonoSAMTrack corrects a frame


@dataclass(frozen=True)
class ClipProtocol:
    """clicks: on a frame at a time. threshold: IoU below which the first such frame is clicked.
    repeats: rounds of correction after the first propagation. windows: each of True (the frames
    where the structure is visible, from the truth) and False (none) that is wanted. direction: of
    propagation, see `engine.plan.plan_stretches`. jitter, seed: see `images.ImageProtocol`.
    """

    clicks: int = 5
    threshold: float = 0.75
    repeats: int = 7
    windows: tuple[bool, ...] = (True, False)
    direction: str = "both"
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.clicks < 2:
            raise InvalidValue(f"clicks is {self.clicks!r}; at least 2 on a frame are needed")
        if not 0 < self.threshold < 1:
            raise InvalidValue(f"threshold is {self.threshold!r}; an IoU between 0 and 1 is needed")
        if self.repeats < 0:
            raise InvalidValue(f"repeats is {self.repeats!r}; at least 0 is needed")
        if not self.jitter >= 0:
            raise InvalidValue(f"jitter is {self.jitter!r}; a share of at least 0 is needed")
        if self.direction not in DIRECTIONS:
            raise InvalidValue(
                f"direction is {self.direction!r}; choose from {', '.join(DIRECTIONS)}"
            )


@dataclass(frozen=True)
class Propagation:
    """The masks after one propagation. frame: clicked before it, -1 where none needed a click and
    nothing was computed. clicks: made so far. dice, iou: means over all frames; _visible, hd95
    and msd: over the frames that show the structure."""

    frame: int
    clicks: int
    dice: float
    iou: float
    dice_visible: float
    iou_visible: float
    hd95: float
    msd: float


@dataclass(frozen=True)
class Loop:
    """SonoSAMTrack's loop: interventions, the mean fall of Dice from the frame before to the
    frame of an intervention, clicks on the first frame and in all interventions together, and the
    mean Dice over all frames, each as it was accepted. drop is NaN without an intervention."""

    interventions: int
    drop: float
    first_clicks: int
    clicks: int
    dice: float


@dataclass(frozen=True, eq=False)
class ClipResult:
    """One method on one structure of a clip, with or without windows. masks, prompts: after the
    last propagation."""

    clip: str
    group: str
    structure: int
    method: str
    windows: bool
    frames: int
    propagations: list[Propagation]
    loop: Loop
    masks: list[EncodedMask] = field(repr=False)
    prompts: dict[int, FramePrompts] = field(repr=False)

    @property
    def interventions(self) -> int:
        """Rounds of correction after the first propagation."""
        return sum(propagation.frame >= 0 for propagation in self.propagations[1:])

    @property
    def dice(self) -> float:
        """Mean over all propagations (table 5)."""
        return float(np.mean([propagation.dice for propagation in self.propagations]))

    @property
    def iou(self) -> float:
        """Mean over all propagations (table 5)."""
        return float(np.mean([propagation.iou for propagation in self.propagations]))


def evaluate_clip(
    item: Item, methods: Sequence[Method], protocol: ClipProtocol
) -> list[ClipResult]:
    """Every structure that has MIN_AREA pixels on some frame, every method, each of
    protocol.windows; none if the clip holds no structure."""
    labelled = item.load()
    clip = as_clip(labelled, item.name)
    results = []
    for index, truth in enumerate(labelled.structures()):
        for method in methods:
            for windows in protocol.windows:
                job = _Job(item.name, clip, index, truth, method, windows, protocol)
                propagations, masks, prompts = job.table_5()
                results.append(
                    ClipResult(
                        item.name,
                        item.group,
                        index,
                        method.name,
                        windows,
                        len(clip),
                        propagations,
                        job.sonosam_loop(),
                        [EncodedMask.encode(mask) for mask in masks],
                        prompts,
                    )
                )
    return results


def as_clip(labelled: Labelled, name: str) -> Clip:
    """A clip in pixels, of the labelled frames' aspect."""
    ijk_to_ras = None
    if labelled.aspect != 1.0:
        ijk_to_ras = np.diag([-1.0, -labelled.aspect, 1.0, 1.0])
    shape = labelled.frames.shape[:3]
    return Clip(labelled.frames, Geometry.for_cine(*shape, ijk_to_ras), name)


def visible_windows(truth: np.ndarray) -> tuple[Window, ...]:
    """The runs of frames on which (T, H, W) bool shows anything."""
    shown = np.concatenate([[False], truth.any(axis=(1, 2)), [False]])
    edges = np.flatnonzero(shown[1:] != shown[:-1]).reshape(-1, 2)
    return tuple(Window(int(start), int(end) - 1) for start, end in edges)


class _Job:
    """One structure of a clip, one method, with or without windows."""

    def __init__(
        self,
        name: str,
        clip: Clip,
        index: int,
        truth: np.ndarray,
        method: Method,
        windows: bool,
        protocol: ClipProtocol,
    ):
        if method.propagate is None:
            raise InvalidValue(f"method {method.name!r} cannot propagate; it is for images only")
        self.name, self.clip, self.index, self.truth = name, clip, index, truth
        self.method, self.protocol = method, protocol
        self.windows = visible_windows(truth) if windows else ()
        areas = np.count_nonzero(truth, axis=(1, 2))
        self.visible = areas > 0
        # nobody clicks on less: smaller ones count in the means, but are neither started from nor
        # corrected (the rule for images)
        self.clickable = np.flatnonzero(areas >= MIN_AREA).tolist()

    def table_5(self) -> tuple[list[Propagation], np.ndarray, dict[int, FramePrompts]]:
        """What each propagation reached, and the masks and prompts of the last."""
        masks = np.zeros_like(self.truth)
        hands: dict[int, Iterator[Clicked]] = {}  # a frame that fails again is clicked on
        prompts: dict[int, FramePrompts] = {}
        found: list[Propagation] = []
        frame, clicks = self.clickable[0], 0
        for _ in range(self.protocol.repeats + 1):
            if frame >= 0:
                hands.setdefault(frame, self._annotator(frame))
                *_, last = islice(hands[frame], self.protocol.clicks)
                changed = [frame] if prompts else None
                prompts[frame] = last.prompts
                clicks += self.protocol.clicks
                segment = SegmentPrompts("structure", prompts, self.windows)
                for result in self.method.propagate(
                    self.clip, segment, self.protocol.direction, changed, self.name
                ):
                    masks[result.frame] = result.mask
                scores = self._scores(masks)
            found.append(Propagation(frame, clicks, *scores))
            least = self.protocol.threshold
            frame = next((i for i in self.clickable if self._iou(masks, i) < least), -1)
        return found, masks, prompts

    def sonosam_loop(self) -> Loop:
        """Forward through the clip: track until a frame fails, correct it, and track on from it.
        Frames before a correction stay as they were accepted."""
        masks = np.zeros_like(self.truth)
        frame, tracked, drops, clicks = self.clickable[0], None, [], []
        while frame is not None:
            masks[frame], count = self._accept(frame, tracked)
            clicks.append(count)
            start, frame = frame, self._track_on(frame, masks)
            if frame is not None:
                before = max(index for index in self.clickable if start <= index < frame)
                drops.append(self._dice(masks, before) - self._dice(masks, frame))
                tracked = masks[frame].copy()
        mean = float(np.mean([self._dice(masks, index) for index in range(len(masks))]))
        drop = float(np.mean(drops)) if drops else float("nan")
        return Loop(len(drops), drop, clicks[0], sum(clicks[1:]), mean)

    def _accept(self, frame: int, tracked: np.ndarray | None) -> tuple[np.ndarray, int]:
        """Click on a frame until its Dice is ENOUGH: (the best mask seen, number of clicks).
        Clicks inside and outside correct the tracked mask, as in SonoSAM; the border is clicked
        anew, because two clicks on it already outweigh any mask before."""
        correctable = self.method.clicks != "boundary" and tracked is not None and tracked.any()
        hand = self._annotator(frame, tracked if correctable else None)
        count, best, accepted = 0, -1.0, None
        while count < self.protocol.clicks and best < ENOUGH:
            mask = next(hand).mask
            count += 1
            reached = dice(self.truth[frame], mask)
            if reached > best:
                best, accepted = reached, mask
        return accepted, count

    def _track_on(self, start: int, masks: np.ndarray) -> int | None:
        """Fill the masks after a frame up to the first that fails, and return that one's index;
        None if all are good enough."""
        masks[start + 1 :] = False
        if not masks[start].any():  # nothing to track
            return next((index for index in self.clickable if index > start), None)
        ahead = tuple(Window(max(w.start, start), w.end) for w in self.windows if w.end >= start)
        segment = SegmentPrompts("structure", {start: FramePrompts(mask=masks[start])}, ahead)
        for result in self.method.propagate(self.clip, segment, "forward", None, self.name):
            if result.frame <= start:
                continue
            masks[result.frame] = result.mask
            if result.frame in self.clickable and self._dice(masks, result.frame) < ENOUGH:
                return result.frame
        return None

    def _annotator(self, frame: int, start: np.ndarray | None = None) -> Iterator[Clicked]:
        place = [self.protocol.seed, zlib.crc32(self.name.encode()), self.index, frame]
        return simulate_clicks(
            self.method.on_pixels(self.clip.geometry.pixel_aspect),
            self.clip.frames[frame],
            self.truth[frame],
            self.method.clicks,
            np.random.default_rng(place),
            self.protocol.jitter,
            start,
        )

    def _iou(self, masks: np.ndarray, frame: int) -> float:
        return iou(self.truth[frame], masks[frame])

    def _dice(self, masks: np.ndarray, frame: int) -> float:
        return dice(self.truth[frame], masks[frame])

    def _scores(self, masks: np.ndarray) -> tuple[float, ...]:
        """dice, iou, dice_visible, iou_visible, hd95, msd of a Propagation."""
        pairs = list(zip(self.truth, masks, strict=True))
        overlap = np.array([(dice(*pair), iou(*pair)) for pair in pairs])
        aspect = self.clip.geometry.pixel_aspect
        distances = [
            surface_distances(*pair, aspect)
            for pair, shown in zip(pairs, self.visible, strict=True)
            if shown
        ]
        columns = (overlap, overlap[self.visible], np.array(distances))
        return tuple(float(v) for values in columns for v in values.mean(axis=0))
