"""The evaluation reports: one file, nothing from outside, the right numbers, and valid markup."""

import re

import numpy as np
import pytest
from test_evaluation_clips import Item as ClipItem
from test_evaluation_clips import Standstill, moving
from test_evaluation_images import Item, ellipse, one_ellipse, recorder, two_structures
from test_report import Balanced

from SAMUSALib.evaluation.charts import Line, limits_around, line_chart, tick
from SAMUSALib.evaluation.clip_report import write_clip_report
from SAMUSALib.evaluation.clips import ClipProtocol, evaluate_clip
from SAMUSALib.evaluation.drawings import draw
from SAMUSALib.evaluation.image_report import write_image_report
from SAMUSALib.evaluation.images import ImageProtocol, evaluate_images
from SAMUSALib.evaluation.methods import spline_method
from SAMUSALib.evaluation.results import write_clips, write_images
from SAMUSALib.prompts import FramePrompts


def check_page(path):
    html = path.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', html)
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<script" not in html and "http" not in html
    assert "nan" not in re.sub(r"base64,[^\"]+", "", html)
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return html


def image_page(tmp_path, items, methods, **protocol):
    protocol = ImageProtocol(**protocol)
    rows = evaluate_images(items, methods, protocol)
    summary = write_images(tmp_path, rows, "<set> & more", "model")
    path = tmp_path / "report.html"
    write_image_report(path, summary, rows, items, methods, protocol)
    return check_page(path), summary


def test_the_image_page_has_curves_tables_tests_and_the_worst_cases(tmp_path):
    half = ellipse() & (np.arange(128) < 60)
    region, _ = recorder("region", "region", half)
    items = [one_ellipse(), two_structures(), one_ellipse("<b>.png")]
    html, summary = image_page(tmp_path, items, [spline_method(), region], clicks=4)
    assert "&lt;set&gt; &amp; more" in html and "<b>.png" not in html
    for method in ("spline", "region"):
        for count in "1234":
            assert f"{summary['dice'][method][count]:.3f}" in html
    assert "p = " in html and "spline – region" in html
    assert html.count("<polyline") == 8 and html.count("<polygon") == 6
    assert re.search(r"mean Dice, from 0\.\d+ up", html)  # the spline's first click is below
    worst = min(row for row in summary["dice"]["region"].values())
    assert html.count("<figure") == 8  # every structure of both methods: there are only four
    assert worst < 1 and "The worst cases after 4 clicks" in html


def test_one_structure_one_method_and_one_click_are_enough_for_a_page(tmp_path):
    html, _ = image_page(tmp_path, [one_ellipse()], [spline_method()], clicks=1)
    assert "All structures lie in one group" in html and "Which method" not in html


def test_cases_are_drawn_worst_first_with_their_own_clicks(tmp_path):
    labels = np.zeros((96, 128), int)
    labels[20:60, 20:40] = labels[40:60, 20:90] = 1  # the curve is poor on a corner
    items = [one_ellipse("good.png"), Item("poor.png", labels)]
    html, _ = image_page(tmp_path, items, [spline_method()], clicks=3)
    assert html.index("poor.png, structure 1") < html.index("good.png, structure 1")
    figures = re.findall(r"<figure.*?</figure>", html, re.S)
    dots = [re.findall(r'<path d="((?:M[-\d. ]+h0)+)"', figure)[0] for figure in figures]
    assert [dot.count("h0") for dot in dots] == [3, 3] and dots[0] != dots[1]


def test_the_clip_page_has_curves_tables_and_the_worst_clips(tmp_path):
    items = [ClipItem(moving([None, 20, 24, 32]), f"c{n}", f"g{n}") for n in range(3)]
    methods, protocol = [spline_method(), Standstill().method], ClipProtocol(repeats=3)
    results = [r for item in items for r in evaluate_clip(item, methods, protocol)]
    summary = write_clips(tmp_path, results, "set", "model")
    html = check_page(write_clip_report(tmp_path / "r.html", summary, results, items, protocol))
    for setting in ("windows", "no_windows"):
        for method in ("spline", "still"):
            assert f"{summary['clips'][setting][method]['dice']['mean']:.3f}" in html
    assert html.count("<polyline") == 8 and html.count('stroke-dasharray="6 4"') >= 4
    assert html.count("<figure") == 2 * 2 * 2 * 4 and html.count(">clicked<") >= 8
    assert "spline – still, with windows" in html


def test_a_clip_page_of_one_structure_without_corrections(tmp_path):
    item, protocol = ClipItem(moving([20, 20])), ClipProtocol(repeats=0, windows=(False,))
    results = evaluate_clip(item, [spline_method()], protocol)
    summary = write_clips(tmp_path, results, "set", "model")
    html = check_page(write_clip_report(tmp_path / "r.html", summary, results, [item], protocol))
    assert "All structures lie in one group" in html


def test_a_drawing_shows_the_part_around_truth_and_mask():
    frame = np.zeros((200, 300), np.uint8)
    truth, mask = np.zeros((2, 200, 300), bool)
    truth[100:120, 250:290], mask[100:125, 240:280] = True, True
    prompts = FramePrompts(boundary=[[260, 110]], box=[240, 99, 291, 121])
    drawing = draw(frame, truth, mask, prompts, "box", "a", aspect=2.0)
    x0, y0 = drawing["x"] + 0.5, drawing["y"] + 0.5
    x1, y1 = x0 + drawing["width"], y0 + drawing["height"]
    assert 0 <= x0 < 240 and x1 <= 300 and 290 <= x1 and 0 <= y0 < 100 and 125 <= y1 <= 200
    assert float(drawing["ratio"]) == pytest.approx((x1 - x0) / (2 * (y1 - y0)), rel=1e-3)
    assert drawing["truth"] and drawing["outline"] and drawing["box"] and drawing["boundary"]
    nothing = draw(frame, truth & False, mask & False, None, "box", "a")
    assert (nothing["width"], nothing["height"]) == (300, 200)


def test_charts_place_values_between_their_limits():
    line = Line("a", "#000", [1, 2, 3], [0.5, 0.75, 1.0], [0.4, 0.7, 0.9], [0.6, 0.8, 1.0])
    chart = line_chart("t", "x", [line], (0.5, 1.0))
    ys = [float(y) for _, y in chart["lines"][0]["dots"]]
    assert ys == [chart["tall"], chart["tall"] / 2, 0] and chart["ticks"][0][1] == "1"
    assert len(chart["lines"][0]["band"].split()) == 6
    assert limits_around(np.array([0.93, 0.99])) == (0.92, 1.0)
    assert limits_around(np.array([0.0, 0.2])) == (0.0, 1.0)
    assert tick(-0.0) == "0" and tick(0.1 + 0.2) == "0.3"
