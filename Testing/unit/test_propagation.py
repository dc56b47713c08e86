"""Propagation: windows, directions, independence, corrections, cancelling, bounded memory."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from SAMUSALib.annotation import FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine import propagation
from SAMUSALib.engine.cache import EmbeddingCache
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.spline import spline_mask
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from tiny import TINY, tiny_model

LENGTH, SIZE = 24, (72, 88)
THREADS = torch.get_num_threads()
RING = np.array([[40, 20], [60, 36], [42, 55], [22, 38]], float)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def clip():
    frames = np.random.default_rng(0).integers(0, 255, (LENGTH, *SIZE)).astype(np.uint8)
    return Clip(frames, Geometry.for_cine(LENGTH, *SIZE))


def segment(frames, windows=(), name="s", shift=0.0):
    prompts = {i: FramePrompts(boundary=RING + shift) for i in frames}
    return SegmentPrompts(name, prompts, tuple(Window(*w) for w in windows))


def run(model, clip, segments, **options):
    results = list(propagate(model, clip, segments, **options))
    masks = {(r.segment, r.frame): r.mask for r in results}
    assert len(masks) == len(results), "a frame was computed twice"
    return masks


def frames_of(masks, name="s"):
    return sorted(frame for segment_name, frame in masks if segment_name == name)


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key]) for key in first
    )


def test_both_directions_reach_every_frame_of_the_clip(model, clip):
    masks = run(model, clip, [segment([9])])
    assert frames_of(masks) == list(range(LENGTH))
    assert all(mask.shape == SIZE for mask in masks.values())


def test_only_frames_in_windows_are_computed_and_encoded(model, clip, monkeypatch):
    seen = []
    original = type(model.network).embed
    monkeypatch.setattr(
        type(model.network), "embed", lambda self, x: seen.append(len(x)) or original(self, x)
    )
    masks = run(model, clip, [segment([5], [(3, 8), (15, 17)])], threads=1)
    assert frames_of(masks) == [3, 4, 5, 6, 7, 8, 15, 16, 17]
    # one for each frame, and at most two views of the prompted one
    assert sum(seen) <= 9 + 2


@pytest.mark.parametrize("direction, frames", [("forward", (9, 23)), ("backward", (0, 9))])
def test_one_direction(model, clip, direction, frames):
    masks = run(model, clip, [segment([9])], direction=direction)
    assert frames_of(masks) == list(range(frames[0], frames[1] + 1))


def test_states_and_confidence(model, clip):
    results = list(propagate(model, clip, [segment([4], [(2, 6)])]))
    states = {r.frame: r.state for r in results}
    assert states.pop(4) is FrameState.PROMPTED
    assert set(states.values()) == {FrameState.PROPAGATED}
    assert all(0 <= r.confidence <= 1 for r in results)


def test_segments_are_independent_of_each_other(model, clip):
    first, second = segment([5], [(2, 12)]), segment([9], [(4, 20)], "t", 8.0)
    together = run(model, clip, [first, second])
    assert same(together, run(model, clip, [first]) | run(model, clip, [second]))


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@pytest.mark.parametrize("changed", [2, 12, 21])
def test_a_correction_recomputes_only_what_it_affects_and_equals_a_full_run(
    model, clip, direction, changed
):
    before, after = segment([7, 16]), segment([7, 16, changed])
    old = run(model, clip, [before], direction=direction)
    part = run(model, clip, [after], direction=direction, changed={"s": {changed}})
    full = run(model, clip, [after], direction=direction)
    assert same(old | part, full)
    assert len(part) < len(full)


def test_a_removed_conditioning_frame_equals_a_full_run(model, clip):
    before, after = segment([3, 11, 19]), segment([3, 19])
    old = run(model, clip, [before])
    part = run(model, clip, [after], changed={"s": {11}})
    assert same(old | part, run(model, clip, [after]))
    assert frames_of(part) == list(range(4, 19))


def test_a_correction_of_one_segment_leaves_the_others_alone(model, clip):
    first, second = segment([5]), segment([9], name="t")
    part = run(model, clip, [first, second], changed={"t": {9}})
    assert {name for name, _ in part} == {"t"}


def test_locked_frames_condition_the_others_and_are_never_computed(model, clip):
    reviewed = {12: spline_mask(RING + 10, SIZE), 14: np.zeros(SIZE, bool)}
    masks = run(model, clip, [segment([5])], locked={"s": reviewed})
    assert frames_of(masks) == [i for i in range(LENGTH) if i not in (12, 14)]
    without = run(model, clip, [segment([5])])
    assert not np.array_equal(masks["s", 11], without["s", 11])


def test_a_reviewed_mask_alone_is_enough_to_start_from(model, clip):
    reviewed = {"s": {12: spline_mask(RING, SIZE)}}
    alone = SegmentPrompts("s", {}, (Window(10, 15),))
    assert frames_of(run(model, clip, [alone], locked=reviewed)) == [10, 11, 13, 14, 15]
    with pytest.raises(InvalidValue, match="no prompt"):
        run(model, clip, [alone])
    with pytest.raises(InvalidValue, match="no frame to start from"):
        run(model, clip, [alone], locked={"s": {12: np.zeros(SIZE, bool)}})


def test_cancelling_stops_before_the_next_frame_and_keeps_what_is_finished(model, clip):
    results = []
    for result in propagate(model, clip, [segment([9])], cancelled=lambda: len(results) >= 6):
        results.append(result)
    assert len(results) == 6
    full = run(model, clip, [segment([9])])
    assert all(np.array_equal(full["s", r.frame], r.mask) for r in results)


def test_a_mask_prompt_is_kept_exactly(model, clip):
    mask = spline_mask(RING, SIZE)
    prompts = SegmentPrompts("s", {4: FramePrompts(mask=mask)}, (Window(3, 6),))
    masks = run(model, clip, [prompts])
    assert np.array_equal(masks["s", 4], mask)


def test_memory_holds_no_more_than_the_attention_reaches(clip):
    model = tiny_model()
    held = []
    original = type(model.network).with_memory

    def spying(embedding, frame, memory, *rest):
        features = sum("maskmem_features" in m for m in memory["non_cond_frame_outputs"].values())
        held.append((features, len(memory["non_cond_frame_outputs"])))
        return original(model.network, embedding, frame, memory, *rest)

    model.network.with_memory = spying
    run(model, clip, [segment([0])])
    assert max(features for features, _ in held) == model.network.num_maskmem
    assert max(pointers for _, pointers in held) == model.network.max_obj_ptrs_in_encoder


def test_forgetting_changes_nothing(model, clip, monkeypatch):
    bounded = run(model, clip, [segment([0])])
    monkeypatch.setattr(propagation._SegmentTracker, "_forget", lambda self, recent: None)
    assert same(bounded, run(model, clip, [segment([0])]))


def test_without_windows_the_network_may_find_the_structure_absent(clip):
    model = tiny_model(lively=False)
    model.network.sam_mask_decoder.pred_obj_score_head.layers[2].bias.data.fill_(-50.0)
    free = run(model, clip, [segment([3])])
    assert not any(free["s", i].any() for i in range(4, LENGTH))
    windowed = run(model, clip, [segment([3], [(0, LENGTH - 1)])])
    assert any(windowed["s", i].any() for i in range(4, LENGTH))


@pytest.mark.parametrize("windows", [(), [(0, LENGTH - 1)]], ids=["presence asked", "bypassed"])
def test_threads_give_the_same_masks_in_the_same_order(model, clip, windows):
    segments = [segment([3, 12], windows), segment([9], (), "t", 8.0)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = run(model, clip, segments, threads=1)
        for _ in range(3):
            several = run(model, clip, segments, threads=3)
            assert same(one, several)
            assert frames_of(several) == frames_of(one)
        order = [list(run(model, clip, segments, threads=3)) for _ in range(2)]
    finally:
        torch.set_num_threads(before)
    assert order[0] == order[1]


def test_threads_end_with_the_run_however_it_ends(model, clip):
    def of_propagation():
        return [t for t in threading.enumerate() if t.name.startswith("propagate")]

    list(propagate(model, clip, [segment([9])], threads=3))
    assert not of_propagation()
    unfinished = propagate(model, clip, [segment([9])], threads=3)
    next(unfinished)
    assert of_propagation()
    unfinished.close()
    assert not of_propagation()
    assert torch.get_num_threads() == THREADS


def test_a_frame_that_fails_in_a_thread_ends_the_run_with_its_error(model, clip, monkeypatch):
    def failing(*_):
        raise RuntimeError("broken frame")

    run_until_broken = propagate(model, clip, [segment([9])], threads=3)
    next(run_until_broken)
    monkeypatch.setattr(propagation, "frame_logits", failing)
    with pytest.raises(RuntimeError, match="broken frame"):
        list(run_until_broken)


def test_batches_of_frames_give_the_same_masks(model, clip, monkeypatch):
    one = run(model, clip, [segment([6])])
    monkeypatch.setitem(
        __import__("SAMUSALib.engine.propagation", fromlist=["BATCH"]).BATCH, "cpu", 5
    )
    many = run(model, clip, [segment([6])])
    assert all((one[key] ^ many[key]).mean() < 0.002 for key in one)


def test_embeddings_are_reused_by_the_next_run(clip, monkeypatch):
    model = tiny_model(replace(TINY, zoom=False))
    cache = EmbeddingCache()
    first = run(model, clip, [segment([6])], cache=cache, clip_key="a")
    monkeypatch.setattr(type(model.network), "embed", None)
    assert same(first, run(model, clip, [segment([6])], cache=cache, clip_key="a"))


@pytest.mark.parametrize(
    "bad, message",
    [
        (segment([30]), "last frame is 23"),
        (segment([3], [(5, 9)]), "outside its windows"),
        (segment([], [(5, 9)]), "no prompt"),
        (segment([5], [(5, 40)]), "beyond the clip"),
    ],
)
def test_prompts_that_do_not_fit_the_clip_are_refused_before_anything_runs(
    model, clip, bad, message
):
    with pytest.raises(InvalidValue, match=message):
        next(propagate(model, clip, [segment([5]), bad]))
