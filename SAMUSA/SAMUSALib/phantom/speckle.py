"""Fully developed speckle that moves with the tissue and slowly becomes new.

Many unresolved scatterers in one resolution cell add up to a circular complex Gaussian signal, so
the envelope follows a Rayleigh distribution (Burckhardt, "Speckle in ultrasound B-mode scans",
IEEE Trans. Sonics Ultrason. 1978; Wagner, Smith, Sandrik, Lopez, "Statistics of speckle in
ultrasound B-scans", same journal, 1983): mean / standard deviation is 1.91. Its grain is the
point spread function: white complex scatterers convolved with a separable Gaussian, after the
convolution model of Bamber and Dickinson ("Ultrasonic B-scanning: a computer simulation",
Phys. Med. Biol. 1980). Tissue motion carries the speckle along, and it decorrelates gradually, as
Meunier and Bertrand studied ("Ultrasonic texture motion analysis: theory and simulation",
IEEE Trans. Med. Imaging 1995). Here the field is demodulated, so a shift carries no carrier phase.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft


def noise_tile(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]
) -> np.ndarray:
    """Periodic (N, L) complex64 circular Gaussian field of mean power 1.

    sigma: (rows, columns) standard deviation of the Gaussian point spread, in samples.
    """
    white = rng.standard_normal((2, *shape), dtype=np.float32)
    spectrum = fft.fft2(white[0] + 1j * white[1])
    for axis, (count, width) in enumerate(zip(shape, sigma, strict=True)):
        transfer = np.exp(-2 * (math.pi * width * fft.fftfreq(count)) ** 2).astype(np.float32)
        spectrum *= transfer[:, None] if axis == 0 else transfer
    field = fft.ifft2(spectrum)
    power = float(np.mean(field.real**2 + field.imag**2))
    return (field / math.sqrt(power)).astype(np.complex64)


def sample_periodic(tile: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of a periodic tile, whose sides are powers of two, at float positions."""
    count, length = tile.shape
    row, column = np.floor(rows), np.floor(columns)
    down, right = rows - row, columns - column
    row, column = row.astype(np.int32), column.astype(np.int32)
    above, below = (row & (count - 1)) * length, ((row + 1) & (count - 1)) * length
    left, beside = column & (length - 1), (column + 1) & (length - 1)
    flat = tile.ravel()
    top = flat[above + left]
    top += right * (flat[above + beside] - top)
    bottom = flat[below + left]
    bottom += right * (flat[below + beside] - bottom)
    top += down * (bottom - top)
    return top


def power_of_two(length: int) -> int:
    """The smallest power of two that is at least `length`."""
    return 1 << max(0, length - 1).bit_length()


class Speckle:
    """Speckle of a clip on (N, L) = `shape` beam samples: fields born every `life` frames, each
    blended into the next. `looks` independent fields at a time, for compounding.
    """

    def __init__(self, rng, shape, sigma, life: float, frames: int, looks: int) -> None:
        sides = (power_of_two(shape[0]), power_of_two(shape[1]))
        self._tile = noise_tile(rng, sides, sigma)
        self._life = life
        self._rows = np.arange(shape[0], dtype=np.float32)[:, None]
        self._columns = np.arange(shape[1], dtype=np.float32)[None, :]
        # each field is the one tile at its own offset: as good as independent, and free
        fields = math.ceil(frames / life) + 2
        self._offsets = rng.integers(0, min(sides), size=(fields, looks, 2)).astype(np.float32)

    def parts(self, frame: int) -> list[tuple[float, int, float]]:
        """(weight, field, birth frame) of the fields in a frame; squared weights add up to 1."""
        number = int(frame // self._life)
        angle = (frame / self._life - number) * math.pi / 2
        both = [
            (math.cos(angle), number, number * self._life),
            (math.sin(angle), number + 1, (number + 1) * self._life),
        ]
        return [part for part in both if part[0] > 1e-6]

    def field(self, number: int, look: int, down: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(N, L) complex64: one field moved by (down, right) samples since its birth."""
        offset = self._offsets[number, look]
        return sample_periodic(
            self._tile, self._rows + offset[0] - down, self._columns + offset[1] - right
        )
