"""Masks without a worker: the spline engine in this process, for the seconds until one is ready.

It needs scipy, which Slicer brings, and no torch.
"""

from __future__ import annotations

import contextlib
import threading

import numpy as np

from ..prompts import FramePrompts


def preview(
    prompts: FramePrompts, frame_size: tuple[int, int], aspect: float = 1.0
) -> np.ndarray | None:
    """(H, W) bool: the curve through the boundary points, or the mask prompt. None where the
    prompts hold neither 2 boundary points nor a mask. aspect: height of a pixel over its width.
    """
    if len(prompts.boundary) < 2 and prompts.mask is None:
        return None
    from ..engine.spline import segment_spline

    return segment_spline(prompts, frame_size, aspect)


def prepare() -> None:
    """Import scipy aside, so that the first preview need not wait half a second for it."""
    threading.Thread(target=_import, daemon=True).start()


def _import() -> None:
    with contextlib.suppress(ImportError):  # the first preview will tell
        from ..engine import spline  # noqa: F401
