"""Places in the world (RAS, mm) and frame coordinates (pixels, floats, centres at integers)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import vtk

from ..errors import InvalidValue
from ..io.prompt_files import frame_of_point, markup_frames
from ..prompts import FramePrompts
from . import mrml
from .clip_source import ClipSource

_POINT_KINDS = ("boundary", "include", "exclude")


def to_ras(source: ClipSource, xy, frame: int) -> np.ndarray:
    """(N, 2) pixels on a frame -> (N, 3) world RAS, mm."""
    return source.geometry_at(source.check_frame(frame)).points_to_ras(xy, frame)


def from_ras(source: ClipSource, ras, frame: int | None = None) -> tuple[float, float, int]:
    """(x, y, frame) of a place in the world (3,), mm; x and y are not rounded.

    In a volume the frame is the nearest slice. In a sequence it is `frame`, else the one that is
    shown. Raises InvalidValue for a place before the first or after the last slice, or off the
    image plane; a place beside the image has coordinates too (see FramePrompts.check).
    """
    frame = frame if frame is not None else source.shown_frame(0)
    geometry = source.geometry_at(frame)
    return frame_of_point(np.asarray(ras, dtype=np.float64).reshape(3), frame, "point", geometry)


def slice_axis(volume, slice_to_ras: np.ndarray) -> tuple[int, float]:
    """(voxel axis that a slice view looks along, angle between the two in degrees).

    slice_to_ras: (4, 4) of the view. The axis is the one whose slices are the most parallel to
    the view; the angle is 0 where they are parallel.
    """
    ijk_to_ras = mrml.local_to_world(volume) @ mrml.ijk_to_local(volume)
    normal = np.asarray(slice_to_ras, dtype=np.float64)[:3, 2]
    normals = np.linalg.inv(ijk_to_ras[:3, :3])  # row a is at right angles to slices of axis a
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cosines = np.abs(normals @ (normal / np.linalg.norm(normal)))
    axis = int(np.argmax(cosines))
    sine = np.linalg.norm(np.cross(normals[axis], normal / np.linalg.norm(normal)))
    return axis, float(np.degrees(np.arctan2(sine, cosines[axis])))


def frame_in_view(source: ClipSource, slice_to_ras: np.ndarray) -> int | None:
    """The frame that a slice view shows at its centre, None where it shows none.

    slice_to_ras: (4, 4) of the view. In a sequence: the frame selected in the browser.
    """
    if source.geometry.kind == "cine":
        return source.shown_frame()
    t = source.geometry.points_from_ras(np.asarray(slice_to_ras)[:3, 3])[0, 2]
    frame = int(np.floor(t + 0.5))
    return frame if 0 <= frame < len(source) else None


def prompts_from_markups(source: ClipSource, markups) -> dict[int, FramePrompts]:
    """Prompts by frame of a point list, line or curve (its control points), or of a box ROI.

    A control point is a boundary point; "include" or "exclude" in its description makes it a
    region point. In a sequence it belongs to the frame that its description states ("frame=12"),
    else to the one that is shown. Raises InvalidValue.
    """
    node = mrml.alive(markups, "markup")
    name = f"{node.GetName()!r}"
    shown = source.shown_frame(0)
    frames = markup_frames(_markup_form(node), name, source.geometry_at(shown), shown)
    for frame, prompts in frames.items():
        source.check_frame(frame)
        prompts.check(source.frame_size)
    return frames


def _markup_form(node) -> dict:
    """The parts of a markups node that matter here, as Slicer writes them into a file."""
    kind = node.GetMarkupType()
    if kind == "ROI":
        matrix = mrml.to_array(node.GetObjectToWorldMatrix())
        scale = np.linalg.norm(matrix[:3, :3], axis=0)
        return {
            "type": kind,
            "coordinateSystem": "RAS",
            "description": node.GetDescription() or "",
            "center": [float(v) for v in matrix[:3, 3]],
            "size": [float(v) for v in np.array(node.GetSize()) * scale],
            "orientation": [float(v) for v in (matrix[:3, :3] / scale).ravel()],
        }
    points = []
    for n in range(node.GetNumberOfControlPoints()):
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(n, position)
        defined = node.GetNthControlPointPositionStatus(n) == node.PositionDefined
        points.append(
            {
                "position": position,
                "positionStatus": "defined" if defined else "undefined",
                "label": node.GetNthControlPointLabel(n),
                "description": node.GetNthControlPointDescription(n),
            }
        )
    return {"type": kind, "coordinateSystem": "RAS", "controlPoints": points}


def points_to_markups(
    source: ClipSource, frames: Mapping[int, FramePrompts], markups, only: int | None = None
) -> None:
    """Make the control points of a point list those of the prompts (of one frame: `only`).

    Their descriptions say frame and kind ("frame=12 include"), so that `prompts_from_markups`
    gives the same points back.
    """
    node = mrml.alive(markups, "markup")
    with mrml.modified_once(node):
        node.RemoveAllControlPoints()
        for frame, prompts in frames.items():
            if only is not None and frame != only:
                continue
            for kind in _POINT_KINDS:
                for place in to_ras(source, getattr(prompts, kind), frame):
                    n = node.AddControlPointWorld(vtk.vtkVector3d(*place))
                    said = f"frame={frame}" if kind == "boundary" else f"frame={frame} {kind}"
                    node.SetNthControlPointDescription(n, said)


def box_to_roi(source: ClipSource, box, frame: int, roi) -> None:
    """Lay a box ROI around a box prompt (x0, y0, x1, y1), one slice thick.

    Raises InvalidValue where the image's axes are not at right angles: no ROI fits then.
    """
    node = mrml.alive(roi, "ROI")
    geometry = source.geometry_at(source.check_frame(frame))
    axes = (geometry.ijk_to_ras @ geometry.frame_to_ijk)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    directions = axes / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5):
        raise InvalidValue(
            f"the axes of {source.name!r} are not at right angles in the world, so no ROI can "
            "show a box; harden or remove its transform"
        )
    x0, y0, x1, y1 = (float(v) for v in box)
    center = geometry.points_to_ras([[(x0 + x1) / 2, (y0 + y1) / 2]], frame)[0]
    if np.linalg.det(directions) < 0:
        directions[:, 2] *= -1  # the ROI's third axis only says how thick it is
    to_world = np.eye(4)
    to_world[:3, :3], to_world[:3, 3] = directions, center
    with mrml.modified_once(node):
        node.SetDescription(f"frame={frame}")
        to_node = np.linalg.inv(mrml.local_to_world(node)) @ to_world
        scale = np.linalg.norm(to_node[:3, :3], axis=0)
        node.SetSize(*(np.array([x1 - x0, y1 - y0, 1.0]) * spacing * scale))
        to_node[:3, :3] /= scale
        node.SetAndObserveObjectToNodeMatrix(mrml.to_matrix(to_node))
