"""Our frame segmentation and propagation against the official predictors of the sam2 package:
same random weights, same image, same prompts."""

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose
from hydra.utils import instantiate

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.models import load_model
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.segmentation import FrameSegmenter
from SAMUSALib.prompts import FramePrompts, SegmentPrompts

SIZE = 256
FRAMES = 9
TOLERANCE = 1e-4

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

# What build_sam2_video_predictor sets by default, but for hole filling, which needs CUDA.
POSTPROCESSING = [
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
    "++model.binarize_mask_from_pts_for_mem_enc=true",
]


def official(name: str, target: str, size: int = SIZE):
    torch.manual_seed(1)
    overrides = [f"++model._target_={target}", f"++model.image_size={size}", *POSTPROCESSING]
    config = compose(config_name=CONFIGS[name], overrides=overrides)
    model = instantiate(config.model, _recursive_=True).eval()
    # Fresh weights give faint, even masks and ignore the memory (its fuser is scaled by 1e-6):
    # larger ones make every path count.
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "gamma" in key:
                value.fill_(0.5)
            elif "output_hypernetworks_mlps" in key or "no_obj" in key:
                value.mul_(4)
            elif "pred_obj_score_head.layers.2.bias" in key:
                value.fill_(3.0)
    return model


VIDEO = "sam2.sam2_video_predictor.SAM2VideoPredictor"
BASE = "sam2.modeling.sam2_base.SAM2Base"


def saved(model, folder) -> str:
    path = folder / "checkpoint.pt"
    torch.save({"model": model.state_dict()}, path)
    return str(path)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = torch.from_numpy(rng.random((1, FRAMES, 24, 24), dtype=np.float32))
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0].clamp(0, 1)
    return (smooth.numpy() * 255).astype(np.uint8)


@pytest.fixture
def image_predictor_class(monkeypatch):
    """SAM2ImagePredictor imports torchvision for three transforms; where torchvision has no
    build that fits torch, the same three on torch stand in for it."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        module = sys.modules["torchvision.transforms"]
        module.ToTensor = lambda: _ToTensor()
        module.Resize = lambda size: _Resize(size)
        module.Normalize = lambda mean, std: _Normalize(mean, std)
        for name in ("sam2.utils.transforms", "sam2.sam2_image_predictor"):
            monkeypatch.delitem(sys.modules, name, raising=False)
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    return SAM2ImagePredictor


class _ToTensor:
    def __call__(self, image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class _Resize(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, image):
        return F.interpolate(
            image[None], self.size, mode="bilinear", align_corners=False, antialias=True
        )[0]


class _Normalize(torch.nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (mean, std))

    def forward(self, image):
        return (image - self.mean) / self.std


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_tiny"])
@pytest.mark.parametrize(
    "prompts",
    [
        FramePrompts(include=[[90.0, 100.0]]),
        FramePrompts(include=[[90.0, 100.0], [120.5, 80.25]], exclude=[[30.0, 190.0]]),
        FramePrompts(box=[40.0, 50.0, 180.0, 190.0], include=[[100.0, 100.0]]),
    ],
    ids=["one click", "three clicks", "box and click"],
)
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (200, 320)], ids=["square", "wide"])
def test_frame_segmentation_equals_the_official_image_predictor(
    name, prompts, shape, frames, tmp_path, image_predictor_class
):
    model = official(name, BASE)
    frame = np.repeat(
        np.resize(frames[0], shape)[..., None] if shape != (SIZE, SIZE) else frames[0][..., None],
        3,
        axis=2,
    )
    predictor = image_predictor_class(model)
    predictor._bb_feat_sizes = [(SIZE // s, SIZE // s) for s in (4, 8, 16)]
    predictor.set_image(frame)
    # The predictor scales x by S / width; pixel centres at integers on both sides want
    # (x + 0.5) * S / width - 0.5, so its input is shifted by the difference.
    height, width = shape

    def shifted(xy):
        scale = np.array([SIZE / width, SIZE / height])
        return ((np.asarray(xy) + 0.5) * scale - 0.5) / scale

    points = np.concatenate([prompts.include, prompts.exclude])
    labels = [1] * len(prompts.include) + [0] * len(prompts.exclude)
    box = None if prompts.box is None else shifted(prompts.box.reshape(2, 2)).reshape(4)
    single_click = len(points) == 1 and box is None
    expected, ious, _ = predictor.predict(
        shifted(points), labels, box, multimask_output=single_click, return_logits=True
    )
    best = int(np.argmax(ious))

    result = FrameSegmenter(load_model(saved(model, tmp_path), "cpu", SIZE)).segment(frame, prompts)

    assert np.abs(expected[best]).max() > 0.05
    assert np.abs(result.logits - expected[best]).max() <= TOLERANCE
    assert abs(result.confidence - ious[best]) <= TOLERANCE


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_tiny"])
@pytest.mark.parametrize("start", [0, 4, 8])
def test_propagation_equals_the_official_video_predictor(name, start, frames, tmp_path):
    predictor = official(name, VIDEO)
    points = np.array([[90.0, 100.0], [120.5, 80.25], [30.0, 190.0]])
    expected = {}
    for reverse in (False, True):
        # a state for each direction: the predictor's backward pass would also remember frames of
        # the forward pass, which would make a stretch depend on the other side of its start
        state = _video_state(predictor, frames)
        predictor.add_new_points_or_box(state, start, 1, points=points, labels=[1, 1, 0])
        for index, _, logits in predictor.propagate_in_video(state, start, reverse=reverse):
            expected[index] = logits[0, 0].numpy()

    model = load_model(saved(predictor, tmp_path), "cpu", SIZE)
    clip = Clip(frames, Geometry.for_cine(*frames.shape))
    segment = SegmentPrompts("s", {start: FramePrompts(include=points[:2], exclude=points[2:])})
    logits = _propagated_logits(model, clip, segment)

    assert set(logits) == set(expected) - {start}
    spread = max(np.abs(expected[i] - expected[start]).max() for i in logits)
    assert spread > 10 * TOLERANCE, "the memory changes nothing; the comparison would be void"
    for index in logits:
        assert np.abs(logits[index] - expected[index]).max() <= TOLERANCE


def _propagated_logits(model, clip, segment) -> dict[int, np.ndarray]:
    """Run propagate and keep the logits of the tracked frames."""
    from SAMUSALib.engine import propagation

    kept = []
    original = propagation.frame_logits

    def keeping(*args):
        kept.append(original(*args))
        return kept[-1]

    propagation.frame_logits = keeping
    try:
        order = [r.frame for r in propagate(model, clip, [segment]) if r.state == "propagated"]
    finally:
        propagation.frame_logits = original
    return dict(zip(order, kept, strict=True))


def _video_state(predictor, frames: np.ndarray) -> dict:
    """`SAM2VideoPredictor.init_state` without its video file."""
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


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_architecture_has_the_official_tensors(name):
    from SAMUSALib.engine.architectures import ARCHITECTURES
    from SAMUSALib.engine.network import SamusaNetwork

    config = compose(config_name=CONFIGS[name])
    theirs = instantiate(config.model, _recursive_=True).state_dict()
    ours = SamusaNetwork(ARCHITECTURES[name]).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
