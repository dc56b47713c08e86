"""DICOM images, one frame or many, decoded by pydicom with Pillow, or by SimpleITK (ADR 16)."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..clip import Clip
from ..errors import UnreadableFile
from .frames import cine_clip, one_line, stack_frames
from .itk_file import itk_reason, quiet_itk

_VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))
# JPEG extended, JPEG lossless (two) and JPEG-LS (two).
_SIMPLEITK_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (51, 57, 70, 80, 81))
_PIXEL_ELEMENTS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
_CM = 3  # code of centimetres in the units of an ultrasound region
_IMAGE_2D, _TISSUE = 1, 1


def read_dicom(path: Path, axis: int | None, window) -> Clip:
    """Frames of a DICOM file as a cine.

    MONOCHROME1 is inverted; YBR becomes RGB. 16-bit grey images use the file's own window where
    it states one. Times come from FrameTimeVector, FrameTime or CineRate; the pixel size from the
    largest 2D ultrasound region in centimetres, or PixelSpacing.
    """
    with _quiet_pydicom():
        dataset = _dataset(path)
        grey = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        if window is None and grey and int(dataset.get("BitsAllocated", 8)) > 8:
            window = _stored_window(dataset)
        frames = stack_frames(_frames(path, dataset), path)
    stated = int(dataset.get("NumberOfFrames") or 1)
    if len(frames) < stated:
        raise UnreadableFile(
            f"{path} holds {len(frames)} frames of the {stated} that it states; "
            "it was cut short, export it again"
        )
    spacing = pixel_size(dataset)
    matrix = None if spacing is None else np.diag([-spacing[0], -spacing[1], 1.0, 1.0])
    times = frame_times(dataset, len(frames))
    clip = cine_clip(path, frames, axis, window, matrix, times)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        rule = f"{clip.intensity_rule}; " if clip.intensity_rule else ""
        inverted = 255 - clip.frames
        rule += "inverted (MONOCHROME1)"
        clip = Clip(inverted, clip.geometry, clip.name, clip.times, rule, clip.source)
    return clip


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """pydicom warns of every small breach of the standard; what matters is raised."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _dataset(path: Path):
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError:
        # Some devices leave the preamble out; what must be there for an image is then asked for.
        try:
            dataset = pydicom.dcmread(path, force=True)
        except Exception:
            dataset = {}
        if "PixelData" not in dataset or "Rows" not in dataset:
            raise UnreadableFile(f"{path} is not a DICOM file; choose another file") from None
    except Exception as error:
        raise UnreadableFile(
            f"{path} cannot be read as DICOM ({one_line(error)}); "
            "it was cut short or damaged, export it again"
        ) from error
    if not any(tag in dataset for tag in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableFile(
            f"{path} is DICOM without an image, or cut short before it; choose an image"
        )
    if not getattr(dataset, "file_meta", None):
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return dataset


def _frames(path: Path, dataset) -> Iterator[np.ndarray]:
    """(H, W) or (H, W, 3), as stored except that colour is RGB."""
    import pydicom

    try:
        from pydicom.pixels import apply_color_lut, iter_pixels
    except ModuleNotFoundError:  # Slicer 5.10 brings 2.4
        raise UnreadableFile(
            f"{path} needs pydicom 3 to be read, and here is {pydicom.__version__}; use Slicer "
            "5.12 or newer, or load it in Slicer and save it as .nrrd"
        ) from None

    syntax = dataset.file_meta.TransferSyntaxUID
    if str(syntax).startswith(_VIDEO_SYNTAXES):
        from .video_file import video_frames

        # The whole video is one "frame" of encapsulated data, maybe in several fragments.
        parts = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
        stream = io.BytesIO(b"".join(parts))
        yield from video_frames(path, stream, [])
        return
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    by_simpleitk = syntax in _SIMPLEITK_SYNTAXES
    frames = _simpleitk_frames(path, dataset) if by_simpleitk else iter_pixels(dataset)
    try:
        for frame in frames:
            if palette:
                frame = apply_color_lut(frame, dataset)
                frame = (frame >> 8).astype(np.uint8) if frame.dtype == np.uint16 else frame
            yield frame
    except Exception as error:
        cut = isinstance(error, EOFError) or "length" in str(error) or "expected" in str(error)
        if syntax.is_compressed and not cut:
            todo = f"{syntax.name} pixels cannot be decoded; export it uncompressed or as JPEG"
        else:
            todo = "it was cut short or damaged, export it again"
        raise UnreadableFile(
            f"{path}: its pixels cannot be decoded ({one_line(error)}); {todo}"
        ) from error


def _simpleitk_frames(path: Path, dataset) -> np.ndarray:
    """(T, H, W[, 3]) as stored, except that colour is RGB."""
    import pydicom
    import SimpleITK as sitk

    # Alone, or SimpleITK would apply the palette, and of some kinds of image the rescaling too.
    pixels = pydicom.Dataset()
    for element in (dataset[name] for name in _PIXEL_ELEMENTS if name in dataset):
        pixels.add_new(element.tag, element.VR, element.value)
    if pixels.SamplesPerPixel == 1:
        pixels.PhotometricInterpretation = "MONOCHROME2"
    pixels.SOPClassUID = pydicom.uid.UltrasoundMultiFrameImageStorage
    pixels.SOPInstanceUID = pydicom.uid.generate_uid()
    pixels.file_meta = pydicom.dataset.FileMetaDataset()
    pixels.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder, quiet_itk():
        file = Path(folder) / "pixels.dcm"
        pixels.save_as(file, enforce_file_format=True)
        try:
            image = sitk.ReadImage(str(file), imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise UnreadableFile(
                f"{path}: its pixels cannot be decoded ({itk_reason(error)}); "
                "it was cut short or damaged, export it again"
            ) from error
    return sitk.GetArrayFromImage(image)


def _stored_window(dataset) -> tuple[float, float] | None:
    """The file's display window, in stored values, or None."""

    def first(name):
        value = dataset.get(name)
        if isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
            value = next(iter(value), None)
        return None if value is None else float(value)

    center, width = first("WindowCenter"), first("WindowWidth")
    if center is None or width is None or width <= 1:
        return None
    slope, intercept = first("RescaleSlope") or 1.0, first("RescaleIntercept") or 0.0
    ends = [(center + side * width / 2 - intercept) / slope for side in (-1, 1)]
    return min(ends), max(ends)


def pixel_size(dataset) -> tuple[float, float] | None:
    """(along x, along y) in mm of a pydicom dataset, or None where it is not stated."""
    regions = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        x, y = (abs(float(region.get(f"PhysicalDelta{a}") or 0)) * 10 for a in "XY")
        if units != (_CM, _CM) or not x or not y:
            continue
        # A missing format or type is taken for an image of tissue; sizes rank the rest.
        image = region.get("RegionSpatialFormat", _IMAGE_2D) == _IMAGE_2D
        tissue = region.get("RegionDataType", _TISSUE) == _TISSUE
        width = (region.get("RegionLocationMaxX1") or 0) - (region.get("RegionLocationMinX0") or 0)
        height = (region.get("RegionLocationMaxY1") or 0) - (region.get("RegionLocationMinY0") or 0)
        if image:
            regions.append((tissue, width * height, x, y))
    if regions:
        return max(regions)[2:]
    spacing = dataset.get("PixelSpacing")
    if spacing is None or len(spacing) != 2 or not all(float(v) > 0 for v in spacing):
        return None
    return float(spacing[1]), float(spacing[0])  # DICOM states the distance of rows first


def frame_times(dataset, count: int) -> np.ndarray | None:
    """Seconds of each frame from the first, or None where they are not stated."""
    steps = dataset.get("FrameTimeVector")
    if steps is not None and np.size(steps) == count:
        times = np.cumsum(np.asarray(steps, dtype=np.float64).reshape(count)) / 1000
        return times - times[0]
    step = float(dataset.get("FrameTime") or 0) / 1000
    if step <= 0:
        rate = float(dataset.get("CineRate") or dataset.get("RecommendedDisplayFrameRate") or 0)
        step = 1 / rate if rate > 0 else 0
    return np.arange(count) * step if step > 0 and count > 1 else None
