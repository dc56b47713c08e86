"""Propagation: from conditioning frames to every frame of the windows, through SAM2's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..annotation import FrameState
from ..clip import Clip
from ..errors import InvalidValue
from ..masks import bounding_box
from ..prompts import FramePrompts, SegmentPrompts
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
# A primed network moves its prior a part of the way to what it sees; a second pass on its own
# mask goes on from there (carotid sweep 0.947 to 0.951, growing lesion 0.870 to 0.878; four
# passes add 0.001).
PASSES = 2
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
) -> Iterator[FrameMask]:
    """Masks on all frames of the segments' windows, one at a time, prompted frames first.

    direction: see `plan.plan_stretches`. locked: reviewed masks, segment name -> frame -> (H, W)
    bool; they condition the others, are never computed and never yielded. changed: segment name
    -> frames whose prompts or locks changed since the last complete run; only what they can
    affect is computed, and equals what a complete run would give. Segments that are not named
    are then not computed. cancelled: asked before every frame; True ends the run, and what was
    yielded stays valid. cache, clip_key: keep embeddings between runs on the same clip.

    Segments never influence each other. Inside stated windows the structure is taken to be
    visible (presence bypass); without windows the network decides, and masks may be empty.
    Raises InvalidValue, before anything is computed, if prompts do not fit the clip.
    """
    locked, cancelled = locked or {}, cancelled or (lambda: False)
    check_frame_size(clip.frame_size)
    for segment in segments:
        segment.check(len(clip), clip.frame_size)
        for index, mask in locked.get(segment.name, {}).items():
            if not 0 <= index < len(clip) or mask.shape != clip.frame_size:
                raise InvalidValue(f"locked frame {index} of {segment.name!r} is not on this clip")
    if changed is not None:
        segments = [segment for segment in segments if segment.name in changed]
    if cache is None:
        cache = EmbeddingCache(OWN_CACHE, least=2 * BATCH.get(model.device.type, 1))
    segmenter = FrameSegmenter(model, cache, clip.geometry.pixel_aspect)
    runs = []
    for segment in segments:
        kept = locked.get(segment.name, {})
        stretches = plan_stretches(segment, kept, len(clip), direction)
        prompted = [i for i in conditioning_frames(segment, kept, len(clip)) if i not in kept]
        if changed is not None:
            stretches = affected_by(stretches, changed[segment.name])
            prompted = [i for i in prompted if i in changed[segment.name]]
        tracker = _SegmentTracker(segmenter, clip, segment, kept, clip_key)
        runs.append(tracker.run(prompted, stretches))
    # One frame of each segment in turn: segments on the same frames share their embeddings.
    while runs:
        for run in list(runs):
            if cancelled():
                return
            result = next(run, None)
            if result is None:
                runs.remove(run)
            else:
                yield result


class _SegmentTracker:
    """Tracks one segment; holds its encoded conditioning frames and nothing of other segments."""

    def __init__(
        self,
        segmenter: FrameSegmenter,
        clip: Clip,
        segment: SegmentPrompts,
        locked: Mapping[int, np.ndarray],
        clip_key: str,
    ):
        self.segmenter, self.model = segmenter, segmenter.model
        self.network = segmenter.model.network
        self.clip, self.segment, self.locked = clip, segment, locked
        self.clip_key = clip_key
        self.size = self.model.info.input_size
        self.zooms = self.model.info.architecture.zoom
        self.primed = self.model.info.architecture.primed
        self.bypass = bool(segment.windows)
        self.conditioning: OrderedDict[int, tuple[dict, np.ndarray, View]] = OrderedDict()

    def run(self, prompted: Sequence[int], stretches: Sequence[Stretch]) -> Iterator[FrameMask]:
        """Prompted frames, then the stretches."""
        for index in prompted:
            prompts = self.segment.frames[index]
            mask, confidence = prompts.mask, 1.0
            if not _only_mask(prompts):
                result = self.segmenter.segment(
                    self.clip.frames[index], prompts, key=(self.clip_key, index)
                )
                mask, confidence = result.mask, result.confidence
            yield FrameMask(self.segment.name, index, mask, confidence, FrameState.PROMPTED)
        for stretch in stretches:
            yield from self._track(stretch)

    def _track(self, stretch: Stretch) -> Iterator[FrameMask]:
        """Frames of one stretch in the order of tracking. Memory is bounded: the conditioning
        frames, and of the stretch the last `num_maskmem` masks and 16 object pointers."""
        recent: OrderedDict[int, dict] = OrderedDict()
        memory = {"cond_frame_outputs": {}, "non_cond_frame_outputs": recent}
        for index in stretch.conditioning:
            memory["cond_frame_outputs"][index] = self._conditioning(index)[0]
        _, shape, view = self._conditioning(stretch.conditioning[0])
        ahead = iter(stretch.frames)
        batch = BATCH.get(self.model.device.type, 1)
        encoded: dict[int, Embedding] = {}
        for index in stretch.frames:
            if self.zooms:
                view, kept = self._follow(shape, view), view
                if view != kept:
                    encoded.clear()
                    ahead = (i for i in stretch.frames if (i - index) * stretch.frames.step >= 0)
            if index not in encoded:
                encoded = self._embed([i for i in islice(ahead, batch)], view)
            with torch.inference_mode(), self.network.presence_bypass(self.bypass):
                embedding = encoded.pop(index)
                features = self.network.with_memory(
                    embedding, index, memory, len(self.clip), stretch.backward
                )
                for _ in range(PASSES if self.primed else 1):
                    decoded = self._decode(embedding, features, shape, view)
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

    def _decode(self, embedding: Embedding, features: Tensor, shape, view: View) -> Decoded:
        prior = None
        if self.primed:
            prior = shape_logits(view.cut(shape), self.size // PRIOR_STRIDE, self.size)
            prior = prior.to(self.model.device)
        return self.network.decode(embedding, features, None, prior, initial=False)

    def _embed(self, indices: list[int], view: View) -> dict[int, Embedding]:
        """Embeddings of frames, those not in the cache encoded in one batch."""
        keys = {index: ((self.clip_key, index), view) for index in indices}
        found = {index: self.segmenter.cache.get(key) for index, key in keys.items()}
        missing = [index for index, embedding in found.items() if embedding is None]
        if missing:
            images = torch.stack(
                [view.network_input(self.clip.frames[index], self.size) for index in missing]
            )
            with torch.inference_mode():
                batch = self.network.embed(images.to(self.model.device))
            for position, index in enumerate(missing):
                found[index] = batch[position]
                self.segmenter.cache.put(keys[index], found[index])
        return found

    def _follow(self, shape: np.ndarray, view: View) -> View:
        """The view around the mask of the frame before; the one before while it still suits."""
        box = bounding_box(shape)
        wanted = self._view_around(box)
        return view if view.suits(box, wanted) else wanted

    def _view_around(self, box: tuple[int, int, int, int]) -> View:
        return View.around(box, self.clip.frame_size, aspect=self.segmenter.aspect)

    def _conditioning(self, index: int) -> tuple[dict, np.ndarray, View]:
        """A conditioning frame's memory, mask and view, computed once for its two stretches."""
        if index not in self.conditioning:
            self.conditioning[index] = self._encode_conditioning(index)
            while len(self.conditioning) > CONDITIONING_KEPT:
                self.conditioning.popitem(last=False)
        self.conditioning.move_to_end(index)
        return self.conditioning[index]

    def _encode_conditioning(self, index: int) -> tuple[dict, np.ndarray, View]:
        frame, key = self.clip.frames[index], (self.clip_key, index)
        frame_size = self.clip.frame_size
        prompts = self.segment.frames.get(index)
        if index in self.locked:
            prompts = FramePrompts(mask=self.locked[index])
        given = prompts.mask if _only_mask(prompts) else None
        if given is None:
            result = self.segmenter.segment(frame, prompts, key=key)
            shape = result.mask if result.mask.any() else None
            view = result.view
        else:
            shape, view = given, View.whole(frame_size)
        if self.zooms and shape is not None:
            view = self._view_around(bounding_box(shape))
        with torch.inference_mode(), self.network.presence_bypass(self.bypass):
            embedding = self.segmenter.embed(frame, view, key)
            if given is not None:
                decoded = self.network.adopt(embedding, self._on_network_grid(given, view))
                logits = decoded.full_logits(self.size)
            else:
                decoded, _ = self.segmenter.decode(
                    embedding, self.segmenter.adapted(prompts, frame_size), view, frame_size
                )
                logits = decoded.full_logits(self.size)
                if self.zooms and shape is not None:
                    # what the annotator saw is what is remembered, also from another view
                    logits = self._on_network_grid(shape, view) * 20 - 10
            remembered = self.network.remember(
                embedding, logits, decoded.pointer, decoded.presence, prompted=True
            )
        if shape is None:
            shape = np.zeros(frame_size, dtype=bool)
            shape[frame_size[0] // 2, frame_size[1] // 2] = True
        return remembered, shape, view

    def _on_network_grid(self, mask: np.ndarray, view: View) -> Tensor:
        """(H, W) bool -> (1, 1, S, S) of 0 and 1."""
        part = torch.from_numpy(view.cut(mask).astype(np.float32))[None, None]
        return (resize(part, self.size, self.size) >= 0.5).float().to(self.model.device)

    def _forget(self, recent: OrderedDict[int, dict]) -> None:
        """Contract of bounded memory: drop what SAM2's attention can no longer reach."""
        order = list(recent)
        for index in order[: -self.network.num_maskmem]:
            recent[index] = {"obj_ptr": recent[index]["obj_ptr"]}
        for index in order[: -self.network.max_obj_ptrs_in_encoder]:
            del recent[index]


def _only_mask(prompts: FramePrompts) -> bool:
    clicks = len(prompts.boundary) + len(prompts.include) + len(prompts.exclude)
    return prompts.mask is not None and clicks == 0 and prompts.box is None


def _confidence(decoded: Decoded) -> float:
    """Predicted IoU; for a structure taken to be absent, the certainty of that."""
    presence = float(decoded.presence[0])
    if presence <= 0:
        return float(torch.sigmoid(-decoded.presence[0]))
    return float(decoded.iou[0].clamp(0, 1))
