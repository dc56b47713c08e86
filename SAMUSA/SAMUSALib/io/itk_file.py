"""MetaImage (also Plus sequences) and NIfTI, decoded by SimpleITK.

SimpleITK fills up what a file lacks with arbitrary values, or prints to stderr, so what a file
holds is compared with what its header states before it is decoded.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..clip import Clip
from ..errors import UnreadableFile
from .frames import (
    LABELS,
    LPS_TO_RAS,
    cine_clip,
    one_line,
    plane_matrix,
    sequence_times,
    volume_clip,
)

_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


@contextmanager
def quiet_itk() -> Iterator[None]:
    """SimpleITK's C++ warnings do not reach stderr inside the block."""
    import SimpleITK as sitk

    before = sitk.ProcessObject_GetGlobalWarningDisplay()
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject_SetGlobalWarningDisplay(before)


def itk_reason(error: RuntimeError) -> str:
    """What went wrong, without the source lines and addresses that SimpleITK reports."""
    text = re.split(r"(?:ITK|sitk::) ?ERROR:", str(error))[-1]
    return one_line(RuntimeError(re.sub(r"\w+\(0x[0-9a-f]+\):", "", text)))


def _cut_short(path: Path) -> UnreadableFile:
    return UnreadableFile(
        f"{path} does not hold the pixels that its header states; "
        "it was cut short or damaged, export it again"
    )


def _inflated_size(path: Path, start: int = 0, most: int = 1 << 62) -> int:
    """Bytes that a gzip or zlib stream holds, -1 where it is damaged or ends too early."""
    size, data = 0, b""
    with open(path, "rb") as file:
        file.seek(start)
        stream = zlib.decompressobj(47)
        while True:
            data = data or file.read(1 << 20)
            if not data:
                return size if stream.eof else -1
            if stream.eof:
                if data[:2] != b"\x1f\x8b":  # padding after the stream
                    return size
                stream = zlib.decompressobj(47)  # gzip files may hold several streams
            try:
                size += len(stream.decompress(data, 1 << 24))
                while stream.unconsumed_tail:
                    size += len(stream.decompress(stream.unconsumed_tail, 1 << 24))
                    if size > most:
                        return size
            except zlib.error:
                return -1
            data = stream.unused_data


def _load(path: Path):
    import SimpleITK as sitk

    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            reason = "its axes are skewed; resample it, or save it as NRRD"
        else:
            reason = f"{itk_reason(error)}; export it again"
        raise UnreadableFile(f"{path} cannot be decoded: {reason}") from error
    return image


def _matrix(image) -> np.ndarray:
    """IJK to RAS (4x4, mm) of an image of 2 or more dimensions."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)
    matrix = np.eye(4)
    m = min(n, 3)
    matrix[:m, :m] = direction[:m, :m] * np.array(image.GetSpacing())[:m]
    matrix[:m, 3] = image.GetOrigin()[:m]
    matrix = LPS_TO_RAS @ matrix
    return plane_matrix(matrix) if n == 2 else matrix


def _array(path: Path, image) -> np.ndarray:
    """Pixels in C order: (..., k, j, i) with components last."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels not in (1, 3, 4) or np.iscomplexobj(array):
        raise UnreadableFile(
            f"{path} has {channels} values a pixel (or complex ones); "
            "1 (grey), 3 (RGB) or 4 (RGBA) can be shown"
        )
    return array


def _volume(path: Path, array: np.ndarray, matrix, axis, window) -> Clip:
    """array: (k, j, i[, c])."""
    return volume_clip(path, array.transpose(2, 1, 0, *range(3, array.ndim)), matrix, axis, window)


def _clip(path: Path, image, axis, window, times=None) -> Clip:
    """Images of 2 dimensions are one frame, of 3 a volume; of 4 see read_nifti."""
    array, matrix = _array(path, image), _matrix(image)
    n = image.GetDimension()
    if n == 2:
        return cine_clip(path, array[None], axis, window, matrix)
    if n == 3:
        return _volume(path, array, matrix, axis, window)
    if n == 4 and array.shape[0] == 1:
        return _volume(path, array[0], matrix, axis, window)
    if n == 4 and array.shape[1] == 1:
        return cine_clip(path, array[:, 0], axis, window, matrix, times)
    if n == 4:
        todo = "choose one time point and save it as a file of its own"
        if window is LABELS:
            todo = "take one of them with `samusa data import volumes --channel`"
        raise UnreadableFile(f"{path} is 4D: {array.shape[0]} volumes in one file; {todo}")
    raise UnreadableFile(f"{path} has {n} dimensions; an image, volume or cine is needed")


def read_meta_image(path: Path, axis: int | None, window) -> Clip:
    """A MetaImage (.mha, .mhd).

    A file with Plus's per-frame fields (Seq_Frame0000_...) or named .igs.* is a cine: its third
    axis, or the fourth where the third has one slice, is time. Frames are kept as they are
    stored; UltrasoundImageOrientation says which way that is (MF: marked side, far side).
    """
    fields, start = _meta_header(path)
    _check_meta_size(path, fields, start)
    image = _load(path)
    sequence = ".igs." in path.name.lower() or any(key.startswith("Seq_Frame") for key in fields)
    if not sequence:
        return _clip(path, image, axis, window)
    if image.GetDimension() == 3:
        array = _array(path, image)
        times = sequence_times(fields, len(array))
        return cine_clip(path, array, axis, window, _matrix(image), times)
    times = sequence_times(fields, image.GetSize()[-1])
    return _clip(path, image, axis, window, times)


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """(fields of a MetaImage header, position after it)."""
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for raw in file:
            name, equals, text = raw.decode("utf-8", errors="replace").partition("=")
            if not equals or len(name) > 200:
                break
            fields[name.strip()] = text.strip()
            if name.strip() == "ElementDataFile":
                break
        start = file.tell()
    missing = {"DimSize", "ElementType", "ElementDataFile"} - fields.keys()
    if missing:
        raise UnreadableFile(
            f"{path} is not a complete MetaImage file (no {', '.join(sorted(missing))}); "
            "export it again"
        )
    return fields, start


def _check_meta_size(path: Path, fields: dict[str, str], start: int) -> None:
    """Raise UnreadableFile where fewer pixels are there than stated."""
    data, place = path, fields["ElementDataFile"]
    if place.upper().startswith("LIST") or "%" in place:
        return  # one file a slice: SimpleITK names the one that is missing
    if place.upper() != "LOCAL":
        data, start = path.parent / place, 0
        if not data.is_file():
            raise UnreadableFile(
                f"{path} keeps its pixels in {place}, which is not there; copy both files"
            )
    try:
        sizes = [int(n) for n in fields["DimSize"].split()]
        channels = int(fields.get("ElementNumberOfChannels", 1))
        # ITK believes these numbers, and ends the process where they are wrong
        if int(fields.get("NDims", 0)) != len(sizes) or min([*sizes, channels]) < 1:
            raise ValueError
    except ValueError:
        raise UnreadableFile(f"{path} has a damaged MetaImage header; export it again") from None
    kind = fields["ElementType"].upper().removeprefix("MET_").removesuffix("_ARRAY")
    width = _META_BYTES.get(kind, _META_BYTES.get(kind.removeprefix("U"), 1))
    expected = int(np.prod(sizes, dtype=np.float64)) * channels * width
    if fields.get("CompressedData", "").lower() in ("true", "1"):
        held = _inflated_size(data, start, expected)
    else:
        held = data.stat().st_size - start
    if held < expected:
        raise _cut_short(path)


def read_nifti(path: Path, axis: int | None, window, point: int | None = None) -> Clip:
    """A NIfTI image. 2D: one frame. 3D: a volume. 4D with one slice: a cine along the fourth
    axis. 4D with one time point: a volume. Any other 4D is refused, unless `point` says which
    volume of it is taken.
    """
    check_nifti_size(path)
    image = _load(path)
    times = None
    if point is not None:
        points = image.GetSize()[3] if image.GetDimension() == 4 else 1
        if not 0 <= point < points:
            raise UnreadableFile(
                f"{path} holds {points} volume{'s' if points > 1 else ''}, counted from 0; "
                f"there is no {point}"
            )
        image = image[:, :, :, point] if image.GetDimension() == 4 else image
    if image.GetDimension() == 4 and image.GetSpacing()[3] != 1.0:  # 1 is what "unset" reads as
        times = np.arange(image.GetSize()[3]) * image.GetSpacing()[3]
    return _clip(path, image, axis, window, times)


def check_nifti_size(path: Path) -> None:
    """Raise UnreadableFile unless the file holds all the pixels that its header states."""
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    packed = head[:2] == b"\x1f\x8b"
    if packed:
        try:
            head = zlib.decompressobj(47).decompress(head, 1024)
        except zlib.error:
            raise _cut_short(path) from None
    for order in "<>":
        if len(head) >= 348 and struct.unpack(order + "i", head[:4])[0] == 348:
            dim = struct.unpack(order + "8h", head[40:56])
            bits = struct.unpack(order + "h", head[72:74])[0]
            offset = int(struct.unpack(order + "f", head[108:112])[0])
            break
        if len(head) >= 540 and struct.unpack(order + "i", head[:4])[0] == 540:
            dim = struct.unpack(order + "8q", head[16:80])
            bits = struct.unpack(order + "h", head[14:16])[0]
            offset = struct.unpack(order + "q", head[168:176])[0]
            break
    else:
        raise UnreadableFile(f"{path} is not a complete NIfTI file; choose another file")
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise UnreadableFile(f"{path} has a damaged NIfTI header; export it again")
    expected = offset + int(np.prod(dim[1 : dim[0] + 1], dtype=np.float64)) * bits // 8
    held = _inflated_size(path, 0, expected) if packed else path.stat().st_size
    if held < expected:
        raise _cut_short(path)
