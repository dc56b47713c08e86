"""Frame segmentation: prompts on one frame in, a mask at the frame's own resolution out."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InvalidValue
from ..masks import bounding_box
from ..prompts import FramePrompts
from .cache import EmbeddingCache
from .models import Model
from .network import (
    BOUNDARY,
    BOX_END,
    BOX_START,
    EXCLUDE,
    INCLUDE,
    Decoded,
    Embedding,
    shape_prior,
)
from .passes import curves_prior, decode_clicks, outline
from .spline import box_ellipse, distinct, signed_distance, spline_contour, spline_mask
from .views import ZOOM, ZOOM_TWO_CLICKS, View, resize

OUTSIDE = -32.0  # logit where the view does not reach: surely not the structure
SMALLEST_FRAME = 8  # pixels a side
EDGE = 0.1  # prior logits next to the outline of a shape: a quarter of a network pixel


@dataclass(frozen=True, eq=False)
class FrameResult:
    """mask (H, W) bool; logits (H, W) float32, mask = logits > 0; confidence: predicted IoU 0..1.

    view: what the network saw. low_logits: (1, 1, S/4, S/4), fed back at the next refinement.
    """

    mask: np.ndarray
    logits: np.ndarray
    confidence: float
    view: View
    low_logits: Tensor


def check_frame_size(frame_size: tuple[int, int]) -> None:
    """Raises InvalidValue for a frame too small to show anything."""
    if min(frame_size) < SMALLEST_FRAME:
        raise InvalidValue(
            f"the frame has {frame_size[1]} x {frame_size[0]} pixels; "
            f"at least {SMALLEST_FRAME} x {SMALLEST_FRAME} are needed"
        )


def adapt_prompts(
    prompts: FramePrompts, kinds: tuple[str, ...], frame_size: tuple[int, int], aspect: float = 1.0
) -> FramePrompts:
    """The one adapter for models without boundary training: boundary points become prompts that
    SAM2 knows, the box of the curve through them and a click at its innermost point."""
    if "boundary" in kinds or len(prompts.boundary) == 0:
        return prompts
    inside = spline_mask(prompts.boundary, frame_size, aspect)
    box, include = prompts.box, prompts.include
    if inside.any():
        contour = spline_contour(prompts.boundary, aspect)
        if box is None:
            limit = np.array([frame_size[1], frame_size[0]]) - 0.5
            box = np.concatenate(
                [np.maximum(contour.min(axis=0), -0.5), np.minimum(contour.max(axis=0), limit)]
            )
        if len(include) == 0:
            y, x = np.unravel_index(np.argmax(signed_distance(inside)), inside.shape)
            include = np.array([[x, y]], dtype=np.float64)
    elif len(include) == 0 and box is None:
        include = prompts.boundary
    return replace(prompts, boundary=None, include=include, box=box)


class FrameSegmenter:
    """Segments frames with a model; embeddings are cached by (key, view).

    aspect: height of the frames' pixels over their width; shapes and views are round and square
    in space.
    """

    def __init__(self, model: Model, cache: EmbeddingCache | None = None, aspect: float = 1.0):
        self.model = model
        self.aspect = aspect
        self.cache = cache if cache is not None else EmbeddingCache()

    def segment(
        self,
        frame: np.ndarray,
        prompts: FramePrompts,
        previous: FrameResult | None = None,
        key: Hashable | None = None,
    ) -> FrameResult:
        """Segment one structure on one frame.

        frame: uint8, (H, W) or (H, W, 3). previous: the result before the newest click; its
        logits refine the next. key: names the frame, so that its embedding is kept between
        clicks; None computes it anew. Raises InvalidValue for an empty prompt set, a prompt
        outside the frame or a frame under 8 x 8 pixels.
        """
        frame_size = frame.shape[:2]
        check_frame_size(frame_size)
        if prompts.is_empty:
            raise InvalidValue("no prompt: give a boundary point, a click, a box or a mask")
        prompts.check(frame_size)
        prompts = self.adapted(prompts, frame_size)
        view = self.choose_view(prompts, frame_size, previous)
        with torch.inference_mode(), self.model.network.presence_bypass():
            embedding = self.embed(frame, view, key)
            decoded, shape = self.decode(embedding, prompts, view, frame_size, previous)
            logits = frame_logits(decoded, view, shape, frame_size)
        return FrameResult(
            logits > 0, logits, float(decoded.iou[0].clamp(0, 1)), view, decoded.logits
        )

    def adapted(self, prompts: FramePrompts, frame_size: tuple[int, int]) -> FramePrompts:
        """The prompts in the kinds that this model was trained for."""
        return adapt_prompts(prompts, self.model.info.prompts, frame_size, self.aspect)

    def embed(self, frame: np.ndarray, view: View, key: Hashable | None = None) -> Embedding:
        """Image features of a view of a frame, from the cache where they are."""

        def compute() -> Embedding:
            image = view.network_input(frame, self.model.info.input_size)
            return self.model.network.embed(image[None].to(self.model.device))

        return compute() if key is None else self.cache.get_or((key, view), compute)

    def choose_view(
        self, prompts: FramePrompts, frame_size, previous: FrameResult | None = None
    ) -> View:
        """The view for what the prompts are about, or the one before while it still suits, so that
        its embedding is reused."""
        extent, zoom = _extent(prompts, previous)
        wanted = self.view_of(extent, frame_size, zoom)
        zooms = self.model.info.architecture.zoom and extent is not None
        if zooms and previous is not None and previous.view.suits(extent, wanted):
            return previous.view
        return wanted

    def view_of(
        self, extent: tuple[float, float, float, float] | None, frame_size, zoom: float = ZOOM
    ) -> View:
        """The whole frame for a model that does not zoom; else a square around the extent, x0, y0,
        x1, y1 in frame pixels, or around the frame where there is none."""
        if not self.model.info.architecture.zoom:
            return View.whole(frame_size)
        if extent is None:
            return View.square(frame_size, self.aspect)
        return View.around(extent, frame_size, zoom, self.aspect)

    def decode(
        self,
        embedding: Embedding,
        prompts: FramePrompts,
        view: View,
        frame_size: tuple[int, int],
        previous: FrameResult | None = None,
    ) -> tuple[Decoded, np.ndarray | None]:
        """Prompt encoder and mask decoder on a frame that no other frame conditions.

        Returns what was decoded and the shape that primed it, (height, width) bool on the view,
        or None.
        """
        network, size = self.model.network, self.model.info.input_size
        points = self._points(prompts, view)
        shape = mask = smooth = None
        if self.model.info.architecture.primed:
            start = self._given_outline(prompts, view)
            if len(distinct(prompts.boundary)) >= (2 if start is None else 1):
                clicks = view.to_network(prompts.boundary, size)
                return decode_clicks(network, embedding, points, clicks, start), None
            whole = self._prior_shape(prompts, previous)
            if whole is not None:
                shape = view.cut(whole)
                mask = shape_logits(shape, size, size).to(self.model.device)
            elif prompts.box is not None:
                ellipse = view.to_network(box_ellipse(prompts.box), size)
                mask = smooth = curves_prior([ellipse], size, self.model.device)
        elif prompts.mask is not None:
            given = torch.from_numpy(view.cut(prompts.mask).astype(np.float32))[None, None]
            mask = resize(given.to(self.model.device), size // 4, size // 4) * 20 - 10
        elif previous is not None and previous.view == view:
            mask = previous.low_logits.clamp(-32, 32)
        features = network.without_memory(embedding)
        return network.decode(embedding, features, points, mask, smooth=smooth), shape

    def _given_outline(self, prompts: FramePrompts, view: View) -> np.ndarray | None:
        """(M, 2) network pixels, the outline of the mask prompt; None without one."""
        if prompts.mask is None or not prompts.mask.any():
            return None
        size = self.model.info.input_size
        return outline(shape_logits(view.cut(prompts.mask), size // 2, size)[0, 0].numpy())

    def _prior_shape(
        self, prompts: FramePrompts, previous: FrameResult | None
    ) -> np.ndarray | None:
        """(H, W) bool that primes the network where no curve does: the mask prompt, else the mask
        before; None where there is none."""
        if prompts.mask is not None and prompts.mask.any():
            return prompts.mask
        if previous is not None and previous.mask.any():
            return previous.mask
        return None

    def _points(self, prompts: FramePrompts, view: View) -> tuple[Tensor, Tensor] | None:
        """Box corners first, then points, as SAM2 was trained. (1, N, 2), (1, N) or None."""
        groups = [(prompts.box, BOX_START)] if prompts.box is not None else []
        groups += [
            (prompts.include, INCLUDE),
            (prompts.exclude, EXCLUDE),
            (prompts.boundary, BOUNDARY),
        ]
        coords, labels = [], []
        for xy, label in groups:
            xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
            coords.append(view.to_network(xy, self.model.info.input_size))
            labels += [BOX_START, BOX_END] if label == BOX_START else [label] * len(xy)
        if not labels:
            return None
        device = self.model.device
        return (
            torch.from_numpy(np.concatenate(coords).astype(np.float32))[None].to(device),
            torch.tensor([labels], dtype=torch.int32, device=device),
        )


def _extent(
    prompts: FramePrompts, previous: FrameResult | None
) -> tuple[tuple[float, float, float, float] | None, float]:
    """What the view is about: (x0, y0, x1, y1) frame pixels or None, and the zoom for it.

    The mask prompt, the box, two or more boundary points, or else the mask before; clicks inside
    the structure are taken in too.
    """
    zoom = ZOOM
    if prompts.mask is not None and prompts.mask.any():
        extent = bounding_box(prompts.mask)
    elif prompts.box is not None:
        extent = prompts.box
    elif len(prompts.boundary) >= 2:
        extent = np.concatenate([prompts.boundary.min(axis=0), prompts.boundary.max(axis=0)])
        zoom = ZOOM if len(prompts.boundary) > 2 else ZOOM_TWO_CLICKS
    elif previous is not None and previous.mask.any():
        extent = bounding_box(previous.mask)
    else:
        return None, ZOOM
    corners = np.concatenate([np.reshape(extent, (2, 2)), prompts.include, prompts.boundary])
    return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()), zoom


def shape_logits(shape: np.ndarray, grid: int, size: int) -> Tensor:
    """Prior logits of a shape on a view: (height, width) bool -> (1, 1, grid, grid).

    Distances are taken on `grid` x `grid` points over the view and counted in network pixels, of
    which the view has `size` a side: on 256 points they take 10 ms, on a view of 1024 pixels 140.
    """
    coarse = resize(torch.from_numpy(shape.astype(np.float32))[None, None], grid, grid)[0, 0]
    distance = signed_distance(coarse.numpy() >= 0.5) * np.float32(size / grid)
    return shape_prior(torch.from_numpy(distance)[None, None])


def frame_logits(
    decoded: Decoded, view: View, shape: np.ndarray | None, frame_size: tuple[int, int]
) -> np.ndarray:
    """Decoded logits -> (H, W) float32 at the frame's resolution.

    shape: the mask that primed the network, (height, width) bool on the view, or None. It keeps
    its outline to the pixel, so that a network that changes nothing gives exactly that mask.
    """
    area = (view.height, view.width)
    logits = interpolate(decoded.logits.float(), area, mode="bilinear", align_corners=False)
    if decoded.prior is not None:
        prior = interpolate(decoded.prior.float(), area, mode="bilinear", align_corners=False)
        if shape is not None:
            inside = torch.from_numpy(shape).to(prior.device)
            prior = torch.where(inside, prior.clamp(min=EDGE), prior.clamp(max=-EDGE))
        logits = logits + prior
    return view.paste(logits[0, 0].cpu().numpy(), frame_size, np.float32(OUTSIDE))
