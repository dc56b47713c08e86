"""What reports draw: frames as PNG inside the page, outlines and clicks as SVG paths, colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from ..prompts import FramePrompts

PICTURE_SIDE = 360  # px of the longer side of an embedded picture


def rgb(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def luminance(color: Sequence[int]) -> float:
    channels = np.asarray(color, dtype=float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def readable(color: Sequence[int]) -> tuple[int, int, int]:
    """The colour, darkened until it stands out from white paper (contrast of 3 or more)."""
    shade = np.asarray(color, dtype=float)
    while luminance(shade) > 0.3:
        shade = shade * 0.92
    return tuple(int(c) for c in shade)


def visible(color: Sequence[int]) -> tuple[int, int, int]:
    """The colour, lightened until it stands out from a dark ultrasound image."""
    shade = np.asarray(color, dtype=float)
    while luminance(shade) < 0.2:
        shade = shade + (255 - shade) * 0.12
    return tuple(int(c) for c in shade)


def picture(frame: np.ndarray, ratio: float) -> str:
    """A frame, uint8 (H, W) or (H, W, 3), as a PNG data URI of that width over height."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(frame))
    width = PICTURE_SIDE if ratio >= 1 else max(1, round(PICTURE_SIDE * ratio))
    height = PICTURE_SIDE if ratio < 1 else max(1, round(PICTURE_SIDE / ratio))
    if max(image.size) > PICTURE_SIDE or abs(image.width / image.height - ratio) > 0.01 * ratio:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def contour_path(mask: np.ndarray) -> str:
    """The outlines of an (H, W) mask as an SVG path in pixel coordinates; "" if it is empty."""
    from skimage.measure import approximate_polygon, find_contours

    if not mask.any():
        return ""
    parts = []
    for contour in find_contours(np.pad(mask.astype(np.float32), 1), 0.5):
        points = approximate_polygon(contour, 0.25) - 1
        if len(points) >= 3:
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points) + "Z")
    return "".join(parts)


def dots(points: np.ndarray) -> str:
    """Points as an SVG path of zero-length lines: round caps make them dots of any scale."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)


def crosses(points: np.ndarray, size: float) -> str:
    return "".join(
        f"M{x - size:.1f} {y:.1f}h{2 * size:.1f}M{x:.1f} {y - size:.1f}v{2 * size:.1f}"
        for x, y in points
    )


def layer(mask: np.ndarray, given: FramePrompts | None, color: Sequence[int], side: int) -> dict:
    """What is drawn over a picture for one segment."""
    layer = {"color": rgb(visible(color)), "outline": contour_path(mask)}
    if given is not None:
        layer["boundary"] = dots(given.boundary)
        layer["include"] = crosses(given.include, side / 60)
        layer["exclude"] = "".join(
            f"M{x - side / 60:.1f} {y:.1f}h{side / 30:.1f}" for x, y in given.exclude
        )
        if given.box is not None:
            x0, y0, x1, y1 = given.box
            layer["box"] = f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z"
    return layer
