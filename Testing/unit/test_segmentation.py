"""Frame segmentation: any prompts in, a mask at the frame's resolution out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from SAMUSALib.engine.cache import EmbeddingCache
from SAMUSALib.engine.network import BOUNDARY, EXCLUDE, INCLUDE, Embedding, expected_iou
from SAMUSALib.engine.passes import PASSES
from SAMUSALib.engine.segmentation import FrameSegmenter, adapt_prompts
from SAMUSALib.engine.smooth import smooth_contour
from SAMUSALib.engine.spline import box_ellipse, contour_mask, spline_mask
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts
from tiny import TINY, tiny_model

SIZE = (120, 150)
RING = np.array([[60, 30], [90, 60], [60, 90], [35, 55], [80, 82.5]], float)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 255, SIZE).astype(np.uint8)


@pytest.mark.parametrize(
    "prompts",
    [
        FramePrompts(boundary=RING),
        FramePrompts(boundary=RING[:1]),
        FramePrompts(include=[[60, 60]], exclude=[[10, 10]]),
        FramePrompts(box=[30, 20, 100, 100]),
        FramePrompts(mask=spline_mask(RING, SIZE)),
        FramePrompts(
            boundary=RING[:3],
            include=[[60, 60]],
            exclude=[[5, 5]],
            box=[30, 20, 100, 100],
            mask=spline_mask(RING, SIZE),
        ),
    ],
    ids=["boundary", "one boundary point", "region", "box", "mask", "all"],
)
@pytest.mark.parametrize("zoom", [True, False])
def test_any_mix_of_prompts_gives_a_mask_of_the_frames_size(frame, prompts, zoom):
    model = tiny_model(replace(TINY, zoom=zoom))
    result = FrameSegmenter(model).segment(frame, prompts)
    assert result.mask.shape == SIZE and result.mask.dtype == bool
    assert result.logits.shape == SIZE and np.isfinite(result.logits).all()
    assert np.array_equal(result.mask, result.logits > 0)
    assert 0 <= result.confidence <= 1


def test_an_untrained_primed_network_equals_the_spline(frame):
    model = tiny_model(replace(TINY, image_size=128), lively=False)
    for count in range(2, len(RING) + 1):
        result = FrameSegmenter(model).segment(frame, FramePrompts(boundary=RING[:count]))
        truth = spline_mask(RING[:count], SIZE)
        assert 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum()) > 0.99


def test_an_untrained_primed_network_equals_its_mask_prompt_to_the_pixel(frame):
    given = spline_mask(RING, SIZE)
    result = FrameSegmenter(tiny_model(lively=False)).segment(frame, FramePrompts(mask=given))
    assert np.array_equal(result.mask, given)


def test_an_untrained_primed_network_takes_a_box_for_the_ellipse_in_it(frame):
    model = tiny_model(replace(TINY, image_size=128), lively=False)
    result = FrameSegmenter(model).segment(frame, FramePrompts(box=[30.0, 30.0, 110.0, 80.0]))
    truth = contour_mask(box_ellipse([30.0, 30.0, 110.0, 80.0]), SIZE)
    assert 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum()) > 0.99


def test_two_boundary_points_on_one_place_count_as_one(frame):
    twice = RING[:1] + np.array([[0.0, 0.0], [1e-8, 0.0]])
    segmenter = FrameSegmenter(tiny_model())
    assert segmenter.segment(frame, FramePrompts(boundary=twice)).mask.shape == SIZE


def test_the_border_head_can_choose_the_smooth_curve(frame):
    model = tiny_model(replace(TINY, image_size=128), lively=False)
    with torch.no_grad():
        model.network.border_head.out.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    uneven = RING + np.random.default_rng(0).normal(0, 1, RING.shape)
    result = FrameSegmenter(model).segment(frame, FramePrompts(boundary=uneven))
    curve = smooth_contour(uneven)
    for _ in range(PASSES - 1):
        curve = smooth_contour(uneven, guess=curve)
    truth = contour_mask(curve, SIZE)
    assert 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum()) > 0.98


def test_confidence_is_the_iou_that_the_masks_own_probabilities_expect():
    logits = torch.full((1, 1, 8, 8), -20.0)
    logits[:, :, :4] = 20.0
    assert expected_iou(logits).item() == pytest.approx(1.0)
    logits[:, :, :4] = math.log(3.0)  # inside with probability 0.75
    assert expected_iou(logits).item() == pytest.approx(0.75)
    logits[:, :, 4:6] = -math.log(3.0)
    assert expected_iou(logits).item() == pytest.approx(0.75 * 32 / (32 + 0.25 * 16))


def test_boundary_points_have_an_embedding_of_their_own():
    network = tiny_model().network
    coords = torch.tensor([[[20.0, 30.0]]])
    as_boundary, as_inside = (
        network.sam_prompt_encoder((coords, torch.tensor([[label]])), None, None)[0]
        for label in (BOUNDARY, INCLUDE)
    )
    encoder = network.sam_prompt_encoder
    expected = encoder.boundary_embedding.weight - encoder.point_embeddings[1].weight
    assert torch.allclose(as_boundary[:, 0] - as_inside[:, 0], expected, atol=1e-6)
    assert torch.equal(as_boundary[:, 1], as_inside[:, 1]), "the padding point stays as it is"


def test_the_network_is_held_back_at_boundary_clicks_only():
    network = tiny_model().network
    with torch.no_grad():
        network.click_gate.copy_(torch.tensor([20.0, 0.0]))
    points = (torch.tensor([[[29.5, 29.5], [9.5, 49.5]]]), torch.tensor([[BOUNDARY, INCLUDE]]))
    grid = torch.zeros(1, 1, 16, 16)
    _, known = network._clicks(points, grid)
    assert known[0, 0, 7, 7] > 0.95
    assert known[0, 0, 12, 2] < 0.3
    assert not network._clicks((points[0], points[1] * 0 + INCLUDE), grid)[1].any()


def test_the_border_head_sees_where_clicks_of_each_kind_are():
    network = tiny_model().network
    at = torch.tensor([[[29.5, 29.5], [9.5, 49.5], [49.5, 9.5]]])
    points = (at, torch.tensor([[BOUNDARY, INCLUDE, EXCLUDE]]))
    near, _ = network._clicks(points, torch.zeros(1, 1, 16, 16))
    for own, (column, row) in enumerate([(7, 7), (2, 12), (12, 2)]):
        for kind, nearness in enumerate(near):
            assert (nearness[0, 0, row, column] > 0.95) == (kind == own)
    for nearness in network._clicks(None, torch.zeros(1, 1, 16, 16))[0]:
        assert not nearness.any()


def test_inside_a_window_the_presence_head_is_not_asked(frame):
    model = tiny_model()
    with torch.no_grad():
        model.network.sam_mask_decoder.pred_obj_score_head.layers[2].bias.fill_(-50.0)
        image = torch.rand(1, 3, 64, 64)
        embedding = model.network.embed(image)
        features = model.network.without_memory(embedding)
        asked = model.network.decode(embedding, features)
        with model.network.presence_bypass():
            bypassed = model.network.decode(embedding, features)
    assert (asked.logits == -1024).all() and asked.presence < 0
    assert (bypassed.logits > -1024).all() and bypassed.presence > 0
    assert not model.network.sam_mask_decoder.presence_bypassed


def test_a_second_click_does_not_encode_the_frame_again(frame, monkeypatch):
    model = tiny_model()
    calls = []
    embed = model.network.embed
    monkeypatch.setattr(model.network, "embed", lambda x: calls.append(1) or embed(x))
    segmenter = FrameSegmenter(model)
    first = segmenter.segment(frame, FramePrompts(boundary=RING[:4]), key="clip 1, frame 0")
    segmenter.segment(frame, FramePrompts(boundary=RING), first, key="clip 1, frame 0")
    assert len(calls) == 1
    segmenter.segment(frame, FramePrompts(boundary=RING), key="clip 1, frame 1")
    assert len(calls) == 2


def test_refinement_feeds_the_logits_before_back(frame):
    model = tiny_model(replace(TINY, zoom=False, primed=False))
    segmenter, prompts = FrameSegmenter(model), FramePrompts(include=[[60, 60], [70, 60]])
    first = segmenter.segment(frame, prompts)
    refined = segmenter.segment(frame, prompts, previous=first)
    assert not np.allclose(first.logits, refined.logits)


def test_a_small_structure_is_seen_as_sharply_as_a_large_one(frame):
    segmenter = FrameSegmenter(tiny_model())
    small = segmenter.segment(frame, FramePrompts(boundary=RING / 4 + 40))
    large = segmenter.segment(frame, FramePrompts(boundary=RING))
    assert small.view.width < large.view.width / 2


def test_a_click_inside_beyond_the_mask_before_is_taken_into_view(frame):
    segmenter = FrameSegmenter(tiny_model())
    first = segmenter.segment(frame, FramePrompts(mask=spline_mask(RING / 4 + 40, SIZE)))
    view = segmenter.choose_view(FramePrompts(include=[[120, 100]]), SIZE, first)
    assert view.x0 + view.width > 120 and view.y0 + view.height > 100


@pytest.mark.parametrize(
    "prompts, message",
    [
        (FramePrompts(), "no prompt"),
        (FramePrompts(boundary=[[151.0, 20.0], [5, 5]]), r"\(151, 20\) is outside the frame"),
        (FramePrompts(include=[[5.0, -3.0]]), "outside the frame of 150 x 120"),
        (FramePrompts(mask=np.ones((10, 10), bool)), "mask prompt is 10 x 10"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(frame, prompts, message):
    with pytest.raises(InvalidValue, match=message):
        FrameSegmenter(tiny_model()).segment(frame, prompts)


def test_a_frame_of_one_pixel_is_refused():
    with pytest.raises(InvalidValue, match="1 x 1 pixels"):
        FrameSegmenter(tiny_model()).segment(
            np.zeros((1, 1), np.uint8), FramePrompts(include=[[0.0, 0.0]])
        )


def test_a_model_without_boundary_training_gets_a_box_and_a_point_inside(frame):
    adapted = adapt_prompts(FramePrompts(boundary=RING), ("region", "box", "mask"), SIZE)
    assert len(adapted.boundary) == 0
    inside = spline_mask(RING, SIZE)
    x, y = adapted.include[0].astype(int)
    assert inside[y, x]
    y, x = np.nonzero(inside)
    assert np.allclose(adapted.box, [x.min(), y.min(), x.max(), y.max()], atol=1.01)
    one = adapt_prompts(FramePrompts(boundary=RING[:1]), ("region", "box"), SIZE)
    assert np.array_equal(one.include, RING[:1]) and one.box is None
    plain = replace(TINY, boundary_points=False, primed=False, zoom=False)
    model = tiny_model(plain, prompts=("region", "box", "mask"))
    assert FrameSegmenter(model).segment(frame, FramePrompts(boundary=RING)).mask.shape == SIZE


def test_the_annotators_own_box_and_points_are_kept_by_the_adapter():
    mine = FramePrompts(boundary=RING, include=[[50.0, 50.0]], box=[1, 2, 100, 110])
    adapted = adapt_prompts(mine, ("region", "box"), SIZE)
    assert np.array_equal(adapted.include, mine.include)
    assert np.array_equal(adapted.box, mine.box)


def test_the_cache_forgets_the_least_used_first_and_keeps_its_budget():
    entry = Embedding((torch.zeros(1, 256),))
    cache = EmbeddingCache(budget=3 * entry.nbytes)
    for key in "abc":
        cache.put(key, entry)
    assert cache.get("a") is entry
    cache.put("d", entry)
    assert cache.get("b") is None and cache.get("a") is entry
    assert len(cache) == 3 and cache.nbytes == 3 * entry.nbytes
    cache.clear()
    assert cache.nbytes == 0 and cache.get("a") is None
