"""A tiny random network for tests: our architecture at 64 x 64 pixels, milliseconds a frame."""

from dataclasses import replace

import torch

from SAMUSALib.engine.architectures import ARCHITECTURES, Architecture
from SAMUSALib.engine.checkpoints import PROMPT_KINDS, Checkpoint
from SAMUSALib.engine.models import Model, ModelInfo
from SAMUSALib.engine.network import SamusaNetwork

TINY = replace(
    ARCHITECTURES["samusa_small"],
    embed_dim=16,
    stages=(1, 1, 2, 1),
    global_att_blocks=(3,),
    window_spec=(8, 4, 4, 2),
    hidden_dim=32,
    memory_dim=16,
    memory_layers=1,
    memory_feedforward=64,
    image_size=64,
)


def tiny_network(architecture: Architecture = TINY, lively: bool = True) -> SamusaNetwork:
    """Random weights, the same every time. lively: the mask heads and the memory have an effect
    (fresh ones start at nothing), and the presence head says yes."""
    torch.manual_seed(7)
    network = SamusaNetwork(architecture).eval()
    if lively:
        with torch.no_grad():
            for name, value in network.named_parameters():
                if "gamma" in name:
                    value.fill_(0.5)
                elif "output_hypernetworks_mlps" in name:
                    value.normal_(0, 0.4)
                elif "pred_obj_score_head.layers.2.bias" in name:
                    value.fill_(3.0)
    return network


def tiny_model(
    architecture: Architecture = TINY, prompts=PROMPT_KINDS, lively: bool = True
) -> Model:
    network = tiny_network(architecture, lively)
    count = sum(p.numel() for p in network.parameters())
    info = ModelInfo("tiny", architecture, tuple(prompts), count, "Apache-2.0", {})
    return Model(network, info, torch.device("cpu"))


def tiny_checkpoint(architecture: Architecture = TINY) -> Checkpoint:
    tensors = tiny_network(architecture).state_dict()
    return Checkpoint("tiny", architecture, PROMPT_KINDS, "Apache-2.0", {"seed": 7}, tensors)
