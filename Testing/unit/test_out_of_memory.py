"""Out of memory: recognised, freed, smaller batches, then the processor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.cache import EmbeddingCache
from SAMUSALib.engine.network import Embedding
from SAMUSALib.engine.out_of_memory import is_out_of_memory, with_less_memory
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from tiny import tiny_model


def shortage():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def filled_cache():
    cache = EmbeddingCache()
    cache.put("frame", Embedding((torch.zeros(4),)))
    return cache


def wrapped(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise ValueError("frame 7 failed") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        shortage(),
        MemoryError(),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        wrapped(shortage()),
    ],
)
def test_shortages_are_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory of names"), KeyError("x")]
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def runs_until(times, model, cache):
    """Calls and sentences of an act that runs out of memory `times` times."""
    calls, said = [], []

    def act(model, batch):
        calls.append((model.device.type, batch, len(cache)))
        if len(calls) <= times:
            raise shortage()
        return "masks"

    return calls, said, lambda: with_less_memory(act, model, cache, said.append)


def as_if_on_card(model):
    """Stands in for a model on a graphics card."""
    return replace(model, device=torch.device("cuda"))


def test_enough_memory_changes_nothing():
    model, cache = as_if_on_card(tiny_model()), filled_cache()
    calls, said, go = runs_until(0, model, cache)
    result, same = go()
    assert result == "masks" and same is model and said == []
    assert calls == [("cuda", None, 1)]


def test_first_caches_are_freed_and_batches_made_smaller():
    calls, said, go = runs_until(1, as_if_on_card(tiny_model()), filled_cache())
    _, model = go()
    assert calls == [("cuda", None, 1), ("cuda", 1, 0)]
    assert model.device.type == "cuda" and "freed" in said[0] and len(said) == 1


def test_then_the_processor_is_used_and_said():
    calls, said, go = runs_until(2, as_if_on_card(tiny_model()), filled_cache())
    _, model = go()
    assert [device for device, *_ in calls] == ["cuda", "cuda", "cpu"]
    assert model.device.type == "cpu" and "processor" in said[1]
    assert {p.device.type for p in model.network.parameters()} == {"cpu"}


def test_on_the_processor_the_second_shortage_is_raised():
    calls, said, go = runs_until(9, tiny_model(), filled_cache())
    with pytest.raises(torch.OutOfMemoryError):
        go()
    assert len(calls) == 2 and len(said) == 1


def test_another_error_is_raised_at_once():
    def act(model, batch):
        raise RuntimeError("broken")

    said = []
    with pytest.raises(RuntimeError, match="broken"):
        with_less_memory(act, as_if_on_card(tiny_model()), None, said.append)
    assert said == []


def test_a_propagation_that_runs_short_once_ends_with_the_same_masks(monkeypatch):
    model, cache = tiny_model(), EmbeddingCache()
    frames = np.random.default_rng(0).integers(0, 255, (8, 40, 48)).astype(np.uint8)
    clip = Clip(frames, Geometry.for_cine(*frames.shape))
    ring = [[20, 10], [30, 18], [21, 27], [11, 19]]
    segment = SegmentPrompts("s", {2: FramePrompts(boundary=ring)}, (Window(0, 7),))
    kind, original, images = type(model.network), type(model.network).embed, []

    def short_once(self, batch):
        images.append(len(batch))
        if len(images) == 4:
            raise shortage()
        return original(self, batch)

    monkeypatch.setattr(kind, "embed", short_once)

    def act(model, batch):
        kept = {"cache": cache, "clip_key": "c"}
        results = propagate(model, clip, [segment], threads=1, batch=batch, **kept)
        return {result.frame: result.mask for result in results}

    said = []
    masks, _ = with_less_memory(act, model, cache, said.append)
    assert len(said) == 1
    monkeypatch.setattr(kind, "embed", original)
    expected = act(model, None)
    assert masks.keys() == expected.keys()
    assert all(np.array_equal(masks[index], expected[index]) for index in masks)
