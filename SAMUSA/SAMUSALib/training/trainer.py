"""The trainer: images by simulated clicks, clips through the memory, one small recipe.

The paper's scheme (SAMUSA §training): the first click is random on the boundary, the second the
boundary point farthest from it, every further one the boundary point farthest from the predicted
boundary; the loss is SAM2's plus lambda times the boundary loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, distributed

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
from ..engine.spline import signed_distance, spline_mask
from ..errors import TrainingFailed
from .clicks import border, next_boundary_click, next_region_click, simulated_box
from .losses import LossWeights, total_loss
from .samples import LabelledClip, Sample, draw_batch

LOSS_STRIDE = 2  # losses are taken on a grid of half the network's input: 4 times less memory


@dataclass(frozen=True)
class Recipe:
    """How to train. Shares of modes are probabilities of a step. click_counts: a boundary step
    takes its loss at one count of each group, so that few decodings cover all counts."""

    steps: int = 8000
    batch: int = 2
    clip_batch: int = 1
    clip_frames: int = 3
    learning_rate: float = 1e-3
    final_rate: float = 1e-5
    warmup: int = 300
    weight_decay: float = 0.05
    clip_gradient: float = 1.0
    ema: float = 0.999
    share_clips: float = 0.35
    share_region: float = 0.04
    share_box: float = 0.03
    share_mask: float = 0.15
    click_counts: tuple[tuple[int, ...], ...] = ((2, 3), (3, 4, 5, 6, 8))
    autocast: bool = True
    seed: int = 0
    # A small network on few data, primed by the spline: plain cross entropy (gamma 0, even
    # weights) and Dice in front, the boundary loss behind. With SAM2's weights and lambda 2 the
    # soft Dice loss at two clicks was 0.24 after 500 steps, the spline's own is 0.16: softening
    # the outline away from the clicks pays for the boundary loss. 3 blurs at half resolution
    # (20 would pull outlines of 32 px outwards by 1.2 px).
    loss: LossWeights = field(
        default_factory=lambda: LossWeights(
            focal=4.0,
            dice=2.0,
            boundary=0.25,
            focal_alpha=0.5,
            focal_gamma=0.0,
            blur_repeats=3,
        )
    )


class Trainer:
    """Trains a network on labelled images (clips of one frame) and clips.

    Where torch.distributed is initialised, every process draws its own batch and gradients are
    averaged; the networks must start equal.

    images, clips: with the probability of each; clips may be empty. `step()` runs one step and
    returns its losses; `ema_state()` is what to save.
    """

    def __init__(
        self,
        network: SamusaNetwork,
        recipe: Recipe,
        images: Sequence[LabelledClip],
        image_weights: np.ndarray,
        clips: Sequence[LabelledClip],
        clip_weights: np.ndarray,
    ):
        self.network, self.recipe = network.train(), recipe
        self.images, self.image_weights = images, image_weights
        self.clips, self.clip_weights = clips, clip_weights
        self.processes, rank = 1, 0
        if distributed.is_initialized():
            self.processes, rank = distributed.get_world_size(), distributed.get_rank()
        self.rng = np.random.default_rng([recipe.seed, rank])
        # the kind of a step is the same in all processes: none waits for another's longer one
        self.kinds = np.random.default_rng(recipe.seed)
        decayed = [p for p in network.parameters() if p.requires_grad and p.ndim >= 2]
        plain = [p for p in network.parameters() if p.requires_grad and p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.done = 0

    @property
    def size(self) -> int:
        return self.network.image_size

    def rate(self) -> float:
        """Learning rate of the next step: linear warm-up, then a cosine."""
        r = self.recipe
        if self.done < r.warmup:
            return r.learning_rate * (self.done + 1) / r.warmup
        share = min(1.0, (self.done - r.warmup) / max(1, r.steps - r.warmup))
        return r.final_rate + (r.learning_rate - r.final_rate) * (1 + math.cos(math.pi * share)) / 2

    def step(self) -> dict[str, float]:
        """One optimiser step; returns the losses by name. Raises TrainingFailed on NaN."""
        r = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        autocast = torch.autocast(
            self.network.device.type, dtype=torch.bfloat16, enabled=r.autocast
        )
        with autocast, self.network.presence_bypass():
            if self.clips and self.kinds.random() < r.share_clips:
                loss, parts = self._clip_loss()
            else:
                loss, parts = self._image_loss()
        if not torch.isfinite(loss):
            raise TrainingFailed(
                f"the loss is {loss.item()} at step {self.done}; the last saved checkpoint is "
                "kept. Start again from it with a lower --rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), r.clip_gradient)
        self.optimizer.step()
        self.done += 1
        momentum = min(r.ema, self.done / (self.done + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - momentum)
        return parts

    def _average_gradients(self) -> None:
        """Mean over the processes; a parameter that a process did not use counts as 0 there."""
        if self.processes == 1:
            return
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.processes
        parts = flat.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def ema_state(self) -> dict[str, Tensor]:
        """Exponential moving average of the weights."""
        return {name: value.clone() for name, value in self.average.items()}

    # images ---------------------------------------------------------------------------------

    def _image_loss(self) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        samples = draw_batch(self.images, self.image_weights, r.batch, 1, self.size, self.rng)
        embedding = self.network.embed(self._stack([s.images[0] for s in samples]))
        truth = np.stack([s.truth[0] for s in samples])
        mode = self.kinds.random()
        if mode < r.share_region:
            kind, rounds = "region", self._region_rounds(embedding, truth)
        elif mode < r.share_region + r.share_box:
            kind, rounds = "box", self._box_round(embedding, truth)
        elif mode < r.share_region + r.share_box + r.share_mask:
            kind, rounds = "mask", self._mask_round(embedding, truth)
        else:
            kind, rounds = "boundary", self._boundary_rounds(embedding, samples)
        return self._mean_loss(kind, [(decoded, truth, points) for decoded, points in rounds])

    def _boundary_rounds(self, embedding: Embedding, samples: list[Sample]):
        """Clicks by the paper's scheme; a loss at each count of the schedule."""
        truth = [s.truth[0] for s in samples]
        outlines = [border(mask) for mask in truth]
        clicks = [s.clicks for s in samples]
        rounds, count = [], 0
        for counts in self.recipe.click_counts:
            count = int(self.rng.choice([c for c in counts if c > count]))
            predicted = _masks(rounds[-1][0], self.size) if rounds else [None] * len(samples)
            for index, sample in enumerate(samples):
                clicks[index] = self._click_on(
                    outlines[index], clicks[index], predicted[index], count, sample.jitter
                )
            rounds.append(self._decode_boundary(embedding, clicks))
        return rounds

    def _click_on(
        self,
        outline: np.ndarray,
        clicks: np.ndarray,
        predicted: np.ndarray | None,
        count: int,
        jitter: float,
    ) -> np.ndarray:
        """Boundary clicks up to `count`: the first against the predicted mask (S, S), further ones
        against the curve through those made."""
        while len(clicks) < count:
            click = next_boundary_click(outline, clicks, predicted, self.rng)
            clicks = np.vstack([clicks, click + self.rng.normal(0, jitter, 2)])
            predicted = spline_mask(clicks, (self.size, self.size))
        return clicks

    def _decode_boundary(
        self, embedding: Embedding, clicks: list[np.ndarray]
    ) -> tuple[Decoded, tuple[Tensor, Tensor]]:
        """What boundary clicks give, primed by the curve through them; and the points."""
        half = self.size // LOSS_STRIDE
        curves = [spline_mask((c + 0.5) / LOSS_STRIDE - 0.5, (half, half)) for c in clicks]
        points = self._points(clicks, [np.full(len(c), BOUNDARY) for c in clicks])
        features = self.network.without_memory(embedding)
        return self.network.decode(embedding, features, points, self._prior(curves)), points

    def _region_rounds(self, embedding: Embedding, truth: np.ndarray):
        """A click at the centre, then at the largest error, the previous mask as prior."""
        features = self.network.without_memory(embedding)
        clicks = [np.empty((0, 2))] * len(truth)
        labels = [np.empty(0)] * len(truth)
        rounds, previous = [], [None] * len(truth)
        for _ in range(3):
            for index, mask in enumerate(truth):
                xy, include = next_region_click(mask, previous[index], self.rng)
                clicks[index] = np.vstack([clicks[index], xy])
                labels[index] = np.append(labels[index], INCLUDE if include else EXCLUDE)
            points = self._points(clicks, labels)
            prior = None if not rounds else self._prior([_halved(mask) for mask in previous])
            rounds.append((self.network.decode(embedding, features, points, prior), points))
            previous = _masks(rounds[-1][0], self.size)
        return rounds

    def _box_round(self, embedding: Embedding, truth: np.ndarray):
        boxes = [simulated_box(mask, self.rng).reshape(2, 2) for mask in truth]
        points = self._points(boxes, [np.array([BOX_START, BOX_END])] * len(boxes))
        features = self.network.without_memory(embedding)
        return [(self.network.decode(embedding, features, points, None), points)]

    def _mask_round(self, embedding: Embedding, truth: np.ndarray):
        """A mask from elsewhere, as the frame before gives it: the truth, shifted and grown or
        shrunk. The network learns to follow the image away from it."""
        masks = []
        for mask in truth:
            half = _halved(mask)
            distance = signed_distance(half) + self.rng.normal(0, 0.1) * np.sqrt(half.sum() + 1)
            shift = np.round(self.rng.normal(0, 0.08, 2) * np.sqrt(half.sum())).astype(int)
            masks.append(np.roll(distance > 0, shift, axis=(0, 1)))
        features = self.network.without_memory(embedding)
        return [(self.network.decode(embedding, features, None, self._prior(masks)), None)]

    # clips ----------------------------------------------------------------------------------

    def _clip_loss(self) -> tuple[Tensor, dict[str, float]]:
        """The first frame from clicks or its mask; then each frame from the memory of those
        before it, its prior the predicted mask of the frame before."""
        r, net = self.recipe, self.network
        samples = draw_batch(
            self.clips, self.clip_weights, r.clip_batch, r.clip_frames, self.size, self.rng
        )
        embeddings = [
            net.embed(self._stack([s.images[t] for s in samples])) for t in range(r.clip_frames)
        ]
        truth = np.stack([s.truth for s in samples], axis=1)
        if self.rng.random() < 0.3:
            mask = self._stack(list(truth[0].astype(np.float32)))[:, :1]
            decoded, rounds = net.adopt(embeddings[0], mask), []
        else:
            count = int(self.rng.integers(2, 7))
            clicks = []
            for mask, sample in zip(truth[0], samples, strict=True):
                curve = spline_mask(sample.clicks, mask.shape)
                clicks.append(
                    self._click_on(border(mask), sample.clicks, curve, count, sample.jitter)
                )
            decoded, points = self._decode_boundary(embeddings[0], clicks)
            rounds = [(decoded, truth[0], points)]
        memory = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        memory["cond_frame_outputs"][0] = self._remember(embeddings[0], decoded, True)
        for t in range(1, r.clip_frames):
            features = net.with_memory(embeddings[t], t, memory, r.clip_frames, False)
            before = _masks(decoded, self.size)
            prior = self._prior([_halved(mask) for mask in before])
            decoded = net.decode(embeddings[t], features, None, prior)
            rounds.append((decoded, truth[t], None))
            memory["non_cond_frame_outputs"][t] = self._remember(embeddings[t], decoded, False)
        return self._mean_loss("clip", rounds)

    def _remember(self, embedding: Embedding, decoded: Decoded, prompted: bool) -> dict:
        logits = decoded.full_logits(self.size)
        presence = decoded.presence.detach()
        return self.network.remember(embedding, logits, decoded.pointer, presence, prompted)

    # shared ---------------------------------------------------------------------------------

    def _stack(self, images: list[np.ndarray]) -> Tensor:
        """Grey (S, S) images -> (B, 3, S, S)."""
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

    def _mean_loss(self, kind: str, rounds: list) -> tuple[Tensor, dict[str, float]]:
        """Mean over rounds of (decoded, truth, points); parts are named after the kind of step."""
        losses = [self._loss(*each) for each in rounds]
        total = torch.stack([loss for loss, _ in losses]).mean()
        return total, {
            f"{kind}_{name}": float(np.mean([parts[name] for _, parts in losses]))
            for name in losses[0][1]
        }

    def _loss(self, decoded: Decoded, truth: np.ndarray, points) -> tuple[Tensor, dict[str, float]]:
        """truth (B, S, S) bool. An absent structure is taught by the presence score alone."""
        grid = self.size // LOSS_STRIDE
        logits = decoded.full_logits(grid)[:, 0].float()
        target = torch.from_numpy(truth).to(logits.device)[:, None].float()
        target = (F.avg_pool2d(target, LOSS_STRIDE)[:, 0] >= 0.5).float()
        coords = logits.new_zeros(len(logits), 1, 2)
        valid = torch.zeros(len(logits), 1, dtype=torch.bool, device=logits.device)
        if points is not None:
            coords = (points[0] + 0.5) / LOSS_STRIDE - 0.5
            valid = points[1] == BOUNDARY
        total, parts = total_loss(
            logits,
            target,
            decoded.iou.float(),
            decoded.presence.float(),
            coords,
            valid,
            self.recipe.loss,
        )
        return total, {name: float(value) for name, value in parts.items()}


def _masks(decoded: Decoded, size: int) -> list[np.ndarray]:
    """Predicted masks (size, size), one a sample."""
    logits = decoded.full_logits(size)[:, 0].detach().float()
    return list((logits > 0).cpu().numpy())


def _halved(mask: np.ndarray) -> np.ndarray:
    """(S, S) bool -> (S/2, S/2) bool by majority."""
    height, width = mask.shape
    blocks = mask.reshape(height // LOSS_STRIDE, LOSS_STRIDE, width // LOSS_STRIDE, LOSS_STRIDE)
    return blocks.mean(axis=(1, 3)) >= 0.5


def train(
    trainer: Trainer,
    checkpoint: Path,
    save: Callable[[Path, dict[str, Tensor], int], None],
    report: Callable[[int, dict[str, float], float], None] | None = None,
    save_every: int = 500,
) -> None:
    """Run the recipe to its end, saving the averaged weights now and then and at the end."""
    started = time.monotonic()
    sums: dict[str, list[float]] = {}
    while trainer.done < trainer.recipe.steps:
        for name, value in trainer.step().items():
            sums.setdefault(name, []).append(value)
        if trainer.done % 100 == 0 and report is not None:
            report(
                trainer.done,
                {name: float(np.mean(values)) for name, values in sums.items()},
                time.monotonic() - started,
            )
            sums = {}
        if trainer.done % save_every == 0 or trainer.done == trainer.recipe.steps:
            save(checkpoint, trainer.ema_state(), trainer.done)
