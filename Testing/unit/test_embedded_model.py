"""The embedded checkpoint: what it is, and that it is useful on phantoms and on real ultrasound."""

import json

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.cli.main import main
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.datasets.manifest import read_manifest
from SAMUSALib.engine.models import load_model
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.registry import DEFAULT_MODEL, find_model, verify_model
from SAMUSALib.engine.segmentation import FrameSegmenter
from SAMUSALib.evaluation.images import Method, evaluate_images, spline_method, summarise
from SAMUSALib.evaluation.metrics import dice
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from SAMUSALib.training.clicks import border, next_boundary_click


@pytest.fixture(scope="module")
def model():
    return load_model(find_model(DEFAULT_MODEL).path, "cpu")


def test_it_is_small_intact_and_says_where_it_comes_from(model):
    entry = find_model(DEFAULT_MODEL)
    assert entry.path.stat().st_size <= 20e6
    assert 4e6 <= model.info.parameters <= 15e6
    assert verify_model(DEFAULT_MODEL).ok
    assert set(model.info.prompts) == {"boundary", "region", "box", "mask"}
    assert model.info.provenance["data"] and model.info.provenance["steps"] > 0
    assert model.info.licence == "Apache-2.0"


def test_the_demo_reaches_its_dice_and_keeps_to_its_window(tmp_path):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "demo.json").read_text())
    assert summary["dice_window_mean"] >= 0.90
    assert summary["empty_outside"] is True
    assert set(summary["seconds"]) >= {"load model", "propagate", "report"}
    for name in ("clip.seq.nrrd", "prompts.json", "masks.seg.nrrd", "report/index.html"):
        assert (tmp_path / name).stat().st_size > 0


def clicks_on(frame, truth, segmenter, count):
    """The simulated annotator of the paper, against the model's own masks."""
    rng, clicks, result = np.random.default_rng(0), np.empty((0, 2)), None
    for _ in range(count):
        mask = None if result is None else result.mask
        clicks = np.vstack([clicks, next_boundary_click(border(truth), clicks, mask, rng)])
        if len(clicks) >= 2:
            result = segmenter.segment(frame, FramePrompts(boundary=clicks), result, key="f")
    return clicks


def test_five_clicks_carry_through_the_labelled_carotid_sweep(model, ultrasound_data):
    items = [
        item
        for item in read_manifest(ultrasound_data / "carotid", "val")
        if "32VAS_01563" <= item.frames[0].stem <= "32VAS_02301"
    ]
    items.sort(key=lambda item: item.name)
    loaded = [item.load() for item in items]
    frames = np.concatenate([labelled.frames for labelled in loaded])
    truth = np.concatenate([labelled.layers[0] == 1 for labelled in loaded])
    assert len(frames) == 24
    clip = Clip(frames, Geometry.for_cine(*frames.shape))
    clicks = clicks_on(frames[0], truth[0], FrameSegmenter(model), 5)
    segment = SegmentPrompts("lumen", {0: FramePrompts(boundary=clicks)}, (Window(0, 23),))
    results = {r.frame: r for r in propagate(model, clip, [segment])}
    assert results[0].state is FrameState.PROMPTED and len(results) == 24
    assert np.mean([dice(results[i].mask, truth[i]) for i in range(24)]) >= 0.80


NAMES = ("fetal_head", "carotid", "nerve_vessel")
TWO_CLICKS = {"fetal_head": 0.90, "carotid": 0.91, "nerve_vessel": 0.78}


def dice_by_clicks(model, folder, step, clicks):
    items = read_manifest(folder, "val")[::step]
    methods = [Method("boundary", FrameSegmenter(model).segment), spline_method()]
    return summarise(evaluate_images(items, methods, clicks=clicks))["dice"]


@pytest.mark.parametrize("name", NAMES)
def test_it_beats_the_spline_on_a_part_of_the_held_out_images(model, ultrasound_data, name):
    means = dice_by_clicks(model, ultrasound_data / name, step=6, clicks=4)
    ours, curve = (np.mean([means[method][c] for c in "234"]) for method in ("boundary", "spline"))
    assert ours > curve


@pytest.mark.heavy
@pytest.mark.parametrize("name", NAMES)
def test_it_beats_the_spline_on_all_held_out_images(model, ultrasound_data, name):
    means = dice_by_clicks(model, ultrasound_data / name, step=1, clicks=5)
    assert means["boundary"]["2"] >= TWO_CLICKS[name]
    for count in "234":
        assert means["boundary"][count] > means["spline"][count]
    assert means["boundary"]["5"] >= means["spline"]["5"] - 0.01
