"""Import COCO JSON: instance masks as polygons or run lengths, decoded by pycocotools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidValue, SamusaError, UnreadableFile
from ..io.json_file import read_json
from ..io.read_clip import read_clip
from .labels import stack_layers
from .splits import SplitRule
from .write_set import About, new_set


def import_coco(
    files: Sequence[Path],
    out: Path,
    about: About,
    rule: SplitRule,
    images: Path | None = None,
    keep_crowd: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the set `out` from COCO files; returns notes on what was left out.

    images: folder that `file_name` starts from; None: the folder of the JSON file. Category ids
    become labels where they are from 1 to 65535, else categories are numbered in their order.
    Instances of one category that touch and instances that overlap lie in several layers.
    Annotations marked as crowds are left out unless keep_crowd: some tools mark every run length
    mask so. rule sees the path "JSON's folder/JSON's name/file_name". Raises UnreadableFile,
    InvalidValue and CannotWrite; then nothing is written.
    """
    work: list[tuple[str, Path, dict, list[dict]]] = []
    categories: dict[int, str] = {}
    notes: Counter[str] = Counter()
    for file in files:
        listed, annotations, named = _read(file)
        for number, name in named.items():
            if categories.setdefault(number, name) != name:
                raise InvalidValue(
                    f"{file} calls category {number} {name!r}, another file {categories[number]!r}"
                )
        by_image: dict[Any, list[dict]] = {}
        for annotation in annotations:
            if annotation.get("iscrowd") and not keep_crowd:
                notes["annotations marked as crowd left out"] += 1
            elif not annotation.get("segmentation"):
                notes["annotations without a mask left out"] += 1
            else:
                by_image.setdefault(annotation["image_id"], []).append(annotation)
        for entry in listed:
            path = f"{file.resolve().parent.name}/{file.stem}/{entry['file_name']}"
            if entry["id"] in by_image:
                place = (images or file.parent) / entry["file_name"]
                work.append((path, place, entry, by_image[entry["id"]]))
            else:
                notes["images without a mask left out"] += 1
    values = _label_values(categories)
    labels = {values[number]: name for number, name in categories.items()}
    about = About(about.name, about.licence, about.source, labels | about.labels)
    with new_set(out, about) as writer:
        places = rule.assign([path for path, *_ in work])
        for done, ((_, place, entry, annotations), (split, group)) in enumerate(
            zip(work, places, strict=True), start=1
        ):
            frame = _frame(place, entry)
            masks = []
            for annotation in annotations:
                try:
                    mask = decode(annotation["segmentation"], frame.shape[:2])
                except InvalidValue as error:
                    raise InvalidValue(
                        f"annotation {annotation.get('id')} of {entry['file_name']}: {error}"
                    ) from None
                masks.append((values[annotation["category_id"]], mask))
            layers = stack_layers(masks, frame.shape[:2], apart=True)
            writer.add_image(
                str(Path(entry["file_name"]).with_suffix("")), frame, layers, split, group
            )
            progress(done, len(work))
    return [f"{count} {text}" for text, count in notes.items()]


def _read(file: Path) -> tuple[list[dict], list[dict], dict[int, str]]:
    """(images, annotations, category id -> name), each checked for the keys that are used."""
    try:
        data = read_json(file)
        images, annotations = list(data["images"]), list(data["annotations"])
        categories = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        for image in images:
            image["id"], Path(image["file_name"])
        for annotation in annotations:
            if annotation["category_id"] not in categories:
                raise InvalidValue(
                    f"{file}: annotation {annotation.get('id')} is of category "
                    f"{annotation['category_id']}, which is not listed"
                )
        known = {image["id"] for image in images}
        for annotation in annotations:
            if annotation["image_id"] not in known:
                raise InvalidValue(
                    f"{file}: annotation {annotation.get('id')} is of image "
                    f"{annotation['image_id']}, which is not listed"
                )
    except SamusaError:
        raise
    except (KeyError, TypeError, AttributeError):
        raise UnreadableFile(
            f'{file} is not COCO: "images", "annotations", "categories" with ids are needed'
        ) from None
    except ValueError as error:
        raise UnreadableFile(f"{file} is not COCO: {error}") from None
    return images, annotations, categories


def _label_values(categories: dict[int, str]) -> dict[int, int]:
    if all(1 <= number <= 65535 for number in categories):
        return {number: number for number in categories}
    return {number: value for value, number in enumerate(sorted(categories), start=1)}


def _frame(path: Path, entry: dict) -> np.ndarray:
    frame = read_clip(path).frames[0]
    stated = (entry.get("height", frame.shape[0]), entry.get("width", frame.shape[1]))
    if tuple(stated) != frame.shape[:2]:
        raise InvalidValue(
            f"{path} is {frame.shape[1]} x {frame.shape[0]} pixels, "
            f"its JSON says {stated[1]} x {stated[0]}"
        )
    return frame


def decode(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """The mask, (H, W) bool, of a COCO segmentation: list of polygons, each [x0, y0, x1, y1, …],
    or run lengths {"size": [H, W], "counts": list (plain) or text (compressed)}.

    Raises InvalidValue for anything else and for run lengths of another size.
    """
    from pycocotools import mask as coco_mask

    height, width = size
    try:
        if isinstance(segmentation, dict):
            if tuple(segmentation["size"]) != tuple(size):
                h, w = segmentation["size"]
                raise InvalidValue(
                    f"its run lengths are of {w} x {h} pixels, its image of {width} x {height}"
                )
            counts = segmentation["counts"]
            if isinstance(counts, list):
                if min(counts, default=0) < 0 or sum(counts) != height * width:
                    raise InvalidValue("its run lengths do not add up to the pixels of its image")
                encoded = coco_mask.frPyObjects(segmentation, height, width)
            else:
                if sum(_runs(counts)) != height * width:
                    raise InvalidValue("its run lengths do not add up to the pixels of its image")
                encoded = {"size": [height, width], "counts": counts.encode("ascii")}
        else:
            if any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
                raise InvalidValue("a polygon has fewer than three points, or half a point")
            points = np.concatenate([np.asarray(p, dtype=np.float64) for p in segmentation])
            if not np.isfinite(points).all():
                raise InvalidValue("a polygon has a point that is no finite number")
            # pycocotools walks along every edge pixel by pixel, wherever it leads
            if (np.abs(points.reshape(-1, 2) / (width, height) - 0.5) > 1.5).any():
                raise InvalidValue("a polygon has a point far outside its image")
            encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        return coco_mask.decode(encoded).astype(bool)
    except InvalidValue:
        raise
    except Exception as error:  # pycocotools raises plain Exception too
        raise InvalidValue(f"its mask cannot be decoded ({error})") from None


def _runs(text: str) -> list[int]:
    """The run lengths of a compressed text: 5 bits a character, lowest first, from the fourth run
    on as a difference to the run before the last. pycocotools does not check what it decodes."""
    runs, value, shift = [], 0, 0
    for code in text.encode("ascii"):
        bits = code - 48
        if not 0 <= bits < 64:
            raise InvalidValue(f"its run lengths hold {chr(code)!r}, which is no code")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            if runs[-1] < 0:
                raise InvalidValue("it has a run of negative length")
            value, shift = 0, 0
    if shift:
        raise InvalidValue("its run lengths end within a number")
    return runs
