"""What to do when a device runs out of memory: free what is kept, take less at a time, and last
use the processor."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from .cache import EmbeddingCache
from .models import Model

Result = TypeVar("Result")

# Not every shortage is a torch.OutOfMemoryError: cuDNN and cuBLAS say it in words of their own,
# and so do MPS and the processor's allocator.
IN_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "cudnn_status_internal_error_device_allocation_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that memory is short."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        text = str(error).lower()
        if isinstance(error, RuntimeError) and any(words in text for words in IN_WORDS):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def free_memory(cache: EmbeddingCache | None = None) -> None:
    """Give back what nobody needs: kept embeddings, and what torch keeps of the device."""
    if cache is not None:
        cache.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def on_processor(model: Model) -> Model:
    """The same model on the processor; its network is moved, not copied."""
    return replace(model, network=model.network.to("cpu"), device=torch.device("cpu"))


def with_less_memory(
    act: Callable[[Model, int | None], Result],
    model: Model,
    cache: EmbeddingCache | None,
    announce: Callable[[str], None],
) -> tuple[Result, Model]:
    """act(model, batch) and the model that it ended with, which is the one to go on with.

    Where act runs out of memory, it is called again: after memory was freed and with batch 1
    (frames encoded at a time; None: the device's own), then with the model on the processor.
    announce: told in a sentence what was done, before each new try. On the processor memory is
    freed once. An error that is not about memory, and the last one that is, are raised.
    """
    steps = [(None, ""), (1, "The device ran out of memory; what was kept in it is freed.")]
    if model.device.type != "cpu":
        steps.append((1, "The device's memory is too small; the model now runs on the processor."))
    for number, (batch, sentence) in enumerate(steps):
        if sentence:
            announce(sentence)
            free_memory(cache)
        if number == 2:
            model = on_processor(model)
            free_memory(cache)
        try:
            return act(model, batch), model
        except Exception as error:
            if not is_out_of_memory(error) or number == len(steps) - 1:
                raise
            # The traceback holds the frames, and so the tensors, of what failed.
            error.__traceback__ = None
    raise AssertionError("unreachable: the last step returns or raises")
