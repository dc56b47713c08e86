"""The losses are what their definitions say, and finite wherever training may take them."""

import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from SAMUSALib.errors import InvalidValue  # noqa: E402
from SAMUSALib.training.losses import (  # noqa: E402
    LossWeights,
    boundary_loss,
    dice_loss,
    focal_loss,
    iou_loss,
    presence_loss,
    repeated_mean_blur,
    total_loss,
)

SIZE = 64
CENTRE = (SIZE - 1) / 2


def disc_logits(radius, sharpness=2.0, size=SIZE):
    at = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    return (sharpness * (radius - (at[:, None] ** 2 + at[None] ** 2).sqrt()))[None]


def circle_points(radius, count=6):
    angle = torch.arange(count) * 2 * math.pi / count
    points = CENTRE + radius * torch.stack([angle.cos(), angle.sin()], -1)
    return points[None], torch.ones(1, count, dtype=torch.bool)


def disc_boundary_loss(mask_radius, click_radius, **options):
    return boundary_loss(disc_logits(mask_radius), *circle_points(click_radius), **options).item()


# --- boundary loss


@pytest.mark.parametrize("shape", [(20, 33), (64, 64), (5, 9)])
def test_blur_is_the_mean_filter_applied_again_and_again(shape):
    maps = torch.rand(2, *shape, dtype=torch.float64)
    naive = maps[:, None]
    for _ in range(20):
        naive = F.avg_pool2d(naive, 7, stride=1, padding=3, count_include_pad=False)
    assert torch.allclose(repeated_mean_blur(maps, 7, 20), naive[:, 0], atol=1e-12)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_boundary_loss_is_lowest_where_the_border_passes_through_the_clicks(repeats):
    radii = [r / 2 for r in range(10, 60)]
    losses = [disc_boundary_loss(r, 16, blur_repeats=repeats) for r in radii]
    assert abs(radii[losses.index(min(losses))] - 16) <= 0.5
    assert min(losses) < 0.5


@pytest.mark.parametrize("repeats", [3, 20])
def test_boundary_loss_grows_with_the_distance_of_the_clicks(repeats):
    losses = [disc_boundary_loss(16, radius, blur_repeats=repeats) for radius in (17, 20, 25, 30)]
    assert losses == sorted(losses) and losses[-1] > losses[0] + 0.2


@pytest.mark.parametrize("mask_radius, grows", [(12, True), (20, False)])
def test_gradient_of_the_boundary_loss_moves_the_border_to_the_clicks(mask_radius, grows):
    radius = torch.tensor(float(mask_radius), requires_grad=True)
    at = torch.arange(SIZE) - CENTRE
    logits = (radius - (at[:, None] ** 2 + at[None] ** 2).sqrt())[None]
    boundary_loss(logits, *circle_points(16), blur_repeats=3).sum().backward()
    assert (radius.grad < 0) == grows


def test_boundary_loss_matches_its_definition():
    torch.manual_seed(0)
    logits = torch.randn(1, 15, 12, dtype=torch.float64) * 3
    logits[..., :4] -= 6
    points = torch.tensor([[[3.2, 4.7], [9.0, 13.5]]], dtype=torch.float64)
    p = logits.sigmoid()
    blurred = (4 * p * (1 - p))[:, None]
    for _ in range(20):
        blurred = F.avg_pool2d(blurred, 7, stride=1, padding=3, count_include_pad=False)
    image = blurred[0, 0] - blurred.min()
    assert image.max() > 0.01  # above the floor
    image = image / image.max()
    y, x = torch.meshgrid(torch.arange(15).double(), torch.arange(12).double(), indexing="ij")
    total = 0.0
    for px, py in points[0]:
        gaussian = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.0**2))
        total += (image * gaussian / gaussian.sum()).sum() / 2
    loss = boundary_loss(logits, points, torch.ones(1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(torch.exp(-total).item(), rel=1e-9)


def test_literal_form_matches_its_definition():
    logits, points = disc_logits(12), torch.tensor([[[3.2, 4.7], [60.0, 55.0]]])
    blurred = logits.sigmoid()[:, None]
    for _ in range(20):
        blurred = F.avg_pool2d(blurred, 7, stride=1, padding=3, count_include_pad=False)
    image = blurred[0, 0] / blurred.max()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    total = sum(
        (image * torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)).sum() for px, py in points[0]
    )
    loss = boundary_loss(logits, points, torch.ones(1, 2, dtype=torch.bool), form="literal")
    assert 0.01 < loss.item() < 0.99
    assert loss.item() == pytest.approx(torch.exp(-total).item(), rel=1e-4)


def test_literal_form_rewards_coverage_and_the_border_form_does_not():
    assert disc_boundary_loss(31, 10, form="literal") < 1e-3
    assert disc_boundary_loss(31, 10, blur_repeats=3) > 0.9


def test_a_click_counts_the_same_however_many_there_are():
    few, many = circle_points(20, 3), circle_points(20, 12)
    assert boundary_loss(disc_logits(16), *few).item() == pytest.approx(
        boundary_loss(disc_logits(16), *many).item(), abs=0.02
    )


def test_points_that_are_not_valid_change_nothing():
    points, valid = circle_points(16, 4)
    padding = torch.tensor([[[math.nan, 1.0], [5.0, math.inf]]])
    padded = torch.cat([points, padding], 1)
    mask = torch.cat([valid, torch.zeros(1, 2, dtype=torch.bool)], 1)
    logits = disc_logits(12).requires_grad_()
    loss = boundary_loss(logits, padded, mask)
    assert loss.item() == pytest.approx(boundary_loss(disc_logits(12), points, valid).item())
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("count", [0, 3])
def test_without_a_valid_point_the_boundary_loss_is_zero(count):
    logits = disc_logits(12).requires_grad_()
    loss = boundary_loss(logits, torch.zeros(1, count, 2), torch.zeros(1, count, dtype=torch.bool))
    loss.sum().backward()
    assert loss.tolist() == [0] and (logits.grad == 0).all()


@pytest.mark.parametrize("form", ["border", "literal"])
@pytest.mark.parametrize("value", [-1e4, -30.0, -5.0, 0.0, 30.0, 1e4])
def test_boundary_loss_of_an_even_mask_is_finite(form, value):
    logits = torch.full((1, 32, 32), value, requires_grad=True)
    points = torch.tensor([[[-0.5, -0.5], [31.5, 10.0], [400.0, -90.0]]])
    loss = boundary_loss(logits, points, torch.ones(1, 3, dtype=torch.bool), form=form)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    if form == "border":
        assert loss.item() == pytest.approx(1, abs=1e-3)


def test_an_even_doubt_does_not_hide_a_missed_border():
    logits = disc_logits(12).clamp(-3, 3)  # p = 0.05 outside, 0.95 inside
    on = boundary_loss(logits, *circle_points(12), blur_repeats=3)
    off = boundary_loss(logits, *circle_points(28), blur_repeats=3)
    assert off > on + 0.4


@pytest.mark.parametrize("form", ["border", "literal"])
def test_gradient_of_the_boundary_loss_is_exact(form):
    torch.manual_seed(0)
    logits = torch.randn(2, 9, 7, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(2, 3, 2) * 6).double()
    valid = torch.tensor([[True, True, False], [True, False, False]])
    assert torch.autograd.gradcheck(
        lambda x: boundary_loss(x, points, valid, form, blur_size=3, blur_repeats=2), logits
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_lose_nothing_in_the_losses(dtype):
    logits = disc_logits(12).to(dtype).requires_grad_()
    truth, (points, valid) = (disc_logits(16) > 0).float(), circle_points(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = total_loss(
            logits, truth, torch.zeros(1).to(dtype), torch.zeros(1).to(dtype), points, valid
        )
    reference, _ = total_loss(
        logits.detach().float(), truth, torch.zeros(1), torch.zeros(1), points, valid
    )
    assert total.item() == pytest.approx(reference.item(), rel=1e-5)
    total.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().max() > 0


def test_boundary_loss_refuses_what_does_not_fit():
    with pytest.raises(InvalidValue, match="form"):
        boundary_loss(disc_logits(9), *circle_points(9), form="filled")
    with pytest.raises(InvalidValue, match="fit"):
        boundary_loss(disc_logits(9), torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(InvalidValue, match="odd"):
        boundary_loss(disc_logits(9), *circle_points(9), blur_size=6)


# --- SAM 2's losses


def test_dice_loss_by_hand():
    logits = torch.tensor([[[40.0, 40.0, -40.0, -40.0]]])
    truth = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    assert dice_loss(logits, truth).item() == pytest.approx(1 - 3 / 5)
    assert dice_loss(logits, (logits > 0).float()).item() == pytest.approx(0, abs=1e-6)


def test_focal_loss_by_hand():
    logits, truth = torch.tensor([[[0.0, math.log(3)]]]), torch.tensor([[[1.0, 0.0]]])
    expected = (0.25 * 0.5**2 * math.log(2) + 0.75 * 0.75**2 * math.log(4)) / 2
    assert focal_loss(logits, truth).item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_without_focus_is_cross_entropy():
    logits, truth = torch.randn(2, 5, 6), (torch.rand(2, 5, 6) > 0.5).float()
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    assert torch.allclose(2 * focal_loss(logits, truth, alpha=0.5, gamma=0.0), plain)


def test_iou_loss_is_the_error_of_the_predicted_iou():
    logits = torch.tensor([[[5.0, 5.0, -5.0, -5.0]]] * 2).requires_grad_()
    truth = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 1.0]]])
    predicted = torch.tensor([0.9, 0.9], requires_grad=True)
    loss = iou_loss(predicted, logits, truth)
    assert loss.tolist() == pytest.approx([0.4, 0.9])
    loss.sum().backward()
    assert predicted.grad.tolist() == [1, 1] and logits.grad is None


def test_presence_loss_is_cross_entropy():
    loss = presence_loss(torch.tensor([0.0, 50.0, 50.0]), torch.tensor([True, True, False]))
    assert loss.tolist() == pytest.approx([math.log(2), 0, 50], abs=1e-5)


def test_total_is_the_weighted_sum_of_its_parts():
    logits, truth, points = disc_logits(12), (disc_logits(16) > 0).float(), circle_points(16)
    total, parts = total_loss(logits, truth, torch.tensor([0.3]), torch.tensor([1.5]), *points)
    assert set(parts) == {"focal", "dice", "iou", "presence", "boundary"}
    expected = 20 * parts["focal"] + parts["dice"] + parts["iou"] + parts["presence"]
    assert total.item() == pytest.approx((expected + 2 * parts["boundary"]).item(), rel=1e-6)
    assert all(part > 0 and not part.requires_grad for part in parts.values())


def test_samples_count_by_their_weights():
    torch.manual_seed(3)
    logits, truth = torch.randn(2, 16, 16), (torch.rand(2, 16, 16) > 0.5).float()
    both, parts = total_loss(logits, truth, sample_weights=torch.tensor([3.0, 1.0]))
    alone = [total_loss(logits[i : i + 1], truth[i : i + 1])[0] for i in (0, 1)]
    assert torch.allclose(both, (3 * alone[0] + alone[1]) / 2)
    assert torch.allclose(parts["dice"], total_loss(logits, truth)[1]["dice"])


def test_parts_without_weight_or_input_are_left_out():
    logits, truth = disc_logits(12), (disc_logits(16) > 0).float()
    total, parts = total_loss(logits, truth, weights=LossWeights(focal=0, dice=3))
    assert set(parts) == {"dice"}
    assert total.item() == pytest.approx(3 * parts["dice"].item())
    with pytest.raises(InvalidValue, match="left out"):
        total_loss(logits, truth, weights=LossWeights(focal=0, dice=0))


def test_an_absent_structure_trains_the_object_score_alone():
    logits, score = disc_logits(12).requires_grad_(), torch.tensor([2.0], requires_grad=True)
    truth, predicted = torch.zeros(1, SIZE, SIZE), torch.tensor([0.5], requires_grad=True)
    total_loss(logits, truth, predicted, score, *circle_points(16))[0].backward()
    assert (logits.grad == 0).all() and predicted.grad.item() == 0 and score.grad.item() > 0


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_total_loss_is_finite_for_empty_and_full_masks(value):
    logits = torch.full((2, SIZE, SIZE), value, requires_grad=True)
    truth = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)])
    points = torch.zeros(2, 3, 2)
    total, _ = total_loss(logits, truth, torch.zeros(2), torch.zeros(2), points)
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(logits.grad).all()


def test_total_loss_refuses_masks_that_differ_in_shape():
    with pytest.raises(InvalidValue, match="B, H, W"):
        total_loss(torch.zeros(1, 4, 4), torch.zeros(1, 5, 4))
