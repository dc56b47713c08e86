"""Read a clip from a file or folder, whatever its format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..clip import Clip
from ..errors import InvalidValue, SamusaError, UnreadableFile
from .frames import LABELS, one_line

NRRD = (".nrrd", ".nhdr")
META_IMAGE = (".mha", ".mhd")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
VIDEO = (".mp4", ".m4v", ".mov", ".mpeg", ".mpg", ".avi", ".mkv", ".webm", ".wmv")
IMAGE = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_clip(
    path: str | os.PathLike,
    axis: int | None = None,
    window: tuple[float, float] | None = None,
) -> Clip:
    """Frames of a file or of a folder of images, 8 bit, with their geometry.

    path: NRRD volume or sequence (.nrrd, .nhdr, .seq.nrrd), MetaImage volume or Plus sequence
        (.mha, .mhd, .igs.mha), NIfTI (.nii, .nii.gz), DICOM (.dcm or any name), video (.mp4,
        .mov, .mpeg, .mpg, .avi, .mkv, ...), one image (.png, .jpg, .bmp, .tif), or a folder of
        images, which become frames in natural order of their names (2 before 10).
    axis: for a volume the voxel axis (0 = i, 1 = j, 2 = k) that its slices are taken along;
        None: the last one, or the one with a single slice.
    window: (lowest, highest) value to show; None: see clip.to_8bit.

    Frames are uint8, (T, H, W) where all pixels are grey, else (T, H, W, 3). IJK to RAS is that
    of the file (LPS is turned into RAS).
    Raises UnreadableFile (missing, damaged, cut short, not supported) and InvalidValue (axis or
    window do not fit); both say in one line which file, what is wrong and what to do.
    """
    if window is not None and not (np.isfinite(window).all() and window[1] > window[0]):
        raise InvalidValue(f"window is {window}; its end must be above its start")
    return _read(Path(path), axis, window)


def read_label_clip(
    path: str | os.PathLike, axis: int | None = None, channel: int | None = None
) -> Clip:
    """A label image, volume or sequence in any format of `read_clip`: frames are (T, H, W) uint8
    labels as they are in the file, cut and ordered as `read_clip` does with the images.
    channel: the volume of a 4D NIfTI that is taken.

    Raises UnreadableFile, also where values are not whole numbers from 0 to 255 or have colours.
    """
    path = Path(path)
    if channel is not None:
        from .itk_file import read_nifti

        if not path.name.lower().endswith(NIFTI) or not path.is_file():
            raise InvalidValue(f"{path} is no NIfTI file, so it has no channel {channel}")
        clip = read_nifti(path, axis, LABELS, channel)
    else:
        clip = _read(path, axis, LABELS)
    if clip.frames.ndim == 4:
        raise UnreadableFile(f"{path} has colours; a label image has one number a pixel")
    return clip


def _read(path: Path, axis: int | None, window) -> Clip:
    if axis is not None and (isinstance(axis, bool) or axis not in (0, 1, 2)):
        raise InvalidValue(f"axis is {axis!r}; it must be 0 (i), 1 (j) or 2 (k)")
    try:
        reader = _reader_for(path)
        return reader(path, axis, window)
    except InvalidValue as error:
        if str(path) in str(error):  # what the caller asked for does not fit this file
            raise
        raise UnreadableFile(f"{path}: {error}; export it again") from error
    except SamusaError:
        raise
    except ImportError as error:
        raise UnreadableFile(
            f"{path} needs the Python package {error.name!r}, which is not installed; install it"
        ) from error
    except MemoryError:
        raise UnreadableFile(f"{path} does not fit into memory; cut it into parts") from None
    except PermissionError:
        raise UnreadableFile(f"{path} may not be read; ask for permission or copy it") from None
    except Exception as error:  # decoders raise whatever they like; users get one sentence
        raise UnreadableFile(
            f"{path} cannot be read ({one_line(error)}); it may be damaged, export it again"
        ) from error


def _reader_for(path: Path):
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the name")
    if path.is_dir():
        from .image_folder import read_image_folder

        return read_image_folder
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path} is empty; export it again")
    name = path.name.lower()
    if name.endswith(NRRD):
        from .nrrd_file import read_nrrd_clip as reader
    elif name.endswith(META_IMAGE):
        from .itk_file import read_meta_image as reader
    elif name.endswith(NIFTI):
        from .itk_file import read_nifti as reader
    elif name.endswith(VIDEO):
        from .video_file import read_video as reader
    elif name.endswith(IMAGE):
        from .image_folder import read_image as reader
    elif name.endswith(DICOM) or _is_dicom(path):
        from .dicom_file import read_dicom as reader
    else:
        raise UnreadableFile(
            f"{path} is of no format that can be read; use NRRD, MHA, NIfTI, DICOM, "
            "MP4, MOV, MPEG, AVI, MKV, PNG, JPEG, BMP, TIFF or a folder of images"
        )
    return reader


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"
