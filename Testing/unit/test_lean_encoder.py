"""The lean encoder: the same features as SAM2's own."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from SAMUSALib.engine.architectures import ARCHITECTURES
from SAMUSALib.engine.checkpoints import write_checkpoint
from SAMUSALib.engine.lean_encoder import LeanEncoder, make_lean
from SAMUSALib.engine.models import load_model
from SAMUSALib.engine.network import SamusaNetwork
from tiny import TINY, tiny_checkpoint, tiny_network


@pytest.mark.parametrize(
    "architecture",
    [TINY, replace(ARCHITECTURES["sam2_hiera_tiny"], image_size=128)],
    ids=["ours", "sam2"],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_features_differ_by_rounding_only(architecture, batch):
    torch.manual_seed(2)
    network = SamusaNetwork(architecture).eval()
    with torch.no_grad():
        network.image_encoder.trunk.pos_embed.normal_()  # fresh ones are zero
        network.image_encoder.trunk.pos_embed_window.normal_()
    images = torch.rand(batch, 3, architecture.image_size, architecture.image_size)
    with torch.inference_mode():
        expected = network.embed(images).levels
        found = make_lean(deepcopy(network)).embed(images).levels
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_another_neck_is_left_alone():
    network = tiny_network()
    network.image_encoder.neck.fpn_top_down_levels = [0, 1, 2, 3]
    assert make_lean(network) is network and not isinstance(network.image_encoder, LeanEncoder)


def test_a_loaded_model_is_lean_and_counts_all_its_parameters(tmp_path):
    write_checkpoint(tmp_path / "tiny.safetensors", tiny_checkpoint())
    model = load_model(tmp_path / "tiny.safetensors", "cpu")
    assert isinstance(model.network.image_encoder, LeanEncoder)
    assert model.info.parameters == sum(p.numel() for p in tiny_network().parameters())
