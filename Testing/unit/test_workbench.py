"""What the worker computes, without the process around it: clips, models, clicks and what is kept
of them, propagation step by step, prefetch, and errors in the words of the protocol."""

import gc
import shutil
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.checkpoints import write_checkpoint
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.segmentation import FrameSegmenter
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from SAMUSALib.worker import messages as m
from SAMUSALib.worker.engines import Room, _digests
from SAMUSALib.worker.messages import FailureKind
from SAMUSALib.worker.shared_frames import SharedBlock
from SAMUSALib.worker.workbench import Workbench, failure_of
from tiny import tiny_checkpoint

FRAMES, HEIGHT, WIDTH = 6, 48, 64
STEPS = (
    FramePrompts(boundary=[[20, 15], [40, 15], [30, 34]]),
    FramePrompts(boundary=[[20, 15], [40, 15], [30, 34]], include=[[31, 20]]),
    FramePrompts(boundary=[[20, 15], [40, 15], [30, 34]], include=[[31, 20]], exclude=[[5, 5]]),
)
SEGMENT = SegmentPrompts("a", {2: STEPS[0]}, (Window(0, FRAMES - 1),))


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (FRAMES, HEIGHT, WIDTH), np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, tiny_checkpoint(), half=False)
    return path


def new_bench(clip_bytes=2**20, cache_bytes=2**26, folder=None):
    said = []
    bench = Workbench(Room(cache_bytes, folder, 2**26), clip_bytes, said.append)
    bench.said = said
    return bench


@pytest.fixture
def bench(checkpoint):
    bench = new_bench()
    done(bench, m.LoadModel(str(checkpoint), "cpu"))
    send_clip(bench, "c")
    return bench


def send_clip(bench, name, frames=None):
    frames = pixels() if frames is None else frames
    bench.clips.open(m.OpenClip(name, frames.shape))
    bench.clips.send(m.SendFrames(name, 0, frames.tobytes()))


def done(bench, request):
    """All events of a request."""
    return [event for event in bench.steps(request) if event is not None]


def refused(bench, request):
    """The failure of a request that cannot be done."""
    with pytest.raises(Exception) as caught:
        done(bench, request)
    return failure_of(caught.value)


def click(steps=STEPS[:1], frame=2, clip="c", segment="a"):
    return m.SegmentFrame(clip, segment, frame, tuple(steps))


# Clicks -----------------------------------------------------------------------------------------


def test_a_click_gives_the_engines_own_mask(bench):
    (found,) = done(bench, click())
    expected = FrameSegmenter(bench.engine.model).segment(pixels()[2], STEPS[0])
    assert np.array_equal(found.mask.decode(), expected.mask) and expected.mask.any()
    assert found.confidence == expected.confidence
    assert (found.segment, found.frame) == ("a", 2)


def test_a_mask_after_many_clicks_is_the_same_whether_the_worker_saw_the_earlier_ones(bench):
    for count in (1, 2, 3):
        (followed,) = done(bench, click(STEPS[:count]))
    send_clip(bench, "again")
    (at_once,) = done(bench, click(STEPS, clip="again"))
    assert at_once.mask == followed.mask and at_once.confidence == followed.confidence


def test_earlier_steps_steer_the_mask(bench):
    inside = FramePrompts(include=[[31, 20]])
    (with_history,) = done(bench, click((STEPS[0], inside)))
    (without,) = done(bench, click((inside,)))
    assert with_history.mask != without.mask


def test_known_steps_are_not_computed_again(bench, monkeypatch):
    done(bench, click(STEPS[:2]))
    computed = []
    segment = FrameSegmenter.segment
    monkeypatch.setattr(
        FrameSegmenter, "segment", lambda *a, **k: computed.append(a) or segment(*a, **k)
    )
    done(bench, click(STEPS[:3]))
    assert len(computed) == 1
    done(bench, click(STEPS[:1]))  # undo
    assert len(computed) == 1


def test_steps_to_replay_are_computed_one_at_a_time(bench):
    events = list(bench.steps(click(STEPS)))
    assert events[:2] == [None, None] and isinstance(events[2], m.FrameSegmented)


def test_every_part_of_the_prompts_makes_another_digest():
    mask = np.zeros((4, 4), bool)
    different = [
        FramePrompts(boundary=[[1, 2]]),
        FramePrompts(include=[[1, 2]]),
        FramePrompts(exclude=[[1, 2]]),
        FramePrompts(boundary=[[1, 2], [3, 4]]),
        FramePrompts(boundary=[[1, 2]], include=[[3, 4]]),
        FramePrompts(box=[1, 2, 3, 4]),
        FramePrompts(mask=mask),
        FramePrompts(mask=~mask),
    ]
    digests = {_digests([prompts])[0] for prompts in different}
    digests |= {_digests([different[0], prompts])[1] for prompts in different}
    assert len(digests) == 2 * len(different)


def test_results_beyond_the_budget_are_dropped_and_computed_anew(bench, monkeypatch):
    (first,) = done(bench, click(STEPS))
    monkeypatch.setattr(bench.engine._results, "_budget", 0)
    done(bench, click(STEPS[:1], frame=4))
    assert len(bench.engine._results._entries) == 1
    (again,) = done(bench, click(STEPS))
    assert again.mask == first.mask


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((), "no prompts"),
        ((FramePrompts(),), "no prompt"),
        ((FramePrompts(boundary=[[1e6, 3], [2, 2]]),), "outside the frame"),
        ((FramePrompts(mask=np.ones((9, 9), bool)),), "mask prompt is 9 x 9"),
    ],
)
def test_a_click_that_makes_no_sense_is_refused_in_words(bench, steps, words):
    failure = refused(bench, click(steps))
    assert failure.kind is FailureKind.BAD_REQUEST and words in failure.message


# Propagation ------------------------------------------------------------------------------------


def test_a_propagation_streams_the_engines_own_masks(bench):
    *frames, last = done(bench, m.Propagate("c", (SEGMENT,)))
    clip = Clip(pixels(), Geometry.for_cine(FRAMES, HEIGHT, WIDTH))
    expected = list(propagate(bench.engine.model, clip, [SEGMENT]))
    assert [each.frame for each in frames] == [each.frame for each in expected]
    for found, wanted in zip(frames, expected, strict=True):
        assert np.array_equal(found.mask.decode(), wanted.mask)
        assert (found.confidence, found.state) == (wanted.confidence, wanted.state)
    assert [each.done for each in frames] == list(range(1, FRAMES + 1))
    assert {each.total for each in frames} == {FRAMES}
    assert isinstance(last, m.Propagated) and last.frames == FRAMES


def test_a_click_between_two_frames_changes_neither(bench):
    (alone,) = done(bench, click(frame=4))
    undisturbed = done(bench, m.Propagate("c", (SEGMENT,)))
    send_clip(bench, "again")
    steps = bench.steps(m.Propagate("again", (SEGMENT,)))
    disturbed = [next(steps), next(steps)]
    (between,) = done(bench, click(frame=4, clip="again"))
    disturbed += list(steps)
    assert between.mask == alone.mask
    assert [e.mask for e in disturbed[:-1]] == [e.mask for e in undisturbed[:-1]]


def test_locked_frames_are_not_computed_and_do_not_count(bench):
    locked = {"a": {5: EncodedMask.encode(np.zeros((HEIGHT, WIDTH), bool))}}
    *frames, last = done(bench, m.Propagate("c", (SEGMENT,), locked=locked))
    assert sorted(each.frame for each in frames) == [0, 1, 2, 3, 4]
    assert last.frames == frames[0].total == 5


def test_only_what_changed_is_computed(bench):
    prompts = {0: STEPS[0], 3: STEPS[0], 5: STEPS[0]}
    segment = SegmentPrompts("a", prompts, (Window(0, 5),))
    *frames, last = done(bench, m.Propagate("c", (segment,), changed={"a": (5,)}))
    assert [each.frame for each in frames] == [5, 4]
    assert last.frames == frames[0].total == 2
    assert done(bench, m.Propagate("c", (segment,), changed={}))[0].frames == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"segments": (SEGMENT, SEGMENT)}, "one name"),
        ({"segments": (SegmentPrompts("a", {9: STEPS[0]}),)}, "frame 9"),
        ({"segments": (SegmentPrompts("a", {2: STEPS[0]}, (Window(0, 99),)),)}, "beyond"),
        ({"direction": "up"}, "direction is 'up'"),
        ({"locked": {"a": {9: EncodedMask((HEIGHT, WIDTH), None, b"")}}}, "frame 9"),
        ({"locked": {"a": {1: EncodedMask((9, 9), None, b"")}}}, "9 x 9"),
        ({"locked": {"a": {1: EncodedMask((HEIGHT, WIDTH), (0, 0, 5, 5), b"?")}}}, "damaged"),
    ],
)
def test_a_propagation_that_makes_no_sense_is_refused_before_its_first_frame(bench, change, words):
    request = m.Propagate(**{"clip": "c", "segments": (SEGMENT,), **change})
    failure = refused(bench, request)
    assert failure.kind is FailureKind.BAD_REQUEST and words in failure.message


# Prefetch ---------------------------------------------------------------------------------------


def count_embeddings(bench, monkeypatch):
    computed, network = [], bench.engine.model.network
    embed = network.embed
    monkeypatch.setattr(network, "embed", lambda images: computed.append(1) or embed(images))
    return computed


def test_prefetched_embeddings_are_the_ones_that_a_click_in_the_extent_needs(bench, monkeypatch):
    computed = count_embeddings(bench, monkeypatch)
    extent = (20.0, 15.0, 40.0, 34.0)  # of the clicks
    assert done(bench, m.Embed("c", (2, 3, 4), extent)) == [m.Done()]
    assert len(computed) == 3
    done(bench, click(frame=3))
    assert len(computed) == 3


def test_prefetch_without_extent_serves_a_first_click(bench, monkeypatch):
    computed = count_embeddings(bench, monkeypatch)
    done(bench, m.Embed("c", (1,)))
    done(bench, click([FramePrompts(include=[[30, 20]])], frame=1))
    assert len(computed) == 1


def test_prefetch_around_a_single_pixel_is_no_fault(bench):
    assert done(bench, m.Embed("c", (1,), (30.0, 20.0, 30.0, 20.0))) == [m.Done()]


def test_prefetch_takes_one_frame_a_step(bench):
    assert list(bench.steps(m.Embed("c", (0, 1, 2)))) == [None, None, None, m.Done()]


def test_prefetch_ends_where_the_cache_would_lose_its_own_work(checkpoint, monkeypatch):
    bench = new_bench(cache_bytes=1)
    done(bench, m.LoadModel(str(checkpoint), "cpu"))
    send_clip(bench, "c")
    computed = count_embeddings(bench, monkeypatch)
    assert done(bench, m.Embed("c", (0, 1, 2, 3))) == [m.Done()]
    assert len(computed) == 2


def test_embeddings_beyond_memory_are_kept_in_the_folder(checkpoint, monkeypatch, tmp_path):
    bench = new_bench(cache_bytes=1, folder=tmp_path)
    done(bench, m.LoadModel(str(checkpoint), "cpu"))
    send_clip(bench, "c")
    computed = count_embeddings(bench, monkeypatch)
    extent = (20.0, 15.0, 40.0, 34.0)
    done(bench, m.Embed("c", (0, 1, 2, 3), extent))
    done(bench, click(frame=1))
    assert len(computed) == 4
    bench.clips.close("c")
    bench.tidy()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# Clips ------------------------------------------------------------------------------------------


def test_a_clip_that_is_not_open_is_unknown(bench):
    for request in (click(clip="x"), m.Propagate("x", (SEGMENT,)), m.Embed("x", (0,))):
        assert refused(bench, request).kind is FailureKind.UNKNOWN_CLIP


def test_frames_that_were_not_sent_are_unknown_and_the_others_serve(bench):
    frames = pixels()
    bench.clips.open(m.OpenClip("part", frames.shape))
    bench.clips.send(m.SendFrames("part", 2, frames[2:4].tobytes()))
    assert isinstance(done(bench, click(clip="part", frame=3))[0], m.FrameSegmented)
    failure = refused(bench, click(clip="part", frame=4))
    assert failure.kind is FailureKind.UNKNOWN_CLIP and "frame 4" in failure.message
    assert refused(bench, m.Propagate("part", (SEGMENT,))).kind is FailureKind.UNKNOWN_CLIP
    inside = SegmentPrompts("a", {2: STEPS[0]}, (Window(2, 3),))
    assert done(bench, m.Propagate("part", (inside,)))[-1].frames == 2


def test_a_frame_beyond_the_clip_is_a_bad_request(bench):
    assert refused(bench, click(frame=FRAMES)).kind is FailureKind.BAD_REQUEST


def test_clips_in_shared_memory_and_sent_ones_give_one_mask(bench):
    frames = pixels()
    block = SharedBlock(frames.nbytes)
    try:
        block.write(0, frames)
        bench.clips.open(m.OpenClip("shared", frames.shape, 1.0, block.name))
        assert done(bench, click(clip="shared"))[0].mask == done(bench, click())[0].mask
        with pytest.raises(ValueError, match="shared memory"):
            bench.clips.send(m.SendFrames("shared", 0, frames.tobytes()))
        with pytest.raises(ValueError, match=r"samusa-"):
            bench.clips.open(m.OpenClip("large", (99, *frames.shape[1:]), 1.0, block.name))
    finally:
        block.close()


def test_a_missing_block_is_a_bad_request(bench):
    with pytest.raises(Exception) as caught:
        bench.clips.open(m.OpenClip("x", (1, 9, 9), 1.0, f"samusa-1-{'0' * 32}"))
    assert failure_of(caught.value).kind is FailureKind.BAD_REQUEST


def mapped(name):
    return name in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_closed_clip_is_unmapped_also_when_it_is_closed_in_the_middle_of_work(bench):
    frames = pixels()
    block = SharedBlock(frames.nbytes)
    block.write(0, frames)
    bench.clips.open(m.OpenClip("shared", frames.shape, 1.0, block.name))
    steps = bench.steps(m.Propagate("shared", (SEGMENT,)))
    next(steps)
    bench.clips.close("shared")
    block.close()
    assert isinstance(next(steps), m.FramePropagated) and mapped(block.name)
    del steps
    gc.collect()
    assert not mapped(block.name)


def test_an_open_name_cannot_be_opened_again(bench):
    with pytest.raises(ValueError, match="open already"):
        bench.clips.open(m.OpenClip("c", (1, 9, 9)))


@pytest.mark.parametrize(
    ("first", "size"), [(0, 0), (0, 100), (0, HEIGHT * WIDTH + 1), (5, 2 * HEIGHT * WIDTH)]
)
def test_pixels_that_do_not_fit_are_refused(bench, first, size):
    bench.clips.open(m.OpenClip("part", (FRAMES, HEIGHT, WIDTH)))
    with pytest.raises(ValueError, match="whole frames of 3072 bytes, up to frame 5"):
        bench.clips.send(m.SendFrames("part", first, bytes(size)))


def test_inline_clips_have_a_budget_that_closing_gives_back():
    clip_bytes = FRAMES * HEIGHT * WIDTH
    bench = new_bench(clip_bytes=clip_bytes)
    bench.clips.open(m.OpenClip("c", (FRAMES, HEIGHT, WIDTH)))
    for shape in ((1, 8, 8), (10**6, 16384, 16384, 3)):
        with pytest.raises(Exception) as caught:
            bench.clips.open(m.OpenClip("more", shape))
        failure = failure_of(caught.value)
        assert failure.kind is FailureKind.OUT_OF_MEMORY and "--clips-mb" in failure.message
    bench.clips.close("c")
    bench.clips.open(m.OpenClip("more", (FRAMES, HEIGHT, WIDTH)))


def test_nothing_of_a_closed_clip_is_kept_and_a_new_one_of_its_name_starts_afresh(bench):
    (before,) = done(bench, click())
    bench.clips.close("c")
    bench.tidy()
    assert bench.engine.cache_bytes == 0 and not bench.engine._results._entries
    send_clip(bench, "c", pixels(seed=1))
    (after,) = done(bench, click())
    assert after.mask != before.mask or after.confidence != before.confidence


def test_tidying_keeps_what_belongs_to_open_clips(bench):
    done(bench, click())
    send_clip(bench, "other")
    done(bench, click(clip="other"))
    kept = bench.engine.cache_bytes
    bench.clips.close("other")
    bench.tidy()
    assert bench.engine.cache_bytes == kept // 2


# Models -----------------------------------------------------------------------------------------


def test_a_loaded_model_says_what_it_is(checkpoint):
    (loaded,) = done(new_bench(), m.LoadModel(str(checkpoint), "auto"))
    assert (loaded.model, loaded.device, loaded.input_size) == ("tiny", "cpu", 64)
    assert loaded.prompts == ("boundary", "region", "box", "mask")
    assert "no GPU" in loaded.note
    assert done(new_bench(), m.LoadModel(str(checkpoint), "cpu"))[0].note == ""


def test_before_a_model_is_loaded_a_click_says_so():
    bench = new_bench()
    send_clip(bench, "c")
    failure = refused(bench, click())
    assert failure.kind is FailureKind.UNKNOWN_MODEL and "no model is loaded" in failure.message


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"PK\x03\x04" + bytes(99)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_missing_or_damaged_model_file_is_an_unknown_model(tmp_path, content, suffix):
    path = tmp_path / f"model{suffix}"
    if content is not None:
        path.write_bytes(content)
    failure = refused(new_bench(), m.LoadModel(str(path), "cpu"))
    assert failure.kind is FailureKind.UNKNOWN_MODEL
    assert str(path) in failure.message and "\n" not in failure.message


def test_a_model_that_nobody_knows_is_named_with_what_is_near():
    failure = refused(new_bench(), m.LoadModel("samusa-smal", "cpu"))
    assert failure.kind is FailureKind.UNKNOWN_MODEL and "samusa-small" in failure.message


def test_a_device_that_is_not_there_is_a_bad_request(checkpoint):
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("this computer has mps")
    failure = refused(new_bench(), m.LoadModel(str(checkpoint), "mps"))
    assert failure.kind is FailureKind.BAD_REQUEST and "mps" in failure.message


def test_after_a_failed_load_no_other_model_answers_in_its_place(bench):
    refused(bench, m.LoadModel("no-such-model", "cpu"))
    assert refused(bench, click()).kind is FailureKind.UNKNOWN_MODEL


def test_an_imported_model_whose_file_was_replaced_is_refused(checkpoint, tmp_path, monkeypatch):
    from SAMUSALib.cli.main import main
    from SAMUSALib.engine.registry import find_model

    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path))
    assert main(["models", "import", str(checkpoint), "--name", "mine"]) == 0
    assert done(new_bench(), m.LoadModel("mine", "cpu"))[0].model == "mine"
    path = find_model("mine").path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    failure = refused(new_bench(), m.LoadModel("mine", "cpu"))
    assert failure.kind is FailureKind.UNKNOWN_MODEL
    assert "damaged" in failure.message and "import" in failure.message


def test_a_file_that_changes_while_it_is_read_is_refused(checkpoint, tmp_path, monkeypatch):
    from SAMUSALib.engine import models

    path = tmp_path / "tiny.safetensors"
    shutil.copy(checkpoint, path)
    load = models.load_model

    def load_and_swap(*args):
        model = load(*args)
        path.write_bytes(b"something else")
        return model

    monkeypatch.setattr(models, "load_model", load_and_swap)
    failure = refused(new_bench(), m.LoadModel(str(path), "cpu"))
    assert failure.kind is FailureKind.UNKNOWN_MODEL and "changed while" in failure.message


def test_a_model_file_replaced_after_loading_does_not_disturb_the_loaded_one(checkpoint, tmp_path):
    path = tmp_path / "tiny.safetensors"
    shutil.copy(checkpoint, path)
    bench = new_bench()
    done(bench, m.LoadModel(str(path), "cpu"))
    send_clip(bench, "c")
    path.write_bytes(b"something else")
    assert isinstance(done(bench, click())[0], m.FrameSegmented)


def test_another_model_starts_with_empty_caches(bench, checkpoint):
    done(bench, click())
    assert bench.engine.cache_bytes > 0
    done(bench, m.LoadModel(str(checkpoint), "cpu"))
    (again,) = done(bench, click())
    assert isinstance(again, m.FrameSegmented)


# The spline -------------------------------------------------------------------------------------


@pytest.fixture
def spline():
    bench = new_bench()
    (loaded,) = done(bench, m.LoadModel("spline"))
    assert (loaded.model, loaded.device, loaded.parameters) == ("spline", "cpu", 0)
    send_clip(bench, "c")
    return bench


def test_the_spline_draws_the_curve_through_the_clicks(spline):
    from SAMUSALib.engine.spline import spline_mask

    (found,) = done(spline, click(STEPS))
    assert np.array_equal(found.mask.decode(), spline_mask(STEPS[0].boundary, (HEIGHT, WIDTH)))
    failure = refused(spline, click([FramePrompts(boundary=[[3, 3]])]))
    assert failure.kind is FailureKind.BAD_REQUEST and "2 boundary points" in failure.message


def test_the_spline_propagates_and_computes_only_what_changed(spline):
    *frames, last = done(spline, m.Propagate("c", (SEGMENT,)))
    assert len(frames) == last.frames == frames[0].total == FRAMES
    assert frames[0].state is FrameState.PROMPTED
    segment = SegmentPrompts("a", {0: STEPS[0], 3: STEPS[0], 5: STEPS[0]}, (Window(0, 5),))
    *frames, last = done(spline, m.Propagate("c", (segment,), changed={"a": (5,)}))
    assert [each.frame for each in frames] == [5, 4]
    assert last.frames == frames[0].total == 2


def test_the_spline_has_nothing_to_prefetch(spline):
    assert done(spline, m.Embed("c", (0, 1))) == [m.Done()]


# Memory that runs out ---------------------------------------------------------------------------


def short_of_memory(bench, monkeypatch, times):
    """The next calls of the image encoder find no memory."""
    import torch

    network, left = bench.engine.model.network, [times]
    embed = network.embed

    def refusing(images):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return embed(images)

    monkeypatch.setattr(network, "embed", refusing)


def test_a_click_that_runs_out_of_memory_is_computed_after_caches_are_freed(bench, monkeypatch):
    (expected,) = done(bench, click())
    send_clip(bench, "again")
    short_of_memory(bench, monkeypatch, times=1)
    (found,) = done(bench, click(clip="again"))
    assert found.mask == expected.mask
    assert len(bench.said) == 1 and "memory" in bench.said[0]


def test_a_propagation_that_runs_out_of_memory_goes_on_and_gives_each_frame_once(
    bench, monkeypatch
):
    expected = [each.mask for each in done(bench, m.Propagate("c", (SEGMENT,)))[:-1]]
    send_clip(bench, "again")
    steps = bench.steps(m.Propagate("again", (SEGMENT,)))
    found = [next(steps), next(steps)]
    short_of_memory(bench, monkeypatch, times=1)
    events = list(steps)
    assert events.count(None) == 2  # computed again, one frame a step, and passed over
    found += [event for event in events if event is not None]
    assert [each.mask for each in found[:-1]] == expected
    assert [each.done for each in found[:-1]] == list(range(1, FRAMES + 1))
    assert len(bench.said) == 1


def test_a_propagation_goes_on_when_a_click_has_moved_the_model(bench):
    expected = [each.mask for each in done(bench, m.Propagate("c", (SEGMENT,)))[:-1]]
    steps = bench.steps(m.Propagate("c", (SEGMENT,)))
    found = [next(steps), next(steps)]
    model = bench.engine.model
    bench.engine.model = replace(model, network=copy(model.network))
    found += [event for event in steps if event is not None]
    assert [each.mask for each in found[:-1]] == expected


def test_memory_that_never_suffices_ends_the_request_and_nothing_else(bench, monkeypatch):
    short_of_memory(bench, monkeypatch, times=2)
    assert refused(bench, click()).kind is FailureKind.OUT_OF_MEMORY
    assert isinstance(done(bench, click())[0], m.FrameSegmented)
    short_of_memory(bench, monkeypatch, times=99)
    send_clip(bench, "again")
    failure = refused(bench, m.Propagate("again", (SEGMENT,)))
    assert failure.kind is FailureKind.OUT_OF_MEMORY


# Failures ---------------------------------------------------------------------------------------


def test_an_error_of_ours_is_internal_with_the_traceback_for_the_log():
    try:
        [][1]
    except IndexError as error:
        failure = failure_of(error)
    assert failure.kind is FailureKind.INTERNAL
    assert "IndexError" in failure.message and "\n" not in failure.message
    assert "test_workbench.py" in failure.details


def test_memory_that_does_not_suffice_is_said_so():
    assert failure_of(MemoryError()).kind is FailureKind.OUT_OF_MEMORY
