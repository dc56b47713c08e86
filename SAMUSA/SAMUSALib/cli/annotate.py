"""`samusa annotate`: a clip and its prompts in, masks on every frame of its windows out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..annotation import Annotation, FrameState
from ..clip import AXIS_NAMES, Clip
from ..engine.registry import ModelEntry, find_model
from ..errors import InvalidValue
from ..prompts import SegmentPrompts
from .common import (
    Stopwatch,
    add_model_options,
    check_output_file,
    check_output_folder,
    progress_bar,
    stopped_by_ctrl_c,
)

DIRECTIONS = ("both", "forward", "backward")
MASK_SUFFIXES = (".seg.nrrd", ".nii", ".nii.gz")


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "annotate",
        parents=[common],
        help="segment a clip from prompts on a few frames",
        description="Segment a clip from prompts on a few frames: cine loop or 3D volume in, "
        "masks on every frame of the temporal windows out. Ctrl-C keeps the finished frames.",
    )
    parser.add_argument(
        "clip",
        type=Path,
        metavar="CLIP",
        help="NRRD, MHA, NIfTI, DICOM, video file, or a folder of PNG or JPEG",
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="FILE", help="prompt JSON or .mrk.json"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=" or ".join(MASK_SUFFIXES)
    )
    add_model_options(parser)
    parser.add_argument(
        "--axis", choices=AXIS_NAMES, help="voxel axis along which a 3D volume is cut into frames"
    )
    parser.add_argument("--direction", choices=DIRECTIONS, default="both", help="default: both")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write an HTML report there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one row a frame and segment")
    parser.add_argument("--overlays", type=Path, metavar="DIR", help="one PNG a frame")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Everything cheap is checked first; all outputs are written at the end."""
    check_outputs(args)
    watch = Stopwatch()
    with watch.part("read"):
        clip, segments = read_inputs(args)
        annotation = empty_annotation(clip, segments)
    entry = find_model(args.model)
    with watch.part("load model"):
        engine = Engine(entry, args.device)
    engine.check(segments)
    print(f"{clip.name}: {len(clip)} frame{'s' if len(clip) > 1 else ''}, {engine.text}")
    with watch.part("propagate"):
        finished, wanted, stopped = fill(annotation, engine, clip, segments, args.direction)
    if stopped and not finished:
        print("samusa: stopped before the first frame; nothing was written", file=sys.stderr)
        return 130
    speed = finished / max(watch.seconds["propagate"], 1e-9)
    print(f"{finished} masks in {watch.seconds['propagate']:.1f} s ({speed:.1f} a second)")
    for path in write_outputs(args, clip, annotation, segments, engine, watch.seconds):
        print(f"wrote {path}")
    if stopped:
        print(
            f"samusa: stopped; kept {finished} of {wanted} masks, the others are empty",
            file=sys.stderr,
        )
        return 130
    return 0


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse outputs that could not be written, before anything expensive is done."""
    if not args.out.name.lower().endswith(MASK_SUFFIXES):
        raise InvalidValue(f"--out is {args.out.name}; it must end in {', '.join(MASK_SUFFIXES)}")
    check_output_file(args.out, args.clip, args.prompts)
    if args.csv:
        check_output_file(args.csv, args.clip, args.prompts)
        if args.csv.resolve() == args.out.resolve():
            raise InvalidValue(f"--csv and --out are both {args.csv}; name two files")
    for folder in (args.report, args.overlays):
        if folder:
            check_output_folder(folder)


def read_inputs(args: argparse.Namespace) -> tuple[Clip, list[SegmentPrompts]]:
    """The clip and its prompts, checked against each other."""
    from ..io.prompt_files import read_prompts
    from ..io.read_clip import read_clip

    axis = None if args.axis is None else AXIS_NAMES.index(args.axis)
    clip = read_clip(args.clip, axis=axis)
    segments = list(read_prompts(args.prompts, clip))
    if not segments:
        raise InvalidValue(f"{args.prompts} holds no segment; prompts for at least one are needed")
    for segment in segments:
        segment.check(len(clip), clip.frame_size)
    return clip, segments


def empty_annotation(clip: Clip, segments: Sequence[SegmentPrompts]) -> Annotation:
    """An annotation without masks; refuses two segments of one name."""
    annotation = Annotation(len(clip), clip.frame_size)
    for segment in segments:
        annotation.add(segment.name, segment.color)
    return annotation


class Engine:
    """A loaded model, or the spline, that turns prompts into masks."""

    def __init__(self, entry: ModelEntry, device: str):
        self.entry = entry
        self.model = None
        if entry.architecture != "spline":
            from ..engine.models import load_model

            self.model = load_model(entry.path, device=device)

    @property
    def device(self) -> str:
        return "cpu" if self.model is None else str(self.model.device)

    @property
    def text(self) -> str:
        """In words, for the user."""
        return self.entry.name if self.model is None else f"{self.entry.name} on {self.device}"

    def check(self, segments: Sequence[SegmentPrompts]) -> None:
        """Say what the model does not know; refuse what the spline cannot use."""
        if self.model is None:
            from ..engine.spline import check_for_spline

            for segment in segments:
                for index, prompts in segment.frames.items():
                    if not prompts.is_empty:
                        check_for_spline(prompts, segment.name, index)
        elif "boundary" not in self.model.info.prompts:
            if any(len(p.boundary) for s in segments for p in s.frames.values()):
                print(
                    f"note: {self.entry.name} was not trained for boundary points; "
                    "they are given to it as a box and a point inside",
                    file=sys.stderr,
                )

    def propagate(self, clip, segments, direction, cancelled) -> Iterator:
        """Frame masks, one at a time (see engine.propagation)."""
        if self.model is None:
            from ..engine.spline import propagate_spline

            return propagate_spline(clip, segments, direction=direction, cancelled=cancelled)
        from ..engine.propagation import propagate

        return propagate(self.model, clip, segments, direction=direction, cancelled=cancelled)


def fill(
    annotation: Annotation,
    engine: Engine,
    clip: Clip,
    segments: Sequence[SegmentPrompts],
    direction: str = "both",
) -> tuple[int, int, bool]:
    """Propagate into the annotation. Returns (masks done, masks wanted, stopped by Ctrl-C)."""
    from ..engine.plan import count_masks

    wanted, finished = count_masks(segments, len(clip), direction), 0
    by_name = {segment.name: segment for segment in annotation.segments}
    with stopped_by_ctrl_c() as stopped, progress_bar(wanted, "propagating") as bar:
        try:
            for result in engine.propagate(clip, segments, direction, stopped.is_set):
                state = FrameState(result.state)
                by_name[result.segment].set(result.frame, result.mask, state, result.confidence)
                finished += 1
                bar.update(1)
                if stopped.is_set():
                    break
        except KeyboardInterrupt:
            stopped.set()
    return finished, wanted, stopped.is_set() and finished < wanted


def write_outputs(
    args: argparse.Namespace,
    clip: Clip,
    annotation: Annotation,
    segments: Sequence[SegmentPrompts],
    engine: Engine,
    seconds: dict[str, float],
) -> Iterator[Path]:
    """The masks first, then what was asked for besides; yields each path once it is there."""
    from ..io import write_segmentation

    if args.out.name.lower().endswith(".seg.nrrd"):
        write_segmentation.write_seg_nrrd(args.out, clip, annotation)
    else:
        write_segmentation.write_label_nifti(args.out, clip, annotation)
    yield args.out
    if args.csv:
        write_segmentation.write_csv(args.csv, clip, annotation)
        yield args.csv
    if args.overlays:
        write_segmentation.write_overlays(args.overlays, clip, annotation)
        yield args.overlays
    if args.report:
        from ..evaluation.report import write_report

        model, device = engine.entry.name, engine.device
        yield write_report(args.report, clip, annotation, segments, model, seconds, device)
