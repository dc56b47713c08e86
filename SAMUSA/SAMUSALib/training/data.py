"""Training material: annotated sets and phantoms, read when they are drawn, and batches of them."""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from ..datasets.manifest import Item, Labelled, read_manifest
from ..datasets.manifest import sweeps as image_sweeps
from ..datasets.structures import MIN_AREA
from ..errors import InvalidValue, SamusaError, TrainingFailed
from ..phantom import random_spec, simulate
from .config import Data, TrainingConfig
from .randomness import CLICKS, PHANTOM, PLAN, SAMPLE, generator
from .rounds import Plan, plan_step
from .samples import LabelledClip, Sample, draw_sample

MIB = 1 << 20
MISSES = 200  # draws in a row without a structure in the view: there is nothing to learn from


class Source(Protocol):
    """Something annotated: an Item of a set, or a phantom."""

    name: str

    def load(self) -> Labelled: ...


@dataclass(frozen=True)
class PhantomItem:
    """A simulated clip, the same one for a seed and number."""

    seed: int
    number: int
    frames: int
    size: int

    @property
    def name(self) -> str:
        return f"phantom {self.number}"

    def load(self) -> Labelled:
        spec = random_spec(
            generator(self.seed, PHANTOM, self.number),
            frames=self.frames,
            size=(self.size, self.size),
        )
        phantom = simulate(spec)
        return Labelled(phantom.frames, phantom.labels[None], {})


def structures(labelled: Labelled) -> list[LabelledClip]:
    """Every structure by itself, grey, on square pixels; the frames are shared, not copied."""
    frames = labelled.frames
    if frames.ndim == 4:
        frames = frames.mean(axis=3).astype(np.uint8)
    frames = _squared(frames, labelled.aspect)
    return [LabelledClip(frames, _squared(mask, labelled.aspect)) for mask in labelled.structures()]


def _squared(frames: np.ndarray, aspect: float) -> np.ndarray:
    """(T, H, W) uint8 or bool with pixels `aspect` times as high as wide -> square pixels."""
    height, width = frames.shape[1:]
    # the coarser side is refined: nothing is lost
    size = (max(1, round(height * max(aspect, 1))), max(1, round(width / min(aspect, 1))))
    if size == (height, width):
        return frames
    resized = F.interpolate(torch.from_numpy(frames)[:, None].float(), size, mode="bilinear")
    resized = resized[:, 0].numpy()
    return resized > 0.5 if frames.dtype == bool else resized.round().astype(np.uint8)


class Cache:
    """The structures of what was loaded last, up to a number of bytes."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self.kept: OrderedDict[Source, list[LabelledClip]] = OrderedDict()

    def load(self, source: Source) -> list[LabelledClip]:
        """Raises UnreadableFile or InvalidValue where the source's files have gone or changed."""
        if source in self.kept:
            self.kept.move_to_end(source)
            return self.kept[source]
        clips = structures(source.load())
        self.kept[source] = clips
        self.used += _bytes(clips)
        while self.used > self.limit and self.kept:
            self.used -= _bytes(self.kept.popitem(last=False)[1])
        return clips


def _bytes(clips: list[LabelledClip]) -> int:
    return sum(clip.masks.nbytes for clip in clips) + (clips[0].frames.nbytes if clips else 0)


@dataclass(frozen=True)
class Pool:
    """Sources with the probability of each, (N,) summing to 1."""

    sources: tuple[Source, ...]
    probabilities: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[tuple[Sequence[Source], float]]) -> Pool:
        """Parts with their shares; within a part all are equally likely."""
        sources, weights = [], []
        for part, share in parts:
            if part and share > 0:
                sources += list(part)
                weights += [share / len(part)] * len(part)
        probabilities = np.asarray(weights, dtype=np.float64)
        return cls(tuple(sources), probabilities / max(probabilities.sum(), 1e-300))

    def __len__(self) -> int:
        return len(self.sources)

    def draw(self, cache: Cache, rng: np.random.Generator) -> LabelledClip | None:
        """A random structure of a random source; None if that has none."""
        number = np.searchsorted(np.cumsum(self.probabilities), rng.random(), side="right")
        clips = cache.load(self.sources[min(int(number), len(self) - 1)])
        return clips[rng.integers(len(clips))] if clips else None


@dataclass(frozen=True)
class Material:
    """What steps on images and what steps on clips draw from."""

    images: Pool
    clips: Pool

    def counts(self) -> dict[str, int]:
        """Numbers of sources: a run that goes on must find the same."""
        return {"images": len(self.images), "clips": len(self.clips)}


def gather(data: Data, seed: int) -> Material:
    """List the material of a run; nothing is decoded yet.

    Raises InvalidValue if there is none, and what `read_manifest` raises.
    """
    images: list[tuple[Sequence[Source], float]] = []
    clips: list[tuple[Sequence[Source], float]] = []
    stills: list[Source] = []
    for part in data.sets:
        items = read_manifest(part.folder, part.split)
        still = [item for item in items if item.kind == "image"] if "images" in part.use else []
        moving = [item for item in items if item.kind == "clip"] if "clips" in part.use else []
        swept = _sweeps(items, part.folder) if "sweeps" in part.use else []
        if not still and not moving and not swept:
            raise InvalidValue(
                f"{part.folder} has nothing to be used as {', '.join(part.use)} "
                f"in its split {part.split!r}"
            )
        # where each image is used by itself, a sweep of the same images would count them twice
        images.append((still + moving + ([] if still else swept), part.share))
        clips.append((moving + swept, part.clip_share))
        stills += still
    p = data.phantoms
    simulated = [PhantomItem(seed, number, p.frames, p.size) for number in range(p.count)]
    images.append((simulated, p.share))
    clips += [(simulated, p.clip_share), (stills, data.animated_share)]
    material = Material(Pool.of(images), Pool.of(clips))
    if not len(material.images):
        raise InvalidValue("there is nothing to train on; give sets (--data) or phantoms")
    return material


def _sweeps(items: Sequence[Item], folder: Path) -> list[Item]:
    found = image_sweeps(items)
    if not found and any(item.kind == "image" for item in items):
        raise InvalidValue(f"{folder} has no group of at least 4 images of one size for sweeps")
    return found


# Batches ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """One process's samples of one part of a step, with a generator for the clicks of each.

    images: (B, T, S, S) float32, what the samples' `images` are views of.
    """

    step: int
    plan: Plan
    samples: list[Sample]
    rngs: list[np.random.Generator]
    images: torch.Tensor

    def pin_memory(self) -> Batch:
        return self._with(self.images.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Images on a device; the rest is worked on by the processor."""
        if device.type == "cpu":
            return self
        return self._with(self.images.to(device, non_blocking=True))

    def _with(self, images: torch.Tensor) -> Batch:
        samples = [
            replace(sample, images=own) for sample, own in zip(self.samples, images, strict=True)
        ]
        return replace(self, samples=samples, images=images)


class Batches(Dataset):
    """All parts of all steps that one process works on; part n belongs to step n // accumulation.

    A sample is numbered within its step over all processes and parts, and drawn by that number:
    two processes with batches of b see the samples of one with a batch of 2 b.
    """

    def __init__(
        self,
        material: Material,
        config: TrainingConfig,
        size: int,
        zoom: bool = True,
        process: int = 0,
        processes: int = 1,
        workers: int = 0,
    ):
        self.material, self.config = material, config
        self.size, self.zoom = size, zoom
        self.process, self.processes = process, processes
        self.cache = Cache(config.data.cache * MIB // max(workers, 1))

    def __getitem__(self, index: int) -> Batch:
        config, seed = self.config, self.config.seed
        step, part = divmod(index, config.optimiser.accumulation)
        # the plan is the same in all processes: none waits for another's longer step
        plan = plan_step(config.curriculum, generator(seed, PLAN, step), len(self.material.clips))
        pool, count = self.material.images, config.optimiser.batch
        if plan.kind == "clip":
            pool, count = self.material.clips, config.optimiser.clip_batch
        first = (part * self.processes + self.process) * count
        numbers = range(first, first + count)
        samples = [self._sample(pool, plan, generator(seed, SAMPLE, step, n)) for n in numbers]
        images = torch.from_numpy(np.stack([sample.images for sample in samples]))
        rngs = [generator(seed, CLICKS, step, n) for n in numbers]
        return Batch(step, plan, samples, rngs, images)

    def _sample(self, pool: Pool, plan: Plan, rng: np.random.Generator) -> Sample:
        for _ in range(MISSES):
            clip = pool.draw(self.cache, rng)
            if clip is None:
                continue
            c = self.config.curriculum
            sample = draw_sample(
                clip,
                plan.frames,
                self.size,
                rng,
                self.config.augmentation,
                self.zoom,
                c.share_exact,
                c.click_error,
                plan.wide,
            )
            if sample is not None:
                return sample
        raise InvalidValue(
            f"{MISSES} draws in a row showed no structure of at least {MIN_AREA} pixels; "
            "look at the data with `samusa data check`"
        )


class _Told(Dataset):
    """Errors as values: a worker process would turn them into a traceback of many lines."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __getitem__(self, index: int) -> Batch | SamusaError:
        try:
            return self.batches[index]
        except SamusaError as error:
            return error


def choose_workers(wanted: int | None, processes: int = 1) -> int:
    """Worker processes for each training process. None: one for every second core that is left,
    at most 8; none on fewer than 4 cores, nor inside Slicer, whose Python cannot start them."""
    if wanted is not None:
        return wanted
    cores = (os.cpu_count() or 1) // processes
    if cores < 4 or "SLICER_HOME" in os.environ:
        return 0
    return min(8, cores // 2)


def read_batches(
    batches: Batches, start: int, stop: int, workers: int, pinned: bool
) -> Iterator[Batch]:
    """Batches of the steps from start up to stop, prepared ahead by workers (0: none)."""
    parts = batches.config.optimiser.accumulation
    loader = DataLoader(
        _Told(batches),
        batch_size=None,
        sampler=range(start * parts, stop * parts),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pinned,
        worker_init_fn=_leave_signals_to_the_trainer,
        prefetch_factor=4 if workers else None,
    )
    try:
        for batch in loader:
            if isinstance(batch, SamusaError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        raise TrainingFailed(
            f"a process that prepares samples has ended ({str(error).splitlines()[0]}); "
            "there may be too little memory: lower data.cache or data.workers"
        ) from None


def _as_it_is(batch):
    return batch


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """Ctrl-C and SIGTERM reach every process; the trainer finishes its step with their help."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
