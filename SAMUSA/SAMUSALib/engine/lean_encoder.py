"""SAM2's image encoder without what tracking never asks for: the same features, fewer steps.

The original interpolates its position embedding for every image, makes position maps for every
level, and takes the two fine levels through 1x1 convolutions to the full width that the mask
decoder then narrows by 1x1 convolutions. Here the embedding is kept, maps are made for no level,
and two 1x1 convolutions in a row are one. Features differ by rounding (1e-6 of their size).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import SamusaNetwork

TOP_DOWN = [2, 3]  # levels joined by SAM2's neck; levels 0 and 1 stand alone


class LeanEncoder(nn.Module):
    """Takes the place of `image_encoder` in a network that is not trained any more."""

    def __init__(self, network: SamusaNetwork):
        super().__init__()
        encoder, decoder = network.image_encoder, network.sam_mask_decoder
        self.trunk, self.neck = encoder.trunk, encoder.neck
        side = network.image_size // 4
        with torch.no_grad():
            self.register_buffer("position", self.trunk._get_pos_embed((side, side)), False)
            for level, narrow in enumerate((decoder.conv_s0, decoder.conv_s1)):
                weight, bias = _composed(self.neck.convs[3 - level].conv, narrow)
                self.register_buffer(f"weight{level}", weight, False)
                self.register_buffer(f"bias{level}", bias, False)

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        """(B, 3, S, S) normalised -> `backbone_fpn`: what `Embedding.levels` holds."""
        x = self.trunk.patch_embed(images) + self.position
        stages = []
        for index, block in enumerate(self.trunk.blocks):
            x = block(x)
            if index in self.trunk.stage_ends:
                stages.append(x)  # (B, h, w, C)
        fine = [
            F.linear(stage, weight, bias).permute(0, 3, 1, 2).contiguous()
            for stage, weight, bias in (
                (stages[0], self.weight0, self.bias0),
                (stages[1], self.weight1, self.bias1),
            )
        ]
        coarse, coarsest = (
            self.neck.convs[3 - level](stages[level].permute(0, 3, 1, 2)) for level in TOP_DOWN
        )
        top = coarse + F.interpolate(coarsest, scale_factor=2.0, mode="nearest")
        return {"backbone_fpn": [*fine, top]}


def _composed(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias (O,) of two 1x1 convolutions in a row; in double precision, so that
    the composition adds no rounding of its own."""
    inner, outer = (conv.weight[:, :, 0, 0].double() for conv in (first, second))
    weight = outer @ inner
    bias = outer @ first.bias.double() + second.bias.double()
    return weight.float(), bias.float()


def make_lean(network: SamusaNetwork) -> SamusaNetwork:
    """Put the lean encoder into a network. For use only: its tensors no longer fit a checkpoint."""
    if network.image_encoder.neck.fpn_top_down_levels == TOP_DOWN:
        network.image_encoder = LeanEncoder(network)
        network.sam_mask_decoder.conv_s0 = nn.Identity()
        network.sam_mask_decoder.conv_s1 = nn.Identity()
    return network
