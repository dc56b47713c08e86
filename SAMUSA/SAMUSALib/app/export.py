"""Export what is annotated: segmentation file, COCO, mask images, table, DICOM SEG.

All but DICOM SEG in steps, for the GUI's clock; a file or folder appears at the end, whole, and
nothing is left of an export that is given up.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..annotation import Annotation, FrameAnnotation, FrameState, SegmentAnnotation
from ..atomic import atomic_write
from ..clip import Clip
from ..errors import CannotWrite, InvalidValue
from ..io.write_frames import coco_steps, mask_image_steps
from ..io.write_segmentation import csv_steps, seg_nrrd_steps
from ..masks import EncodedMask
from ..scene.clip_source import ClipSource
from ..scene.segments import ClipMasks, SegmentInfo
from ..scene.state import SceneState


@dataclass(frozen=True)
class Format:
    """key: as `export_steps` takes it. label: for a menu. suffix: of the file; "" for a folder."""

    key: str
    label: str
    suffix: str


FORMATS = (
    Format("seg", "Segmentation (.seg.nrrd)", ".seg.nrrd"),
    Format("csv", "Table of measurements (.csv)", ".csv"),
    Format("masks", "Mask images (a folder of PNG)", ""),
    Format("coco", "COCO (a folder: annotations.json, images)", ""),
    Format("dicom", "DICOM segmentation (.dcm)", ".dcm"),
)


def format_of(key: str) -> Format:
    return next(each for each in FORMATS if each.key == key)


def export_steps(
    key: str, path: str | os.PathLike, source: ClipSource, masks: ClipMasks, state: SceneState
) -> Iterator[float]:
    """Write all segments to `path`: yields how much is done, 0..1.

    Places are those of the world, parent transforms applied. DICOM SEG is written in one go by
    Slicer's own exporter. Raises SceneChanged, InvalidValue and CannotWrite.
    """
    path = Path(path)
    if not masks.segments():
        raise InvalidValue("there is no segment to export; add one and annotate it first")
    if key == "dicom":
        export_dicom(path, source, masks)
        yield 1.0
        return
    annotation = Annotation(len(source), source.frame_size)
    infos = masks.segments()
    for number, info in enumerate(infos):
        segment = annotation.add(_unused_name(info, annotation), info.color)
        for done in gather_steps(segment, info.id, masks, state):
            yield 0.4 * (number + done) / len(infos)
    clip = blank_clip(source)
    writers = {
        "seg": lambda: seg_nrrd_steps(path, clip, annotation),
        "csv": lambda: csv_steps(path, clip, annotation),
        "masks": lambda: mask_image_steps(path, annotation),
        "coco": lambda: coco_steps(path, clip, annotation, source.frame),
    }
    for done in writers[key]():
        yield 0.4 + 0.6 * done


def gather_steps(
    segment: SegmentAnnotation, segment_id: str, masks: ClipMasks, state: SceneState
) -> Generator[float, None, None]:
    """Fill `segment` from the scene, frame by frame. A mask of which nothing is noted was drawn by
    hand, with another effect: it counts as prompted."""
    marks = state.marks(segment_id)
    for frame in range(segment.length):
        mask = EncodedMask.encode(masks.mask(segment_id, frame))
        mark = marks.get(frame)
        if mark is not None:
            segment.restore(frame, FrameAnnotation(mask, mark.state, mark.confidence))
        elif not mask.is_empty:
            segment.restore(frame, FrameAnnotation(mask, FrameState.PROMPTED, 1.0))
        yield (frame + 1) / segment.length


def blank_clip(source: ClipSource) -> Clip:
    """The clip with its places and times; its pixels are black and take no memory."""
    geometry = source.geometry
    frames = np.broadcast_to(np.uint8(0), geometry.frame_shape)
    return Clip(frames, geometry, source.name, source.times)


def export_dicom(path: Path, source: ClipSource, masks: ClipMasks) -> None:
    """Write a DICOM SEG by Slicer's DICOM export, which also adds it to the DICOM database.

    Raises InvalidValue, which says why, where it cannot be: for a cine (DICOM SEG by Slicer's
    exporter refers to slices of a volume), for images that did not come from Slicer's DICOM
    database, and in a Slicer without the exporter (an extension in some versions).
    """
    why_not = no_dicom(source)
    if why_not:
        raise InvalidValue(f"{why_not}; export as .seg.nrrd instead")
    import slicer

    plugin = slicer.modules.dicomPlugins["DICOMSegmentationPlugin"]()
    node = masks.shown_node
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    exportables = plugin.examineForExport(hierarchy.GetItemByDataNode(node))
    if not exportables:
        raise InvalidValue(
            f"Slicer cannot export {node.GetName()!r} as DICOM, since its images are no longer in "
            "the DICOM database; import them again, or export as .seg.nrrd"
        )
    with tempfile.TemporaryDirectory() as folder:
        for exportable in exportables:
            exportable.directory = folder
        problem = plugin.export(exportables)
        written = sorted(Path(folder).glob("*.dcm"))
        if problem or not written:
            reason = str(problem or "no file was written").strip().splitlines()[0]
            raise CannotWrite(
                f"Slicer's DICOM export says: {reason}. Nothing was written; see the error log"
            )
        with atomic_write(path) as temporary:
            shutil.copyfile(written[0], temporary)


def no_dicom(source: ClipSource) -> str | None:
    """Why a clip's segments cannot be exported as DICOM SEG; None: they can."""
    import slicer

    if source.geometry.kind != "volume":
        return "DICOM segmentations are for volumes, and this is a cine"
    if not (source.node.GetAttribute("DICOM.instanceUIDs") or "").split():
        return f"{source.name!r} was not loaded from Slicer's DICOM database"
    if "DICOMSegmentationPlugin" not in getattr(slicer.modules, "dicomPlugins", {}):
        return "this Slicer has no DICOM segmentation export (install QuantitativeReporting)"
    return None


def file_name(name: str) -> str:
    """The name of a node without what a file's name must not have."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", name).strip(" .") or "export"


def completed(path: str, suffix: str) -> str:
    """What a file dialog gave, with a format's suffix: a.seg.nrrd for a, a.nrrd and a.seg.nrrd."""
    if path.lower().endswith(suffix):
        return path
    end = f".{suffix.rsplit('.', 1)[-1]}"
    return (path[: -len(end)] if path.lower().endswith(end) else path) + suffix


def free_path(folder: str | os.PathLike, name: str) -> Path:
    """A path in a folder that nothing is at yet: the name, with a number where it is taken."""
    safe = file_name(name)
    path, number = Path(folder) / safe, 2
    while path.exists():
        path, number = Path(folder) / f"{safe}-{number}", number + 1
    return path


def _unused_name(info: SegmentInfo, annotation: Annotation) -> str:
    taken = {segment.name for segment in annotation.segments}
    name, number = info.name or info.id, 2
    while name in taken:
        name, number = f"{info.name or info.id} ({number})", number + 1
    return name
