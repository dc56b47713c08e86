"""Training: samples that fit their truth, a trainer that learns, and `samusa train`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from SAMUSALib.cli.main import main
from SAMUSALib.engine.architectures import ARCHITECTURES
from SAMUSALib.engine.models import load_model
from SAMUSALib.errors import TrainingFailed
from SAMUSALib.training.clicks import border
from SAMUSALib.training.data import image_structures, mixture, phantom_clips, sweeps
from SAMUSALib.training.rounds import Curriculum
from SAMUSALib.training.samples import LabelledClip, draw_sample
from SAMUSALib.training.trainer import Recipe, Trainer, train
from tiny import TINY, tiny_network

SIZE = (90, 120)


def disc_clip(frames=1, radius=18.0):
    """A bright disc that wanders over dark, noisy ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = np.stack(
        [(x - 50 - 2 * t) ** 2 + (y - 45 - t) ** 2 <= radius**2 for t in range(frames)]
    )
    noise = rng.integers(0, 40, (frames, *SIZE))
    return LabelledClip((noise + 180 * masks).astype(np.uint8), masks)


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
        distance = np.linalg.norm(
            sample.clicks[inside][:, None] - border(sample.truth[0])[None], axis=2
        )
        assert distance.min(axis=1).max() < 2.0


def test_samples_repeat_under_a_seed_and_differ_without():
    first, again, other = (
        draw_sample(disc_clip(3), 3, 64, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.images, again.images) and np.array_equal(first.clicks, again.clicks)
    assert not np.array_equal(first.images, other.images)


def test_a_structure_without_border_gives_no_sample():
    empty = LabelledClip(np.zeros((1, *SIZE), np.uint8), np.zeros((1, *SIZE), bool))
    assert draw_sample(empty, 1, 64, np.random.default_rng(0)) is None


def trainer(recipe, clips=()):
    network = tiny_network(lively=False)
    images = [disc_clip()]
    weights = np.ones(len(clips)) / max(len(clips), 1)
    return Trainer(network, recipe, images, np.ones(1), list(clips), weights)


SHORT = Recipe(
    steps=30, batch=4, warmup=5, learning_rate=2e-3, autocast=False,
    curriculum=Curriculum(click_counts=((2,), (3,))),
)  # fmt: skip


def test_the_trainer_learns_what_the_image_shows():
    torch.manual_seed(0)
    practice = replace(SHORT.curriculum, share_region=0.0, share_box=0.0, share_mask=0.0)
    run = trainer(replace(SHORT, curriculum=practice))
    losses = [run.step()["boundary_dice"] for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


@pytest.mark.parametrize(
    "shares",
    [
        {"share_region": 1.0},
        {"share_region": 0.0, "share_box": 1.0},
        {"share_region": 0.0, "share_box": 0.0, "share_mask": 1.0},
        {"share_clips": 1.0},
    ],
    ids=["region", "box", "mask", "clips"],
)
def test_every_kind_of_prompt_is_trained_and_changes_the_weights(shares):
    recipe = replace(SHORT, clip_batch=2, curriculum=replace(SHORT.curriculum, **shares))
    run = trainer(recipe, [disc_clip(5)])
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    for _ in range(3):
        parts = run.step()
    assert all(np.isfinite(value) for value in parts.values())
    changed = {k for k, v in run.network.state_dict().items() if not torch.equal(v, before[k])}
    assert any("image_encoder" in name for name in changed)
    if "share_clips" in shares:
        assert any("memory_attention" in name for name in changed)


def test_two_runs_of_one_seed_are_the_same():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        run = trainer(SHORT)
        losses.append([sum(run.step().values()) for _ in range(3)])
    assert losses[0] == losses[1]


def test_the_rate_warms_up_and_falls_as_a_cosine():
    run = trainer(replace(SHORT, steps=100, warmup=10))
    rates = []
    for done in range(101):
        run.done = done
        rates.append(run.rate())
    assert rates[0] == pytest.approx(0.1 * SHORT.learning_rate)
    assert rates[10] == pytest.approx(SHORT.learning_rate)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] == pytest.approx(SHORT.final_rate)


def test_a_loss_that_is_not_a_number_stops_the_run():
    run = trainer(SHORT)
    with torch.no_grad():
        run.network.image_encoder.trunk.patch_embed.proj.weight.fill_(float("nan"))
    with pytest.raises(TrainingFailed, match="step 0"):
        run.step()


def test_averaged_weights_are_saved_now_and_then_and_at_the_end(tmp_path):
    run, saved = trainer(replace(SHORT, steps=5)), []
    train(run, tmp_path / "x", lambda path, tensors, step: saved.append(step), save_every=2)
    assert saved == [2, 4, 5]
    weights, average = run.network.state_dict(), run.ema_state()
    assert not torch.equal(average["no_mem_embed"], weights["no_mem_embed"])


def make_set(folder, count=6):
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    items = []
    for index in range(count):
        clip = disc_clip(radius=12.0 + index)
        Image.fromarray(clip.frames[0]).save(folder / f"images/{index}.png")
        Image.fromarray(clip.masks[0].astype(np.uint8)).save(folder / f"masks/{index}.png")
        split, group = ("train", "a") if index < count - 1 else ("val", "b")
        names = {"image": f"images/{index}.png", "mask": f"masks/{index}.png"}
        items.append({**names, "split": split, "group": group})
    (folder / "manifest.json").write_text(json.dumps({"name": "discs", "items": items}))
    return folder


def test_sets_and_their_groups_become_material(tmp_path):
    folder = make_set(tmp_path / "discs")
    assert len(image_structures(folder, "train")) == 5
    (sweep,) = sweeps(folder, "train")
    assert sweep.frames.shape == (5, *SIZE) and sweep.moving
    simulated = phantom_clips(2, 6, seed=1, size=96)
    assert simulated and all(len(clip.frames) == 6 for clip in simulated)


def test_a_mixture_gives_each_set_its_share():
    clips, weights = mixture([([1, 2, 3, 4], 1.0), ([5], 3.0), ([], 9.0)])
    assert clips == [1, 2, 3, 4, 5]
    assert weights.sum() == pytest.approx(1) and weights[4] == pytest.approx(0.75)


def test_the_command_trains_a_checkpoint_that_works(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    folder, out = make_set(tmp_path / "discs"), tmp_path / "new.safetensors"
    command = ["train", "--images", str(folder), "--sweeps", str(folder), "--phantoms", "0"]
    command += ["--architecture", "tiny", "--steps", "2", "--name", "mine", "--out", str(out)]
    assert main(command) == 0
    model = load_model(out, "cpu")
    assert model.info.name == "mine" and model.info.provenance["steps"] == 2
    again = tmp_path / "again.safetensors"
    command[-1] = str(again)
    assert main([*command, "--checkpoint", str(out)]) == 0
    assert load_model(again, "cpu").info.provenance["started_from"] == "mine"


@pytest.mark.parametrize(
    "change, message",
    [
        (["--steps", "0"], "--steps is 0"),
        (["--out", "model.pt"], "must end in .safetensors"),
        (["--architecture", "huge"], "'huge'"),
        (["--images", "nowhere"], "nowhere"),
    ],
)
def test_the_command_refuses_what_cannot_work(tmp_path, capsys, change, message):
    command = ["train", "--images", str(make_set(tmp_path / "d")), "--phantoms", "0"]
    command += ["--out", str(tmp_path / "m.safetensors"), *change]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))
