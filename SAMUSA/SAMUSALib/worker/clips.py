"""The clips that a worker has open: pixels in shared memory, or sent piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from ..clip import Clip, Geometry
from ..errors import InvalidValue, SamusaError
from .messages import OpenClip, SendFrames
from .shared_frames import attach


class UnknownClip(SamusaError):
    """A clip is not open, or pixels of it have not come."""


class TooMuch(SamusaError):
    """Clips that are sent would take more memory than is allowed."""


@dataclass(frozen=True, eq=False)
class OpenedClip:
    """key: names this opening of a clip, never used twice, so that nothing kept for an earlier
    clip of the same name can be taken for this one. sent: (T,) bool, None for shared memory, where
    all frames are there; it is unmapped when nobody holds the clip any more."""

    key: str
    clip: Clip
    sent: np.ndarray | None = field(repr=False)

    def need(self, frames: Collection[int]) -> None:
        """Raise InvalidValue unless these are frames of the clip, UnknownClip unless their pixels
        are there."""
        for index in frames:
            if not 0 <= index < len(self.clip):
                raise InvalidValue(
                    f"frame {index} does not exist; the clip's last frame is {len(self.clip) - 1}"
                )
            if self.sent is not None and not self.sent[index]:
                raise UnknownClip(f"the pixels of frame {index} were not sent yet")


class OpenClips:
    """Open clips by name; safe to use from several threads.

    budget: bytes that clips sent inline may take together; shared ones cost the worker nothing.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self._lock = threading.Lock()
        self._clips: dict[str, OpenedClip] = {}
        self._closed: list[str] = []
        self._serial = count(1)

    def open(self, request: OpenClip) -> None:
        """Raises InvalidValue, or TooMuch for inline frames beyond the budget."""
        with self._lock:
            if request.clip in self._clips:
                raise InvalidValue(f"clip {request.clip!r} is open already; close it first")
            if request.aspect <= 0:
                raise InvalidValue(f"aspect is {request.aspect:g}; a positive number is needed")
            sent = None
            if request.shared is None:
                frames = self._allocate(request.shape)
                sent = np.zeros(len(frames), dtype=bool)
            else:
                frames = attach(request.shared, request.shape)
            spacing = np.diag([-1.0, -request.aspect, 1.0, 1.0])
            geometry = Geometry.for_cine(*request.shape[:3], ijk_to_ras=spacing)
            clip = Clip(frames, geometry, request.clip)
            key = f"{request.clip} #{next(self._serial)}"
            self._clips[request.clip] = OpenedClip(key, clip, sent)

    def _allocate(self, shape: tuple[int, ...]) -> np.ndarray:
        wanted = int(np.prod(shape, dtype=object))
        used = sum(
            each.clip.frames.nbytes for each in self._clips.values() if each.sent is not None
        )
        if used + wanted > self.budget:
            raise TooMuch(
                f"the clip takes {wanted / 2**20:.0f} MB, and the worker keeps at most "
                f"{self.budget / 2**20:.0f} MB of clips, of which {used / 2**20:.0f} are in use; "
                "close a clip, send fewer frames, or start it with a larger --clips-mb"
            )
        return np.zeros(shape, dtype=np.uint8)

    def send(self, request: SendFrames) -> None:
        """Take pixels of an inline clip. Raises UnknownClip or InvalidValue."""
        with self._lock:
            opened = self._find(request.clip)
            frames = opened.clip.frames
            if opened.sent is None:
                raise InvalidValue(f"clip {request.clip!r} is in shared memory; nothing to send")
            size = frames[0].nbytes
            number, rest = divmod(len(request.pixels), size)
            if rest or number == 0 or request.first + number > len(frames):
                raise InvalidValue(
                    f"{len(request.pixels)} bytes from frame {request.first} on; whole frames of "
                    f"{size} bytes, up to frame {len(frames) - 1}, are needed"
                )
            pixels = np.frombuffer(request.pixels, np.uint8).reshape(number, *frames.shape[1:])
            frames[request.first : request.first + number] = pixels
            opened.sent[request.first : request.first + number] = True

    def get(self, name: str) -> OpenedClip:
        """Raises UnknownClip."""
        with self._lock:
            return self._find(name)

    def _find(self, name: str) -> OpenedClip:
        if name not in self._clips:
            raise UnknownClip(f"clip {name!r} is not open")
        return self._clips[name]

    def close(self, name: str) -> None:
        """Forget a clip. Raises UnknownClip."""
        with self._lock:
            self._closed.append(self._find(name).key)
            del self._clips[name]

    def newly_closed(self) -> list[str]:
        """Keys of the clips that were closed since the last call."""
        with self._lock:
            closed, self._closed = self._closed, []
        return closed

    def __len__(self) -> int:
        return len(self._clips)
