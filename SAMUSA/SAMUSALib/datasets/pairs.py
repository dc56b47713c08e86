"""Files of two folders that belong together by their names."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidValue, UnreadableFile
from ..io.frames import clip_name
from ..io.image_folder import natural_key


def match_files(
    images: Path, masks: Path, suffix: str, endings: tuple[str, ...]
) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """([(path of the image within its folder, image, mask)] in natural order, notes on the rest).

    The folders in the two folders count too. A mask has its image's name (without format endings
    and ".seg") plus suffix, at the same place in its folder; both may be one folder if there is a
    suffix, which may be ".seg". endings: of the files that count. Raises UnreadableFile, and
    InvalidValue if there is no pair or two files differ in their ending only.
    """
    same = images.resolve() == masks.resolve()
    if same and not suffix:
        raise InvalidValue(f"{images} holds images and masks; say what the names of masks end in")
    of_masks = {key: p for key, p in _files(masks, endings, suffix).items() if key.endswith(suffix)}
    by_image = {key[: len(key) - len(suffix)]: path for key, path in of_masks.items()}
    found = {
        k: p for k, p in _files(images, endings, suffix).items() if not (same and k in of_masks)
    }
    both = sorted(found.keys() & by_image.keys(), key=natural_key)
    if not both:
        name = f"its name and {suffix}" if suffix else "its name"
        raise InvalidValue(f"no file of {images} has one of {name} in {masks}")
    notes = []
    if alone := len(found) - len(both):
        notes.append(f"{alone} without a mask left out")
    if alone := len(by_image) - len(both):
        notes.append(f"{alone} masks without an image left out")
    return [
        (found[key].relative_to(images).as_posix(), found[key], by_image[key]) for key in both
    ], notes


def _files(folder: Path, endings: tuple[str, ...], suffix: str) -> dict[str, Path]:
    """Path within the folder without its endings -> path; hidden files do not count."""
    if not folder.is_dir():
        raise UnreadableFile(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.name.lower().endswith(endings) or any(p.startswith(".") for p in inside.parts):
            continue
        name = clip_name(path)
        key = (inside.parent / (name if suffix == ".seg" else name.removesuffix(".seg"))).as_posix()
        if key in found:
            raise InvalidValue(f"{found[key]} and {path} differ in their ending only; keep one")
        found[key] = path
    return found
