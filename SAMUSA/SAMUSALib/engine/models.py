"""A model ready to use: its network on a device, and what it can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from .architectures import Architecture
from .checkpoints import build_network, read_checkpoint
from .devices import choose_device
from .lean_encoder import make_lean
from .network import SamusaNetwork


@dataclass(frozen=True)
class ModelInfo:
    """What a model is. prompts: kinds it was trained for, of boundary, region, box, mask."""

    name: str
    architecture: Architecture
    prompts: tuple[str, ...]
    parameters: int
    licence: str
    provenance: dict

    @property
    def input_size(self) -> int:
        return self.architecture.image_size


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode on its device."""

    network: SamusaNetwork
    info: ModelInfo
    device: torch.device


def load_model(path: str | Path, device: str = "auto", image_size: int | None = None) -> Model:
    """Load a checkpoint file. Raises UnreadableFile, WrongCheckpoint or InvalidValue."""
    where = choose_device(device)
    checkpoint = read_checkpoint(path)
    network = build_network(checkpoint, image_size)
    info = ModelInfo(
        checkpoint.name,
        network.architecture,
        checkpoint.prompts,
        sum(p.numel() for p in network.parameters()),
        checkpoint.licence,
        checkpoint.provenance,
    )
    network = make_lean(network).to(where)
    if where.type == "cpu":
        # a tracked frame in 9 % less time: the convolutions need not reorder their maps
        network = network.to(memory_format=torch.channels_last)
    return Model(network, info, where)
