"""The file from which a run goes on exactly: weights, averages, moments, step and history.

Safetensors with a JSON card, written atomically beside the checkpoint. Random numbers are drawn by
counter (`randomness`), so no generator has a state to keep.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import atomic_write
from ..errors import CannotWrite, UnreadableFile

FORMAT = 1


@dataclass(frozen=True)
class TrainingState:
    """tensors: by name, as `Trainer.state` gives them. card: plain values: step, config, counts of
    the material, processes, scaler, history."""

    tensors: dict[str, Tensor]
    card: dict[str, Any]


def state_path(checkpoint: Path) -> Path:
    """Where the state of a run lies: beside its checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}.state.safetensors")


def write_state(path: Path, state: TrainingState) -> None:
    """Raises CannotWrite; the state of before is then untouched."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    card = json.dumps({"format": FORMAT, **state.card})
    try:
        with atomic_write(path) as part:
            save_file(tensors, part, metadata={"samusa_training": card})
            part.chmod(0o644)  # safetensors makes it readable by its owner alone
    except SafetensorError as error:
        raise CannotWrite(f"{path} could not be written: {error}") from None


def read_card(path: Path) -> dict[str, Any]:
    """What the state says of its run, without its tensors. Raises UnreadableFile."""
    return _read(path, with_tensors=False).card


def read_state(path: Path) -> TrainingState:
    """Raises UnreadableFile if the file is missing, damaged or of a newer version."""
    return _read(path, with_tensors=True)


def _read(path: Path, with_tensors: bool) -> TrainingState:
    if not path.is_file():
        raise UnreadableFile(f"there is no state {path} to go on from")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {})["samusa_training"])
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
        if card["format"] > FORMAT:
            raise UnreadableFile(
                f"{path} has format {card['format']}; this version reads up to {FORMAT}: update"
            )
        return TrainingState(tensors, card)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path} is damaged or no state of a training run ({error}); the checkpoint beside it "
            "can be trained further as model.checkpoint"
        ) from None
