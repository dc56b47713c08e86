"""The official SAM2 models of the `sam2` package, for tests and benchmarks beside ours."""

import numpy as np
import sam2  # noqa: F401  says to Hydra where its configurations are
import torch
from hydra import compose
from hydra.utils import instantiate

CONFIGS = {
    "sam2_hiera_tiny": "configs/sam2/sam2_hiera_t.yaml",
    "sam2_hiera_small": "configs/sam2/sam2_hiera_s.yaml",
    "sam2_hiera_base_plus": "configs/sam2/sam2_hiera_b+.yaml",
    "sam2_hiera_large": "configs/sam2/sam2_hiera_l.yaml",
    "sam2.1_hiera_tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_small": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_base_plus": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1_hiera_large": "configs/sam2.1/sam2.1_hiera_l.yaml",
}
VIDEO = "sam2.sam2_video_predictor.SAM2VideoPredictor"
BASE = "sam2.modeling.sam2_base.SAM2Base"

# What build_sam2_video_predictor sets by default, but for hole filling, which needs CUDA.
POSTPROCESSING = [
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
    "++model.binarize_mask_from_pts_for_mem_enc=true",
]


def configured(name: str, target: str = VIDEO, size: int = 1024, overrides: tuple[str, ...] = ()):
    """An official model in evaluation mode on the CPU with fresh weights; overrides: Hydra's."""
    settings = [f"++model._target_={target}", f"++model.image_size={size}", *POSTPROCESSING]
    config = compose(config_name=CONFIGS[name], overrides=[*settings, *overrides])
    return instantiate(config.model, _recursive_=True).eval()


def make_lively(model):
    """Fresh weights give faint, even masks and ignore the memory (its fuser is scaled by 1e-6):
    larger ones make every path count, and the presence head says yes."""
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "gamma" in key:
                value.fill_(0.5)
            elif "output_hypernetworks_mlps" in key or "no_obj" in key:
                value.mul_(4)
            elif "pred_obj_score_head.layers.2.bias" in key:
                value.fill_(3.0)
    return model


def video_state(predictor, frames: np.ndarray) -> dict:
    """`SAM2VideoPredictor.init_state` without its video file: frames (T, S, S) uint8 of the
    network's own size."""
    images = torch.from_numpy(frames).float()[:, None].expand(-1, 3, -1, -1) / 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    state = {
        "images": (images - mean) / std,
        "num_frames": len(frames),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": frames.shape[1],
        "video_width": frames.shape[2],
        "device": torch.device("cpu"),
        "storage_device": torch.device("cpu"),
        "cached_features": {},
        "constants": {},
        "obj_ids": [],
    }
    for key in (
        "point_inputs_per_obj",
        "mask_inputs_per_obj",
        "obj_id_to_idx",
        "obj_idx_to_id",
        "output_dict_per_obj",
        "temp_output_dict_per_obj",
        "frames_tracked_per_obj",
    ):
        state[key] = {}
    return state
