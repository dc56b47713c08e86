"""Where the network runs."""

from __future__ import annotations

import torch

from ..errors import InvalidValue

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """auto: the first of cuda, mps and cpu that is there. Raises InvalidValue if a named device
    is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, there in available.items() if there), "cpu")
    if name not in DEVICES:
        raise InvalidValue(f"device is {name!r}; it must be one of {', '.join(DEVICES)}")
    if not available.get(name, True):
        raise InvalidValue(f"this computer has no usable {name} device; use auto or cpu")
    return torch.device(name)
