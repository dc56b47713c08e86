"""What computes masks in a worker: a loaded network with what it keeps, or the spline.

Both have the same form. Work comes in steps, between which the worker turns to something more
urgent; a step that has nothing to show yields None. torch is imported when a network is loaded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..engine.plan import FrameMask
from ..engine.registry import ModelEntry, find_model, verify_model
from ..errors import InvalidValue, UnknownModel
from ..prompts import FramePrompts, SegmentPrompts
from .clips import OpenedClip

if TYPE_CHECKING:
    from ..engine.models import Model
    from ..engine.segmentation import FrameResult, FrameSegmenter
    from ..engine.views import View

RESULTS_KEPT = 96 * 2**20  # bytes of earlier clicks' results: 20 on frames of 1024 x 768

Result = TypeVar("Result")
Locked = Mapping[str, Mapping[int, np.ndarray]]
Changed = Mapping[str, Collection[int]]


@dataclass(frozen=True)
class Room:
    """Where embeddings are kept, in bytes: in memory, and behind it on disk where there is a
    folder."""

    memory: int
    folder: Path | None = None
    disk: int = 0


@dataclass(frozen=True, eq=False)
class Segmented:
    """mask (H, W) bool; confidence 0..1."""

    mask: np.ndarray
    confidence: float


def find_intact(model: str) -> ModelEntry:
    """The entry of a model by name or file. Raises UnknownModel where it is not there, or is no
    longer the file that was imported, downloaded or came with SAMUSA."""
    entry = find_model(model)
    if entry.sha256 is not None:
        found = verify_model(entry.name)
        if not found.ok:
            raise UnknownModel(
                f"{found.text}; it was replaced since, and is not used: import or download it again"
            )
    return entry


class SplineEngine:
    """The curve through the boundary points; needs no torch."""

    device = "cpu"
    device_memory = cache_bytes = 0

    def __init__(self, entry: ModelEntry):
        self.name, self.licence, self.prompts = entry.name, entry.licence, entry.prompts
        self.parameters = self.input_size = 0

    def segment(
        self, opened: OpenedClip, segment: str, frame: int, steps: Sequence[FramePrompts]
    ) -> Iterator[Segmented | None]:
        """As of NetworkEngine; only the last of the steps counts."""
        from ..engine.spline import check_for_spline, segment_spline

        clip = opened.clip
        steps[-1].check(clip.frame_size)
        check_for_spline(steps[-1], segment, frame)
        mask = segment_spline(steps[-1], clip.frame_size, clip.geometry.pixel_aspect)
        yield Segmented(mask, 1.0)

    def propagate(
        self,
        opened: OpenedClip,
        segments: Sequence[SegmentPrompts],
        direction: str,
        locked: Locked,
        changed: Changed | None,
    ) -> Iterator[FrameMask]:
        """As of NetworkEngine. The spline takes no time: what has not changed is computed too, and
        left out."""
        from ..engine.plan import affected_by, conditioning_frames, plan_stretches
        from ..engine.spline import propagate_spline

        length = len(opened.clip)
        wanted = None
        if changed is not None:
            segments = [segment for segment in segments if segment.name in changed]
            wanted = set()
            for segment in segments:
                kept, frames = locked.get(segment.name, {}), changed[segment.name]
                stretches = plan_stretches(segment, kept, length, direction)
                for stretch in affected_by(stretches, frames):
                    wanted |= {(segment.name, index) for index in stretch.frames}
                prompted = set(conditioning_frames(segment, kept, length)) & set(frames)
                wanted |= {(segment.name, index) for index in prompted}
        for result in propagate_spline(opened.clip, segments, direction, locked):
            if wanted is None or (result.segment, result.frame) in wanted:
                yield result

    def embed(self, opened: OpenedClip, frames: Sequence[int], extent) -> Iterator[None]:
        """There is nothing to prepare."""
        return iter(())

    def forget(self, clip_key: str) -> None:
        """Nothing is kept."""


class NetworkEngine:
    """A network on its device, its embeddings, and the results of earlier clicks.

    notice: told, in a sentence, what the user should know. Raises UnknownModel, UnreadableFile,
    WrongCheckpoint or InvalidValue where the model cannot be loaded.
    """

    def __init__(
        self,
        entry: ModelEntry,
        device: str,
        room: Room,
        notice: Callable[[str], None],
    ):
        from ..engine.cache import EmbeddingCache

        before = entry.path.stat()
        self.model = _load(entry.path, device, notice)
        after = entry.path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise UnknownModel(f"{entry.path} was changed while it was read; load it again")
        self.notice = notice
        self.name, self.licence = entry.name, self.model.info.licence
        self.prompts = self.model.info.prompts
        self.parameters, self.input_size = self.model.info.parameters, self.model.info.input_size
        self._cache = EmbeddingCache(room.memory, disk=room.folder, disk_budget=room.disk)
        self._batch: int | None = None  # frames encoded together; None: as many as usual
        self._results = _Results(RESULTS_KEPT)

    @property
    def device(self) -> str:
        return str(self.model.device)

    @property
    def device_memory(self) -> int:
        """Bytes on the GPU; 0 without one."""
        import torch

        return torch.cuda.memory_reserved() if self.model.device.type == "cuda" else 0

    @property
    def cache_bytes(self) -> int:
        return self._cache.nbytes

    def warm_up(self) -> None:
        """A click on nothing: the first call of each operation sets it up, which takes longer than
        the operation."""
        corners = FramePrompts(boundary=[[16, 16], [48, 16], [32, 48]])
        self._with_memory(
            lambda model: self._segmenter(model, 1.0).segment(np.zeros((64, 64), np.uint8), corners)
        )

    def segment(
        self, opened: OpenedClip, segment: str, frame: int, steps: Sequence[FramePrompts]
    ) -> Iterator[Segmented | None]:
        """The mask after the last of the steps; None after each step before it that had to be
        computed anew. Raises InvalidValue."""
        aspect, pixels = opened.clip.geometry.pixel_aspect, opened.clip.frames[frame]
        keys = [(opened.key, frame, digest) for digest in _digests(steps)]
        done = max((n for n, key in enumerate(keys, 1) if key in self._results), default=0)
        result = self._results.get(keys[done - 1]) if done else None

        def act(model: Model) -> FrameResult:
            segmenter, before = self._segmenter(model, aspect), _on_device(result, model)
            return segmenter.segment(pixels, steps[done], before, key=(opened.key, frame))

        while done < len(steps):
            result = self._with_memory(act)
            self._results.put(keys[done], result)
            done += 1
            if done < len(steps):
                yield None
        yield Segmented(result.mask, result.confidence)

    def propagate(
        self,
        opened: OpenedClip,
        segments: Sequence[SegmentPrompts],
        direction: str,
        locked: Locked,
        changed: Changed | None,
    ) -> Iterator[FrameMask | None]:
        """Frame by frame, see `engine.propagation.propagate`. Where memory runs out, or the model
        moves to the processor meanwhile, it begins anew; the frames that it has given are computed
        again and passed over, with None for each."""
        from ..engine.propagation import propagate

        given: set[tuple[str, int]] = set()
        work: Iterator[FrameMask] | None = None
        begun: tuple[Model, int | None] | None = None

        def next_frame(model: Model) -> FrameMask | None:
            nonlocal work, begun
            if work is None or begun != (model, self._batch):
                begun = (model, self._batch)
                work = propagate(
                    model,
                    opened.clip,
                    segments,
                    direction,
                    locked,
                    changed,
                    cache=self._cache,
                    clip_key=opened.key,
                    batch=self._batch,
                )
            try:
                return next(work, None)
            except Exception:
                work = None
                raise

        while (result := self._with_memory(next_frame)) is not None:
            key = (result.segment, result.frame)
            yield None if key in given else result
            given.add(key)

    def embed(self, opened: OpenedClip, frames: Sequence[int], extent) -> Iterator[None]:
        """Embeddings of the view that a click or a propagation around the extent would look at,
        one frame a step. Ends early where the cache would lose the first for the last."""
        import torch

        aspect, clip = opened.clip.geometry.pixel_aspect, opened.clip

        def act(index: int, model: Model) -> View:
            segmenter = self._segmenter(model, aspect)
            view = segmenter.view_of(extent, clip.frame_size)
            with torch.inference_mode():
                segmenter.embed(clip.frames[index], view, (opened.key, index))
            return view

        for index in frames:
            view = self._with_memory(partial(act, index))
            if ((opened.key, frames[0]), view) not in self._cache:
                return
            yield None

    def forget(self, clip_key: str) -> None:
        """Drop what is kept of a clip."""
        self._cache.drop_where(lambda key: key[0][0] == clip_key)
        self._results.drop_where(lambda key: key[0] == clip_key)

    def _segmenter(self, model: Model, aspect: float) -> FrameSegmenter:
        from ..engine.segmentation import FrameSegmenter

        return FrameSegmenter(model, self._cache, aspect)

    def _with_memory(self, act: Callable[[Model], Result]) -> Result:
        """act(model), with less memory where it runs out of it: frames one by one, then the
        processor; it stays so, and the user is told."""
        from ..engine.out_of_memory import with_less_memory

        def attempt(model: Model, batch: int | None) -> Result:
            self._batch = batch or self._batch
            return act(model)

        result, self.model = with_less_memory(attempt, self.model, self._cache, self.notice)
        return result


Engine = SplineEngine | NetworkEngine


def _load(path: Path, device: str, notice: Callable[[str], None]) -> Model:
    from ..engine.models import load_model
    from ..engine.out_of_memory import free_memory, is_out_of_memory

    try:
        return load_model(path, device)
    except Exception as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    notice("The device's memory is too small for the model; it runs on the processor.")
    free_memory()
    return load_model(path, "cpu")


def _on_device(result: FrameResult | None, model: Model) -> FrameResult | None:
    """An earlier result for a model that may have moved since."""
    if result is None or result.low_logits.device == model.device:
        return result
    return replace(result, low_logits=result.low_logits.to(model.device))


class _Results:
    """Results of clicks, the least recently used dropped first beyond a budget of bytes."""

    def __init__(self, budget: int):
        self._budget = budget
        self._entries: OrderedDict[Hashable, FrameResult] = OrderedDict()
        self._nbytes = 0

    def get(self, key: Hashable) -> FrameResult:
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Hashable, result: FrameResult) -> None:
        self._entries[key] = result
        self._nbytes += _nbytes(result)
        while self._nbytes > self._budget and len(self._entries) > 1:
            self._nbytes -= _nbytes(self._entries.popitem(last=False)[1])

    def drop_where(self, concerns: Callable[[Hashable], bool]) -> None:
        for key in [key for key in self._entries if concerns(key)]:
            self._nbytes -= _nbytes(self._entries.pop(key))

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries


def _nbytes(result: FrameResult) -> int:
    low = result.low_logits
    return result.mask.nbytes + result.logits.nbytes + low.numel() * low.element_size()


def _digests(steps: Sequence[FramePrompts]) -> list[bytes]:
    """For each step a digest of all prompts up to it."""
    state, digests = hashlib.blake2b(digest_size=16), []
    for prompts in steps:
        for points in (prompts.boundary, prompts.include, prompts.exclude):
            state.update(len(points).to_bytes(4, "big") + points.tobytes())
        for rest in (prompts.box, prompts.mask):
            state.update(b"-" if rest is None else b"+" + np.ascontiguousarray(rest).tobytes())
        digests.append(state.digest())
    return digests


def check_steps(steps: Sequence[FramePrompts]) -> None:
    """Raises InvalidValue for a segment request without prompts."""
    if not steps:
        raise InvalidValue("no prompts: `steps` must hold at least those in force")
