"""What computes masks in a worker: a loaded network with what it keeps, or the spline.

Both have the same form. Work comes in steps, between which the worker turns to something more
urgent; a step that has nothing to show yields None. torch is imported when a network is loaded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engine.plan import FrameMask
from ..engine.registry import ModelEntry, find_model, verify_model
from ..errors import InvalidValue, UnknownModel
from ..prompts import FramePrompts, SegmentPrompts
from .clips import OpenedClip

if TYPE_CHECKING:
    from ..engine.segmentation import FrameResult

RESULTS_KEPT = 96 * 2**20  # bytes of earlier clicks' results: 20 on frames of 1024 x 768

Locked = Mapping[str, Mapping[int, np.ndarray]]
Changed = Mapping[str, Collection[int]]


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
        cache_bytes: int,
        notice: Callable[[str], None],
    ):
        from ..engine.cache import EmbeddingCache
        from ..engine.models import load_model

        before = entry.path.stat()
        self.model = load_model(entry.path, device)
        after = entry.path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise UnknownModel(f"{entry.path} was changed while it was read; load it again")
        self.notice = notice
        self.name, self.licence = entry.name, self.model.info.licence
        self.prompts = self.model.info.prompts
        self.parameters, self.input_size = self.model.info.parameters, self.model.info.input_size
        self._cache = EmbeddingCache(cache_bytes)
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
        self._segmenter(1.0).segment(np.zeros((64, 64), np.uint8), corners)

    def segment(
        self, opened: OpenedClip, segment: str, frame: int, steps: Sequence[FramePrompts]
    ) -> Iterator[Segmented | None]:
        """The mask after the last of the steps; None after each step before it that had to be
        computed anew. Raises InvalidValue."""
        segmenter = self._segmenter(opened.clip.geometry.pixel_aspect)
        pixels = opened.clip.frames[frame]
        keys = [(opened.key, frame, digest) for digest in _digests(steps)]
        done = max((n for n, key in enumerate(keys, 1) if key in self._results), default=0)
        result = self._results.get(keys[done - 1]) if done else None
        for n in range(done, len(steps)):
            result = segmenter.segment(pixels, steps[n], result, key=(opened.key, frame))
            self._results.put(keys[n], result)
            if n + 1 < len(steps):
                yield None
        yield Segmented(result.mask, result.confidence)

    def propagate(
        self,
        opened: OpenedClip,
        segments: Sequence[SegmentPrompts],
        direction: str,
        locked: Locked,
        changed: Changed | None,
    ) -> Iterator[FrameMask]:
        """Frame by frame, see `engine.propagation.propagate`."""
        from ..engine.propagation import propagate

        return propagate(
            self.model,
            opened.clip,
            segments,
            direction,
            locked,
            changed,
            cache=self._cache,
            clip_key=opened.key,
        )

    def embed(self, opened: OpenedClip, frames: Sequence[int], extent) -> Iterator[None]:
        """Embeddings of the view that a click or a propagation around the extent would look at,
        one frame a step. Ends early where the cache would lose the first for the last."""
        import torch

        segmenter = self._segmenter(opened.clip.geometry.pixel_aspect)
        view = segmenter.choose_view(FramePrompts(box=extent), opened.clip.frame_size)
        for index in frames:
            with torch.inference_mode():
                segmenter.embed(opened.clip.frames[index], view, (opened.key, index))
            if self._cache.get(((opened.key, frames[0]), view)) is None:
                return
            yield None

    def forget(self, clip_key: str) -> None:
        """Drop what is kept of a clip."""
        self._cache.drop_where(lambda key: key[0][0] == clip_key)
        self._results.drop_where(lambda key: key[0] == clip_key)

    def _segmenter(self, aspect: float):
        from ..engine.segmentation import FrameSegmenter

        return FrameSegmenter(self.model, self._cache, aspect)


Engine = SplineEngine | NetworkEngine


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
