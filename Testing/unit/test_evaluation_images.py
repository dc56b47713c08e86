"""Image sets are read with clear errors, and methods are judged click by click."""

import csv
import json
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from SAMUSALib.datasets.manifest import Labelled
from SAMUSALib.datasets.structures import connected_structures
from SAMUSALib.errors import CannotWrite, InvalidValue
from SAMUSALib.evaluation.images import ImageProtocol, Row, evaluate_images
from SAMUSALib.evaluation.methods import Method, spline_method
from SAMUSALib.evaluation.metrics import dice, iou, surface_distances
from SAMUSALib.evaluation.results import write_images
from SAMUSALib.evaluation.statistics import summarise
from SAMUSALib.prompts import FramePrompts
from SAMUSALib.training.clicks import border, first_boundary_click


def ellipse(shape=(96, 128), centre=(60, 45), radii=(35, 25)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


class Item:
    """An image in memory."""

    def __init__(self, name, labels):
        self.name, self.labels, self.group = name, labels, f"group of {name}"

    def load(self):
        frames = np.zeros((1, *self.labels.shape), np.uint8)
        return Labelled(frames, self.labels[None, None], {})


def one_ellipse(name="a.png"):
    return Item(name, ellipse().astype(int))


def two_structures(name="b.png"):
    labels = ellipse(centre=(40, 45), radii=(25, 20)).astype(int)
    labels[ellipse(centre=(100, 45), radii=(15, 30))] = 2
    labels[0:5, 0:5] = 1  # 25 px: not judged
    return Item(name, labels)


def recorder(name="boundary", clicks="boundary", mask=None):
    """A method that keeps what it was asked and always answers with one mask."""
    asked = []

    def segment(frame, prompts, previous):
        answer = SimpleNamespace(mask=np.zeros(frame.shape[:2], bool) if mask is None else mask)
        asked.append((prompts, previous, answer))
        return answer

    return Method(name, segment, clicks), asked


# --- metrics


def test_metrics_by_hand():
    a, b = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 1]], bool)
    assert dice(a, b) == pytest.approx(2 / 5) and iou(a, b) == pytest.approx(1 / 4)
    assert dice(a, a) == iou(a, a) == 1 and dice(a, ~a) == iou(a, ~a) == 0


def test_two_empty_masks_agree_and_shapes_must():
    empty = np.zeros((3, 3), bool)
    assert dice(empty, empty) == iou(empty, empty) == 1
    assert dice(empty, ~empty) == iou(empty, ~empty) == 0
    with pytest.raises(InvalidValue, match="shape"):
        dice(empty, np.zeros((3, 4), bool))
    with pytest.raises(InvalidValue, match="shape"):
        surface_distances(empty, np.zeros((3, 4), bool))


def square(x0, y0, side=20, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


def test_distances_of_masks_whose_borders_run_apart_by_hand():
    outer, inner = square(10, 10, 20), square(13, 13, 14)
    hd95, msd = surface_distances(outer, inner)
    gaps = [3.0] * 4 * 13  # from every inner border pixel straight out
    for along in range(19):  # of one outer side, from its corner on; four sides are alike
        off = max(3 - along, 0, along - 16)
        gaps += [float(np.hypot(3, off))] * 4
    assert msd == pytest.approx(np.mean(gaps)) and hd95 == pytest.approx(np.percentile(gaps, 95))
    assert surface_distances(inner, outer) == pytest.approx((hd95, msd))
    assert surface_distances(outer, outer) == (0, 0)


def test_distances_of_discs_with_one_centre_are_the_difference_of_their_radii():
    y, x = np.mgrid[-70:71, -70:71]
    inner, outer = (np.hypot(x, y) <= radius for radius in (40, 60))
    assert surface_distances(outer, inner) == pytest.approx((20, 20), abs=0.5)
    flat = np.hypot(x, 2 * y) <= 60  # a disc of the same size where pixels are twice as tall
    assert surface_distances(flat, np.hypot(x, 2 * y) <= 40, 2.0) == pytest.approx((20, 20), abs=1)


def test_distances_of_far_squares_are_those_between_their_nearest_sides():
    """Moved along x by 30: every border pixel but those of two sides sees a side from afar."""
    first, second = square(10, 10, 10), square(40, 10, 10)
    gaps = [30.0] * 10 + [21.0] * 10 + [30.0 - step for step in range(1, 9)] * 2
    hd95, msd = surface_distances(first, second)
    assert msd == pytest.approx(np.mean(gaps)) and hd95 == pytest.approx(np.percentile(gaps, 95))


def test_distances_count_the_edge_of_the_frame_as_border():
    whole, half = np.ones((20, 20), bool), np.ones((20, 20), bool)
    half[:, 10:] = False
    assert surface_distances(whole, half)[0] == 10


def test_distances_do_not_depend_on_the_rest_of_the_frame():
    small = [square(x, 5, 12, (30, 30)) for x in (5, 9)]
    large = [square(x, 100, 12, (300, 400)) for x in (205, 209)]
    assert surface_distances(*small) == surface_distances(*large)


def test_distances_count_tall_pixels_as_tall():
    low = square(10, 10), square(10, 14)
    side = square(10, 10), square(14, 10)
    assert surface_distances(*low, 2.0)[0] == 2 * surface_distances(*low)[0] == 8
    assert surface_distances(*side, 2.0)[0] == surface_distances(*side)[0] == 4


def test_a_missing_mask_is_as_far_off_as_the_frame_is_long():
    empty, there = np.zeros((60, 80), bool), square(10, 10)
    assert surface_distances(empty, empty) == (0, 0)
    assert surface_distances(there, empty) == surface_distances(empty, there) == (100, 100)


# --- the protocol


def test_the_curve_gets_better_with_clicks_on_an_ellipse():
    rows = evaluate_images([one_ellipse()], [spline_method()], ImageProtocol(6))
    scores = [row.dice for row in rows]
    assert [row.clicks for row in rows] == [1, 2, 3, 4, 5, 6]
    assert scores[0] == 0 and scores[1] > 0.6 and scores[3] > 0.95 and scores[5] > 0.97
    assert all(row.dice == pytest.approx(2 * row.iou / (1 + row.iou)) for row in rows)


def test_every_structure_of_every_image_is_judged():
    rows = evaluate_images([one_ellipse(), two_structures()], [spline_method()], ImageProtocol(2))
    judged = [(row.image, row.structure) for row in rows if row.clicks == 1]
    assert judged == [("a.png", 0), ("b.png", 0), ("b.png", 1)]


def test_boundary_methods_start_with_the_same_click_and_then_follow_their_own_mask():
    (poor, asked_poor) = recorder("poor", mask=ellipse(radii=(35, 8)))
    (good, asked_good) = recorder("good", mask=ellipse(radii=(20, 25)))
    evaluate_images([one_ellipse()], [poor, good], ImageProtocol(3))
    poor_clicks, good_clicks = (asked[-1][0].boundary for asked in (asked_poor, asked_good))
    assert np.array_equal(poor_clicks[:2], good_clicks[:2])
    assert not np.array_equal(poor_clicks[2], good_clicks[2])
    assert abs(poor_clicks[2][1] - 45) > 20  # missed above and below
    assert abs(good_clicks[2][0] - 60) > 30  # missed left and right


def test_region_methods_are_clicked_inside_and_outside():
    method, asked = recorder("region", "region", mask=ellipse(centre=(90, 45)))
    evaluate_images([one_ellipse()], [method], ImageProtocol(2))
    first, second = asked[0][0], asked[1][0]
    assert first.include.tolist() == [[60, 45]] and len(first.exclude) == 0
    assert len(second.include) + len(second.exclude) == 2 and len(second.boundary) == 0


def test_a_method_gets_back_its_previous_answer_within_one_structure():
    method, asked = recorder()
    evaluate_images([two_structures()], [method], ImageProtocol(3))
    previous = [before for _, before, _ in asked]
    answers = [answer for _, _, answer in asked]
    assert previous[0] is None and previous[3] is None
    assert previous[1] is answers[0] and previous[2] is answers[1] and previous[5] is answers[4]


def test_clicks_repeat_with_the_seed_whatever_else_is_evaluated():
    def clicks_on_b(items, seed):
        method, asked = recorder()
        evaluate_images(items, [method], ImageProtocol(3, 0.05, seed))
        return asked[-1][0].boundary

    alone = clicks_on_b([two_structures()], 0)
    assert np.array_equal(alone, clicks_on_b([one_ellipse(), two_structures()], 0))
    assert not np.array_equal(alone, clicks_on_b([two_structures()], 1))
    assert not np.array_equal(alone, clicks_on_b([two_structures("c.png")], 0))


def test_first_clicks_are_the_same_in_every_process_and_differ_by_structure():
    method, asked = recorder()
    item = two_structures()
    evaluate_images([item], [method], ImageProtocol(1, seed=7))
    for index, truth in enumerate(connected_structures(item.labels)):
        rng = np.random.default_rng([7, zlib.crc32(b"b.png"), index])  # hash() differs by process
        expected = first_boundary_click(border(truth), rng)
        assert np.array_equal(asked[index][0].boundary[0], expected)


def test_jitter_moves_clicks_off_the_border_in_proportion_to_the_structure():
    def distance(jitter):
        method, asked = recorder()
        items = [one_ellipse(f"{n}.png") for n in range(20)]
        evaluate_images(items, [method], ImageProtocol(1, jitter))
        points = np.array([prompts.boundary[0] for prompts, _, _ in asked])
        scaled = np.linalg.norm((points - [60, 45]) / [35, 25], axis=1)
        return np.abs(scaled - 1).mean()

    assert distance(0.0) < 0.03 < distance(0.05) < distance(0.15)


def test_the_curve_is_round_where_pixels_are_tall():
    class Tall(Item):
        def load(self):
            return replace(super().load(), aspect=2.0)

    circle = ellipse(radii=(40, 20))
    ends = FramePrompts(boundary=[[20, 45], [100, 45]])
    made = spline_method().on_pixels(2.0)(np.zeros(circle.shape, np.uint8), ends, None)
    assert dice(made.mask, circle) > 0.97
    with pytest.raises(InvalidValue, match="square pixels"):
        evaluate_images([Tall("a", circle.astype(int))], [recorder()[0]])


def test_what_cannot_be_evaluated_is_refused():
    spline = spline_method()
    with pytest.raises(InvalidValue, match="nothing to evaluate"):
        evaluate_images([], [spline])
    with pytest.raises(InvalidValue, match="own name"):
        evaluate_images([one_ellipse()], [spline, spline])
    with pytest.raises(InvalidValue, match="clicks"):
        evaluate_images([one_ellipse()], [spline], ImageProtocol(0))
    with pytest.raises(InvalidValue, match="jitter"):
        evaluate_images([one_ellipse()], [spline], ImageProtocol(jitter=-1))
    with pytest.raises(InvalidValue, match="100 pixels"):
        evaluate_images([Item("empty", np.zeros((50, 50), int))], [spline])
    with pytest.raises(InvalidValue, match="shape"):
        evaluate_images([one_ellipse()], [recorder(mask=np.zeros((4, 4), bool))[0]])
    with pytest.raises(InvalidValue, match="'middle'"):
        evaluate_images([one_ellipse()], [recorder(clicks="middle")[0]])


# --- results


def test_summary_is_the_mean_over_structures():
    half = ellipse() & (np.arange(128) < 60)
    rows = evaluate_images(
        [one_ellipse(), one_ellipse("c.png")],
        [recorder("whole", mask=ellipse())[0], recorder("half", mask=half)[0]],
        ImageProtocol(2),
    )
    summary = summarise(rows)
    assert summary["n"] == 2
    assert summary["dice"]["whole"] == {"1": 1.0, "2": 1.0}
    assert summary["dice"]["half"]["1"] == pytest.approx(dice(half, ellipse()))
    assert summary["iou"]["half"]["2"] == pytest.approx(iou(half, ellipse()))
    missed = Row("d.png", "d", 0, "whole", 1, 0.0, 0.0, 9.0, 9.0)
    assert summarise([rows[0], missed])["dice"]["whole"]["1"] == 0.5


def test_results_are_written_as_table_and_summary(tmp_path):
    rows = evaluate_images([one_ellipse("ä,b.png")], [spline_method()], ImageProtocol(3))
    out = tmp_path / "new" / "out"
    returned = write_images(out, rows, "set", "model")
    assert sorted(file.name for file in out.iterdir()) == ["items.csv", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary == returned
    assert summary == {"dataset": "set", "model": "model", **summarise(rows), "clips": {}}
    with open(out / "items.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:5] == ["image", "group", "structure", "method", "clicks"]
    assert list(table[0])[5:] == ["dice", "iou", "hd95", "msd"]
    assert [float(line["dice"]) for line in table] == [row.dice for row in rows]
    assert table[0]["image"] == "ä,b.png"


def test_a_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    rows = evaluate_images([one_ellipse()], [spline_method()], ImageProtocol(1))
    write_images(tmp_path, rows, "old", "model")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CannotWrite, match="the disk is full"):
        write_images(tmp_path, rows, "new", "model")
    assert json.loads((tmp_path / "summary.json").read_text())["dataset"] == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["items.csv", "summary.json"]
