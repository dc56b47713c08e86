"""Our propagation beside the official SAM2 video predictor of the `sam2` package.

    make bench                  or: python Testing/benchmarks/official.py --out bench.json

One run, the same random weights, the same simulated frames of the network's own size, the same box
and click on frame 0, repeats in turn (official, ours, official, ...), medians with the smallest and
largest value:

- propagation through 100 and 700 frames with a stated window over the whole clip;
- a correction on the middle frame. Official: the prompts are added and propagate_in_video is run
  again, as its example notebook does. Ours: `changed=` with the embeddings of the first run kept;
- a window over the first quarter, for which the official predictor, which has no windows, does the
  whole clip;
- the peak of memory at 700 frames, in processes of their own that read the same folder of JPEG
  files; whatever a process holds counts, torch and the clip itself too.

Times do not hold reading and preparing the clip: the official predictor starts from its finished
float frames, ours from 8-bit ones. The ratios (ours / official) are of the network of the embedded
model's size; a second network is SAM 2.1 tiny. The run fails unless the masks of both agree frame
by frame. The embedded model as it is shipped, with zoom, priors and border head, is there for
information: it has no official counterpart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measure import (
    MIB,
    arguments,
    cine,
    in_new_process,
    peak_bytes,
    record,
    repeated,
    spread,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["TQDM_DISABLE"] = "1"  # the official predictor draws progress bars

SHORT, LONG = 100, 700
AGREEMENT = 0.99  # least IoU of the masks of a frame
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Rival:
    """A network that both can run. base: official configuration; overrides of it, by Hydra."""

    name: str
    base: str
    size: int
    overrides: tuple[str, ...] = ()

    @property
    def architecture(self):
        from SAMUSALib.engine.architectures import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD

        known = ARCHITECTURES[self.base if not self.overrides else "samusa_small"]
        return replace(
            known,
            image_size=self.size,
            multimask=True,
            pixel_mean=IMAGENET_MEAN,
            pixel_std=IMAGENET_STD,
            boundary_points=False,
            primed=False,
            zoom=False,
        )


SMALL = Rival(
    "small",
    "sam2.1_hiera_tiny",
    256,
    (
        "model.image_encoder.trunk.embed_dim=32",
        "model.image_encoder.trunk.stages=[1,2,4,2]",
        "model.image_encoder.trunk.global_att_blocks=[5,6,8]",
        "+model.image_encoder.trunk.window_spec=[8,8,8,4]",
        "model.image_encoder.neck.d_model=128",
        "model.image_encoder.neck.position_encoding.num_pos_feats=128",
        "model.image_encoder.neck.backbone_channel_list=[256,128,64,32]",
        "model.memory_attention.d_model=128",
        "model.memory_attention.num_layers=2",
        "model.memory_attention.layer.d_model=128",
        "model.memory_attention.layer.dim_feedforward=512",
        "model.memory_attention.layer.self_attention.embedding_dim=128",
        "model.memory_attention.layer.cross_attention.embedding_dim=128",
        "+model.memory_encoder.in_dim=128",
        "+model.memory_encoder.mask_downsampler.embed_dim=128",
        "model.memory_encoder.fuser.layer.dim=128",
        "model.num_maskmem=5",
    ),
)
TINY = Rival("tiny", "sam2.1_hiera_tiny", 128)


def main() -> int:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        results = compare(Path(folder), args)
    record(args.out, results)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of the short clip; long: 2")
    parser.add_argument("--short", type=int, default=SHORT, help="frames of the short clip")
    parser.add_argument("--long", type=int, default=LONG, help="of the long clip; 0 leaves it out")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count processor time: for a busy computer, with --threads 1",
    )
    return parser.parse_args()


def compare(folder: Path, args: argparse.Namespace) -> dict:
    # First, because a process inherits the peak of the one that starts it.
    in_new_process(prepare, folder, SMALL, args.long)
    memory = {}
    if args.long:
        for act in (our_peak, official_peak):
            memory[act.__name__] = in_new_process(act, folder, SMALL, args.long, args.threads)
    in_new_process(prepare, folder, TINY, 0)

    import torch

    torch.set_num_threads(args.threads)
    clock = time.process_time if args.processor_time else time.perf_counter
    small = compare_times(folder, SMALL, args.short, args.repeats, clock)
    tiny = compare_times(folder, TINY, args.short, max(1, args.repeats - 1), clock)
    results = {
        f"propagate_{args.short}_vs_official": ratio(small, "propagate"),
        "repropagate_vs_official": ratio(small, "repropagate"),
        "quarter_window_vs_official": ratio(small, "quarter_window", "propagate"),
        "tiny_propagate_vs_official": ratio(tiny, "propagate"),
        "tiny_repropagate_vs_official": ratio(tiny, "repropagate"),
        "tiny_quarter_window_vs_official": ratio(tiny, "quarter_window", "propagate"),
    }
    raw = seconds_of(small, f"small_{args.short}") | seconds_of(tiny, f"tiny_{args.short}")
    if args.long:
        long = compare_times(folder, SMALL, args.long, 2, clock, only_propagation=True)
        results[f"propagate_{args.long}_vs_official"] = ratio(long, "propagate")
        results[f"peak_memory_{args.long}_vs_official"] = round(
            memory["our_peak"] / memory["official_peak"], 4
        )
        raw |= seconds_of(long, f"small_{args.long}")
        raw |= {f"{name}_mib": round(memory[name] / MIB, 1) for name in memory}
    raw |= spread("shipped_seconds", shipped_times(args.short, args.repeats))
    return results | {"official": {"short": args.short, "long": args.long} | raw}


def ratio(times: dict, ours: str, official: str = "") -> float:
    ours, official = times["ours", ours], times["official", official or ours]
    return round(float(np.median(ours) / np.median(official)), 4)


def seconds_of(times: dict, prefix: str) -> dict:
    found = {}
    for (who, what), values in times.items():
        found |= spread(f"{prefix}_{what}_{who}_seconds", values)
    return found


# What is compared -----------------------------------------------------------------------------


def moving_lesion(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, size, size) frames and truth; after SHORT frames it goes back and forth."""
    period = min(count, SHORT)
    frames, truth = cine(period, size, size)
    turn = np.concatenate([np.arange(period), np.arange(period)[::-1]])
    order = np.resize(turn, count)
    return frames[order], truth[order]


def prompts_on(truth: np.ndarray):
    """Box of the lesion and a click in its middle."""
    from SAMUSALib.masks import bounding_box
    from SAMUSALib.prompts import FramePrompts

    x0, y0, x1, y1 = bounding_box(truth)
    return FramePrompts(box=[x0, y0, x1, y1], include=[[(x0 + x1) / 2, (y0 + y1) / 2]])


def prepare(folder: Path, rival: Rival, count: int) -> None:
    """The checkpoint and `count` JPEG frames in the folder."""
    import torch
    from PIL import Image

    from official_sam2 import configured, make_lively
    from SAMUSALib.engine.checkpoints import Checkpoint, write_checkpoint

    torch.manual_seed(1)
    tensors = make_lively(configured(rival.base, size=rival.size, overrides=rival.overrides))
    checkpoint = Checkpoint(
        rival.name, rival.architecture, ("region", "box", "mask"), "none", {}, tensors.state_dict()
    )
    write_checkpoint(folder / f"{rival.name}.safetensors", checkpoint, half=False)
    frames, truth = moving_lesion(max(1, count), rival.size)
    np.save(folder / f"{rival.name}.npy", truth[0])
    (folder / rival.name).mkdir()
    for index, frame in enumerate(frames[:count]):
        path = folder / rival.name / f"{index:05d}.jpg"
        Image.fromarray(frame).save(path, quality=JPEG_QUALITY)


def our_model(folder: Path, rival: Rival):
    from SAMUSALib.engine.models import load_model

    return load_model(folder / f"{rival.name}.safetensors", "cpu")


def official_model(folder: Path, rival: Rival):
    from safetensors.torch import load_file

    from official_sam2 import configured

    model = configured(rival.base, size=rival.size, overrides=rival.overrides)
    model.load_state_dict(load_file(folder / f"{rival.name}.safetensors"))
    return model


def official_add(predictor, state: dict, index: int, prompts) -> None:
    predictor.add_new_points_or_box(
        state, index, 1, points=prompts.include, labels=[1], box=prompts.box
    )


def official_masks(predictor, state: dict, **options) -> dict[int, np.ndarray]:
    return {
        index: (logits[0, 0] > 0).cpu().numpy()
        for index, _, logits in predictor.propagate_in_video(state, **options)
    }


# Times ----------------------------------------------------------------------------------------


def compare_times(
    folder: Path,
    rival: Rival,
    count: int,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    only_propagation: bool = False,
) -> dict[tuple[str, str], list[float]]:
    """(who, what) -> seconds of each repeat; raises Disagreement."""
    from official_sam2 import video_state
    from SAMUSALib.clip import Clip, Geometry
    from SAMUSALib.engine.cache import EmbeddingCache
    from SAMUSALib.engine.propagation import propagate
    from SAMUSALib.prompts import SegmentPrompts, Window

    frames, truth = moving_lesion(count, rival.size)
    clip = Clip(frames, Geometry.for_cine(*frames.shape))
    ours, official = our_model(folder, rival), official_model(folder, rival)
    middle, quarter = count // 2, count // 4
    start, correction = prompts_on(truth[0]), prompts_on(truth[middle])
    whole = (Window(0, count - 1),)
    before = SegmentPrompts("lesion", {0: start}, whole)
    after = SegmentPrompts("lesion", {0: start, middle: correction}, whole)
    short = SegmentPrompts("lesion", {0: start}, (Window(0, quarter - 1),))

    def official_first(state: dict) -> dict[int, np.ndarray]:
        official_add(official, state, 0, start)
        return official_masks(official, state)

    def official_again(state: dict) -> dict[int, np.ndarray]:
        official_add(official, state, middle, correction)
        return official_masks(official, state)

    def run(segment, **options) -> dict[int, np.ndarray]:
        return {r.frame: r.mask for r in propagate(ours, clip, [segment], **options)}

    times: dict[tuple[str, str], list[float]] = {}

    def note(who: str, what: str, act, *args, **options) -> dict[int, np.ndarray]:
        began = clock()
        masks = act(*args, **options)
        times.setdefault((who, what), []).append(clock() - began)
        return masks

    # the first calls choose kernels and make buffers
    run(SegmentPrompts("lesion", {0: start}, (Window(0, 2),)))
    official_first(video_state(official, frames[:3]))
    for _ in range(repeats):
        state = video_state(official, frames)
        kept = {"cache": EmbeddingCache(), "clip_key": "clip"}
        theirs = note("official", "propagate", official_first, state)
        mine = note("ours", "propagate", run, before, **kept)
        must_agree(mine, theirs, "propagation")
        if only_propagation:
            continue
        note("official", "repropagate", official_again, state)
        corrected = note("ours", "repropagate", run, after, changed={"lesion": {middle}}, **kept)
        part = note("ours", "quarter_window", run, short)
        must_agree(part, {i: theirs[i] for i in range(quarter)}, "quarter window")
    if not only_propagation:
        by_stretches = official_by_stretches(official, frames, start, correction)
        must_agree(corrected, by_stretches, "correction")
    return times


def official_by_stretches(predictor, frames, start, correction) -> dict[int, np.ndarray]:
    """What the official predictor says to a correction on the middle frame where, as in ours, each
    frame is tracked from the nearer prompted one and remembers nothing beyond it. (As its users
    run it, it goes on from the frames tracked before the correction.)"""
    from official_sam2 import video_state

    count = len(frames)
    middle = count // 2

    def both() -> dict:
        state = video_state(predictor, frames)
        official_add(predictor, state, 0, start)
        official_add(predictor, state, middle, correction)
        return state

    found = official_masks(predictor, both(), start_frame_idx=0, max_frame_num_to_track=middle // 2)
    found.pop(0)  # was not changed
    found |= official_masks(
        predictor,
        both(),
        start_frame_idx=middle,
        max_frame_num_to_track=middle - middle // 2 - 1,
        reverse=True,
    )
    state = video_state(predictor, frames)
    official_add(predictor, state, middle, correction)
    return found | official_masks(predictor, state)


class Disagreement(Exception):
    """The two do not do the same work, so their times cannot be compared."""


def must_agree(ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray], what: str) -> None:
    """IoU of at least AGREEMENT on each frame, and masks that are neither nothing nor all."""
    if ours.keys() != theirs.keys():
        raise Disagreement(f"{what}: not the same frames")
    overlap = {index: iou(mask, theirs[index]) for index, mask in ours.items()}
    worst = min(overlap, key=overlap.get)
    if overlap[worst] < AGREEMENT:
        raise Disagreement(f"{what}: IoU {overlap[worst]:.4f} on frame {worst}")
    share = np.mean([mask.mean() for mask in ours.values()])
    if not 0.01 < share < 0.99 or len({mask.tobytes() for mask in ours.values()}) < 2:
        raise Disagreement(f"{what}: the masks are trivial (mean area {share:.4f})")


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def shipped_times(count: int, repeats: int) -> list[float]:
    """The embedded model with all that it has, boundary clicks on frame 0."""
    from engine import as_job

    from SAMUSALib.engine.models import load_model
    from SAMUSALib.engine.propagation import propagate
    from SAMUSALib.engine.registry import DEFAULT_MODEL, find_model

    frames, truth = moving_lesion(count, SMALL.size)
    clip, segments = as_job(frames, truth)
    model = load_model(find_model(DEFAULT_MODEL).path, "cpu")
    return repeated(repeats, lambda: list(propagate(model, clip, segments)))


# Memory ---------------------------------------------------------------------------------------


def our_peak(folder: Path, rival: Rival, count: int, threads: int) -> int:
    import torch

    from SAMUSALib.engine.propagation import propagate
    from SAMUSALib.io.read_clip import read_clip
    from SAMUSALib.prompts import SegmentPrompts, Window

    torch.set_num_threads(threads)
    clip = read_clip(folder / rival.name)
    start = prompts_on(np.load(folder / f"{rival.name}.npy"))
    segment = SegmentPrompts("lesion", {0: start}, (Window(0, count - 1),))
    done = sum(1 for _ in propagate(our_model(folder, rival), clip, [segment]))
    return peak_of(done, count)


def official_peak(folder: Path, rival: Rival, count: int, threads: int) -> int:
    import torch

    torch.set_num_threads(threads)
    start = prompts_on(np.load(folder / f"{rival.name}.npy"))
    predictor = official_model(folder, rival)
    state = predictor.init_state(str(folder / rival.name))
    official_add(predictor, state, 0, start)
    done = sum(1 for _ in predictor.propagate_in_video(state))
    return peak_of(done, count)


def peak_of(done: int, count: int) -> int:
    if done != count:
        raise Disagreement(f"{done} of {count} frames were propagated")
    return peak_bytes()


if __name__ == "__main__":
    sys.exit(main())
