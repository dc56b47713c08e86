"""Propagation: from conditioning frames to every frame of the windows, through SAM2's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ..annotation import FrameState
from ..clip import Clip
from ..errors import InvalidValue
from ..masks import bounding_box
from ..prompts import FramePrompts, SegmentPrompts
from .appearance import Appearance
from .cache import EmbeddingCache
from .models import Model
from .network import Decoded, Embedding
from .plan import FrameMask, Stretch, affected_by, conditioning_frames, plan_stretches
from .segmentation import FrameSegmenter, check_frame_size, frame_logits, shape_logits
from .views import View, resize

# Bytes of embeddings that a run without a given cache keeps. Segments in step need only the
# newest; with 32 MiB the peak at 700 frames was 10 % above that at 100, with 4 MiB under 5 %.
OWN_CACHE = 4 * 2**20
CONDITIONING_KEPT = 4  # encoded conditioning frames held at a time; a stretch needs two
PRIOR_STRIDE = 2  # the prior of a tracked frame is taken on half the network's input, as trained
BATCH = {"cpu": 1, "cuda": 8, "mps": 4}  # frames encoded together; on a CPU batches gain nothing


def propagate(
    model: Model,
    clip: Clip,
    segments: Sequence[SegmentPrompts],
    direction: str = "both",
    locked: Mapping[str, Mapping[int, np.ndarray]] | None = None,
    changed: Mapping[str, Collection[int]] | None = None,
    cancelled: Callable[[], bool] | None = None,
    cache: EmbeddingCache | None = None,
    clip_key: str = "",
    threads: int | None = None,
    batch: int | None = None,
) -> Iterator[FrameMask]:
    """Masks on all frames of the segments' windows, one at a time, prompted frames first.

    direction: see `plan.plan_stretches`. locked: reviewed masks, segment name -> frame -> (H, W)
    bool; they condition the others, are never computed and never yielded. changed: segment name
    -> frames whose prompts or locks changed since the last complete run; only what they can
    affect is computed, and equals what a complete run would give. Segments that are not named
    are then not computed. cancelled: asked before every frame; True ends the run, and what was
    yielded stays valid. cache, clip_key: keep embeddings between runs on the same clip. threads:
    frames that are worked on at a time, each by one thread; default: as many as torch uses on a
    processor (stretches side by side, and encoding ahead of tracking), 1 on other devices. The
    masks are the same however many there are. batch: frames encoded together; default: `BATCH`.

    Segments never influence each other. Inside stated windows the structure is taken to be
    visible (presence bypass); without windows the network decides, and masks may be empty.
    Raises InvalidValue, before anything is computed, if prompts do not fit the clip.
    """
    locked, cancelled = locked or {}, cancelled or (lambda: False)
    check_frame_size(clip.frame_size)
    for segment in segments:
        segment.check(len(clip), clip.frame_size, bool(locked.get(segment.name)))
        for index, mask in locked.get(segment.name, {}).items():
            if not 0 <= index < len(clip) or mask.shape != clip.frame_size:
                raise InvalidValue(f"locked frame {index} of {segment.name!r} is not on this clip")
    if changed is not None:
        segments = [segment for segment in segments if segment.name in changed]
    batch = batch or BATCH.get(model.device.type, 1)
    if cache is None:
        cache = EmbeddingCache(OWN_CACHE, least=2 * batch)
    if threads is None:
        threads = torch.get_num_threads() if model.device.type == "cpu" else 1
    side_by_side = max(1, threads // max(1, len(segments)))  # stretches of one segment
    with _pool(threads) as pool:
        encoder = _Encoder(model, clip, clip_key, cache, pool, batch)
        waiting = []
        for segment in segments:
            kept = locked.get(segment.name, {})
            stretches = plan_stretches(segment, kept, len(clip), direction)
            prompted = [i for i in conditioning_frames(segment, kept, len(clip)) if i not in kept]
            if changed is not None:
                stretches = affected_by(stretches, changed[segment.name])
                prompted = [i for i in prompted if i in changed[segment.name]]
            tracker = _SegmentTracker(encoder, segment, kept)
            waiting.append(tracker.runs(prompted, stretches))
        yield from _in_turn([(runs, side_by_side) for runs in waiting], pool, cancelled)


def _in_turn(
    waiting: list[tuple[Iterator[Iterator[FrameMask]], int]],
    pool: ThreadPoolExecutor | None,
    cancelled: Callable[[], bool],
) -> Iterator[FrameMask]:
    """One frame of each running stretch in turn: segments on the same frames share their
    embeddings. waiting: for each segment its runs, and how many of them may run at a time. With a
    pool every run is one frame ahead of what is taken from it; the order is the same always."""
    running: list[tuple[int, Iterator[FrameMask], Callable[[], FrameMask | None]]] = []

    def start(run: Iterator[FrameMask]) -> Callable[[], FrameMask | None]:
        if pool is None:
            return lambda: next(run, None)
        return pool.submit(next, run, None).result

    def fill() -> None:
        for number, (runs, most) in enumerate(waiting):
            while sum(number == other for other, *_ in running) < most:
                run = next(runs, None)
                if run is None:
                    break
                running.append((number, run, start(run)))

    fill()
    while running:
        for place, (number, run, result) in enumerate(list(running)):
            if cancelled():
                return
            found = result()
            if found is None:
                running[place] = None
            else:
                running[place] = (number, run, start(run))
                yield found
        running[:] = [one for one in running if one is not None]
        fill()


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads that each compute with one of torch's threads: a network as small as ours uses two
    processor cores better by two frames than by halves of one. Left only when all have stopped."""
    if threads < 2:
        yield None
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "propagate", lambda: torch.set_num_threads(1))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)  # the pool's setting is also that of threads yet to start


class _Once:
    """A value that the first who asks computes, in whatever thread; others wait for it."""

    def __init__(self, compute: Callable[[], Embedding]):
        self.compute, self.lock, self.value = compute, Lock(), None

    def __call__(self) -> Embedding:
        with self.lock:
            if self.value is None:
                self.value = self.compute()
        return self.value


class _Encoder:
    """Embeddings of a clip's frames for all segments: none is computed twice at a time, and those
    to come are computed ahead where there is a pool."""

    def __init__(
        self,
        model: Model,
        clip: Clip,
        clip_key: str,
        cache: EmbeddingCache,
        pool: ThreadPoolExecutor | None,
        batch: int,
    ):
        self.model, self.clip, self.clip_key = model, clip, clip_key
        self.cache, self.pool, self.batch = cache, pool, batch
        self._coming: dict[tuple, _Once] = {}
        self._lock = Lock()

    def get(self, indices: Sequence[int], view: View) -> Embedding:
        """Of the first of some frames; where frames are encoded in batches, the others with it."""
        if self.batch > 1:
            return self._of_batch(indices[: self.batch], view)
        embedding = self._once(indices[0], view)()
        self.forget(indices[0], view)
        return embedding

    def ahead(self, index: int, view: View) -> None:
        """Have a frame encoded by the next free thread."""
        if self.pool is not None:
            self.pool.submit(self._once(index, view))

    def forget(self, index: int, view: View) -> None:
        with self._lock:
            self._coming.pop((index, view), None)

    def key(self, index: int) -> tuple[str, int]:
        return (self.clip_key, index)

    def _once(self, index: int, view: View) -> _Once:
        with self._lock:
            return self._coming.setdefault(
                (index, view), _Once(lambda: self._of_batch([index], view))
            )

    def _of_batch(self, indices: Sequence[int], view: View) -> Embedding:
        """Of the first frame; those of all that are not in the cache are encoded in one batch."""
        size = self.model.info.input_size
        keys = [(self.key(index), view) for index in indices]
        first = self.cache.get(keys[0])
        if first is not None:
            return first
        missing = [place for place, key in enumerate(keys) if place == 0 or key not in self.cache]
        images = torch.stack(
            [view.network_input(self.clip.frames[indices[place]], size) for place in missing]
        )
        with torch.inference_mode():
            embeddings = self.model.network.embed(images.to(self.model.device))
        for row, place in reversed(list(enumerate(missing))):
            self.cache.put(keys[place], embeddings[row])
        return embeddings[0]


class _SegmentTracker:
    """Tracks one segment; holds its encoded conditioning frames and nothing of other segments."""

    def __init__(
        self, encoder: _Encoder, segment: SegmentPrompts, locked: Mapping[int, np.ndarray]
    ):
        self.encoder, self.segment, self.locked = encoder, segment, locked
        self.clip, self.info = encoder.clip, encoder.model.info
        self.device, self.size = encoder.model.device, encoder.model.info.input_size
        self.zooms = self.info.architecture.zoom
        self.primed = self.info.architecture.primed
        self.bypass = bool(segment.windows)
        self.conditioning: OrderedDict[int, Conditioning] = OrderedDict()
        self.lock = Lock()
        self.clicks = self._segmenter(bypass=True)
        self.tracks = self._segmenter(self.bypass)
        self.network = self.tracks.model.network

    def _segmenter(self, bypass: bool) -> FrameSegmenter:
        """Whether the presence head is asked is a state of a network, and stretches may run side
        by side: so each use has a network of its own, with the same tensors."""
        model, network = self.encoder.model, copy(self.encoder.model.network)
        network._modules = {**network._modules, "sam_mask_decoder": copy(network.sam_mask_decoder)}
        network.sam_mask_decoder.presence_bypassed = bypass
        return FrameSegmenter(
            replace(model, network=network), self.encoder.cache, self.clip.geometry.pixel_aspect
        )

    def runs(
        self, prompted: Sequence[int], stretches: Sequence[Stretch]
    ) -> Iterator[Iterator[FrameMask]]:
        """Prompted frames, then the stretches; none waits for another. The longest first, so that
        side by side they end together: else one thread goes on alone."""
        yield self._prompted(prompted)
        for stretch in sorted(stretches, key=lambda stretch: -len(stretch.frames)):
            yield self._track(stretch)

    def _prompted(self, indices: Sequence[int]) -> Iterator[FrameMask]:
        for index in indices:
            prompts = self.segment.frames[index]
            mask, confidence = prompts.mask, 1.0
            if not _only_mask(prompts):
                with self.lock:  # so that its embedding is not computed twice
                    result = self.clicks.segment(
                        self.clip.frames[index], prompts, key=self.encoder.key(index)
                    )
                mask, confidence = result.mask, result.confidence
            yield FrameMask(self.segment.name, index, mask, confidence, FrameState.PROMPTED)

    def _track(self, stretch: Stretch) -> Iterator[FrameMask]:
        """Frames of one stretch in the order of tracking. Memory is bounded: the conditioning
        frames, and of the stretch the last `num_maskmem` masks and 16 object pointers."""
        recent: OrderedDict[int, dict] = OrderedDict()
        memory = {"cond_frame_outputs": {}, "non_cond_frame_outputs": recent}
        for index in stretch.conditioning:
            memory["cond_frame_outputs"][index] = self._conditioning(index).memory
        nearest = self._conditioning(stretch.conditioning[0])
        shape, view = nearest.mask, nearest.view
        appearance = self._appearance(stretch)
        for place, index in enumerate(stretch.frames):
            if self.zooms:
                view, expected = self._follow(shape, view), view
                if view != expected:
                    self.encoder.forget(index, expected)
            embedding = self.encoder.get(stretch.frames[place:], view)
            for following in stretch.frames[place + 1 : place + 2]:
                self.encoder.ahead(following, view)
            with torch.inference_mode():
                features = self.network.with_memory(
                    embedding, index, memory, len(self.clip), stretch.backward
                )
                decoded = self._decode(embedding, features, shape, view, appearance)
                mask = frame_logits(decoded, view, None, self.clip.frame_size) > 0
                shape = mask if mask.any() else shape
                recent[index] = self.network.remember(
                    embedding,
                    decoded.full_logits(self.size),
                    decoded.pointer,
                    decoded.presence,
                    prompted=False,
                )
            self._forget(recent)
            if index not in self.locked:
                yield FrameMask(
                    self.segment.name, index, mask, _confidence(decoded), FrameState.PROPAGATED
                )

    def _decode(
        self,
        embedding: Embedding,
        features: Tensor,
        shape: np.ndarray,
        view: View,
        appearance: Appearance | None,
    ) -> Decoded:
        """A tracked frame; shape: (H, W) bool, the mask of the frame before."""
        prior = likeness = None
        if appearance is not None:
            likeness = appearance.likeness(embedding.image)
        if self.primed:
            prior = shape_logits(view.cut(shape), self.size // PRIOR_STRIDE, self.size)
            if likeness is not None:
                prior = appearance.follow(prior, likeness)
            prior = prior.to(self.device)
        decoded = self.network.decode(embedding, features, None, prior, initial=False)
        return decoded if likeness is None else appearance.weigh(decoded, likeness)

    def _follow(self, shape: np.ndarray, view: View) -> View:
        """The view around the mask of the frame before; the one before while it still suits."""
        box = bounding_box(shape)
        wanted = self._view_around(box)
        return view if view.suits(box, wanted) else wanted

    def _view_around(self, box: tuple[int, int, int, int]) -> View:
        return View.around(box, self.clip.frame_size, aspect=self.tracks.aspect)

    def _appearance(self, stretch: Stretch) -> Appearance | None:
        """What the conditioning frames look like; None for a network that does not keep the
        image."""
        seen = [self._conditioning(index).appearance for index in stretch.conditioning]
        return None if None in seen else Appearance.mean(seen)

    def _conditioning(self, index: int) -> Conditioning:
        """A conditioning frame, computed once for its two stretches."""
        with self.lock:
            if index not in self.conditioning:
                self.conditioning[index] = self._encode_conditioning(index)
                while len(self.conditioning) > CONDITIONING_KEPT:
                    self.conditioning.popitem(last=False)
            self.conditioning.move_to_end(index)
            return self.conditioning[index]

    def _encode_conditioning(self, index: int) -> Conditioning:
        frame, key = self.clip.frames[index], self.encoder.key(index)
        frame_size = self.clip.frame_size
        prompts = self.segment.frames.get(index)
        if index in self.locked:
            prompts = FramePrompts(mask=self.locked[index])
        given = prompts.mask if _only_mask(prompts) else None
        if given is None:
            result = self.clicks.segment(frame, prompts, key=key)
            shape = result.mask if result.mask.any() else None
            view = result.view
        else:
            shape, view = given, View.whole(frame_size)
        if self.zooms and shape is not None:
            view = self._view_around(bounding_box(shape))
        with torch.inference_mode():
            embedding = self.tracks.embed(frame, view, key)
            if given is not None:
                decoded = self.network.adopt(embedding, self._on_grid(given, view, self.size))
                logits = decoded.full_logits(self.size)
            else:
                decoded, _ = self.tracks.decode(
                    embedding, self.tracks.adapted(prompts, frame_size), view, frame_size
                )
                logits = decoded.full_logits(self.size)
                if self.zooms and shape is not None:
                    # what the annotator saw is what is remembered, also from another view
                    logits = self._on_grid(shape, view, self.size) * 20 - 10
            remembered = self.network.remember(
                embedding, logits, decoded.pointer, decoded.presence, prompted=True
            )
        if shape is None:
            shape = np.zeros(frame_size, dtype=bool)
            shape[frame_size[0] // 2, frame_size[1] // 2] = True
        appearance = None
        if embedding.image is not None:
            seen = self._on_grid(shape, view, embedding.image.shape[-1])
            appearance = Appearance.seen(embedding.image, seen[0, 0].bool().cpu().numpy())
        return Conditioning(remembered, shape, view, appearance)

    def _on_grid(self, mask: np.ndarray, view: View, side: int) -> Tensor:
        """A view of a mask: (H, W) bool -> (1, 1, side, side) of 0 and 1."""
        part = torch.from_numpy(view.cut(mask).astype(np.float32))[None, None]
        return (resize(part, side, side) >= 0.5).float().to(self.device)

    def _forget(self, recent: OrderedDict[int, dict]) -> None:
        """Contract of bounded memory: drop what SAM2's attention can no longer reach."""
        order = list(recent)
        for index in order[: -self.network.num_maskmem]:
            recent[index] = {"obj_ptr": recent[index]["obj_ptr"]}
        for index in order[: -self.network.max_obj_ptrs_in_encoder]:
            del recent[index]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a prompted or locked frame gives to those tracked from it: its memory, its mask (H, W)
    bool, the view that it was seen in, and its appearance where the network keeps the image."""

    memory: dict
    mask: np.ndarray
    view: View
    appearance: Appearance | None


def _only_mask(prompts: FramePrompts) -> bool:
    clicks = len(prompts.boundary) + len(prompts.include) + len(prompts.exclude)
    return prompts.mask is not None and clicks == 0 and prompts.box is None


def _confidence(decoded: Decoded) -> float:
    """Predicted IoU; for a structure taken to be absent, the certainty of that."""
    presence = float(decoded.presence[0])
    if presence <= 0:
        return float(torch.sigmoid(-decoded.presence[0]))
    return float(decoded.iou[0].clamp(0, 1))
