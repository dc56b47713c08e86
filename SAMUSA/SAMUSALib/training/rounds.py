"""From a batch of samples to decodings and a loss: what one step of training looks at.

The paper's scheme (SAMUSA §training): the first click is random on the boundary, the second the
boundary point farthest from it, every further one the boundary point farthest from the predicted
boundary; the loss is SAM2's plus lambda times the boundary loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.network import (
    BOUNDARY,
    BOX_END,
    BOX_START,
    EXCLUDE,
    INCLUDE,
    NO_POINT,
    Decoded,
    Embedding,
    SamusaNetwork,
    shape_prior,
)
from ..engine.passes import PASSES, curves_prior, decode_boundary
from ..engine.spline import box_ellipse, distinct, signed_distance, spline_contour
from ..errors import InvalidValue
from .clicks import border, farthest_from_border, next_region_click, simulated_box
from .losses import LossWeights, total_loss
from .samples import Sample

LOSS_STRIDE = 2  # losses are taken on a grid of half the network's input: 4 times less memory
KINDS = ("boundary", "region", "box", "mask", "clip")


@dataclass(frozen=True)
class Curriculum:
    """What is practised how often. Shares are probabilities of a step, clips of all steps, the
    others of those on images (single: one boundary click); the rest are boundary clicks.
    click_counts: a boundary step takes its loss at one count of each group, so that few decodings
    cover all counts. clip_frames: frames
    of a clip's sample; clip_clicks: least and most clicks on its first frame; clip_from_mask: share
    of the clip steps whose first frame has its mask instead. share_exact: of the samples, clicked
    exactly; the others' clicks have a standard deviation drawn from click_error, as a share of the
    root of the structure's area."""

    share_clips: float = 0.25
    share_region: float = 0.08
    share_box: float = 0.04
    share_mask: float = 0.15
    share_single: float = 0.03
    click_counts: tuple[tuple[int, ...], ...] = ((2, 3), (3, 4, 5), (6, 7, 8, 9, 10))
    clip_frames: int = 3
    clip_clicks: tuple[int, int] = (2, 6)
    clip_from_mask: float = 0.3
    share_exact: float = 0.5
    click_error: tuple[float, float] = (0.01, 0.04)

    def __post_init__(self):
        before = 1  # a sample comes with two clicks
        for group in self.click_counts:
            if not group or max(group) <= before:
                raise InvalidValue(
                    f"click_counts is {[list(each) for each in self.click_counts]}; each group "
                    "needs a count above all of the group before, the first one from 2 up"
                )
            before = max(group)
        if not self.click_counts:
            raise InvalidValue("click_counts is empty; at least one group of counts is needed")
        least, most = self.clip_clicks
        if not 2 <= least <= most:
            raise InvalidValue(
                f"clip_clicks is {[least, most]}; two rising numbers from 2 up are needed"
            )
        if not 0 <= self.click_error[0] <= self.click_error[1] <= 0.5:
            raise InvalidValue(
                f"click_error is {list(self.click_error)}; two rising shares up to 0.5 are needed"
            )
        if self.clip_frames < 2:
            raise InvalidValue(f"clip_frames is {self.clip_frames}; at least 2 are needed")


@dataclass(frozen=True)
class Plan:
    """What all samples of a step share. kind: one of KINDS. frames: of each sample. counts: clicks
    at each decoding of a boundary step, or on the first frame of a clip (none: its mask). passes:
    of which pass over boundary clicks the loss is taken."""

    kind: str
    frames: int = 1
    counts: tuple[int, ...] = ()
    passes: int = PASSES

    @property
    def wide(self) -> float:
        """Share of the samples that show the whole frame, as where nothing says where to look."""
        if self.counts == (1,):
            return 1.0
        return 0.5 if self.kind == "region" else 0.08


def plan_step(curriculum: Curriculum, rng: np.random.Generator, with_clips: bool = True) -> Plan:
    """Draw what a step practises. with_clips: False where there are no clips to train on."""
    c = curriculum
    if with_clips and rng.random() < c.share_clips:
        if rng.random() < c.clip_from_mask:
            return Plan("clip", c.clip_frames)
        count = int(rng.integers(*c.clip_clicks, endpoint=True))
        return Plan("clip", c.clip_frames, (count,), _passes(rng))
    mode = rng.random()
    if mode < c.share_region:
        return Plan("region")
    if mode < c.share_region + c.share_box:
        return Plan("box")
    if mode < c.share_region + c.share_box + c.share_mask:
        return Plan("mask")
    if mode > 1 - c.share_single:
        return Plan("boundary", counts=(1,))
    counts: list[int] = []
    for group in c.click_counts:
        more = [count for count in group if not counts or count > counts[-1]]
        counts.append(int(rng.choice(more)))
    return Plan("boundary", counts=tuple(counts), passes=_passes(rng))


def _passes(rng: np.random.Generator) -> int:
    return int(rng.integers(1, PASSES, endpoint=True))


class Rounds(nn.Module):
    """A network with the simulated annotator around it: samples in, loss out.

    One module, so that what wraps modules (averaging gradients over processes, casting) sees a
    step as one forward pass.
    """

    def __init__(self, network: SamusaNetwork, loss: LossWeights):
        super().__init__()
        self.network, self.loss_weights = network, loss

    @property
    def size(self) -> int:
        return self.network.image_size

    def forward(
        self, plan: Plan, samples: Sequence[Sample], rngs: Sequence[np.random.Generator]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its detached parts, named after the kind of step. Every sample has a generator
        of its own, so it is clicked the same way whatever shares its batch."""
        with self.network.presence_bypass():
            if plan.kind == "clip":
                return self._mean_loss("clip", self._clip_rounds(plan, samples, rngs))
            embedding = self.network.embed(self._stack([s.images[0] for s in samples]))
            truth = np.stack([s.truth[0] for s in samples])
            if plan.kind == "region":
                rounds = self._region_rounds(embedding, truth, rngs)
            elif plan.kind == "box":
                rounds = self._box_round(embedding, truth, rngs)
            elif plan.kind == "mask":
                rounds = self._mask_round(embedding, truth, rngs)
            else:
                rounds = self._boundary_rounds(plan, embedding, samples, rngs)
            return self._mean_loss(plan.kind, [(d, truth, points) for d, points in rounds])

    # images ---------------------------------------------------------------------------------

    def _boundary_rounds(self, plan: Plan, embedding: Embedding, samples, rngs):
        """Clicks by the paper's scheme; a loss at each count of the schedule."""
        clicks = [s.clicks[: plan.counts[0]] for s in samples]
        rounds = []
        for count in plan.counts:
            predicted = _masks(rounds[-1][0], self.size) if rounds else [None] * len(samples)
            for index, sample in enumerate(samples):
                clicks[index] = self._click_on(
                    sample.outline,
                    clicks[index],
                    predicted[index],
                    count,
                    sample.jitter,
                    rngs[index],
                )
            rounds.append(self._decode_boundary(embedding, clicks, plan.passes))
        return rounds

    def _click_on(
        self,
        outline: np.ndarray,
        clicks: np.ndarray,
        predicted: np.ndarray | None,
        count: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Boundary clicks, two or more, up to `count`: the first where the outline is farthest
        from the predicted mask (S, S), further ones, or without one all, from the curve through
        those made."""
        while len(clicks) < count:
            drawn = spline_contour(clicks) if predicted is None else border(predicted)
            click = farthest_from_border(outline, drawn, clicks)
            clicks = np.vstack([clicks, click + rng.normal(0, jitter, 2)])
            predicted = None
        return clicks

    def _decode_boundary(
        self, embedding: Embedding, clicks: list[np.ndarray], passes: int
    ) -> tuple[Decoded, tuple[Tensor, Tensor]]:
        """What boundary clicks give after some passes, and the points."""
        points = self._points(clicks, [np.full(len(c), BOUNDARY) for c in clicks])
        if min(len(distinct(c)) for c in clicks) < 2:
            features = self.network.without_memory(embedding)
            return self.network.decode(embedding, features, points), points
        return decode_boundary(self.network, embedding, points, clicks, passes), points

    def _region_rounds(self, embedding: Embedding, truth: np.ndarray, rngs):
        """A click at the centre, then at the largest error, the previous mask as prior."""
        features = self.network.without_memory(embedding)
        clicks = [np.empty((0, 2))] * len(truth)
        labels = [np.empty(0)] * len(truth)
        rounds, previous = [], [None] * len(truth)
        for _ in range(3):
            for index, mask in enumerate(truth):
                xy, include = next_region_click(mask, previous[index], rngs[index])
                clicks[index] = np.vstack([clicks[index], xy])
                labels[index] = np.append(labels[index], INCLUDE if include else EXCLUDE)
            points = self._points(clicks, labels)
            prior = None if not rounds else self._prior([_halved(mask) for mask in previous])
            rounds.append((self.network.decode(embedding, features, points, prior), points))
            previous = _masks(rounds[-1][0], self.size)
        return rounds

    def _box_round(self, embedding: Embedding, truth: np.ndarray, rngs):
        boxes = [
            simulated_box(mask, rng).reshape(2, 2) for mask, rng in zip(truth, rngs, strict=True)
        ]
        points = self._points(boxes, [np.array([BOX_START, BOX_END])] * len(boxes))
        features = self.network.without_memory(embedding)
        ellipses = [box_ellipse(box.ravel()) for box in boxes]
        prior = curves_prior(ellipses, self.size, self.network.device)
        return [(self.network.decode(embedding, features, points, prior, smooth=prior), points)]

    def _mask_round(self, embedding: Embedding, truth: np.ndarray, rngs):
        """A mask from elsewhere, as the frame before gives it: the truth, shifted and grown or
        shrunk. The network learns to follow the image away from it."""
        masks = []
        for mask, rng in zip(truth, rngs, strict=True):
            half = _halved(mask)
            strength = rng.choice([0.5, 1.0, 2.0])
            root = strength * np.sqrt(half.sum() + 1)
            distance = signed_distance(half) + rng.normal(0, 0.08) * root
            shift = np.round(rng.normal(0, 0.08, 2) * root).astype(int)
            masks.append(np.roll(distance > 0, shift, axis=(0, 1)))
        features = self.network.without_memory(embedding)
        return [(self.network.decode(embedding, features, None, self._prior(masks)), None)]

    # clips ----------------------------------------------------------------------------------

    def _clip_rounds(self, plan: Plan, samples, rngs):
        """The first frame from clicks or its mask; then each frame from the memory of those
        before it, its prior the predicted mask of the frame before."""
        net = self.network
        embeddings = [
            net.embed(self._stack([s.images[t] for s in samples])) for t in range(plan.frames)
        ]
        truth = np.stack([s.truth for s in samples], axis=1)
        if not plan.counts:
            mask = self._stack(list(truth[0].astype(np.float32)))[:, :1]
            decoded, rounds = net.adopt(embeddings[0], mask), []
        else:
            (count,) = plan.counts
            clicks = []
            for sample, rng in zip(samples, rngs, strict=True):
                clicks.append(
                    self._click_on(sample.outline, sample.clicks, None, count, sample.jitter, rng)
                )
            decoded, points = self._decode_boundary(embeddings[0], clicks, plan.passes)
            rounds = [(decoded, truth[0], points)]
        memory = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        memory["cond_frame_outputs"][0] = self._remember(embeddings[0], decoded, True)
        for t in range(1, plan.frames):
            features = net.with_memory(embeddings[t], t, memory, plan.frames, False)
            before = _masks(decoded, self.size)
            prior = self._prior([_halved(mask) for mask in before])
            decoded = net.decode(embeddings[t], features, None, prior)
            rounds.append((decoded, truth[t], None))
            memory["non_cond_frame_outputs"][t] = self._remember(embeddings[t], decoded, False)
        return rounds

    def _remember(self, embedding: Embedding, decoded: Decoded, prompted: bool) -> dict:
        logits = decoded.full_logits(self.size)
        presence = decoded.presence.detach()
        return self.network.remember(embedding, logits, decoded.pointer, presence, prompted)

    # shared ---------------------------------------------------------------------------------

    def _stack(self, images: list[np.ndarray] | list[Tensor]) -> Tensor:
        """Grey (S, S) images, arrays or tensors on the device -> (B, 3, S, S)."""
        if isinstance(images[0], Tensor):
            stacked = torch.stack(images)
        else:
            stacked = torch.from_numpy(np.stack(images)).to(self.network.device)
        return stacked[:, None].expand(-1, 3, -1, -1)

    def _points(self, clicks: list[np.ndarray], labels: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Lists of (N_i, 2) network pixels and (N_i,) labels -> padded (B, N, 2), (B, N)."""
        longest = max(len(c) for c in clicks)
        coords = np.zeros((len(clicks), longest, 2), np.float32)
        codes = np.full((len(clicks), longest), NO_POINT, np.int64)
        for index, (xy, label) in enumerate(zip(clicks, labels, strict=True)):
            coords[index, : len(xy)], codes[index, : len(xy)] = xy, label
        device = self.network.device
        return torch.from_numpy(coords).to(device), torch.from_numpy(codes).to(device)

    def _prior(self, half_masks: list[np.ndarray]) -> Tensor:
        """Masks on the loss grid -> (B, 1, S/2, S/2) prior logits."""
        distance = np.stack([signed_distance(mask) for mask in half_masks])[:, None]
        return shape_prior(torch.from_numpy(distance).to(self.network.device) * LOSS_STRIDE)

    def _mean_loss(self, kind: str, rounds: list) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over rounds of (decoded, truth, points); parts are named after the kind of step."""
        losses = [self._loss(*each) for each in rounds]
        total = torch.stack([loss for loss, _ in losses]).mean()
        return total, {
            f"{kind}_{name}": torch.stack([parts[name] for _, parts in losses]).mean()
            for name in losses[0][1]
        }

    def _loss(
        self, decoded: Decoded, truth: np.ndarray, points
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """truth (B, S, S) bool. An absent structure is taught by the presence score alone."""
        grid = self.size // LOSS_STRIDE
        logits = decoded.full_logits(grid)[:, 0].float()
        target = torch.from_numpy(truth).to(logits.device)[:, None].float()
        target = F.avg_pool2d(target, LOSS_STRIDE)[:, 0]
        coords = logits.new_zeros(len(logits), 1, 2)
        valid = torch.zeros(len(logits), 1, dtype=torch.bool, device=logits.device)
        if points is not None:
            coords = (points[0] + 0.5) / LOSS_STRIDE - 0.5
            valid = points[1] == BOUNDARY
        return total_loss(
            logits,
            target,
            decoded.iou.float(),
            decoded.presence.float(),
            coords,
            valid,
            self.loss_weights,
            _weights(decoded.prior, target) if self.loss_weights.relative else None,
        )


def _masks(decoded: Decoded, size: int) -> list[np.ndarray]:
    """Predicted masks (size, size), one a sample."""
    logits = decoded.full_logits(size)[:, 0].detach().float()
    return list((logits > 0).cpu().numpy())


def _weights(prior: Tensor | None, target: Tensor) -> Tensor | None:
    """(B,) weight of each sample, the higher the better its prior already is: half of a prior's
    error counts about the same whether two clicks gave it or ten. Without them the network was
    below the spline from six exact clicks on."""
    if prior is None:
        return None
    prior = F.interpolate(prior, target.shape[-2:], mode="bilinear", align_corners=False)
    guess = (prior[:, 0] > 0).to(target.dtype)
    dice = 2 * (guess * target).sum((1, 2)) / (guess.sum((1, 2)) + target.sum((1, 2))).clamp(min=1)
    return 0.06 / (1 - dice + 0.01).clamp(max=0.2)


def _halved(mask: np.ndarray) -> np.ndarray:
    """(S, S) bool -> (S/2, S/2) bool by majority."""
    height, width = mask.shape
    blocks = mask.reshape(height // LOSS_STRIDE, LOSS_STRIDE, width // LOSS_STRIDE, LOSS_STRIDE)
    return blocks.mean(axis=(1, 3)) >= 0.5
