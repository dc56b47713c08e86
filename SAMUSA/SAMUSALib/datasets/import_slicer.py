"""Import what was annotated in 3D Slicer: scenes, or an image and its segmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..clip import Clip, Geometry
from ..errors import InvalidValue, UnreadableFile
from ..io.frames import clip_name
from ..io.read_clip import read_clip
from ..io.read_segmentation import read_seg_nrrd
from .labels import clip_labels, place_on_grid, stack_layers
from .mrml_scene import Node, Scene, open_scene
from .splits import SplitRule
from .write_set import About, SetWriter, new_set

SCENES = (".mrb", ".mrml")
_VOLUMES = ("Volume", "VectorVolume")
_VOLUME_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
_LABEL_CLASS, _SEGMENTATION_CLASS = "vtkMRMLLabelMapVolumeNode", "vtkMRMLSegmentationNode"


def import_slicer(
    files: Sequence[Path],
    out: Path,
    about: About,
    rule: SplitRule,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the set `out` from scenes (.mrb, .mrml) and from pairs of an image file (volume or
    sequence) followed by its segmentation.

    From a scene come: every segmentation and label map with the volume that it was drawn on, and
    every sequence of segmentations or label maps with the sequence of images in the same sequence
    browser, frame by frame by index value; frames without a segmentation are left out. rule sees
    the path of the scene, or of the image. Returns notes on what was left out. Raises
    UnreadableFile, InvalidValue and CannotWrite; then nothing is written.
    """
    work, rest = [], list(files)
    while rest:
        first = rest.pop(0)
        if first.name.lower().endswith(SCENES):
            work.append((first, None))
        elif rest and not rest[0].name.lower().endswith(SCENES):
            work.append((first, rest.pop(0)))
        else:
            raise InvalidValue(
                f"{first.name} is no scene, so its segmentation must follow it; "
                "give scenes (.mrb, .mrml) or pairs of an image and its segmentation"
            )
    notes: list[str] = []
    with new_set(out, about) as writer:
        places = rule.assign([first.resolve().as_posix().lstrip("/") for first, _ in work])
        for done, ((first, second), place) in enumerate(zip(work, places, strict=True), start=1):
            if second is None:
                with open_scene(first) as scene:
                    for found in _annotated(scene, notes):
                        _add(writer, *found, *place)
            else:
                clip = read_clip(first)
                layers, names = clip_labels(second, clip, writer.labels)
                _add(writer, clip_name(first), clip, layers, names, *place)
            progress(done, len(work))
        if not writer.items and notes:
            raise InvalidValue("nothing was left to import: " + "; ".join(notes))
    return notes


def _add(writer: SetWriter, name: str, clip: Clip, layers, names, split: str, group: str) -> None:
    """Labels of one name get one number in the whole set."""
    numbers = {
        int(value): writer.label_for(names.get(int(value), f"label {value}"))
        for value in np.unique(layers)
        if value > 0
    }
    masks = [
        (number, layer == value)
        for layer in layers
        for value, number in numbers.items()
        if (layer == value).any()
    ]
    if not masks:
        raise InvalidValue(f"{name} has a segmentation in which nothing is marked")
    layers = stack_layers(masks, layers.shape[1:])
    writer.add_clip(name, clip, layers, writer.labels, split, group)


Annotated = tuple[str, Clip, np.ndarray, dict[int, str]]


def _annotated(scene: Scene, notes: list[str]) -> Iterator[Annotated]:
    """(name, clip, layers, names) of everything in a scene that has labels."""
    proxies: set[str] = set()
    shown: dict[str, Node] = {}  # proxy of a sequence of images -> its sequence
    for browser in scene.of_kind("SequenceBrowser"):
        sequences = {}
        for role, ids in browser.references.items():
            for start in ("sequenceNodeRef", "rootNodeRef"):
                if role.startswith(start) and ids and ids[0] in scene.nodes:
                    number = role.removeprefix(start)
                    sequences[number] = scene.nodes[ids[0]]
                    proxy = browser.references.get(f"dataNodeRef{number}", [])
                    proxies.update(proxy)
                    if sequences[number].item_class in _VOLUME_CLASSES:
                        shown |= dict.fromkeys(proxy, sequences[number])
        images = [node for node in sequences.values() if node.item_class in _VOLUME_CLASSES]
        for labels in sequences.values():
            if labels.item_class not in (_LABEL_CLASS, _SEGMENTATION_CLASS):
                continue
            if len(images) != 1:
                raise InvalidValue(
                    f"{scene.path}: the browser {browser.name!r} of {labels.name!r} shows "
                    f"{len(images)} sequences of images; it must show one"
                )
            yield _sequence(scene, images[0], labels, notes)
    for labels in scene.of_kind("Segmentation", "LabelMapVolume"):
        if labels.id in proxies:
            continue
        drawn_on = labels.references.get("referenceImageGeometryRef", [])
        if drawn_on and drawn_on[0] in shown:
            notes.append(
                f"{scene.path.name}: {labels.name!r} lies on one frame of "
                f"{shown[drawn_on[0]].name!r} and is not a sequence itself; left out"
            )
            continue
        yield _volume(scene, labels, proxies, drawn_on)


def _volume(scene: Scene, labels: Node, proxies: set[str], drawn_on: list[str]) -> Annotated:
    file = scene.file_of(labels)
    volumes = [scene.nodes[i] for i in drawn_on if i in scene.nodes]
    if not volumes:
        volumes = [node for node in scene.of_kind(*_VOLUMES) if node.id not in proxies]
    fits, reasons = [], []
    for volume in volumes:
        if volume.transform != labels.transform:
            reasons.append(f"{volume.name!r} is under another transform")
            continue
        clip = read_clip(scene.file_of(volume))
        try:
            fits.append((volume.name, clip, *clip_labels(file, clip, {})))
        except InvalidValue as error:
            reasons.append(str(error).replace(f"{file.parent}/", ""))
    if len(fits) == 1:
        return fits[0]
    if fits:
        which = f"{len(fits)} volumes have its grid; state its source volume in the Segment Editor"
    else:
        which = "; ".join(reasons) or "there is no volume"
    raise InvalidValue(f"{scene.path}: what is {labels.name!r} drawn on? {which}")


def _sequence(scene: Scene, images: Node, labels: Node, notes: list[str]) -> Annotated:
    clip = read_clip(scene.file_of(images))
    if clip.geometry.kind != "cine" or len(clip) != len(images.items):
        raise InvalidValue(
            f"{scene.path}: {images.name!r} is not a sequence of {len(images.items)} 2D images"
        )
    if images.transform != labels.transform:
        raise InvalidValue(f"{scene.path}: {images.name!r} and {labels.name!r} differ in transform")
    place = _index_values(images)
    if labels.item_class == _LABEL_CLASS:
        marks, names = clip_labels(scene.file_of(labels), clip, {})
        return images.name, clip, marks, names
    file = scene.file_of(labels)
    if not file.name.lower().endswith(SCENES):
        raise UnreadableFile(f"{scene.path}: {file.name} is no sequence of segmentations")
    slice_ = Geometry.for_volume((*clip.frame_size[::-1], 1), clip.geometry.ijk_to_ras)
    masks: dict[str, np.ndarray] = {}
    frames = []
    with open_scene(file) as inner:
        singletons = {n.fields.get("singletonTag"): n for n in inner.of_kind("Sequence")}
        index = singletons.get("SequenceIndex", labels)
        for value, node in zip(_index_values(index), (i for _, i in index.items), strict=True):
            t = _nearest(place, value)
            if t is None:
                raise InvalidValue(
                    f"{scene.path}: {labels.name!r} has an item at {value}, "
                    f"{images.name!r} has no image there"
                )
            frames.append(t)
            if node not in inner.nodes:
                raise UnreadableFile(
                    f"{scene.path}: {file.name} lacks {node}; save the scene again"
                )
            path = inner.file_of(inner.nodes[node])
            segments = read_seg_nrrd(path)
            whole = place_on_grid(segments, slice_, scene.path / path.name)
            for name, mask in zip(segments.names, whole, strict=True):
                of_name = masks.setdefault(name, np.zeros((len(clip), *clip.frame_size), bool))
                of_name[t] |= mask[:, :, 0].T
    names = dict(enumerate(masks, start=1))
    layers = stack_layers(list(enumerate(masks.values(), start=1)), (len(clip), *clip.frame_size))
    if missing := len(clip) - len(set(frames)):
        notes.append(
            f"{scene.path.name}: {missing} of {len(clip)} frames of {images.name!r} have no "
            "segmentation; left out"
        )
        clip, layers = _only(clip, sorted(set(frames))), layers[:, sorted(set(frames))]
    return images.name, clip, layers, names


def _only(clip: Clip, frames: list[int]) -> Clip:
    geometry = Geometry.for_cine(len(frames), *clip.frame_size, clip.geometry.ijk_to_ras)
    times = None if clip.times is None else clip.times[frames]
    return Clip(clip.frames[frames], geometry, clip.name, times, clip.intensity_rule, clip.source)


def _index_values(sequence: Node) -> list[float | str]:
    """Numbers where the sequence counts in numbers."""
    values = [value for value, _ in sequence.items]
    if sequence.fields.get("indexType", "numeric") != "numeric":
        return values
    try:
        return [float(value) for value in values]
    except ValueError:
        return values


def _nearest(values: list[float | str], wanted: float | str) -> int | None:
    """Where a value stands in a list; numbers may differ by rounding (Slicer's tolerance)."""
    for t, value in enumerate(values):
        if value == wanted:
            return t
        if isinstance(value, float) and isinstance(wanted, float) and abs(value - wanted) < 1e-3:
            return t
    return None
