"""The trainer: the optimisation loop around `rounds`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed

from ..engine.network import SamusaNetwork
from ..errors import TrainingFailed
from .losses import LossWeights
from .randomness import CLICKS, DROPOUT, PLAN, SAMPLE, generator
from .rounds import Curriculum, Rounds, plan_step
from .samples import LabelledClip, draw


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    steps: int = 8000
    batch: int = 2
    clip_batch: int = 1
    learning_rate: float = 1e-3
    final_rate: float = 1e-5
    warmup: int = 300
    weight_decay: float = 0.05
    clip_gradient: float = 1.0
    ema: float = 0.999
    autocast: bool = True
    seed: int = 0
    curriculum: Curriculum = Curriculum()
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
        self.rounds = Rounds(network, recipe.loss)
        self.images, self.image_weights = images, image_weights
        self.clips, self.clip_weights = clips, clip_weights
        self.processes, self.rank = 1, 0
        if distributed.is_initialized():
            self.processes, self.rank = distributed.get_world_size(), distributed.get_rank()
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
        # the plan is the same in all processes: none waits for another's longer step
        plan = plan_step(r.curriculum, generator(r.seed, PLAN, self.done), bool(self.clips))
        clips, weights, batch = self.images, self.image_weights, r.batch
        if plan.kind == "clip":
            clips, weights, batch = self.clips, self.clip_weights, r.clip_batch
        # numbers count over all processes: the samples do not depend on how many there are
        numbers = [(self.done, self.rank * batch + index) for index in range(batch)]
        size = self.network.image_size
        samples = [
            draw(clips, weights, plan.frames, size, generator(r.seed, SAMPLE, *n)) for n in numbers
        ]
        rngs = [generator(r.seed, CLICKS, *n) for n in numbers]
        torch.manual_seed(int(generator(r.seed, DROPOUT, self.done, self.rank).integers(2**62)))
        with autocast:
            loss, parts = self.rounds(plan, samples, rngs)
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
        return {name: float(value) for name, value in parts.items()}

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
