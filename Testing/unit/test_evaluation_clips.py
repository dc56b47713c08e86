"""The clip protocols: where is clicked, what is propagated again, and what is counted."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.cli.main import main
from SAMUSALib.datasets.manifest import Labelled
from SAMUSALib.engine.plan import FrameMask
from SAMUSALib.engine.spline import spline_mask
from SAMUSALib.errors import InvalidValue
from SAMUSALib.evaluation.clip_statistics import summarise_clips
from SAMUSALib.evaluation.clips import ClipProtocol, evaluate_clip, visible_windows
from SAMUSALib.evaluation.methods import Method, model_methods, spline_method
from SAMUSALib.evaluation.metrics import dice, iou
from SAMUSALib.evaluation.phantoms import phantom_items
from SAMUSALib.prompts import Window
from tiny import tiny_model

SIDE = 64


def disc(x, y=30, radius=10):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


class Item:
    """A clip in memory."""

    kind, split = "clip", "val"

    def __init__(self, truth, name="clip", group="group"):
        self.name, self.group, self.truth = name, group, np.asarray(truth)

    def load(self):
        frames = np.where(self.truth, 40, 160).astype(np.uint8)
        return Labelled(frames, self.truth[None].astype(np.int32), {})


def moving(steps):
    """A disc whose centre is at these x; None where it is not there."""
    nothing = np.zeros((SIDE, SIDE), bool)
    return np.array([nothing if x is None else disc(x) for x in steps])


class Standstill:
    """A tracker without an idea of motion: every frame gets the mask of the prompted frame before
    it, or of the first after it, inside the windows. Keeps what it was asked."""

    def __init__(self, clicks="boundary"):
        self.asked, self.given = [], []
        self.method = Method("still", self.segment, clicks, None, self.propagate)

    def segment(self, frame, prompts, previous=None):
        self.given.append(prompts)
        return SimpleNamespace(mask=spline_mask(prompts.boundary, frame.shape[:2]))

    def mask_of(self, prompts):
        given = prompts.mask
        return spline_mask(prompts.boundary, (SIDE, SIDE)) if given is None else given

    def propagate(self, clip, segment, direction, changed, key):
        self.asked.append((segment, direction, changed))
        known = {
            index: prompts.mask
            if prompts.mask is not None
            else spline_mask(prompts.boundary, clip.frame_size)
            for index, prompts in segment.frames.items()
        }
        for window in segment.windows_within(len(clip)):
            for index in range(window.start, window.end + 1):
                if direction == "forward" and index < min(known):
                    continue
                before = [i for i in known if i <= index] or [min(known)]
                yield FrameMask("structure", index, known[max(before)], 1.0, FrameState.PROPAGATED)


def run(truth, method, **options):
    return evaluate_clip(Item(truth), [method], ClipProtocol(**options))


def test_windows_are_the_runs_of_visible_frames():
    truth = moving([None, 20, 20, None, None, 20])
    assert visible_windows(truth) == (Window(1, 2), Window(5, 5))
    assert visible_windows(truth[:1]) == () and visible_windows(truth[1:3]) == (Window(0, 1),)


def test_the_first_frame_that_fails_is_clicked_until_none_does():
    tracker = Standstill()
    truth = moving([None, 20, 21, 30, 31, 42, 42])
    (result,) = run(truth, tracker.method, windows=(True,))
    assert [p.frame for p in result.propagations] == [1, 3, 5, -1, -1, -1, -1, -1]
    assert [p.clicks for p in result.propagations] == [5, 10, 15, 15, 15, 15, 15, 15]
    assert result.interventions == 2 and sorted(result.prompts) == [1, 3, 5]
    table_5 = tracker.asked[:3]
    assert [sorted(segment.frames) for segment, _, _ in table_5] == [[1], [1, 3], [1, 3, 5]]
    assert [changed for _, _, changed in table_5] == [None, [3], [5]]
    assert all(segment.windows == (Window(1, 6),) for segment, _, _ in table_5)


def test_scores_are_means_over_frames_and_then_over_propagations():
    truth = moving([None, 20, 21, 30])
    (result,) = run(truth, Standstill().method, windows=(True,), repeats=1)
    first, second = result.propagations
    clicked = spline_mask(result.prompts[1].boundary, (SIDE, SIDE))
    overlaps = [dice(clicked, frame) for frame in truth[1:]]
    assert first.dice == pytest.approx((1 + sum(overlaps)) / 4)
    assert first.dice_visible == pytest.approx(np.mean(overlaps))
    assert first.iou_visible == pytest.approx(np.mean([iou(clicked, f) for f in truth[1:]]))
    assert result.dice == pytest.approx((first.dice + second.dice) / 2)
    assert result.iou == pytest.approx((first.iou + second.iou) / 2)
    assert second.dice > first.dice and second.msd < first.msd and second.hd95 < first.hd95
    last = [dice(m.decode(), f) for m, f in zip(result.masks, truth, strict=True)]
    assert second.dice == pytest.approx(np.mean(last))


def test_without_windows_masks_where_nothing_is_count_against_a_method():
    truth = moving([None, None, 20, 20])
    stated, open_ = run(truth, Standstill().method)
    assert stated.windows and not open_.windows
    assert stated.dice > 0.95 and open_.dice == pytest.approx(stated.dice - 0.5)
    assert open_.propagations[0].dice_visible == stated.propagations[0].dice_visible
    assert open_.interventions == 0  # nobody can click what is not there


def test_a_frame_that_fails_again_gets_more_clicks():
    wrong = disc(50, 50, 5)
    tracker = Standstill()

    def stubborn(clip, segment, direction, changed, key):
        tracker.asked.append(segment)
        for index in range(len(clip)):
            yield FrameMask("structure", index, wrong, 1.0, FrameState.PROPAGATED)

    method = Method("stubborn", tracker.segment, "boundary", None, stubborn)
    (result,) = run(moving([20, 20]), method, windows=(False,), repeats=2, clicks=4)
    assert [p.frame for p in result.propagations] == [0, 0, 0]
    assert len(result.prompts[0].boundary) == 12
    assert result.interventions == 2


def test_slivers_are_neither_started_from_nor_corrected():
    truth = moving([20, 20, 20])
    truth[0] = disc(20, radius=3)
    tracker = Standstill()
    (result,) = run(truth, tracker.method, windows=(True,))
    assert [p.frame for p in result.propagations] == [1] + [-1] * 7
    assert result.propagations[0].dice < 0.9  # but they count


def test_a_structure_too_small_on_every_frame_is_not_judged():
    assert run(np.stack([disc(20, radius=3)] * 3), Standstill().method) == []


def test_the_loop_corrects_every_frame_below_090_and_goes_on_from_there():
    tracker = Standstill()
    truth = moving([20, 21, 24, 24, 30])
    (result,) = run(truth, tracker.method, windows=(True,), repeats=0)
    loop = result.loop
    assert loop.interventions == 2
    starts = [min(segment.frames) for segment, direction, _ in tracker.asked[1:]]
    assert starts == [0, 2, 4] and {d for _, d, _ in tracker.asked[1:]} == {"forward"}
    accepted = [segment.frames[min(segment.frames)].mask for segment, _, _ in tracker.asked[1:]]
    assert all(dice(truth[i], m) >= 0.9 for i, m in zip(starts, accepted, strict=True))
    masks = [accepted[0], accepted[0], accepted[1], accepted[1], accepted[2]]
    assert loop.dice == pytest.approx(np.mean([dice(*p) for p in zip(truth, masks, strict=True)]))
    falls = [
        dice(truth[1], accepted[0]) - dice(truth[2], accepted[0]),
        dice(truth[3], accepted[1]) - dice(truth[4], accepted[1]),
    ]
    assert loop.drop == pytest.approx(np.mean(falls))
    assert 2 <= loop.first_clicks <= 5 and 4 <= loop.clicks <= 10


def test_the_loop_needs_nothing_where_all_goes_well():
    (result,) = run(moving([20, 20, 20]), Standstill().method, windows=(True,))
    assert result.loop.interventions == 0 and result.loop.clicks == 0
    assert np.isnan(result.loop.drop) and result.loop.dice > 0.9


def test_region_clicks_correct_the_tracked_mask_in_the_loop():
    tracker, truth = Standstill("region"), moving([20, 30])

    def perfect(frame, prompts, previous=None):  # the structure is dark
        tracker.given.append(prompts)
        return SimpleNamespace(mask=frame < 100)

    method = Method("region", perfect, "region", None, tracker.propagate)
    (result,) = evaluate_clip(Item(truth), [method], ClipProtocol(windows=(True,), repeats=0))
    start, correction = tracker.given[-2:]
    assert start.mask is None and np.array_equal(correction.mask, truth[0])
    assert result.loop.interventions == result.loop.clicks == result.loop.first_clicks == 1


def test_the_spline_follows_when_it_is_corrected():
    truth = moving([16, 18, 20, 22, 24, 26, 28])
    (result,) = run(truth, spline_method(), windows=(True,))
    first, last = result.propagations[0].dice, result.propagations[-1].dice
    assert first < 0.8 < 0.9 < last and 1 <= result.interventions <= 4


@pytest.mark.parametrize("prompts", [("boundary", "region", "box", "mask"), ("region", "box")])
def test_models_run_by_every_kind_of_click_also_those_that_never_saw_a_border(prompts):
    methods = model_methods(tiny_model(prompts=prompts), ["boundary", "region", "box"])
    truth = moving([None, 20, 26])
    protocol = ClipProtocol(clicks=2, repeats=1, windows=(len(prompts) == 2,))
    results = evaluate_clip(Item(truth), methods, protocol)
    assert [result.method for result in results] == ["boundary", "region", "box"]
    for result in results:
        assert len(result.propagations) == 2 and len(result.masks) == 3
        assert not (result.windows and not result.masks[0].is_empty)
    again = evaluate_clip(Item(truth), methods, protocol)
    assert [r.propagations for r in again] == [r.propagations for r in results]


def test_recomputing_what_changed_gives_what_computing_all_gives():
    (method,) = model_methods(tiny_model(), ["boundary"])
    everything = Method(
        "boundary",
        method.segment,
        "boundary",
        None,
        lambda clip, segment, direction, changed, key: method.propagate(
            clip, segment, direction, None, key
        ),
    )
    truth = moving([20, 22, 26, 30])
    one, other = (run(truth, m, windows=(True,), repeats=2)[0] for m in (method, everything))
    assert one.interventions == 2  # random weights: there was something to recompute
    assert one.propagations == other.propagations


def test_the_summary_averages_structures_and_names_its_parts():
    items = [
        Item(moving([20, 20 + step, 20 + 2 * step]), f"c{step}", f"g{step}") for step in (0, 4, 9)
    ]
    methods = [spline_method(), Standstill().method]
    results = [r for item in items for r in evaluate_clip(item, methods, ClipProtocol())]
    summary = summarise_clips(results)
    assert summary["n"] == 3 and set(summary) == {"n", "windows", "no_windows", "wilcoxon", "each"}
    chosen = [r for r in results if r.method == "still" and r.windows]
    found = summary["windows"]["still"]
    assert found["dice"]["mean"] == pytest.approx(np.mean([r.dice for r in chosen]))
    assert found["iou"]["2"] == pytest.approx(np.mean([r.propagations[1].iou for r in chosen]))
    assert found["interventions"] == np.mean([r.interventions for r in chosen])
    low, high = found["ci"]["dice"]
    assert low <= found["dice"]["mean"] <= high and found["ci"]["groups"] == 3
    total = sum(r.loop.interventions for r in chosen)
    assert found["loop"]["clicks"] == pytest.approx(sum(r.loop.clicks for r in chosen) / total)
    assert list(summary["wilcoxon"]["windows"]) == ["spline - still"]
    line = summary["each"][0]
    assert (line["clip"], line["method"], line["windows"]) == ("c0", "spline", True)


@pytest.mark.parametrize(
    "options", [{"clicks": 1}, {"threshold": 1.0}, {"repeats": -1}, {"jitter": -1},
                {"direction": "up"}]
)  # fmt: skip
def test_wrong_protocols_are_refused(options):
    with pytest.raises(InvalidValue, match=next(iter(options))):
        ClipProtocol(**options)
    method = Method("images only", Standstill().segment)
    with pytest.raises(InvalidValue, match="cannot propagate"):
        run(moving([20]), method)


def test_phantoms_are_the_same_every_time_and_differ_by_seed():
    first, second = phantom_items(2, seed=5, frames=4)
    assert (first.name, second.name) == ("phantom-5", "phantom-6") and first.group != second.group
    assert np.array_equal(first.load().frames, phantom_items(1, 5, 4)[0].load().frames)
    assert not np.array_equal(first.load().frames, second.load().frames)


# --- the command


def samusa(*args):
    return main([str(arg) for arg in args])


def test_the_command_writes_tables_summary_and_report(tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--phantoms", 1, "--seed", 3, "--methods", "spline", "--repeats", 2, "--out", out)
    assert samusa("evaluate", "clips", *options) == 0
    names = ["items.csv", "loop.csv", "report.html", "summary.json"]
    assert sorted(file.name for file in out.iterdir()) == names
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["dataset", "model", "n", "dice", "iou", "clips"]
    assert summary["dataset"] == "phantoms" and summary["n"] == summary["clips"]["n"] >= 1
    with open(out / "items.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == summary["n"] * 2 * 3
    means = [float(line["dice"]) for line in lines if line["windows"] == "True"]
    assert summary["clips"]["windows"]["spline"]["dice"]["mean"] == pytest.approx(np.mean(means))
    with open(out / "loop.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == summary["n"] * 2
    said = capsys.readouterr().out
    assert "interventions" in said and "without" in said


@pytest.mark.parametrize(
    "options, says",
    [
        (("--phantoms", 0), "--phantoms"),
        (("--phantoms", 1, "--clicks", 1), "--clicks"),
        (("--phantoms", 1, "--threshold", 1), "--threshold"),
        (("--phantoms", 1, "--repeats", -1), "--repeats"),
        (("--phantoms", 1, "--data", "x"), "not allowed"),
        ((), "required"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_wrong_clip_evaluations_are_refused(tmp_path, options, says, capsys):
    out = tmp_path / "out"
    assert samusa("evaluate", "clips", "--methods", "spline", "--out", out, *options) == 2
    assert says in capsys.readouterr().err and not out.exists()


def test_sweeps_of_a_set_are_clips(tmp_path, capsys):
    from PIL import Image

    items = []
    for number, mask in enumerate(moving([20, 21, 22, 23])):
        Image.fromarray(np.where(mask, 40, 160).astype(np.uint8)).save(tmp_path / f"i{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"m{number}.png")
        item = {"image": f"i{number}.png", "mask": f"m{number}.png", "split": "val", "group": "g"}
        items.append(item)
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "s", "items": items}))
    options = ("--data", tmp_path, "--sweeps", "--methods", "spline", "--out", tmp_path / "out")
    assert samusa("evaluate", "clips", *options, "--windows", "with") == 0
    clips = json.loads((tmp_path / "out/summary.json").read_text())["clips"]
    assert clips["each"][0]["clip"] == "g" and "no_windows" not in clips
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "s", "items": items[:3]}))
    assert samusa("evaluate", "clips", *options) == 2
    assert "no group of at least 4 images" in capsys.readouterr().err
