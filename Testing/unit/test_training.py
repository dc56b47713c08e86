"""Training: samples that fit their truth, batches by number, a trainer that learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from discs import SIZE, disc_clip, make_set
from SAMUSALib.datasets.manifest import Labelled
from SAMUSALib.errors import InvalidValue, TrainingFailed
from SAMUSALib.training.augmentation import Augmentation
from SAMUSALib.training.clicks import border
from SAMUSALib.training.config import (
    Data,
    DataSet,
    ModelSource,
    Optimiser,
    Phantoms,
    TrainingConfig,
)
from SAMUSALib.training.data import (
    Batches,
    Cache,
    Material,
    Pool,
    gather,
    read_batches,
    structures,
)
from SAMUSALib.training.randomness import PLAN, SAMPLE, generator
from SAMUSALib.training.rounds import Curriculum, plan_step
from SAMUSALib.training.samples import LabelledClip, draw_sample
from SAMUSALib.training.trainer import Trainer, join, parameter_groups, rate
from tiny import TINY, tiny_network


class Discs:
    """A source in memory."""

    def __init__(self, frames=1, name="discs"):
        self.clip, self.name = disc_clip(frames), name

    def load(self) -> Labelled:
        return Labelled(self.clip.frames, self.clip.masks[None].astype(np.uint8), {})


STILL, MOVING = Pool.of([([Discs()], 1.0)]), Pool.of([([Discs(5)], 1.0)])
PLAIN = Curriculum(
    share_clips=0.0, share_region=0.0, share_box=0.0, share_mask=0.0, share_single=0.0
)
SHORT = TrainingConfig(
    ModelSource(architecture="tiny"),
    curriculum=replace(PLAIN, click_counts=((2,), (3,))),
    optimiser=Optimiser(rate=2e-3, batch=4, clip_batch=2, warmup=5, precision="float32"),
    steps=30,
    device="cpu",
)


class Run:
    """A trainer with its batches, in memory."""

    def __init__(self, config=SHORT, clips=MOVING, network=None):
        self.trainer = Trainer(network or tiny_network(lively=False), config, join(config))
        batches = Batches(Material(STILL, clips), config, 64)
        self.batches = read_batches(batches, 0, config.steps, workers=0, pinned=False)

    def step(self):
        parts = self.trainer.config.optimiser.accumulation
        return self.trainer.step([next(self.batches) for _ in range(parts)])


# samples ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 3])
def test_a_samples_truth_lies_where_its_image_shows_the_structure(frames):
    rng = np.random.default_rng(1)
    clip = disc_clip(frames)
    for _ in range(10):
        sample = draw_sample(clip, frames, 64, rng)
        assert sample.images.shape == sample.truth.shape == (frames, 64, 64)
        for image, truth in zip(sample.images, sample.truth, strict=True):
            if truth.sum() > 30:
                assert image[truth].mean() > 2 * image[~truth].mean()


def test_exact_clicks_of_a_sample_lie_on_its_outline():
    rng = np.random.default_rng(2)
    exact = [s for s in (draw_sample(disc_clip(), 1, 64, rng) for _ in range(20)) if not s.jitter]
    assert len(exact) >= 5
    for sample in exact:
        inside = ((sample.clicks >= 1) & (sample.clicks <= 62)).all(axis=1)
        for outline, most in ((border(sample.truth[0]), 2.0), (sample.outline, 1e-6)):
            distance = np.linalg.norm(sample.clicks[inside][:, None] - outline[None], axis=2)
            assert distance.min(axis=1).max() < most


def test_the_annotators_errors_are_those_that_are_asked_for():
    area = disc_clip().masks.sum()
    for error in ((0.02, 0.02), (0.1, 0.2)):
        rng = np.random.default_rng(4)
        given = {"zoom": False, "share_exact": 0.25, "click_error": error}
        none = Augmentation.none()
        samples = [draw_sample(disc_clip(), 1, 64, rng, none, **given) for _ in range(40)]
        scale = 64 / np.sqrt(SIZE[0] * SIZE[1])  # from frame to network pixels
        shares = np.array([s.jitter for s in samples]) / scale / np.sqrt(area)
        assert np.mean(shares == 0) == pytest.approx(0.25, abs=0.15)
        wrong = shares[shares > 0]
        assert wrong.min() >= 0.99 * error[0] and wrong.max() <= 1.01 * error[1]


def test_samples_repeat_under_a_seed_and_differ_without():
    first, again, other = (
        draw_sample(disc_clip(3), 3, 64, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.images, again.images) and np.array_equal(first.clicks, again.clicks)
    assert not np.array_equal(first.images, other.images)


def test_a_structure_without_border_gives_no_sample():
    empty = LabelledClip(np.zeros((1, *SIZE), np.uint8), np.zeros((1, *SIZE), bool))
    assert draw_sample(empty, 1, 64, np.random.default_rng(0)) is None


def test_a_network_without_zoom_sees_about_the_whole_frame():
    shares = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        sample = draw_sample(disc_clip(), 1, 64, rng, zoom=False)
        shares.append(sample.truth.mean())
    expected = disc_clip().masks.mean()
    assert 0.8 * expected < np.median(shares) < 1.25 * expected


def test_frames_of_high_pixels_become_square():
    clip = disc_clip(2)
    flat = Labelled(clip.frames[:, ::2], clip.masks[None, :, ::2].astype(np.uint8), {}, aspect=2.0)
    (seen,) = structures(flat)
    assert seen.frames.shape == (2, *SIZE) and seen.masks.dtype == bool
    rows, columns = np.nonzero(seen.masks[0])
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)


# material and batches -----------------------------------------------------------------------


def test_sets_and_their_groups_and_phantoms_become_material(tmp_path):
    folder = make_set(tmp_path / "discs")
    data = Data(
        (DataSet(folder, use=("images", "sweeps")),),
        Phantoms(count=2, frames=4, size=96, share=0.6),
    )
    material = gather(data, seed=1)
    assert material.counts() == {"images": 5 + 2, "clips": 1 + 2 + 5}
    assert material.images.probabilities[:5].sum() == pytest.approx(1 / 1.6)
    assert material.clips.probabilities[0] == pytest.approx(1 / 3)
    cache = Cache(1 << 30)
    assert len(cache.load(material.clips.sources[0])[0].frames) == 5
    phantom = cache.load(material.images.sources[-1])
    again = structures(gather(data, seed=1).images.sources[-1].load())
    assert all(len(clip.frames) == 4 and clip.moving for clip in phantom)
    assert np.array_equal(phantom[0].frames, again[0].frames)


def test_material_that_cannot_be_is_refused(tmp_path):
    folder = make_set(tmp_path / "discs", count=4)
    with pytest.raises(InvalidValue, match="nothing to train on"):
        gather(Data(), 0)
    with pytest.raises(InvalidValue, match="no group of at least 4"):
        gather(Data((DataSet(folder, use=("sweeps",)),)), 0)
    with pytest.raises(InvalidValue, match="nothing to be used as clips"):
        gather(Data((DataSet(folder, use=("clips",)),)), 0)


def test_the_cache_keeps_to_its_size_and_forgets_the_oldest():
    sources = [Discs(name=str(n)) for n in range(3)]
    size = 2 * SIZE[0] * SIZE[1]
    cache = Cache(2 * size)
    first = cache.load(sources[0])
    cache.load(sources[1])
    assert cache.load(sources[0]) is first
    cache.load(sources[2])
    assert cache.used == 2 * size and list(cache.kept) == [sources[0], sources[2]]
    assert Cache(0).load(sources[0])


def test_sources_without_structures_are_said_to_be_the_problem():
    blank = Discs()
    blank.clip = LabelledClip(blank.clip.frames, np.zeros_like(blank.clip.masks))
    batches = Batches(Material(Pool.of([([blank], 1.0)]), Pool.of([])), SHORT, 64)
    with pytest.raises(InvalidValue, match="no structure of at least 100"):
        batches[0]


def test_a_plan_keeps_to_the_shares():
    c = Curriculum(share_clips=0.3, share_region=0.2, share_box=0.1, share_mask=0.2)
    plans = [plan_step(c, generator(0, PLAN, step)) for step in range(3000)]
    share = {
        kind: np.mean([plan.kind == kind for plan in plans])
        for kind in ("clip", "region", "box", "mask", "boundary")
    }
    expected = {"clip": 0.3, "region": 0.14, "box": 0.07, "mask": 0.14, "boundary": 0.35}
    assert share == pytest.approx(expected, abs=0.03)
    given = [not plan.counts for plan in plans if plan.kind == "clip"]
    assert np.mean(given) == pytest.approx(c.clip_from_mask, abs=0.05)
    assert all(np.all(np.diff(p.counts) > 0) for p in plans if p.kind == "boundary")


def test_streams_steps_and_numbers_are_independent():
    drawn = {
        generator(0, stream, *counters).random()
        for stream in (PLAN, SAMPLE)
        for counters in ((), (0,), (0, 0), (1, 0), (0, 1))
    }
    assert len(drawn) == 10


def test_processes_and_parts_share_the_samples_of_one_large_batch():
    material = Material(STILL, MOVING)

    def images(batch, parts, processes):
        optimiser = replace(SHORT.optimiser, batch=batch, accumulation=parts)
        config = replace(SHORT, optimiser=optimiser)
        found = []
        for part in range(parts):
            for process in range(processes):
                batches = Batches(material, config, 64, True, process, processes)
                found += list(batches[3 * parts + part].images)
        return torch.stack(found)

    whole = images(4, 1, 1)
    assert torch.equal(whole, images(2, 1, 2)) and torch.equal(whole, images(2, 2, 1))
    assert torch.equal(whole, images(1, 2, 2))


def test_workers_prepare_the_same_batches(tmp_path):
    config = replace(SHORT, curriculum=Curriculum(share_clips=0.5))
    batches = Batches(Material(STILL, MOVING), config, 64)
    alone, helped = (list(read_batches(batches, 2, 6, workers, pinned=False)) for workers in (0, 2))
    assert [b.step for b in helped] == [2, 3, 4, 5]
    for one, other in zip(alone, helped, strict=True):
        assert one.plan == other.plan and torch.equal(one.images, other.images)
        assert one.rngs[0].random() == other.rngs[0].random()


# the trainer --------------------------------------------------------------------------------


def test_the_trainer_learns_what_the_image_shows():
    run = Run()
    losses = [run.step()["boundary_dice"] for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


@pytest.mark.parametrize("kind", ["region", "box", "mask", "clips"])
def test_every_kind_of_prompt_is_trained_and_changes_the_weights(kind):
    config = replace(SHORT, curriculum=replace(PLAIN, **{f"share_{kind}": 1.0}))
    run = Run(config)
    before = {k: v.clone() for k, v in run.trainer.network.state_dict().items()}
    for _ in range(3):
        losses = run.step()
    assert all(np.isfinite(value) for value in losses.values())
    after = run.trainer.network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any("image_encoder" in name for name in changed)
    assert any("memory_attention" in name for name in changed) == (kind == "clips")


def test_two_runs_of_one_seed_are_the_same():
    config = replace(SHORT, curriculum=Curriculum(share_clips=0.5))
    losses = []
    for _ in range(2):
        run = Run(config)
        losses.append([sum(run.step().values()) for _ in range(4)])
    assert losses[0] == losses[1]


def test_accumulated_parts_give_the_gradient_of_one_large_batch():
    gradients = []
    for batch, parts in ((4, 1), (2, 2)):
        optimiser = replace(SHORT.optimiser, batch=batch, accumulation=parts)
        run = Run(replace(SHORT, optimiser=optimiser))
        run.step()
        found = [p.grad for p in run.trainer.network.parameters() if p.grad is not None]
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    whole, summed = gradients
    assert (summed - whole).norm() < 1e-5 * whole.norm()


def test_the_rate_warms_up_and_falls_as_a_cosine():
    config = replace(SHORT, steps=100, optimiser=replace(SHORT.optimiser, warmup=10))
    rates = [rate(config, step) for step in range(101)]
    top, final = config.optimiser.rate, config.optimiser.final_rate
    assert rates[0] == pytest.approx(0.1 * top) and rates[10] == pytest.approx(top)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] == pytest.approx(final)


def test_early_blocks_of_the_encoder_learn_more_slowly():
    network = tiny_network()
    groups = parameter_groups(network, replace(SHORT.optimiser, layer_decay=0.5))
    scales = {id(p): group["scale"] for group in groups for p in group["params"]}
    by_name = {name: scales[id(p)] for name, p in network.named_parameters()}
    assert by_name["image_encoder.trunk.pos_embed"] == 0.5**6
    assert by_name["image_encoder.trunk.blocks.0.attn.qkv.weight"] == 0.5**5
    assert by_name["image_encoder.trunk.blocks.4.attn.qkv.weight"] == 0.5
    assert by_name["sam_mask_decoder.iou_token.weight"] == 1.0
    assert by_name["image_encoder.neck.convs.0.conv.weight"] == 1.0
    run = Run(replace(SHORT, optimiser=replace(SHORT.optimiser, layer_decay=0.5)))
    run.step()
    rates = {group["lr"] for group in run.trainer.optimizer.param_groups}
    assert max(rates) == pytest.approx(rate(SHORT, 0)) and len(rates) == 7


@pytest.mark.parametrize(
    "what, still, moved",
    [
        ("encoder", "image_encoder", "sam_mask_decoder"),
        ("all_but_prompts_and_decoder", "memory_encoder", "border_head"),
        (("sam_mask_decoder.iou",), "sam_mask_decoder.iou", "image_encoder"),
    ],
)
def test_frozen_parameters_stay_and_the_others_move(what, still, moved):
    run = Run(replace(SHORT, freeze=what))
    before = {k: v.clone() for k, v in run.trainer.network.state_dict().items()}
    run.step()
    after = run.trainer.network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(still) for name in changed)
    assert any(name.startswith(moved) for name in changed)


@pytest.mark.parametrize("what, message", [(("decoder.",), "begins with"), (("",), "nothing")])
def test_freezing_what_is_not_there_or_everything_is_refused(what, message):
    with pytest.raises(InvalidValue, match=message):
        Run(replace(SHORT, freeze=what))


def test_a_loss_that_is_not_a_number_stops_the_run():
    run = Run()
    with torch.no_grad():
        run.trainer.network.image_encoder.trunk.patch_embed.proj.weight.fill_(float("nan"))
    with pytest.raises(TrainingFailed, match="the loss is nan at step 0"):
        run.step()


def test_a_gradient_that_is_not_a_number_stops_the_run_before_the_weights_change():
    network = tiny_network(lively=False)
    network.image_encoder.neck.convs[0].conv.weight.register_hook(lambda g: g * float("inf"))
    run = Run(network=network)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(TrainingFailed, match="norm is"):
        run.step()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bfloat16_trains_and_fp16_says_that_it_needs_a_gpu():
    run = Run(replace(SHORT, optimiser=replace(SHORT.optimiser, precision="bf16")))
    before = run.step()["boundary_dice"]
    assert np.isfinite(before)
    assert all(p.dtype == torch.float32 for p in run.trainer.network.parameters())
    with pytest.raises(InvalidValue, match="fp16 needs"):
        join(replace(SHORT, optimiser=replace(SHORT.optimiser, precision="fp16")))


def test_averaged_weights_follow_and_differ():
    run = Run()
    for _ in range(3):
        run.step()
    weights, average = run.trainer.network.state_dict(), run.trainer.averaged_weights()
    assert not torch.equal(average["no_mem_embed"], weights["no_mem_embed"])
    network = run.trainer.averaged_network()
    assert not network.training and network.architecture == TINY
    assert torch.equal(network.state_dict()["no_mem_embed"], average["no_mem_embed"])


def test_images_that_were_moved_to_the_device_train_the_same():
    losses = []
    for moved in (False, True):
        run = Run()
        batch = next(run.batches)
        losses.append(run.trainer.step([batch._with(batch.images.clone()) if moved else batch]))
    assert losses[0] == losses[1]
