"""Import volumes (or cine sequences) with their labels: two files, or two folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..clip import AXIS_NAMES
from ..errors import InvalidValue
from ..io.frames import clip_name
from ..io.read_clip import META_IMAGE, NIFTI, NRRD, read_clip
from .labels import clip_labels
from .pairs import match_files
from .splits import SplitRule
from .write_set import About, new_set


def import_volumes(
    volumes: Path,
    labels: Path,
    out: Path,
    about: About,
    rule: SplitRule,
    suffix: str = "",
    axis: str | None = None,
    channel: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the set `out` from NRRD, MetaImage and NIfTI volumes and their label volumes or
    segmentations (.seg.nrrd); each becomes a clip of its slices.

    volumes, labels: two files, or two folders (or one), in which labels have the volume's name
    plus `suffix`. axis: "i", "j" or "k" to cut along; None: the last. channel: the volume of a 4D
    label NIfTI. rule sees the path in `volumes`. Returns notes on what was left out. Raises
    UnreadableFile, InvalidValue and CannotWrite; then nothing is written.
    """
    if axis is not None and axis not in AXIS_NAMES:
        raise InvalidValue(f"axis is {axis!r}; it must be one of {', '.join(AXIS_NAMES)}")
    if volumes.is_file() and labels.is_file():
        pairs, notes = [(volumes.name, volumes, labels)], []
    else:
        pairs, notes = match_files(volumes, labels, suffix, (*NRRD, *META_IMAGE, *NIFTI))
    with new_set(out, about) as writer:
        places = rule.assign([name for name, _, _ in pairs])
        for done, ((name, image, mask), (split, group)) in enumerate(
            zip(pairs, places, strict=True), start=1
        ):
            clip = read_clip(image, None if axis is None else AXIS_NAMES.index(axis))
            layers, names = clip_labels(mask, clip, writer.labels, channel)
            writer.add_clip(clip_name(Path(name)), clip, layers, names, split, group)
            progress(done, len(pairs))
    return notes
