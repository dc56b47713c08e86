"""Single images and folders of images, decoded by Pillow."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..clip import Clip
from ..errors import UnreadableFile
from .frames import cine_clip, one_line, stack_frames

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# Pillow's modes that hold one number a pixel; any other becomes RGB.
_GREY_MODES = ("L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def natural_key(name: str) -> list:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def read_image_folder(folder: Path, axis: int | None, window) -> Clip:
    """The images of a folder (not of folders in it) as frames, in natural order of their names."""
    frames = _alike(image_files(folder))
    return cine_clip(folder, stack_frames(frames, folder), axis, window)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order of their names. Raises UnreadableFile if none."""
    names = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not names:
        todo = "choose the folder with the frames"
        if any(entry.suffix.lower() in (".dcm", ".dicom") for entry in folder.iterdir()):
            todo = "choose one of its DICOM files, or load them in Slicer and save them as .nrrd"
        raise UnreadableFile(f"{folder} holds no PNG, JPEG, BMP or TIFF image; {todo}")
    return sorted(names, key=lambda entry: (natural_key(entry.name), entry.name))


def _alike(names: list[Path]) -> Iterator[np.ndarray]:
    size = kind = None
    for name in names:
        pages = list(image_pages(name))
        if len(pages) > 1:
            raise UnreadableFile(f"{name} holds {len(pages)} images; open it by itself")
        width, height = pages[0].shape[1::-1]
        size, kind = size or (width, height), kind or pages[0].dtype
        if (width, height) != size:
            raise UnreadableFile(
                f"{name} is {width} x {height} pixels, {names[0].name} is "
                f"{size[0]} x {size[1]}; all images of a folder must have one size"
            )
        if pages[0].dtype != kind:
            raise UnreadableFile(
                f"{name} has pixels of kind {pages[0].dtype}, {names[0].name} of {kind}; "
                "all images of a folder must be of one kind, or some would be nearly black"
            )
        yield pages[0]


def read_image(path: Path, axis: int | None, window) -> Clip:
    """One image: a clip of one frame. A TIFF of several pages: a frame a page."""
    return cine_clip(path, stack_frames(image_pages(path), path), axis, window)


def image_pages(path: Path) -> Iterator[np.ndarray]:
    """(H, W) of any number type, or (H, W, 3) uint8, for each page. Raises UnreadableFile."""
    from PIL import Image, ImageSequence

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                # Pages of PNG and JPEG are animations or thumbnails, not frames.
                pages = ImageSequence.Iterator(image) if image.format == "TIFF" else [image]
                for page in pages:
                    yield _pixels(page)
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist; check the name") from None
    except IsADirectoryError:
        raise UnreadableFile(f"{path} is a folder; an image is needed") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableFile(
            f"{path} cannot be decoded as an image ({one_line(error)}); export it again"
        ) from error


def _pixels(image) -> np.ndarray:
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "LA":
        image = image.getchannel("L")
    elif image.mode not in _GREY_MODES:
        image = image.convert("RGB")
    return np.array(image)


def image_labels(path: Path) -> np.ndarray:
    """(H, W) of a label image; a palette's numbers are kept, of colour the brightest channel."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            indexed = image.mode == "P"
            pixels = np.array(image) if indexed else _pixels(image)
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist; check the name") from None
    except IsADirectoryError:
        raise UnreadableFile(f"{path} is a folder; an image is needed") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableFile(
            f"{path} cannot be decoded as an image ({one_line(error)}); export it again"
        ) from error
    return pixels if pixels.ndim == 2 else pixels.max(axis=2)
