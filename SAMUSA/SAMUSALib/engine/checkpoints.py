"""Checkpoints: ours (safetensors with metadata) and Meta's SAM2 / SAM2.1 `.pt` layout.

Reading a checkpoint never runs anything that is in it: safetensors hold numbers only, and `.pt`
files go through `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import atomic_write
from ..errors import CannotWrite, InvalidValue, UnreadableFile, WrongCheckpoint
from .architectures import ARCHITECTURES, Architecture
from .network import SamusaNetwork

FORMAT = 1
PROMPT_KINDS = ("boundary", "region", "box", "mask")
_TRUNK_BLOCK = "image_encoder.trunk.blocks."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says of itself, and its tensors.

    prompts: kinds that it was trained for. provenance: data, commands, numbers, in plain values.
    """

    name: str
    architecture: Architecture
    prompts: tuple[str, ...]
    licence: str
    provenance: dict = field(repr=False)
    tensors: dict[str, Tensor] = field(repr=False)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read either layout. Raises UnreadableFile or WrongCheckpoint, one line each."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"there is no checkpoint {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _read_meta(path)
    raise UnreadableFile(f"{path} is not a checkpoint; .safetensors or .pt is needed")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableFile(f"{path} is damaged or no safetensors file: {error}") from None
    if "samusa" not in metadata:
        raise WrongCheckpoint(f"{path} has no SAMUSA metadata; it is another program's checkpoint")
    try:
        card = json.loads(metadata["samusa"])
        if card["format"] > FORMAT:
            raise WrongCheckpoint(
                f"{path} has format {card['format']}; this version reads up to {FORMAT}: update"
            )
        prompts = tuple(card["prompts"])
        if not set(prompts) <= set(PROMPT_KINDS):
            raise WrongCheckpoint(f"{path} names unknown prompts {sorted(set(prompts))}")
        return Checkpoint(
            str(card["name"]),
            Architecture.from_dict(card["architecture"]),
            prompts,
            str(card["licence"]),
            dict(card["provenance"]),
            tensors,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WrongCheckpoint(f"{path} has damaged SAMUSA metadata: {error!r}") from None


def _read_meta(path: Path) -> Checkpoint:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WrongCheckpoint(
            f"{path} holds more than tensors and could run code; it was refused and nothing in it "
            "was run. Use a checkpoint from a source you trust, in SAM2's .pt layout"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableFile(f"{path} is damaged or no PyTorch file: {line}") from None
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise WrongCheckpoint(f"{path} has no table of tensors under 'model' as SAM2's files have")
    blocks = {key[len(_TRUNK_BLOCK) :].split(".")[0] for key in tensors if _TRUNK_BLOCK in key}
    release = "2.1" if "no_obj_embed_spatial" in tensors else "2.0"
    for name, architecture in ARCHITECTURES.items():
        meta = name.startswith("sam2") and architecture.release == release
        if meta and sum(architecture.stages) == len(blocks):
            return Checkpoint(
                name, architecture, ("region", "box", "mask"), "Apache-2.0", {}, tensors
            )
    raise WrongCheckpoint(
        f"{path} has {len(blocks)} encoder blocks; SAM2's tiny, small, base+ and large have 12, "
        "16, 24 and 48: it is not a SAM2 checkpoint"
    )


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, half: bool = True) -> None:
    """Write our layout, atomically; floating point tensors in half precision unless told not to.

    Raises CannotWrite where the disk refuses; an existing file is then untouched.
    """
    card = {
        "format": FORMAT,
        "name": checkpoint.name,
        "architecture": checkpoint.architecture.to_dict(),
        "prompts": list(checkpoint.prompts),
        "licence": checkpoint.licence,
        "provenance": checkpoint.provenance,
    }
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in checkpoint.tensors.items()
    }
    try:
        with atomic_write(path) as part:
            save_file(tensors, part, metadata={"samusa": json.dumps(card)})
            part.chmod(0o644)  # safetensors makes it readable by its owner alone
    except SafetensorError as error:
        raise CannotWrite(f"{path} could not be written: {error}") from None


def build_network(checkpoint: Checkpoint, image_size: int | None = None) -> SamusaNetwork:
    """The checkpoint's network in evaluation mode, float32, on the CPU.

    image_size: network input, a multiple of 32; default: the checkpoint's own. Raises
    WrongCheckpoint naming what is missing, not wanted or of another shape.
    """
    architecture = checkpoint.architecture
    if image_size is not None:
        if image_size < 64 or image_size % 32:
            raise InvalidValue(f"image size is {image_size}; a multiple of 32 from 64 up is needed")
        architecture = replace(architecture, image_size=int(image_size))
    network = SamusaNetwork(architecture)
    wanted = network.state_dict()
    given = checkpoint.tensors
    problems = [f"lacks {name}" for name in wanted if name not in given]
    problems += [f"has an unknown {name}" for name in given if name not in wanted]
    problems += [
        f"{name} has shape {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WrongCheckpoint(
            f"the checkpoint does not fit {checkpoint.name}: {'; '.join(problems[:3])}{more}"
        )
    network.load_state_dict({name: tensor.float() for name, tensor in given.items()})
    return network.eval()
