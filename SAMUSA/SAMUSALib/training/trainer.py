"""The trainer: optimiser, schedule and averaged weights around `rounds`, on one process or many."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from ..engine.devices import choose_device
from ..engine.network import SamusaNetwork
from ..errors import InvalidValue, TrainingFailed, UnreadableFile
from .config import Optimiser, TrainingConfig
from .data import Batch
from .randomness import DROPOUT, generator
from .rounds import Rounds

PRECISION = {"bf16": "bf16", "fp16": "fp16", "float32": "no"}
ENCODER = "image_encoder."
TRUNK = "image_encoder.trunk."
BLOCKS = "image_encoder.trunk.blocks."
PROMPTS_AND_DECODER = ("sam_prompt_encoder.", "sam_mask_decoder.", "border_head.", "click_gate")
SMALLEST_SCALE = 1e-3  # of a half-precision loss: below, gradients overflow whatever is done


def join(config: TrainingConfig) -> Accelerator:
    """The accelerator of this process, which under torchrun joins the others.

    Raises InvalidValue for a device that is not there or cannot do the precision.
    """
    device = choose_device(config.device)
    if config.optimiser.precision == "fp16" and device.type != "cuda":
        raise InvalidValue(
            f"precision fp16 needs an NVIDIA or AMD GPU, this run is on {device.type}; "
            "use bf16 or float32"
        )
    if "RANK" not in os.environ:  # accelerate keeps the settings of the last run of a process
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=PRECISION[config.optimiser.precision],
        gradient_accumulation_steps=config.optimiser.accumulation,
        # no kind of step uses every head
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def freeze(network: SamusaNetwork, what: str | tuple[str, ...]) -> None:
    """Exclude parameters from training. what: "nothing", "encoder" (as in SonoSAM),
    "all_but_prompts_and_decoder", or prefixes of names, each of which must fit one."""
    names = [name for name, _ in network.named_parameters()]
    if what == "nothing":
        prefixes: tuple[str, ...] = ()
    elif what == "encoder":
        prefixes = (ENCODER,)
    elif what == "all_but_prompts_and_decoder":
        prefixes = tuple(name for name in names if not name.startswith(PROMPTS_AND_DECODER))
    else:
        prefixes = tuple(what)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise InvalidValue(f"freeze: no parameter of this network begins with {prefix!r}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes) if prefixes else True)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InvalidValue("freeze: nothing is left to train")


def parameter_groups(network: SamusaNetwork, optimiser: Optimiser) -> list[dict[str, Any]]:
    """AdamW's groups: one for each depth of the encoder, with and without weight decay (biases,
    norms and single vectors have none). `scale` is the group's share of the learning rate."""
    depth = len(network.image_encoder.trunk.blocks) + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = depth
        if name.startswith(BLOCKS):
            layer = int(name[len(BLOCKS) :].split(".")[0]) + 1
        elif name.startswith(TRUNK):  # patch and position embeddings
            layer = 0
        groups.setdefault((layer, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": optimiser.weight_decay if decayed else 0.0,
            "scale": optimiser.layer_decay ** (depth - layer),
        }
        for (layer, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of a step: linear warm-up, then a cosine to the final rate."""
    o = config.optimiser
    if step < o.warmup:
        return o.rate * (step + 1) / o.warmup
    share = min(1.0, (step - o.warmup) / max(1, config.steps - o.warmup))
    return o.final_rate + (o.rate - o.final_rate) * (1 + math.cos(math.pi * share)) / 2


class Trainer:
    """Trains a network; `step` takes the batches of one step.

    With several processes each takes its own batches and gradients are averaged, so that all hold
    the same weights. done: steps so far.
    """

    def __init__(self, network: SamusaNetwork, config: TrainingConfig, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        freeze(network, config.freeze)
        # convolutions on a processor are faster so: a step took 0.41 s instead of 0.45
        self.network = network.train().to(memory_format=torch.channels_last)
        o = config.optimiser
        optimizer = torch.optim.AdamW(
            parameter_groups(network, o), lr=o.rate, betas=(o.beta1, o.beta2)
        )
        rounds = Rounds(network, config.loss)
        self.rounds, self.optimizer = accelerator.prepare(rounds, optimizer)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.done = 0

    def step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step; returns the losses by name, the mean of the parts and processes.

        Raises TrainingFailed where the loss or the gradient is not a number; the weights are then
        as before.
        """
        current = rate(self.config, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = current * group["scale"]
        parts: list[dict[str, Tensor]] = []
        self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches):
            with self.accelerator.accumulate(self.rounds):
                self._seed_dropout(number)
                loss, losses = self.rounds(
                    batch.plan, batch.to(self.accelerator.device).samples, batch.rngs
                )
                if not torch.isfinite(loss):
                    raise self._failure(f"the loss is {loss.item()}")
                self.accelerator.backward(loss)
                parts.append(losses)
                if self.accelerator.sync_gradients:
                    self._clip()
                    self.optimizer.step()
        self.done += 1
        self._follow()
        return self._means(parts)

    def _seed_dropout(self, part: int) -> None:
        process = self.accelerator.process_index
        rng = generator(self.config.seed, DROPOUT, self.done, part, process)
        torch.manual_seed(int(rng.integers(2**62)))

    def _clip(self) -> None:
        norm = self.accelerator.clip_grad_norm_(
            self.network.parameters(), self.config.optimiser.clip_gradient
        )
        scaler = self.accelerator.scaler
        if scaler is None and not torch.isfinite(norm):
            raise self._failure(f"the gradient's norm is {norm.item()}")
        # in half precision a step that overflows is left out and the scale is halved
        if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            raise self._failure("the gradients overflow in half precision at every scale")

    def _failure(self, what: str) -> TrainingFailed:
        return TrainingFailed(
            f"{what} at step {self.done}; the last saved checkpoint is kept. Start again from it "
            "with a lower optimiser.rate"
        )

    def _follow(self) -> None:
        """Move the averaged weights; at first quickly, since they begin at random."""
        momentum = min(self.config.optimiser.ema, self.done / (self.done + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - momentum)

    def _means(self, parts: list[dict[str, Tensor]]) -> dict[str, float]:
        values = torch.stack([torch.stack(list(each.values())).float() for each in parts]).mean(0)
        values = self.accelerator.reduce(values, reduction="mean")
        return dict(zip(parts[0], values.tolist(), strict=True))

    def any_process(self, said: bool) -> bool:
        """Whether any process says so: all decide the same."""
        if self.accelerator.num_processes == 1:
            return said
        votes = torch.tensor(float(said), device=self.accelerator.device)
        return bool(self.accelerator.reduce(votes, reduction="sum") > 0)

    def averaged_network(self) -> SamusaNetwork:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network = SamusaNetwork(self.network.architecture)
        network.load_state_dict(self.average)
        return network.to(self.accelerator.device).eval()

    def averaged_weights(self) -> dict[str, Tensor]:
        """What is saved as the checkpoint, on the processor."""
        return {name: value.detach().cpu().clone() for name, value in self.average.items()}

    # stop and go on -------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """All tensors that the next step depends on, by name."""
        tensors = {f"weights/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        moments = self.optimizer.state
        for name, parameter in self.network.named_parameters():
            for key, value in moments.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        return tensors

    def scaler_state(self) -> dict[str, Any]:
        """Of half precision; empty otherwise."""
        return {} if self.accelerator.scaler is None else self.accelerator.scaler.state_dict()

    def go_on(self, tensors: dict[str, Tensor], scaler: dict[str, Any], done: int) -> None:
        """Continue where `state` was taken. Raises UnreadableFile if the tensors do not fit."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = value
        try:
            self.network.load_state_dict(parts.pop("weights"))
            average = parts.pop("average")
            for name, value in self.average.items():
                value.copy_(average[name])
            moments = self.optimizer.state
            for name, parameter in self.network.named_parameters():
                kept = {key: values[name] for key, values in parts.items() if name in values}
                if kept:
                    moments[parameter] = {
                        # AdamW counts its steps on the processor
                        key: value if key == "step" else value.to(parameter.device)
                        for key, value in kept.items()
                    }
        except (KeyError, RuntimeError) as error:
            line = str(error).splitlines()[0]
            raise UnreadableFile(f"the state does not fit this network: {line}") from None
        if self.accelerator.scaler is not None and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
        self.done = done
