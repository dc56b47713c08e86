"""Two voxel grids that have the same voxels, perhaps numbered along other axes or directions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

# Of a voxel, at the corners of the grid: matrices go through text files and float transforms.
_TOLERANCE = 0.01
_CORNERS = np.array([*itertools.product((0.0, 1.0), repeat=3)]).T
_SAME = ((0, 1, 2), (1, 1, 1), (0, 0, 0))


@dataclass(frozen=True)
class GridMap:
    """Voxel (i, j, k) of a source -> voxel of a target: target[axes[a]] = signs[a] * source[a]
    + offsets[axes[a]].

    axes: the target's axis that each of the source's axes runs along. signs: +1 or -1 per source
    axis. offsets: per target axis.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    offsets: tuple[int, int, int]

    @classmethod
    def between(
        cls, source: np.ndarray, target: np.ndarray, shape: tuple[int, int, int]
    ) -> GridMap | None:
        """source, target: IJK to the same space, 4x4; shape: voxels of the source (i, j, k).

        None where the voxels of the two do not coincide all over the source.
        """
        if np.array_equal(source, target):
            return cls(*_SAME)
        to_target = np.linalg.inv(target) @ source
        rounded = np.rint(to_target)
        rotation = rounded[:3, :3]
        if not np.array_equal(np.abs(rotation).sum(axis=0), [1, 1, 1]) or not np.array_equal(
            np.abs(rotation).sum(axis=1), [1, 1, 1]
        ):
            return None
        corners = _CORNERS * (np.array(shape)[:, None] - 1)
        error = to_target - rounded
        if np.abs(error[:3, :3] @ corners + error[:3, 3:]).max() > _TOLERANCE:
            return None
        axes = np.abs(rotation).argmax(axis=0)
        signs = rotation.sum(axis=0)
        return cls(
            tuple(int(a) for a in axes),
            tuple(int(s) for s in signs),
            tuple(int(o) for o in rounded[:3, 3]),
        )

    @property
    def inverse(self) -> GridMap:
        axes = [self.axes.index(axis) for axis in range(3)]
        signs = [self.signs[axis] for axis in axes]
        offsets = [-self.signs[a] * self.offsets[self.axes[a]] for a in range(3)]
        return GridMap(tuple(axes), tuple(signs), tuple(offsets))

    def box(self, low, high) -> tuple[np.ndarray, np.ndarray]:
        """Inclusive voxel range of the source -> of the target, each (3,) int."""
        ends = np.empty((2, 3), dtype=int)
        for a in range(3):
            axis = self.axes[a]
            ends[:, axis] = np.array([low[a], high[a]]) * self.signs[a] + self.offsets[axis]
        return ends.min(axis=0), ends.max(axis=0)

    def block(self, values: np.ndarray) -> np.ndarray:
        """Values of a box of the source (i, j, k) -> of the same box in the target's order."""
        flipped = values[tuple(slice(None, None, sign) for sign in self.signs)]
        return flipped.transpose([self.axes.index(axis) for axis in range(3)])
