"""The network: SAM2 from the `sam2` package, extended by boundary points, presence bypass and
shape priors.

Sources: SAM 2 (Ravi et al. 2024, arXiv 2408.00714); boundary points and temporal windows: SAMUSA
(Podvin et al.). The shape prior is ours: with exact clicks a spline through them is already a
strong guess, so the network learns what to change about it; the border head (after U-Net,
Ronneberger et al. 2015) draws that change finely.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from .architectures import Architecture

EXCLUDE, INCLUDE, BOX_START, BOX_END, BOUNDARY = 0, 1, 2, 3, 4
NO_POINT = -1
PRESENT = 10.0  # presence logit inside a window: sigmoid(10) = 0.99995

# The shape prior is PRIOR_HEIGHT * tanh(d / PRIOR_REACH) logits at d network pixels from the
# outline: steep at the outline (0.375 logits a pixel), bounded far from it so that the network
# can overrule a wrong curve.
PRIOR_HEIGHT = 6.0
PRIOR_REACH = 16.0
NEAR_OUTLINE = 1.5  # prior logits, 4 network pixels: what counts as at the outline
MANY_CLICKS = 10  # boundary clicks beyond this make no difference to the border head
FAR = 1e9  # network pixels, squared: no click at all
CLICK_REACH = 10.0  # network pixels around a click in which it counts


def shape_prior(distance: Tensor) -> Tensor:
    """Signed distance to an outline, network pixels, positive inside -> prior mask logits."""
    return PRIOR_HEIGHT * torch.tanh(distance / PRIOR_REACH)


def expected_iou(logits: Tensor) -> Tensor:
    """(B, 1, h, w) mask logits -> (B, 1): the mask's IoU with a truth that is drawn pixel by pixel
    from the mask's own probabilities (ratio of the expectations), no gradient.

    A head on the decoder's token cannot see what the border head drew: it said 0.83 on every
    tracked frame.
    """
    p = logits.detach().float().sigmoid().flatten(2)
    inside = (p > 0.5).to(p.dtype)
    return (p * inside).sum(2) / torch.maximum(p, inside).sum(2).clamp(min=1)


class BoundaryPromptEncoder(PromptEncoder):
    """SAM2's prompt encoder with a fifth point embedding, for points on the boundary."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.boundary_embedding = nn.Embedding(1, self.embed_dim)

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        embedding = super()._embed_points(points, labels, pad)
        on_boundary = labels == BOUNDARY
        if pad:
            on_boundary = F.pad(on_boundary, (0, 1), value=False)
        return embedding + on_boundary[..., None] * self.boundary_embedding.weight


class PresenceMaskDecoder(MaskDecoder):
    """SAM2's mask decoder whose object score can be bypassed (temporal windows)."""

    presence_bypassed = False
    score: Tensor | None = None  # the head's own answer at the last call, bypassed or not

    def forward(self, *args, **kwargs):
        masks, ious, tokens, presence = super().forward(*args, **kwargs)
        self.score = presence
        if self.presence_bypassed:
            presence = torch.full_like(presence, PRESENT)
        return masks, ious, tokens, presence


class BorderHead(nn.Module):
    """A small U-Net that finishes the outline at half the input's resolution.

    SAM2's decoder answers at a quarter, from tokens; drawing a border through clicks along an
    edge in the image is local work, which convolutions learn from few images. It sees the image,
    the prior, what the smooth curve would change about it, the nearness of clicks on the boundary,
    inside and outside, how many there are on the boundary and the decoder's logits, and at its
    bottom SAM2's own features.

    It gives four maps, see `SamusaNetwork._finish_border`: a change of its own, the share of the
    smooth curve's change that is taken, how much the network's change counts and how sharp the
    outline is. The last two let it leave a good prior where it is: without them the loss could
    only sharpen an outline by changes that also moved it. All start at no effect.
    """

    INPUTS, OUTPUTS, SIGNS = 8, 4, 3
    CHANNELS = (8, 24, 48, 96)

    def __init__(self, hidden_dim: int):
        super().__init__()
        widths = self.CHANNELS
        self.down = nn.ModuleList(
            _convolutions(before, after)
            for before, after in zip((self.INPUTS, *widths[:-1]), widths, strict=True)
        )
        self.context = nn.Conv2d(hidden_dim, widths[-1], kernel_size=1)
        self.up = nn.ModuleList(
            _convolutions(below + beside, beside)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.out = nn.Conv2d(widths[0], self.OUTPUTS, kernel_size=1)
        self.overall = nn.Sequential(
            nn.Linear(self.SIGNS, 16), nn.GELU(), nn.Linear(16, self.OUTPUTS)
        )
        for last in (self.out, self.overall[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, maps: Tensor, features: Tensor) -> Tensor:
        """maps (B, 8, S/2, S/2), features (B, C, S/16, S/16) -> (B, 4, S/2, S/2)."""
        kept = []
        for index, block in enumerate(self.down):
            maps = block(maps if index == 0 else F.max_pool2d(maps, 2))
            kept.append(maps)
        maps = kept.pop() + self.context(features)
        for block in self.up:
            beside = kept.pop()
            maps = block(torch.cat([_resize(maps, beside.shape[-1]), beside], dim=1))
        return self.out(maps)

    def judge(self, drawn: Tensor, believed: Tensor, smoother: Tensor, count: Tensor) -> Tensor:
        """The maps with what is to be said of them as a whole: (B, 4, h, w) -> the same.

        Many clicks on which the spline and the smooth curve agree are exact, and are best left
        alone; so are outlines that the head would change but little. Where there is no smooth
        curve but the spline itself, the second sign is far below any agreement. Convolutions see
        none of this at once, and group norms level it out.
        """
        at_outline = torch.exp(-(believed / NEAR_OUTLINE).square())

        def strength(change: Tensor) -> Tensor:
            mean = (change.abs() * at_outline).sum((1, 2, 3)) / at_outline.sum((1, 2, 3)).clamp(
                min=1
            )
            return mean.clamp(min=0.002).log() / 2 + 1

        signs = [count.flatten(), strength(smoother), strength(drawn[:, :1])]
        return drawn + self.overall(torch.stack(signs, dim=1))[:, :, None, None]


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.GroupNorm(4, after),
        nn.GELU(),
        nn.Conv2d(after, after, kernel_size=3, padding=1),
        nn.GroupNorm(4, after),
        nn.GELU(),
    )


@dataclass(frozen=True)
class Embedding:
    """Image features of one or more network inputs: finest first, as SAM2's decoder wants them.

    levels: (B, C/8, S/4, S/4), (B, C/4, S/8, S/8), (B, C, S/16, S/16). image: (B, 1, S/2, S/2)
    grey for the border head, or None.
    """

    levels: tuple[Tensor, ...]
    image: Tensor | None = None

    def __getitem__(self, index: int) -> Embedding:
        image = None if self.image is None else self.image[index : index + 1]
        return Embedding(tuple(level[index : index + 1] for level in self.levels), image)

    @property
    def nbytes(self) -> int:
        tensors = [*self.levels] if self.image is None else [*self.levels, self.image]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True)
class Decoded:
    """What the heads say about a batch of inputs.

    logits: mask logits without the prior, (B, 1, S/4, S/4), or (B, 1, S/2, S/2) where a border
    head finished them; prior: (B, 1, h, w) prior logits or None; iou, presence: (B,); pointer:
    (B, C) object pointer.
    """

    logits: Tensor
    prior: Tensor | None
    iou: Tensor
    presence: Tensor
    pointer: Tensor

    def full_logits(self, size: int) -> Tensor:
        """(B, 1, size, size) mask logits, prior included."""
        logits = _resize(self.logits, size)
        return logits if self.prior is None else logits + _resize(self.prior, size)


def _resize(maps: Tensor, size: int) -> Tensor:
    if maps.shape[-2:] == (size, size):
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


class SamusaNetwork(SAM2Base):
    """SAM2 with boundary points, presence bypass and shape priors; see `Architecture`.

    State dict keys and shapes are SAM2's own, plus `sam_prompt_encoder.boundary_embedding`,
    `border_head` and `click_gate` where the architecture has them.
    """

    def __init__(self, architecture: Architecture):
        a = architecture
        self.architecture = a
        newer = a.release == "2.1"
        super().__init__(
            image_encoder=_image_encoder(a),
            memory_attention=_memory_attention(a),
            memory_encoder=_memory_encoder(a),
            num_maskmem=a.num_maskmem,
            image_size=a.image_size,
            sigmoid_scale_for_mem_enc=20.0,
            sigmoid_bias_for_mem_enc=-10.0,
            binarize_mask_from_pts_for_mem_enc=True,
            use_mask_input_as_output_without_sam=True,
            directly_add_no_mem_embed=True,
            use_high_res_features_in_sam=True,
            multimask_output_in_sam=a.multimask,
            multimask_min_pt_num=0,
            multimask_max_pt_num=1,
            multimask_output_for_tracking=a.multimask,
            use_multimask_token_for_obj_ptr=a.multimask,
            iou_prediction_use_sigmoid=True,
            use_obj_ptrs_in_encoder=True,
            add_tpos_enc_to_obj_ptrs=newer,
            proj_tpos_enc_in_obj_ptrs=newer,
            use_signed_tpos_enc_to_obj_ptrs=newer,
            only_obj_ptrs_in_the_past_for_eval=True,
            pred_obj_scores=True,
            pred_obj_scores_mlp=True,
            fixed_no_obj_ptr=True,
            use_mlp_for_obj_ptr_proj=True,
            no_obj_embed_spatial=newer,
            sam_mask_decoder_extra_args={
                "dynamic_multimask_via_stability": a.multimask,
                "dynamic_multimask_stability_delta": 0.05,
                "dynamic_multimask_stability_thresh": 0.98,
            },
        )
        if a.primed:
            self.border_head = BorderHead(a.hidden_dim)
            # How much of the network's change is held back at a boundary click: sigmoid of the
            # first value; the second scales the reach.
            self.click_gate = nn.Parameter(torch.tensor([0.0, 0.0]))
            # An untrained network must equal its prior: the mask heads start at nothing.
            for head in self.sam_mask_decoder.output_hypernetworks_mlps:
                nn.init.zeros_(head.layers[-1].weight)
                nn.init.zeros_(head.layers[-1].bias)
        self.register_buffer("pixel_mean", torch.tensor(a.pixel_mean).view(3, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(a.pixel_std).view(3, 1, 1), False)

    def _build_sam_heads(self):
        super()._build_sam_heads()
        if self.architecture.boundary_points:
            plain = self.sam_prompt_encoder
            self.sam_prompt_encoder = BoundaryPromptEncoder(
                embed_dim=plain.embed_dim,
                image_embedding_size=plain.image_embedding_size,
                input_image_size=plain.input_image_size,
                mask_in_chans=16,
            )
        self.sam_mask_decoder.__class__ = PresenceMaskDecoder

    @contextmanager
    def presence_bypass(self, bypassed: bool = True) -> Iterator[None]:
        """Inside a temporal window the structure is visible by the annotator's word: the object
        score head is not asked (SAMUSA, temporal points)."""
        before = self.sam_mask_decoder.presence_bypassed
        self.sam_mask_decoder.presence_bypassed = bypassed
        try:
            yield
        finally:
            self.sam_mask_decoder.presence_bypassed = before

    def embed(self, images: Tensor) -> Embedding:
        """(B, 3, S, S) float RGB in 0..1 -> image features."""
        images = (images - self.pixel_mean) / self.pixel_std
        features = self.forward_image(images)
        grey = None
        if self.architecture.primed:
            grey = F.avg_pool2d(images.mean(dim=1, keepdim=True), 2)
        return Embedding(tuple(features["backbone_fpn"]), grey)

    def without_memory(self, embedding: Embedding) -> Tensor:
        """(B, C, S/16, S/16) features of a frame that no other frame conditions."""
        return embedding.levels[-1] + self.no_mem_embed.view(1, -1, 1, 1)

    def decode(
        self,
        embedding: Embedding,
        features: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        multimask: bool | None = None,
        initial: bool = True,
        smooth: Tensor | None = None,
    ) -> Decoded:
        """Prompt encoder and mask decoder.

        features: (B, C, S/16, S/16) from `without_memory` or `with_memory`.
        points: coordinates (B, N, 2), x and y in network input pixels (pixel centres at
        integers), and labels (B, N). mask: (B, 1, h, w) logits, a mask prompt; where the
        architecture is primed it is the prior too. multimask: three candidates of which the best
        is kept; None leaves it to SAM2's rule (one click or none). smooth: (B, 1, h, w) logits of
        the smooth curve where `mask` is the spline; None: the prior knows no better.
        """
        point_inputs = None
        if points is not None:
            point_inputs = {"point_coords": points[0], "point_labels": points[1].to(torch.int32)}
        if multimask is None:
            multimask = self._use_multimask(initial, point_inputs)
        low_multi, _, ious, low, _, pointer, presence = self._forward_sam_heads(
            backbone_features=features,
            point_inputs=point_inputs,
            mask_inputs=mask,
            high_res_features=list(embedding.levels[:-1]),
            multimask_output=multimask,
        )
        prior = None
        if self.architecture.primed:
            prior = mask
            low = self._finish_border(embedding, features, points, mask, smooth, low)
            ious = expected_iou(low if prior is None else low + _resize(prior, low.shape[-1]))
        if self.training:
            # A structure missed by the score must still be learned by the mask: training runs
            # bypassed and the score's own answer goes to its loss.
            presence = self.sam_mask_decoder.score
        return Decoded(low, prior, ious.max(dim=1).values, presence[:, 0], pointer)

    def _finish_border(
        self,
        embedding: Embedding,
        features: Tensor,
        points: tuple[Tensor, Tensor] | None,
        prior: Tensor | None,
        smooth: Tensor | None,
        low: Tensor,
    ) -> Tensor:
        """The decoder's logits (B, 1, S/4, S/4) -> (B, 1, S/2, S/2) after the border head, held
        back at boundary clicks where there is a prior. With a prior p and the smooth curve q:
        e^sharp (p + share (q - p)) + 2 sigmoid(counts) (1 - known) (decoder + change), less p."""
        size = self.image_size // 2
        low = _resize(low, size)
        near, known = self._clicks(points, low)
        believed = torch.zeros_like(low) if prior is None else _resize(prior, size)
        smoother = torch.zeros_like(low) if smooth is None else _resize(smooth, size) - believed
        count = torch.zeros_like(low[:, :, :1, :1])
        if points is not None:
            clicks = (points[1] == BOUNDARY).sum(dim=1).clamp(max=MANY_CLICKS)
            count = (clicks / MANY_CLICKS).to(low.dtype).view(-1, 1, 1, 1)
        scale = PRIOR_HEIGHT
        maps = [
            embedding.image,
            believed / scale,
            near[0],
            (low / scale).clamp(-2, 2),
            smoother / scale,
            count.expand_as(low),
            *near[1:],
        ]
        drawn = self.border_head(torch.cat(maps, dim=1), features)
        if prior is None:
            return low + drawn[:, :1]
        drawn = self.border_head.judge(drawn, believed, smoother, count)
        change, share, counts, sharp = drawn.split(1, dim=1)
        low = low + change
        low = 2 * counts.sigmoid() * (1 - known) * low
        return low + sharp.clamp(-2, 2).exp() * (believed + share * smoother) - believed

    def _clicks(
        self, points: tuple[Tensor, Tensor] | None, like: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Maps (B, 1, size, size) in 0..1: nearness of clicks on the boundary, inside and outside;
        and how far the change is held back at boundary clicks, because the outline is known."""
        squared = [
            self._squared_distance(points, label, like) for label in (BOUNDARY, INCLUDE, EXCLUDE)
        ]
        near = [torch.exp(-each / (2 * CLICK_REACH**2)) for each in squared]
        strength, reach = self.click_gate.sigmoid()[0], CLICK_REACH * self.click_gate.exp()[1]
        return near, strength * torch.exp(-squared[0] / (2 * reach.square()))

    def _squared_distance(
        self, points: tuple[Tensor, Tensor] | None, label: int, like: Tensor
    ) -> Tensor:
        """(B, 1, size, size) network pixels, squared, to the nearest click of a label; FAR where
        there is none."""
        size = like.shape[-1]
        if points is None or not (points[1] == label).any():
            return torch.full_like(like, FAR)
        coords, labels = points
        step = self.image_size / size
        centres = (torch.arange(size, device=coords.device) + 0.5) * step - 0.5
        dx = centres.view(1, 1, 1, size) - coords[:, :, 0, None, None]
        dy = centres.view(1, 1, size, 1) - coords[:, :, 1, None, None]
        squared = dx.square() + dy.square()
        squared = squared.masked_fill((labels != label)[..., None, None], FAR)
        return squared.amin(dim=1, keepdim=True)

    def with_memory(
        self,
        embedding: Embedding,
        frame: int,
        memory: dict,
        clip_length: int,
        backward: bool,
    ) -> Tensor:
        """(B, C, S/16, S/16) features of a frame conditioned on the memory of other frames.

        memory: SAM2's dictionary of `cond_frame_outputs` and `non_cond_frame_outputs`, each frame
        index -> the value that `remember` gave.
        """
        top = embedding.levels[-1]
        position = self.image_encoder.neck.position_encoding(top)
        return self._prepare_memory_conditioned_features(
            frame_idx=frame,
            is_init_cond_frame=False,
            current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
            current_vision_pos_embeds=[position.flatten(2).permute(2, 0, 1)],
            feat_sizes=[tuple(top.shape[-2:])],
            output_dict=memory,
            num_frames=clip_length,
            track_in_reverse=backward,
        )

    def remember(
        self,
        embedding: Embedding,
        logits: Tensor,
        pointer: Tensor,
        presence: Tensor,
        prompted: bool,
    ) -> dict:
        """Encode a frame and its mask logits (B, 1, S, S) into a memory of that frame.

        prompted: the mask comes from the annotator's prompts (it is binarised, as in SAM2's
        predictor). Features are kept in bfloat16, as SAM2's predictor keeps them.
        """
        top = embedding.levels[-1]
        features, position = self._encode_new_memory(
            current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
            feat_sizes=[tuple(top.shape[-2:])],
            pred_masks_high_res=logits,
            object_score_logits=presence[:, None],
            is_mask_from_pts=prompted,
        )
        if not self.training:
            features = features.to(torch.bfloat16)
        return {"maskmem_features": features, "maskmem_pos_enc": position, "obj_ptr": pointer}

    def adopt(self, embedding: Embedding, mask: Tensor) -> Decoded:
        """A given mask (B, 1, S, S) of 0 and 1 as this frame's result: what a mask prompt or a
        locked frame contributes to the memory."""
        features = embedding.levels[-1]
        _, high, ious, low, _, pointer, presence = self._use_mask_as_output(
            features, list(embedding.levels[:-1]), mask
        )
        return Decoded(low, None, ious[:, 0], presence[:, 0], pointer)


def _image_encoder(a: Architecture) -> ImageEncoder:
    trunk = Hiera(
        embed_dim=a.embed_dim,
        num_heads=a.num_heads,
        stages=a.stages,
        global_att_blocks=a.global_att_blocks,
        window_pos_embed_bkg_spatial_size=a.window_pos_embed_bkg_spatial_size,
        window_spec=a.window_spec,
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(
            num_pos_feats=a.hidden_dim, image_size=a.image_size
        ),
        d_model=a.hidden_dim,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def _memory_attention(a: Architecture) -> MemoryAttention:
    side = a.image_size // 16
    shared = {
        "rope_theta": 10000.0,
        "feat_sizes": (side, side),
        "embedding_dim": a.hidden_dim,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.1,
    }
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=a.memory_feedforward,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**shared),
        d_model=a.hidden_dim,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(rope_k_repeat=True, kv_in_dim=a.memory_dim, **shared),
    )
    return MemoryAttention(a.hidden_dim, True, layer, a.memory_layers)


def _memory_encoder(a: Architecture) -> MemoryEncoder:
    block = CXBlock(
        dim=a.hidden_dim, kernel_size=7, padding=3, layer_scale_init_value=1e-6, use_dwconv=True
    )
    return MemoryEncoder(
        out_dim=a.memory_dim,
        mask_downsampler=MaskDownSampler(
            embed_dim=a.hidden_dim, kernel_size=3, stride=2, padding=1
        ),
        fuser=Fuser(block, num_layers=2),
        position_encoding=PositionEmbeddingSine(num_pos_feats=a.memory_dim),
        in_dim=a.hidden_dim,
    )
