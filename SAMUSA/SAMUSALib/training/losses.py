"""Losses: SAM 2's own, and the boundary loss that ties a mask's border to the clicks.

Every loss takes logits (before the sigmoid) and returns one value per sample, (B,), so that the
caller decides how to average; `total_loss` takes the mean over the batch. Half-precision inputs
are computed in float32, also under autocast; float64 stays float64.

Sources: SAM 2: Ravi et al. 2024. Focal: Lin et al. 2017. Dice: Milletari et al. 2016. Boundary:
Podvin et al., SAMUSA, eq. 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidValue

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
BORDER_FLOOR = 1e-3  # contrast of a blurred border below which it is noise: 1/40 of a sharp one
FILLED_FLOOR = 1e-2  # peak of a blurred filled mask below which it counts as empty
FORMS = ("border", "literal")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of `total_loss`; a weight of 0 leaves a part out.

    focal, dice, iou, presence: SAM 2's. boundary: the paper's lambda. focal_alpha,
    focal_gamma: see `focal_loss`. boundary_form, sigma, blur_size, blur_repeats: see
    `boundary_loss`. relative: samples of a primed network count by how good their prior is.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    presence: float = 1.0
    boundary: float = 2.0
    focal_alpha: float = FOCAL_ALPHA
    focal_gamma: float = FOCAL_GAMMA
    boundary_form: str = "border"
    sigma: float = 2.0
    blur_size: int = 7
    blur_repeats: int = 20
    relative: bool = False


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def focal_loss(
    mask_logits: Tensor, truth: Tensor, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Focal loss, mean over pixels: (B, H, W) logits and truth 0..1 -> (B,).

    alpha_t (1 - p_t)^gamma CE, p_t = p t + (1 - p)(1 - t), alpha_t = alpha t + (1 - alpha)(1 - t).
    """
    logits, truth = _full(mask_logits), _full(truth)
    p = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = p * (1 - truth) + (1 - p) * truth  # 1 - p_t
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return (weight * missed**gamma * cross_entropy).flatten(1).mean(1)


def dice_loss(mask_logits: Tensor, truth: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1): (B, H, W) logits and truth 0..1 -> (B,)."""
    p, truth = _full(mask_logits).sigmoid().flatten(1), _full(truth).flatten(1)
    return 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)


def actual_iou(mask_logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of logits > 0 with truth > 0.5: (B, H, W) twice -> (B,), no gradient; empty pairs 0."""
    predicted, truth = (mask_logits.detach() > 0).flatten(1), (truth > 0.5).flatten(1)
    union = (predicted | truth).sum(1).clamp(min=1)
    return (predicted & truth).sum(1) / union


def iou_loss(predicted_iou: Tensor, mask_logits: Tensor, truth: Tensor) -> Tensor:
    """|predicted IoU - actual IoU|: (B,), (B, H, W), (B, H, W) -> (B,); no gradient to the mask."""
    predicted_iou = _full(predicted_iou)
    return (predicted_iou - actual_iou(mask_logits, truth).to(predicted_iou.dtype)).abs()


def presence_loss(object_logits: Tensor, present: Tensor) -> Tensor:
    """Binary cross entropy of the object score: (B,) logits, (B,) bool or 0..1 -> (B,).

    SAM 2 trains it as focal loss with gamma 0 and no alpha, which is this.
    """
    object_logits = _full(object_logits)
    target = present.to(object_logits.dtype)
    return F.binary_cross_entropy_with_logits(object_logits, target, reduction="none")


@lru_cache(maxsize=32)
def _blur_matrix(length: int, size: int, repeats: int) -> Tensor:
    """(length, length) float64: a mean filter of `size` along one axis, applied `repeats` times."""
    at = torch.arange(length)
    near = ((at[:, None] - at[None, :]).abs() <= size // 2).double()
    return torch.linalg.matrix_power(near / near.sum(1, keepdim=True), repeats)


def repeated_mean_blur(maps: Tensor, size: int = 7, repeats: int = 20) -> Tensor:
    """size x size mean filter applied `repeats` times: (B, H, W) -> (B, H, W).

    At the image edge the mean runs over the pixels that exist (avg_pool2d with
    count_include_pad=False), so a constant stays constant. The filter is separable and linear, so
    all repeats are one matrix along each axis: two small products instead of `repeats` passes.
    """
    if size < 1 or size % 2 == 0:
        raise InvalidValue(f"blur size is {size!r}; an odd number of pixels is needed")
    rows = _blur_matrix(maps.shape[-2], size, repeats).to(maps)
    columns = _blur_matrix(maps.shape[-1], size, repeats).to(maps)
    return rows @ maps @ columns.T


def boundary_loss(
    mask_logits: Tensor,
    points: Tensor,
    valid: Tensor,
    form: str = "border",
    sigma: float = 2.0,
    blur_size: int = 7,
    blur_repeats: int = 20,
) -> Tensor:
    """Penalty for boundary points that lie away from the border of the predicted mask.

    mask_logits: (B, H, W). points: (B, K, 2) x, y in the logits' pixels, centres at integers.
    valid: (B, K) bool; other points are ignored. Returns (B,) L = exp(-sum_xy G_I G_P); 0 for a
    sample without a valid point. With p = sigmoid(logits) and `blur` the blur_size x blur_size
    mean filter applied blur_repeats times (`repeated_mean_blur`):

    "border": G_I = (b - min b) / max(max b - min b, BORDER_FLOOR), b = blur(4 p (1 - p)): 1 on the
        strongest border, 0 far from it; 0 everywhere for an even mask (empty, full, undecided).
        G_P = mean over points of a Gaussian of sigma pixels with unit mass on the grid.
        L lies in [1/e, 1] and is lowest where the border passes through all points.
    "literal": eq. 1 as it reads: G_I = b / max(max b, FILLED_FLOOR), b = blur(p), the filled mask;
        G_P = sum over points of exp(-d^2 / (2 sigma^2)). It rewards covering the points and
        saturates (mass 2 pi sigma^2 a point); for the ablation.

    The blur's standard deviation is s = sqrt(blur_repeats (blur_size^2 - 1) / 12) pixels, 8.9 by
    default. A blurred ring is brightest inside its radius, by about s^2 / 2R, so the lowest loss
    is a mask that much too large: for points on a circle of radius 16 px the best radius is 19 at
    20 repeats, 17.5 at 10, 16.75 at 5 and within 0.5 at 3 or fewer; for radius 8: 14, 11.25, 9.5
    and 9 at 3. Where the structures are small on the logits' grid, lower blur_repeats.
    """
    if form not in FORMS:
        raise InvalidValue(f"boundary form is {form!r}; it must be one of {', '.join(FORMS)}")
    batch, height, width = mask_logits.shape
    if points.shape[0] != batch or points.shape[1:] != (*valid.shape[1:], 2):
        raise InvalidValue(
            f"points {tuple(points.shape)} and valid {tuple(valid.shape)} do not fit "
            f"{batch} masks; (B, K, 2) and (B, K) are needed"
        )
    with torch.autocast(mask_logits.device.type, enabled=False):
        logits = _full(mask_logits)
        # invalid points may hold anything, also nan, which a product with 0 would keep
        points = torch.where(valid[..., None], points.to(logits.dtype), 0.0)
        share = valid.to(logits.dtype)
        x = torch.arange(width, device=logits.device, dtype=logits.dtype) - points[..., :1]
        y = torch.arange(height, device=logits.device, dtype=logits.dtype) - points[..., 1:]
        x, y = -(x**2) / (2 * sigma**2), -(y**2) / (2 * sigma**2)
        if form == "border":
            # sigmoid(-x) for 1 - p: exact where p rounds to 1
            blurred = repeated_mean_blur(
                4 * logits.sigmoid() * (-logits).sigmoid(), blur_size, blur_repeats
            )
            blurred = blurred - blurred.amin((1, 2), keepdim=True)
            image = blurred / blurred.amax((1, 2), keepdim=True).clamp(min=BORDER_FLOOR)
            # softmax is the Gaussian scaled to unit mass, also for a point beyond the grid
            x, y = x.softmax(-1), y.softmax(-1)
            share = share / share.sum(1, keepdim=True).clamp(min=1)
        else:
            blurred = repeated_mean_blur(logits.sigmoid(), blur_size, blur_repeats)
            image = blurred / blurred.amax((1, 2), keepdim=True).clamp(min=FILLED_FLOOR)
            x, y = x.exp(), y.exp()
        # sum over the grid of image * Gaussian, the Gaussian being an outer product: (B, K)
        at_points = ((y @ image) * x).sum(-1)
        loss = torch.exp(-(share * at_points).sum(1))
        return torch.where(valid.any(1), loss, torch.zeros_like(loss))


def total_loss(
    mask_logits: Tensor,
    truth: Tensor,
    predicted_iou: Tensor | None = None,
    object_logits: Tensor | None = None,
    points: Tensor | None = None,
    valid: Tensor | None = None,
    weights: LossWeights | None = None,
    sample_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of all parts: L_SAM2 + lambda L_boundary.

    mask_logits, truth: (B, H, W), truth 0..1. predicted_iou, object_logits: (B,); points (B, K, 2)
    and valid (B, K) as in `boundary_loss`; a part whose input is None is left out. As in SAM 2 the
    mask parts count only for samples whose truth holds the structure, all others train the object
    score alone. sample_weights: (B,) factors of all parts of a sample, None for 1. Returns the
    scalar total and the unweighted, detached mean of each part by name (focal, dice, iou,
    presence, boundary).
    """
    weights = weights or LossWeights()
    if mask_logits.shape != truth.shape or mask_logits.ndim != 3:
        raise InvalidValue(
            f"masks {tuple(mask_logits.shape)} and truth {tuple(truth.shape)}; "
            "both must be (B, H, W)"
        )
    present = (truth > 0.5).flatten(1).any(1)
    parts: dict[str, Tensor] = {}
    if weights.focal:
        parts["focal"] = present * focal_loss(
            mask_logits, truth, weights.focal_alpha, weights.focal_gamma
        )
    if weights.dice:
        parts["dice"] = dice_loss(mask_logits, truth) * present
    if weights.iou and predicted_iou is not None:
        parts["iou"] = iou_loss(predicted_iou, mask_logits, truth) * present
    if weights.presence and object_logits is not None:
        parts["presence"] = presence_loss(object_logits, present)
    if weights.boundary and points is not None:
        if valid is None:
            valid = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
        parts["boundary"] = present * boundary_loss(
            mask_logits,
            points,
            valid,
            weights.boundary_form,
            weights.sigma,
            weights.blur_size,
            weights.blur_repeats,
        )
    if not parts:
        raise InvalidValue("every part of the loss is left out; give at least one a weight")
    share = 1.0 if sample_weights is None else sample_weights
    total = sum(getattr(weights, name) * (share * part).mean() for name, part in parts.items())
    return total, {name: part.mean().detach() for name, part in parts.items()}
