"""The HTML report: one file, nothing from outside, and what it must say."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.annotation import Annotation, FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.evaluation import pictures, report
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window

H, W = 40, 60


def make(length=50, ijk_to_ras=None, names=("lumen",), colour=False, kind="cine"):
    rng = np.random.default_rng(0)
    shape = (length, H, W, 3) if colour else (length, H, W)
    frames = rng.integers(0, 255, shape, dtype=np.uint8)
    if kind == "cine":
        geometry = Geometry.for_cine(length, H, W, ijk_to_ras)
    else:
        geometry = Geometry.for_volume((W, H, length), ijk_to_ras)
    clip = Clip(frames, geometry, "sweep 7", np.arange(length) / 10)
    annotation = Annotation(length, (H, W))
    prompts = []
    for number, name in enumerate(names):
        segment = annotation.add(name, (255, 0, 80 * number))
        given = FramePrompts(boundary=[[10, 10], [30, 12], [20, 30]], include=[[20, 20]])
        prompts.append(SegmentPrompts(name, {12: given}, (Window(5, 20),), segment.color))
        for index in range(5, 21):
            mask = np.zeros((H, W), bool)
            mask[10:30, 10 : 20 + index] = True
            state = FrameState.PROMPTED if index == 12 else FrameState.PROPAGATED
            segment.set(index, mask, state, 0.95 if index != 17 else 0.41)
    return clip, annotation, prompts


def page(tmp_path, made, **options):
    clip, annotation, prompts = made
    timings = {"read": 0.02, "propagate": 3.21}
    path = report.write_report(
        tmp_path / "report", clip, annotation, prompts, "samusa-small", timings, **options
    )
    assert path == tmp_path / "report" / "index.html"
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Every element that is opened is closed in order."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_loads_nothing(tmp_path):
    html = page(tmp_path, make())
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', html)
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<script" not in html and "http" not in html
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []


def test_the_page_says_what_was_done_with_what(tmp_path):
    html = page(tmp_path, make(), device="cpu", notes=["Dice 0.91"])
    for text in ("sweep 7", "samusa-small", "cpu", "3.2 s", "50 frames", "Dice 0.91", "lumen"):
        assert text in html
    assert "17 (0.41)" in html  # the least sure frame
    assert "▾ 0.41" in html
    assert ">prompted<" in html


def test_pictures_are_small_pngs_in_true_proportions(tmp_path):
    html = page(tmp_path, make(ijk_to_ras=np.diag([-0.2, -0.6, 1, 1])))
    data = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    assert len(data) == 18
    image = Image.open(io.BytesIO(base64.b64decode(data[0])))
    assert image.width / image.height == pytest.approx(W * 0.2 / (H * 0.6), rel=0.02)
    assert "mm²" in html


def test_areas_are_pixels_where_nothing_is_calibrated(tmp_path):
    html = page(tmp_path, make())
    assert "mm²" not in html and "not calibrated" in html


def test_a_volume_states_its_millilitres(tmp_path):
    made = make(ijk_to_ras=np.diag([0.5, 0.5, 2, 1]), kind="volume")
    pixels = sum(np.count_nonzero(m) for m in made[1].segments[0].masks())
    html = page(tmp_path, made)
    assert f"{pixels * 0.5 / 1000:.2f} ml" in html
    assert "by slice" in html


@pytest.mark.parametrize("colour", [False, True])
def test_names_are_text_and_never_markup(tmp_path, colour):
    html = page(tmp_path, make(names=("<script>alert(1)</script>", "ñerve & 脳"), colour=colour))
    assert "<script>alert" not in html and "&lt;script&gt;" in html
    assert "ñerve &amp; 脳" in html


def test_prompted_frames_window_ends_and_the_least_sure_are_shown():
    clip, annotation, prompts = make(length=500)
    prompts = [replace(prompts[0], windows=(Window(5, 205),))]
    shown = report.frames_to_show(clip, annotation, prompts)
    assert len(shown) == report.SHOWN_FRAMES and shown == sorted(set(shown))
    assert {4, 5, 12, 17, 205, 206} <= set(shown)
    assert max(np.diff(shown)) <= 12  # evenly over the window, nothing far outside it


def test_a_short_window_is_shown_whole_and_with_its_neighbours():
    shown = report.frames_to_show(*make(length=500))
    assert shown == list(range(4, 22))


def test_short_clips_are_shown_whole():
    clip, annotation, prompts = make(length=21)
    prompts = [replace(prompts[0], windows=())]
    assert report.frames_to_show(clip, annotation, prompts) == list(range(21))
    assert report.frames_to_show(clip, annotation, []) == list(range(21))


def test_an_empty_annotation_still_gives_a_page(tmp_path):
    clip, _, prompts = make()
    annotation = Annotation(len(clip), clip.frame_size)
    annotation.add("lumen")
    html = page(tmp_path, (clip, annotation, prompts))
    assert "not computed" in html


def test_a_single_frame_gives_a_page(tmp_path):
    clip = Clip(np.zeros((1, H, W), np.uint8), Geometry.for_cine(1, H, W), "still")
    annotation = Annotation(1, (H, W))
    annotation.add("cyst").set(0, np.eye(H, W, dtype=bool), FrameState.PROPAGATED, 0.5)
    assert "still" in page(tmp_path, (clip, annotation, []))


def test_outlines_follow_the_mask():
    mask = np.zeros((H, W), bool)
    mask[10:20, 15:30] = True
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", pictures.contour_path(mask))]
    xs, ys = numbers[::2], numbers[1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (14.5, 29.5, 9.5, 19.5)
    assert pictures.contour_path(np.zeros((H, W), bool)) == ""


def test_colours_stand_out_from_paper_and_from_dark_images():
    for color in ((255, 255, 0), (0, 0, 0), (0, 0, 255), (255, 255, 255), (0, 255, 0)):
        assert pictures.luminance(pictures.readable(color)) <= 0.3
        assert pictures.luminance(pictures.visible(color)) >= 0.19


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    from pathlib import Path

    from SAMUSALib.errors import CannotWrite

    def fails(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fails)
    clip, annotation, prompts = make()
    with pytest.raises(CannotWrite, match="disk is full"):
        report.write_report(tmp_path / "report", clip, annotation, prompts, "m", {"a": 1.0})
    assert list(tmp_path.iterdir()) == []
