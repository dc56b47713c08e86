"""Our frame segmentation and propagation against the official predictors of the sam2 package:
same random weights, same image, same prompts."""

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from official_sam2 import BASE, CONFIGS, VIDEO, configured, make_lively, video_state
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.models import load_model
from SAMUSALib.engine.propagation import propagate
from SAMUSALib.engine.segmentation import FrameSegmenter
from SAMUSALib.prompts import FramePrompts, SegmentPrompts

SIZE = 256
FRAMES = 9
TOLERANCE = 1e-4


def official(name: str, target: str):
    torch.manual_seed(1)
    return make_lively(configured(name, target, SIZE))


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
        state = video_state(predictor, frames)
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
        results = propagate(model, clip, [segment], threads=1)  # logits come in their order
        order = [r.frame for r in results if r.state == "propagated"]
    finally:
        propagation.frame_logits = original
    return dict(zip(order, kept, strict=True))


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_architecture_has_the_official_tensors(name):
    from SAMUSALib.engine.architectures import ARCHITECTURES
    from SAMUSALib.engine.network import SamusaNetwork

    theirs = configured(name, BASE).state_dict()
    ours = SamusaNetwork(ARCHITECTURES[name]).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
