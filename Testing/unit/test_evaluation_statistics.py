"""Means, intervals, tests and clicks to 0.90 say what the numbers say."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from SAMUSALib.evaluation.images import Row
from SAMUSALib.evaluation.statistics import bootstrap, clicks_to, compare, summarise


def rows_of(method, dice, groups):
    """dice: (clicks, structures)."""
    return [
        Row(f"{image}.png", groups[image], 0, method, count, value, value / 2, 3.0, 1.0)
        for count, line in enumerate(dice, start=1)
        for image, value in enumerate(line)
    ]


def test_clicks_to_090_count_the_first_time_and_all_clicks_where_it_never_is():
    dice = np.array([[0.95, 0.10, 0.1], [0.80, 0.90, 0.2], [0.99, 0.50, 0.3]])
    assert clicks_to(dice) == {"mean": (1 + 2 + 3) / 3, "reached": 2 / 3}


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(200):
        values = 0.8 + rng.normal(0, 0.1, 60)
        low, high = bootstrap(values, np.arange(60), seed=trial, draws=400)
        covered += low < 0.8 < high
    assert 0.88 <= covered / 200 <= 0.99


def test_whole_groups_are_drawn_so_that_alike_structures_do_not_feign_certainty():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 20)
    values = rng.normal(0.8, 0.1, 12)[groups]  # all structures of a patient are alike
    widths = {}
    for name, by in (("groups", groups), ("structures", np.arange(240))):
        low, high = bootstrap(values, by)
        assert low < values.mean() < high
        widths[name] = high - low
    assert widths["groups"] > 3 * widths["structures"]


def test_intervals_repeat_keep_their_shape_and_weigh_structures_alike():
    values = np.random.default_rng(2).random((2, 3, 40))
    groups = np.sort(np.random.default_rng(3).integers(0, 9, 40))
    low, high = bootstrap(values, groups)
    assert low.shape == high.shape == (2, 3) and (low < high).all()
    assert np.array_equal(low, bootstrap(values, groups)[0])
    uneven = np.array([0] * 99 + [1])  # one group of 99, one of 1
    low, high = bootstrap(np.array([1.0] * 99 + [0.0]), uneven)
    assert high == 1 and low == 0


def test_one_group_is_said_to_be_one():
    one = summarise(rows_of("a", [[0.5, 0.7, 0.9]], ["p", "p", "p"]))["ci"]
    two = summarise(rows_of("a", [[0.5, 0.7, 0.9]], ["p", "p", "q"]))["ci"]
    assert (one["drawn"], one["groups"]) == ("structures", 1)
    assert (two["drawn"], two["groups"]) == ("groups", 2)
    low, high = one["dice"]["a"]["1"]
    assert 0.5 <= low < 0.7 < high <= 0.9


def test_one_structure_has_no_interval():
    alone = summarise(rows_of("a", [[0.5], [0.7]], ["p"]))["ci"]
    assert alone["drawn"] == "nothing" and alone["dice"]["a"] == {"1": None, "2": None}


def test_the_test_is_scipys_and_tells_the_direction():
    rng = np.random.default_rng(4)
    first = rng.random(30)
    second = first - rng.normal(0.03, 0.02, 30)
    found = compare("first", "second", first, second)
    assert found["p"] == wilcoxon(first, second).pvalue < 0.001
    assert found["better"] == "first" and found["difference"] > 0 and 0.5 < found["effect"] <= 1
    turned = compare("second", "first", second, first)
    assert turned["better"] == "first" and turned["effect"] == -found["effect"]
    assert compare("a", "b", [1.0, 2.0], [0.0, 0.0])["effect"] == 1


def test_equal_methods_are_not_told_apart():
    same = np.array([0.3, 0.5, 0.9])
    found = compare("a", "b", same, same)
    assert found == {"p": 1.0, "difference": 0.0, "effect": 0.0, "better": None}
    mirrored = compare("a", "b", [0.1, 0.3, 0.5, 0.2], [0.3, 0.1, 0.2, 0.5])
    assert mirrored["better"] is None and mirrored["p"] == 1


def test_every_pair_of_methods_is_compared_at_every_count():
    groups = list("abcdefgh")
    rng = np.random.default_rng(5)
    dice = {name: rng.random((2, 8)) for name in ("x", "y", "z")}
    rows = [row for name, values in dice.items() for row in rows_of(name, values, groups)]
    summary = summarise(rows)
    assert list(summary["wilcoxon"]) == ["x - y", "x - z", "y - z"]
    expected = compare("y", "z", dice["y"][1], dice["z"][1])
    assert summary["wilcoxon"]["y - z"]["2"] == expected
    assert summary["iou"]["x"]["1"] == pytest.approx(dice["x"][0].mean() / 2)
    assert summary["hd95"]["z"] == {"1": 3.0, "2": 3.0} and summary["msd"]["z"]["2"] == 1.0


def test_the_order_of_rows_does_not_matter():
    groups = list("aabbcd")
    rows = rows_of("m", np.random.default_rng(6).random((3, 6)), groups)
    shuffled = sorted(rows, key=lambda row: row.clicks, reverse=True)
    assert summarise(shuffled)["dice"] == summarise(rows)["dice"]
    assert summarise(shuffled)["ci"] == summarise(rows)["ci"]
