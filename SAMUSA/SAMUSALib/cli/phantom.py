"""`samusa phantom`: write a simulated ultrasound clip, and its exact masks if wanted."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..annotation import COLORS, Annotation, FrameState
from ..clip import Clip, Geometry
from ..errors import InvalidValue
from .common import check_output_file

GEOMETRIES = ("sector", "linear", "radial")
GEOMETRY_TRIES = 200


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "phantom",
        parents=[common],
        help="write a simulated ultrasound clip with exact masks",
        description="Write a simulated ultrasound clip. The same options give the same clip.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="CLIP.nrrd")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--frames", type=int, default=24, help="default: 24")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side (default: 256)")
    parser.add_argument("--geometry", choices=GEOMETRIES, help="default: drawn by the seed")
    parser.add_argument("--truth", type=Path, metavar="LABELS.seg.nrrd", help="its exact masks")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Checks the places first, then simulates and writes."""
    from ..io.write_clip import write_clip
    from ..io.write_segmentation import write_seg_nrrd
    from ..phantom import simulate

    if args.out.suffix != ".nrrd" or args.out.name.endswith(".seg.nrrd"):
        raise InvalidValue(
            f"--out is {args.out.name}; it must end in .nrrd, and not in .seg.nrrd, which are masks"
        )
    check_output_file(args.out)
    if args.truth:
        if not args.truth.name.endswith(".seg.nrrd"):
            raise InvalidValue(f"--truth is {args.truth.name}; it must end in .seg.nrrd")
        check_output_file(args.truth)
    if args.seed < 0:
        raise InvalidValue(f"--seed is {args.seed}; a whole number of at least 0 is needed")
    phantom = simulate(spec_for(args.seed, args.frames, args.size, args.geometry))
    clip = as_clip(phantom, args.out.name)
    write_clip(args.out, clip)
    print(f"wrote {args.out}: {len(clip)} frames of {args.size} x {args.size} pixels")
    if args.truth:
        write_seg_nrrd(args.truth, clip, truth_annotation(phantom, clip))
        print(f"wrote {args.truth}")
    for number, windows in enumerate(phantom.windows, start=1):
        said = ", ".join(f"{start}-{end}" for start, end in windows) or "nowhere"
        kind = phantom.spec.structures[number - 1].kind
        print(f"structure {number} ({kind}): visible in frames {said}")
    return 0


def spec_for(seed: int, frames: int, size: int, geometry: str | None):
    """A random spec of that seed; drawn again until it has the geometry."""
    from ..phantom import random_spec

    if not 2 <= frames <= 10_000:
        raise InvalidValue(f"--frames is {frames}; 2 to 10000 are possible")
    if not 32 <= size <= 2048:
        raise InvalidValue(f"--size is {size}; 32 to 2048 pixels are possible")
    rng = np.random.default_rng(seed)
    for _ in range(GEOMETRY_TRIES):
        spec = random_spec(rng, frames=frames, size=(size, size))
        if geometry in (None, spec.geometry):
            return spec
    return replace(spec, geometry=geometry)


def as_clip(phantom, name: str) -> Clip:
    """A phantom as a cine with its pixel size and times."""
    count, height, width = phantom.frames.shape
    spacing = phantom.pixel_spacing_mm
    ijk_to_ras = np.diag([-spacing, -spacing, 1.0, 1.0])  # as Slicer lays an image into space
    geometry = Geometry.for_cine(count, height, width, ijk_to_ras)
    times = np.arange(count) / phantom.spec.frame_rate
    return Clip(phantom.frames, geometry, name=name, times=times)


def truth_annotation(phantom, clip: Clip) -> Annotation:
    """The exact masks; every frame is reviewed, for it is the truth."""
    annotation = Annotation(len(clip), clip.frame_size)
    for number, structure in enumerate(phantom.spec.structures, start=1):
        segment = annotation.add(f"{structure.kind} {number}", COLORS[(number - 1) % len(COLORS)])
        for index, labels in enumerate(phantom.labels):
            if (labels == number).any():
                segment.set(index, labels == number, FrameState.REVIEWED)
    return annotation
