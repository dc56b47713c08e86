"""Masks in little memory: lossless, cropped to what is set, and differences for undo."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from .errors import InvalidValue


def _as_mask(mask) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or min(mask.shape) < 1:
        raise InvalidValue(f"mask has shape {mask.shape}; (H, W) is needed")
    return mask.astype(bool, copy=False)


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) inclusive pixel range of what is set in an (H, W) mask; None if empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


@dataclass(frozen=True)
class EncodedMask:
    """A binary mask, lossless: the bits inside its bounding box, deflated.

    shape: (H, W). box: (x0, y0, x1, y1) inclusive, None if the mask is empty. data: zlib of the
    packed bits. A 640x480 structure of 200 px takes about 0.5 kB against 300 kB.
    """

    shape: tuple[int, int]
    box: tuple[int, int, int, int] | None
    data: bytes

    @classmethod
    def encode(cls, mask: np.ndarray) -> EncodedMask:
        mask = _as_mask(mask)
        box = bounding_box(mask)
        if box is None:
            return cls(mask.shape, None, b"")
        x0, y0, x1, y1 = box
        bits = np.packbits(mask[y0 : y1 + 1, x0 : x1 + 1])
        return cls(mask.shape, box, zlib.compress(bits.tobytes(), 6))

    def decode(self) -> np.ndarray:
        """(H, W) bool. Raises InvalidValue if the data is damaged."""
        mask = np.zeros(self.shape, dtype=bool)
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            bits = self.decode_box()
            mask[y0 : y1 + 1, x0 : x1 + 1] = bits
        return mask

    def decode_box(self) -> np.ndarray:
        """(h, w) bool: what lies inside the box of a mask that is not empty. Raises InvalidValue
        if the data is damaged."""
        x0, y0, x1, y1 = self.box
        height, width = y1 - y0 + 1, x1 - x0 + 1
        fits = 0 <= x0 <= x1 < self.shape[1] and 0 <= y0 <= y1 < self.shape[0]
        expected = (height * width + 7) // 8
        try:
            bits = zlib.decompressobj().decompress(self.data, expected + 1) if fits else b""
        except zlib.error:
            bits = b""
        if not fits or len(bits) != expected:
            raise InvalidValue(f"encoded mask of {self.shape} is damaged")
        unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
        return unpacked.reshape(height, width).astype(bool)

    @property
    def is_empty(self) -> bool:
        return self.box is None


@dataclass(frozen=True)
class MaskDelta:
    """What changed between two masks of one shape: forward before -> after, and back.

    Which pixels came and which went is kept apart, so that going back leaves alone what somebody
    else has changed elsewhere in the mask meanwhile.
    """

    added: EncodedMask
    removed: EncodedMask

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray) -> MaskDelta:
        before, after = _as_mask(before), _as_mask(after)
        if before.shape != after.shape:
            raise InvalidValue(f"masks have shapes {before.shape} and {after.shape}; one is needed")
        return cls(EncodedMask.encode(after & ~before), EncodedMask.encode(before & ~after))

    @property
    def is_empty(self) -> bool:
        return self.added.is_empty and self.removed.is_empty

    def then(self, later: MaskDelta) -> MaskDelta:
        """This change and a later one as one."""
        added, removed = self.added.decode(), self.removed.decode()
        more, less = later.added.decode(), later.removed.decode()
        if added.shape != more.shape:
            raise InvalidValue(f"changes of masks of {added.shape} and {more.shape} are no pair")
        return MaskDelta(
            EncodedMask.encode((added & ~less) | (more & ~removed)),
            EncodedMask.encode((removed & ~more) | (less & ~added)),
        )

    def apply(self, mask: np.ndarray) -> np.ndarray:
        """Before -> after, (H, W) bool."""
        return self._swap(mask, self.added, self.removed)

    def revert(self, mask: np.ndarray) -> np.ndarray:
        """After -> before, (H, W) bool."""
        return self._swap(mask, self.removed, self.added)

    @staticmethod
    def _swap(mask: np.ndarray, added: EncodedMask, removed: EncodedMask) -> np.ndarray:
        mask = _as_mask(mask)
        if mask.shape != added.shape:
            raise InvalidValue(f"mask has shape {mask.shape}; the change is for {added.shape}")
        return (mask & ~removed.decode()) | added.decode()
