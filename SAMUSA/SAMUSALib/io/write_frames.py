"""Write a folder of files, one or more a frame: masks as PNG, or COCO with its images.

In steps, since a long cine takes seconds: each function yields how much is done, 0..1. The folder
appears at the end, whole; when the iterator is closed before, nothing is left.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..annotation import Annotation
from ..atomic import atomic_folder
from ..clip import Clip
from ..measurements import pixel_area

ReadFrame = Callable[[int], np.ndarray]  # frame index -> (H, W) or (H, W, 3) uint8


def mask_image_steps(folder: str | os.PathLike, annotation: Annotation) -> Iterator[float]:
    """SEGMENT/frame_0000.png for every frame: 255 inside, 0 outside, 8-bit grey. A folder for each
    segment, since segments may overlap. Raises CannotWrite."""
    with atomic_folder(folder) as made:
        places = [made / name for name in file_names(annotation)]
        for place in places:
            place.mkdir()
        for index in range(annotation.length):
            for place, segment in zip(places, annotation.segments, strict=True):
                mask = segment.mask(index).astype(np.uint8) * 255
                save_png(place / frame_name(index, annotation.length), mask)
            yield (index + 1) / annotation.length


def coco_steps(
    folder: str | os.PathLike, clip: Clip, annotation: Annotation, read_frame: ReadFrame
) -> Iterator[float]:
    """annotations.json and images/frame_0000.png, ...: one annotation for each segment on each
    frame where it has a mask; category n is segment n, from 1.

    Masks are run lengths, which keep every pixel, holes too; any COCO reader takes them. area and
    bbox are pixels, as COCO has it; what COCO has no word for is under "samusa" (state,
    confidence, time_s, area_mm2). Raises CannotWrite.
    """
    pixel_mm2 = pixel_area(clip.geometry)
    height, width = annotation.frame_size
    images, annotations = [], []
    with atomic_folder(folder) as made:
        (made / "images").mkdir()
        for index in range(annotation.length):
            name = f"images/{frame_name(index, annotation.length)}"
            save_png(made / name, read_frame(index))
            image = {"id": index + 1, "file_name": name, "width": width, "height": height}
            if clip.times is not None:
                image["samusa"] = {"time_s": round(float(clip.times[index]), 6)}
            images.append(image)
            for category, segment in enumerate(annotation.segments, start=1):
                frame = segment.frame(index)
                if frame.mask.is_empty:
                    continue
                x0, y0, x1, y1 = frame.mask.box
                mask = frame.mask.decode()
                area = int(np.count_nonzero(mask))
                extra = {"state": frame.state.value, "confidence": round(frame.confidence, 4)}
                if pixel_mm2 is not None:
                    extra["area_mm2"] = float(f"{area * pixel_mm2:.6g}")
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": category,
                        "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                        "area": area,
                        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                        "iscrowd": 0,
                        "samusa": extra,
                    }
                )
            yield (index + 1) / annotation.length
        content = {
            "info": {"description": clip.name, "version": "1.0"},
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": category, "name": segment.name, "supercategory": ""}
                for category, segment in enumerate(annotation.segments, start=1)
            ],
        }
        with open(made / "annotations.json", "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, separators=(",", ":"))


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths of an (H, W) bool mask: column by column, zeros first."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8), [0]])
    turns = np.flatnonzero(np.diff(flat))
    ends = turns if len(turns) and turns[-1] == mask.size else [*turns, mask.size]
    return np.diff(ends, prepend=0).tolist()


def file_names(annotation: Annotation) -> list[str]:
    """The segments' names as names of files on any system, each of them once."""
    names: list[str] = []
    for number, segment in enumerate(annotation.segments, start=1):
        name = re.sub(r"[^\w-]+", "_", segment.name).strip("_") or f"segment_{number}"
        if name.lower() in (taken.lower() for taken in names):
            name = f"{name}_{number}"
        names.append(name)
    return names


def frame_name(index: int, length: int) -> str:
    """frame_0000.png; the numbers of a clip have one width, so that names sort as frames do."""
    return f"frame_{index:0{max(4, len(str(length - 1)))}d}.png"


def save_png(path: Path, pixels: np.ndarray) -> None:
    """(H, W) or (H, W, 3) uint8. Raises OSError."""
    from PIL import Image

    with open(path, "wb") as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=3)
