"""Boundary clicks decoded in passes: outlines of masks, rescue, gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SAMUSALib.engine import passes
from SAMUSALib.engine.network import BOUNDARY, Decoded
from SAMUSALib.engine.passes import PASSES, curves_prior, decode_boundary, decode_clicks
from SAMUSALib.engine.spline import contour_mask
from tiny import TINY, tiny_model

SIZE = 128
CPU = torch.device("cpu")
DISC = np.array([[64, 30], [98, 64], [64, 98], [30, 64]], float)


def circle(x, y, radius):
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def decoded_as(*curves):
    """What a network that draws these curves would answer, one frame each."""
    prior = curves_prior(curves, SIZE, CPU)
    one = torch.ones(len(curves))
    return Decoded(torch.zeros_like(prior), prior, one, one, torch.zeros(len(curves), 4))


def as_points(clicks):
    labels = torch.full((1, len(clicks)), BOUNDARY)
    return torch.from_numpy(clicks.astype(np.float32))[None], labels


@pytest.fixture
def network():
    return tiny_model(replace(TINY, image_size=SIZE), lively=False).network


@pytest.fixture
def embedding(network):
    with torch.inference_mode():
        return network.embed(torch.rand(1, 3, SIZE, SIZE, generator=torch.manual_seed(0)))


def draws(monkeypatch, network, answers):
    """Let the network answer with these curves in turn; what it was primed with is returned."""
    seen, left = [], list(answers)

    def decode(embedding, features, points, mask, smooth):
        seen.append((points[1].shape[1], mask[0, 0] > 0))
        return decoded_as(left.pop(0))

    monkeypatch.setattr(network, "decode", decode)
    return seen


def test_an_outline_is_found_between_the_pixels():
    drawn = circle(60.3, 70.8, 21.4)
    (outline,) = passes._outlines(decoded_as(drawn), SIZE, [DISC])
    radii = np.linalg.norm(outline - [60.3, 70.8], axis=1)
    assert np.abs(radii - 21.4).max() < 0.1


def test_an_outline_closes_where_the_structure_leaves_the_view():
    (outline,) = passes._outlines(decoded_as(circle(0, 64, 30)), SIZE, [DISC])
    mask = contour_mask(outline, (SIZE, SIZE))
    assert mask.sum() == pytest.approx(np.pi * 30**2 / 2, rel=0.05)


def test_where_nothing_was_drawn_the_curve_before_goes_on():
    nothing = decoded_as(circle(64, 64, 20))
    nothing = replace(nothing, prior=torch.full_like(nothing.prior, -5.0))
    (outline,) = passes._outlines(nothing, SIZE, [DISC])
    assert outline is DISC


def test_each_pass_starts_from_the_outline_before(monkeypatch, network, embedding):
    answers = [circle(64, 64, 20), circle(64, 64, 26), circle(64, 64, 34)]
    seen = draws(monkeypatch, network, answers)
    decode_boundary(network, embedding, as_points(DISC), [DISC])
    radii = [np.sqrt(4 * mask.sum().item() / np.pi) for _, mask in seen]
    assert len(radii) == PASSES
    assert np.allclose(radii, [34, 20, 26], atol=1)


def test_an_outline_that_misses_a_click_is_sought_again_from_fewer_clicks(
    monkeypatch, network, embedding
):
    lost, found = circle(40, 64, 12), circle(64, 64, 34)
    seen = draws(monkeypatch, network, [lost] * PASSES + [found] * 2 * PASSES)
    decoded = decode_clicks(network, embedding, as_points(DISC), DISC)
    assert [count for count, _ in seen] == [4] * PASSES + [3] * PASSES + [4] * PASSES
    assert passes._miss(decoded, SIZE, DISC) < 0.02


def test_the_better_of_two_outlines_that_miss_is_kept(monkeypatch, network, embedding):
    bad, worse = circle(64, 64, 20), circle(30, 30, 8)
    draws(monkeypatch, network, [bad] * PASSES + [worse] * 50)
    decoded = decode_clicks(network, embedding, as_points(DISC), DISC)
    (outline,) = passes._outlines(decoded, SIZE, [DISC])
    assert np.allclose(outline.mean(axis=0), [64, 64], atol=0.5)


def test_an_outline_that_meets_the_clicks_costs_no_rescue(monkeypatch, network, embedding):
    seen = draws(monkeypatch, network, [circle(64, 64, 33)] * PASSES)
    decode_clicks(network, embedding, as_points(DISC), DISC)
    assert len(seen) == PASSES


def test_the_network_learns_from_the_last_pass(network):
    network.train()
    embedding = network.embed(torch.rand(1, 3, SIZE, SIZE))
    logits = decode_boundary(network, embedding, as_points(DISC), [DISC]).full_logits(SIZE)
    logits.sum().backward()
    assert network.border_head.out.bias.grad.abs().sum() > 0


def test_clicks_correct_a_given_outline(monkeypatch, network, embedding):
    given = circle(64, 64, 30)
    seen = draws(monkeypatch, network, [circle(64, 64, 34)] * PASSES)
    decode_clicks(network, embedding, as_points(DISC[:1]), DISC[:1], start=given)
    assert np.sqrt(4 * seen[0][1].sum().item() / np.pi) == pytest.approx(30, abs=0.5)


def test_a_given_outline_that_leads_away_from_the_clicks_is_left(monkeypatch, network, embedding):
    away, right = circle(20, 20, 8), circle(64, 64, 34)
    seen = draws(monkeypatch, network, [away] * PASSES + [right] * PASSES)
    decoded = decode_clicks(network, embedding, as_points(DISC), DISC, start=away)
    assert len(seen) == 2 * PASSES
    assert passes._miss(decoded, SIZE, DISC) < 0.02
