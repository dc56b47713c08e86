"""Import volumes (or cine sequences) with their labels: two files, or two folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..clip import AXIS_NAMES
from ..errors import InvalidValue, UnreadableFile
from ..io.frames import clip_name
from ..io.image_folder import natural_key
from ..io.read_clip import META_IMAGE, NIFTI, NRRD, read_clip
from .labels import clip_labels
from .splits import SplitRule
from .write_set import About, new_set

SUFFIXES = (*NRRD, *META_IMAGE, *NIFTI)


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
    pairs, notes = _pairs(volumes, labels, suffix)
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


def _pairs(volumes: Path, labels: Path, suffix: str) -> tuple[list[tuple[str, Path, Path]], list]:
    """([(path within the folder, image, labels)], notes)."""
    if volumes.is_file() and labels.is_file():
        return [(volumes.name, volumes, labels)], []
    same = volumes.resolve() == labels.resolve()
    if same and not suffix:
        raise InvalidValue("volumes and labels lie in one folder; say what label names end in")
    of_labels = {key: path for key, path in _files(labels).items() if key.endswith(suffix)}
    by_volume = {key[: len(key) - len(suffix)]: path for key, path in of_labels.items()}
    found = {k: path for k, path in _files(volumes).items() if not (same and k in of_labels)}
    both = sorted(found.keys() & by_volume.keys(), key=natural_key)
    if not both:
        raise InvalidValue(f"no volume of {volumes} has labels of the same name in {labels}")
    notes = []
    if alone := len(found) - len(both):
        notes.append(f"{alone} volumes without labels left out")
    if alone := len(by_volume) - len(both):
        notes.append(f"{alone} labels without a volume left out")
    pairs = [(found[k].relative_to(volumes).as_posix(), found[k], by_volume[k]) for k in both]
    return pairs, notes


def _files(folder: Path) -> dict[str, Path]:
    """Path within the folder without its endings -> path."""
    if not folder.is_dir():
        raise UnreadableFile(f"{folder} is not a folder; two files or two folders are needed")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.name.lower().endswith(SUFFIXES) or any(p.startswith(".") for p in inside.parts):
            continue
        stem = clip_name(path).removesuffix(".seg")
        key = (inside.parent / stem).as_posix()
        if key in found:
            raise InvalidValue(f"{found[key]} and {path} differ in their ending only; keep one")
        found[key] = path
    return found
