"""Dice on a few structures while training, held-out ones or for the picture: seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from ..datasets.manifest import parse_manifest
from ..engine.models import Model, ModelInfo
from ..engine.network import SamusaNetwork
from ..engine.segmentation import FrameSegmenter
from ..errors import InvalidValue
from ..evaluation.annotator import simulate_clicks
from ..evaluation.metrics import dice
from ..prompts import FramePrompts
from .config import Data, Validation
from .data import Source, structures
from .randomness import VALIDATION, generator


@dataclass(frozen=True, eq=False)
class Example:
    """A structure on one frame: frame (H, W) uint8, truth (H, W) bool."""

    name: str
    frame: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Judged:
    """What a network made of an example. dice: number of clicks -> Dice; prompts and mask (H, W)
    are those of the most clicks."""

    example: Example
    dice: dict[int, float]
    prompts: FramePrompts
    mask: np.ndarray


def held_out(data: Data, validation: Validation, seed: int) -> list[Example]:
    """Structures of the validation split. Raises InvalidValue if no set has that split."""
    items = [
        item
        for part in data.sets
        for item in parse_manifest(part.folder).items
        if item.split == validation.split
    ]
    if not items:
        raise InvalidValue(
            f"no set has a split {validation.split!r} to validate on; "
            "set validation.split, or validation.every to 0"
        )
    return examples_of(items, validation.structures, seed)


def examples_of(sources: Sequence[Source], count: int, seed: int) -> list[Example]:
    """A random choice of structures, at most one of each source, the same for a seed.

    Raises InvalidValue if there is no structure.
    """
    rng = generator(seed, VALIDATION)
    examples: list[Example] = []
    for index in rng.permutation(len(sources)):
        clips = structures(sources[index].load())
        if not clips:
            continue
        clip = clips[rng.integers(len(clips))]
        frame = rng.choice(np.flatnonzero(clip.masks.any(axis=(1, 2))))
        examples.append(Example(sources[index].name, clip.frames[frame], clip.masks[frame]))
        if len(examples) == count:
            break
    if not examples:
        raise InvalidValue("nothing in the data holds a structure to look at")
    return examples


def judge(
    network: SamusaNetwork,
    prompts: tuple[str, ...],
    device: torch.device,
    examples: Sequence[Example],
    clicks: Sequence[int],
    seed: int,
) -> list[Judged]:
    """Boundary clicks on each example, as many as the largest of `clicks`.

    network: in evaluation mode. prompts: kinds it is trained for; boundary clicks are translated
    for a network without them.
    """
    info = ModelInfo("in training", network.architecture, prompts, 0, "", {})
    segmenter = FrameSegmenter(Model(network, info, device))
    judged = []
    for number, example in enumerate(examples):
        rng = generator(seed, VALIDATION, number)
        made = islice(
            simulate_clicks(segmenter.segment, example.frame, example.truth, "boundary", rng),
            max(clicks),
        )
        scores = {}
        for count, clicked in enumerate(made, start=1):
            if count in clicks:
                scores[count] = dice(example.truth, clicked.mask)
        judged.append(Judged(example, scores, clicked.prompts, clicked.mask))
    return judged


def mean_dice(judged: Sequence[Judged]) -> dict[int, float]:
    """Number of clicks -> mean Dice over the structures."""
    return {
        count: float(np.mean([each.dice[count] for each in judged])) for count in judged[0].dice
    }
