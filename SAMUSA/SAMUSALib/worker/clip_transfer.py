"""A clip on its way to the worker, in pieces: into shared memory, or inline."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from ..clip import FrameReader
from ..errors import InvalidValue
from .messages import OpenClip, SendFrames
from .protocol import MAX_BODY
from .shared_frames import SharedBlock

if TYPE_CHECKING:
    from .client import Pending

PIECE = 2**20  # bytes; into fresh shared memory 3 to 11 ms on one slow core


class ClipTransfer:
    """What has been copied or sent of a clip, and what comes next; it sends nothing itself.

    frames: uint8 (T, H, W) or (T, H, W, 3), an array or a FrameReader, which is read piece by
    piece; aspect: height of a pixel over its width. Raises InvalidValue.
    """

    def __init__(self, clip: str, frames: np.ndarray | FrameReader, aspect: float):
        if not isinstance(frames, (np.ndarray, FrameReader)) or frames.dtype != np.uint8:
            kind = getattr(frames, "dtype", type(frames).__name__)
            raise InvalidValue(f"frames are of type {kind}; a uint8 array is needed")
        grey_or_rgb = frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)
        if not grey_or_rgb or frames.size == 0:
            raise InvalidValue(
                f"frames have shape {frames.shape}; (T, H, W) or (T, H, W, 3) is needed"
            )
        frame_size = frames.size // len(frames)
        if frame_size > MAX_BODY:
            raise InvalidValue(f"a frame of {frame_size} bytes; at most {MAX_BODY} fit a message")
        self.clip = clip
        self.aspect = float(aspect)
        self.shape = frames.shape
        self.pending: Pending | None = None  # of the whole; the client sets it
        self.begun = False
        self.announced = False  # OpenClip has been sent
        self.stopped = False
        self.block: SharedBlock | None = None
        self.parts = 0  # requests of this transfer that wait for their answers
        self._frames: np.ndarray | FrameReader | None = frames
        self._per_piece = max(1, PIECE // frame_size)
        self._left = set(range(0, len(frames), self._per_piece))  # first frames of pieces

    @property
    def complete(self) -> bool:
        """Whether every piece has been copied or sent."""
        return not self._left

    def ready_for(self, frames: Collection[int] | None) -> bool:
        """Whether the worker can look at these frames (None: all) once it has read what was sent.
        Frames that the clip lacks do not count: the worker says what is wrong with them."""
        if not self.announced or frames is None:
            return self.announced and self.complete
        return not any(self._piece_of(each) in self._left for each in frames)

    @property
    def announcement(self) -> OpenClip:
        shared = None if self.block is None else self.block.name
        return OpenClip(self.clip, tuple(self.shape), self.aspect, shared)

    def make_block(self) -> None:
        """Copy into shared memory instead of sending. Raises CannotShare."""
        self.block = SharedBlock(int(self._frames.size))

    def copy_piece(self) -> None:
        """The next piece into `block`. Raises CannotShare, and what a FrameReader raises."""
        first, pixels = self._next(())
        self.block.write(first * pixels[0].size, np.ascontiguousarray(pixels))
        self._finish(first)

    def next_message(self, wanted: Collection[int]) -> SendFrames:
        """The next piece to send; one with a frame that is `wanted` goes first."""
        first, pixels = self._next(wanted)
        self._finish(first)
        return SendFrames(self.clip, first, pixels.tobytes())

    def begin_again(self) -> None:
        """Everything is still to do: what was copied is of no use."""
        self.remove_block()
        self.announced = False
        self._left = set(range(0, self.shape[0], self._per_piece))

    def stop(self) -> None:
        """Nothing more is to be copied or sent."""
        self.stopped = True
        self._left = set()
        self._frames = None

    def release(self) -> None:
        """The worker has all: the array is needed no longer."""
        self._frames = None

    def remove_block(self) -> None:
        if self.block is not None:
            self.block.close()
            self.block = None

    def _piece_of(self, frame: int) -> int:
        return frame - frame % self._per_piece

    def _next(self, wanted: Collection[int]) -> tuple[int, np.ndarray]:
        urgent = [piece for each in wanted if (piece := self._piece_of(each)) in self._left]
        first = urgent[0] if urgent else min(self._left)
        return first, self._frames[first : first + self._per_piece]

    def _finish(self, first: int) -> None:
        self._left.discard(first)
