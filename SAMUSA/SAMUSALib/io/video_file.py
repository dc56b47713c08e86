"""Video files, decoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..clip import Clip
from ..errors import UnreadableFile
from .frames import cine_clip, stack_frames

# Identifiers of Windows Media; its properties state the size of the whole file.
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def read_video(path: Path, axis: int | None, window) -> Clip:
    """All frames of the first video stream; times from its presentation stamps.

    A rotation that the file asks players for is applied. No pixel size: videos state none.
    """
    if _is_cut(path):
        raise _damaged(path, 0)
    times: list[float | None] = []
    frames = stack_frames(video_frames(path, path, times), path)
    known = None if None in times else np.array(times)
    return cine_clip(path, frames, axis, window, None, known)


def video_frames(
    path: Path, source: Path | BinaryIO, times: list[float | None]
) -> Iterator[np.ndarray]:
    """(H, W) or (H, W, 3) uint8, one at a time; seconds (None: unknown) are added to `times`.

    source: what is opened; path: named in errors. Raises UnreadableFile.
    """
    import av

    try:
        if isinstance(source, Path):
            # A playlist in disguise must not make the decoder fetch things from the network.
            container = av.open(str(source), options={"protocol_whitelist": "file"})
        else:
            container = av.open(source)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableFile(
            f"{path} cannot be opened as a video; it was cut short or is of another format"
        ) from error
    count = 0
    with container:
        if not container.streams.video:
            raise UnreadableFile(f"{path} holds no video; choose a file that shows images")
        stream = container.streams.video[0]
        if stream.codec_context.name in ("mpeg1video", "mpeg2video"):
            # Such streams state no length: that the last frame is cut shows only in its decoding,
            # and by default the decoder guesses what is missing.
            stream.codec_context.options = {"err_detect": "explode"}
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise _damaged(path, count)
                for frame in packet.decode():
                    format_ = "gray" if frame.format.name == "gray" else "rgb24"
                    image = frame.to_ndarray(format=format_)
                    turns = round((frame.rotation or 0) / 90) % 4
                    if turns:
                        image = np.rot90(image, turns)
                    times.append(None if frame.time is None else float(frame.time))
                    count += 1
                    yield image
        except av.FFmpegError as error:
            raise _damaged(path, count) from error


def _damaged(path: Path, count: int) -> UnreadableFile:
    where = f" after frame {count - 1}" if count else ""
    return UnreadableFile(
        f"{path} is damaged or cut short{where}; export it again, or convert it with ffmpeg"
    )


def _is_cut(path: Path) -> bool:
    """True if the container's own lengths reach beyond the end of the file.

    Decoders stop silently at the end of a cut file; its frames would just be fewer.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(1 << 12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _mp4_is_cut(file, size)
        if head[:4] == b"RIFF":
            stated = int.from_bytes(head[4:8], "little")
            # 0 and all ones: the writer did not know the length.
            return stated not in (0, 0xFFFFFFFF) and stated + 8 > size
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _matroska_is_cut(head, size)
        if head.startswith(_ASF_HEADER):
            properties = head.partition(_ASF_FILE_PROPERTIES)[2]
            return int.from_bytes(properties[24:32], "little") > size
    return False


def _mp4_is_cut(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # reaches to the end, whatever that is
            return False
        if length < 8:
            return False  # rubbish after the last box; players do not mind
        position += length
    return position > size


def _matroska_is_cut(head: bytes, size: int) -> bool:
    def number(at: int) -> tuple[int | None, int]:
        """(value, bytes it takes); None where the writer did not know it."""
        width = 9 - head[at].bit_length() if head[at] else 9
        value = int.from_bytes(head[at : at + width], "big") & ((1 << (7 * width)) - 1)
        return (None if value == (1 << (7 * width)) - 1 else value), width

    length, width = number(4)
    segment = 4 + width + (length or 0)
    if length is None or head[segment : segment + 4] != b"\x18\x53\x80\x67":
        return False
    if segment + 12 > len(head):
        return False
    length, width = number(segment + 4)
    return length is not None and segment + 4 + width + length > size
