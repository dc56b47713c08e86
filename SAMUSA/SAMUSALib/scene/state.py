"""What the annotator has said and decided, kept in the scene: prompts, windows, frame marks.

It lives in a vtkMRMLScriptedModuleNode, one for each pair of clip and segmentation: that class is
saved with every scene as plain text, hidden from the user, and other modules leave it alone. The
clip and the segmentation are node references, so renaming is safe and Slicer renumbers them when
a scene is added to another one; segments are known by their IDs. Each segment is one parameter,
so that a change writes only its own:

    version   "1"
    clip      {"frames": 24, "height": 480, "width": 640, "axis": 2}
    segment S {"prompts": {as in prompt_form}, "frames": {"12": ["propagated", 0.93]}}
    stale S   [[0, 3], [20, 23]]: first and last frames of what a propagation still has to do
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..annotation import Checked, FrameState
from ..errors import InvalidValue
from ..masks import EncodedMask
from ..prompt_form import known, need, numbers, placed, read_segment, segment_form
from ..prompts import FramePrompts, SegmentPrompts, Window
from . import mrml
from .clip_source import ClipSource, nodes_of_class
from .segments import ClipMasks

VERSION = "1"
MODULE = "SAMUSA.state"
CLIP, SEGMENTATION = "SAMUSA.clip", "SAMUSA.segmentation"  # roles of the node references
_SEGMENT, _STALE = "segment ", "stale "


@dataclass(frozen=True)
class FrameMark(Checked):
    """State and confidence (predicted IoU, 0..1) of a segment on a frame. REVIEWED is locked."""

    state: FrameState
    confidence: float = 1.0

    @cached_property
    def text(self) -> str:
        """As JSON. It is kept: all marks of a segment are written with each change of one."""
        return json.dumps([self.state.value, self.confidence], separators=(",", ":"))


@dataclass
class _Segment:
    prompts: SegmentPrompts
    marks: dict[int, FrameMark] = field(default_factory=dict)
    prompts_text: str = ""  # as JSON; empty: to be made

    @property
    def text(self) -> str:
        """As JSON, in the form that `_read_segment` reads."""
        if not self.prompts_text:
            form = segment_form(self.prompts, lambda frame, mask: _mask_form(mask))
            self.prompts_text = json.dumps(form, separators=(",", ":"))
        marks = ",".join(f'"{frame}":{mark.text}' for frame, mark in sorted(self.marks.items()))
        return f'{{"prompts":{self.prompts_text},"frames":{{{marks}}}}}'


class SceneState:
    """Prompts, windows and frame marks of the segments of one clip, as the scene keeps them.

    Every change is in the scene when the method returns. `node` is modified then, so a widget
    may observe it. Methods raise SceneChanged where the node was deleted.
    """

    def __init__(self, node):
        """Read a node. Raises InvalidValue, with the place, where it is damaged, or newer than
        this version of SAMUSA."""
        self._node = node
        self._segments = _read(node)
        self._stale = _read_stale(node)

    @property
    def node(self):
        return mrml.alive(self._node, "annotation state")

    @property
    def segments(self) -> list[str]:
        """IDs of the segments that something is known of."""
        return list(self._segments)

    def prompts(self, segment: str) -> SegmentPrompts | None:
        """Prompts and windows; None where nothing was said."""
        known_ = self._segments.get(segment)
        return known_.prompts if known_ else None

    def windows(self, segment: str) -> tuple[Window, ...]:
        """In order, not overlapping; none means the whole clip."""
        prompts = self.prompts(segment)
        return prompts.windows if prompts else ()

    def set_prompts(self, segment: str, prompts: SegmentPrompts) -> None:
        """Replace prompts and windows of a segment. Raises InvalidValue where they do not fit."""
        length, size = self.clip_shape
        outside = [f for f in prompts.frames if f >= length]
        outside += [window.end for window in prompts.windows if window.end >= length]
        if outside:
            raise InvalidValue(f"frame {outside[0]} does not exist; the last one is {length - 1}")
        for frame_prompts in prompts.frames.values():
            frame_prompts.check(size)
        marks = self._segments[segment].marks if segment in self._segments else {}
        self._keep(segment, _Segment(prompts, marks))

    def set_frame_prompts(
        self, segment: str, frame: int, prompts: FramePrompts | None
    ) -> dict[tuple[str, int], tuple[FramePrompts | None, FramePrompts | None]]:
        """Replace the prompts on one frame, None or empty ones take them away; returns what was
        before and after, for undo. Raises InvalidValue where they do not fit."""
        known_ = self.prompts(segment) or SegmentPrompts(segment)
        frames = dict(known_.frames)
        before = frames.pop(frame, None)
        after = None if prompts is None or prompts.is_empty else prompts
        if after is not None:
            frames[frame] = after
        if before is not None or after is not None:
            self.set_prompts(segment, replace(known_, frames=frames))
        return {(segment, frame): (before, after)}

    def mark(self, segment: str, frame: int) -> FrameMark | None:
        """None: nothing was ever computed or drawn there."""
        known_ = self._segments.get(segment)
        return known_.marks.get(frame) if known_ else None

    def marks(self, segment: str) -> dict[int, FrameMark]:
        """By frame, in order; for the timeline."""
        known_ = self._segments.get(segment)
        return dict(sorted(known_.marks.items())) if known_ else {}

    def locked(self, segment: str) -> frozenset[int]:
        """Frames that were reviewed: conditioning, never overwritten."""
        known_ = self._segments.get(segment)
        marks = known_.marks.items() if known_ else ()
        return frozenset(frame for frame, mark in marks if mark.state is FrameState.REVIEWED)

    def set_marks(
        self, segment: str, marks: Mapping[int, FrameMark]
    ) -> dict[tuple[str, int], tuple[FrameMark | None, FrameMark | None]]:
        """Set marks of some frames; returns what was before and after, for undo.

        A locked frame takes only REVIEWED; `unlock` it first. Raises InvalidValue; then nothing
        is changed.
        """
        locked = self.locked(segment)
        for frame, mark in marks.items():
            if frame in locked and mark.state is not FrameState.REVIEWED:
                raise InvalidValue(f"frame {frame} is locked; unlock it first")
        before = {frame: self.mark(segment, frame) for frame in marks}
        self.restore_marks(segment, marks)
        return {(segment, frame): (before[frame], marks[frame]) for frame in marks}

    def unlock(
        self, segment: str, frames: Iterable[int]
    ) -> dict[tuple[str, int], tuple[FrameMark | None, FrameMark | None]]:
        """Reviewed frames become propagated ones again; returns what changed, for undo."""
        found = {f: self.mark(segment, f) for f in frames if f in self.locked(segment)}
        after = {f: replace(mark, state=FrameState.PROPAGATED) for f, mark in found.items()}
        self.restore_marks(segment, after)
        return {(segment, f): (found[f], after[f]) for f in found}

    def restore_marks(self, segment: str, marks: Mapping[int, FrameMark | None]) -> None:
        """Set marks whatever was there (undo); None takes a mark away."""
        length, _ = self.clip_shape
        for frame in marks:
            _check_frame(frame, length)
        before = self._segments.get(segment) or _Segment(SegmentPrompts(segment))
        kept = {**before.marks, **marks}
        kept = {frame: mark for frame, mark in kept.items() if mark is not None}
        self._keep(segment, _Segment(before.prompts, kept, before.prompts_text))

    def stale(self, segment: str) -> frozenset[int]:
        """Frames whose masks do not follow from what is said now; all where nothing was noted."""
        found = self._stale.get(segment)
        return frozenset(range(self.clip_shape[0])) if found is None else found

    def set_stale(self, segment: str, frames: Collection[int]) -> None:
        """Note what a propagation still has to do. Raises InvalidValue for frames that do not
        exist; then nothing is changed."""
        length, _ = self.clip_shape
        known_, frames = self._stale.get(segment), frozenset(frames)
        for frame in frames - (known_ or frozenset()):
            _check_frame(frame, length)
        if frames != known_:
            self.node.SetParameter(_STALE + segment, json.dumps(_spans(frames)))
            self._stale[segment] = frames

    def remove_segment(self, segment: str) -> None:
        """Forget a segment that was deleted."""
        for known_, kind in ((self._segments, _SEGMENT), (self._stale, _STALE)):
            if known_.pop(segment, None) is not None:
                self.node.UnsetParameter(kind + segment)

    @property
    def clip_shape(self) -> tuple[int, tuple[int, int]]:
        """(T, (H, W)) of the clip that this was said of."""
        clip = _clip(self.node)
        return clip["frames"], (clip["height"], clip["width"])

    @property
    def axis(self) -> int:
        """Voxel axis that the frames are taken along."""
        return _clip(self.node)["axis"]

    @property
    def clip_node(self):
        """The volume or sequence that was annotated; None if it is no longer in the scene."""
        return self.node.GetNodeReference(CLIP)

    @property
    def segmentation_node(self):
        """The segmentation, or sequence of segmentations; None if it is no longer there."""
        return self.node.GetNodeReference(SEGMENTATION)

    def _keep(self, segment: str, entry: _Segment) -> None:
        self.node.SetParameter(_SEGMENT + segment, entry.text)
        self._segments[segment] = entry


def open_state(source: ClipSource, masks: ClipMasks) -> SceneState:
    """The state of a clip and its segmentation; made where there is none yet.

    Raises InvalidValue where it is damaged, or of a clip of another length or size.
    """
    scene = source.node.GetScene()
    length, (height, width) = len(source), source.frame_size
    for node in state_nodes(scene):
        clip, segmentation = node.GetNodeReference(CLIP), node.GetNodeReference(SEGMENTATION)
        if clip is not source.node or segmentation is not masks.stored_node:
            continue
        if _clip(node)["axis"] != source.axis:
            continue  # slices along another axis of the same volume
        state = SceneState(node)
        if state.clip_shape != (length, (height, width)):
            raise InvalidValue(
                f"{source.name!r} was annotated with {state.clip_shape[0]} frames of "
                f"{state.clip_shape[1]} pixels and now has {length} of {(height, width)}; "
                "restore the images, or start a new segmentation"
            )
        return state
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", f"SAMUSA state of {source.name}")
    with mrml.modified_once(node):
        node.SetModuleName(MODULE)
        node.SetParameter("version", VERSION)
        clip = {"frames": length, "height": height, "width": width, "axis": source.axis}
        node.SetParameter("clip", json.dumps(clip))
        node.SetNodeReferenceID(CLIP, source.node.GetID())
        node.SetNodeReferenceID(SEGMENTATION, masks.stored_node.GetID())
    return SceneState(node)


def state_nodes(scene) -> list:
    """The nodes of a scene that hold a state, e.g. after a scene was loaded."""
    nodes = nodes_of_class(scene, "vtkMRMLScriptedModuleNode")
    return [node for node in nodes if node.GetModuleName() == MODULE]


def annotated_last(clip_node) -> tuple:
    """(segmentation or sequence of them, axis) of the state that was last made for a volume or a
    sequence; (None, None) where there is none."""
    for node in reversed(state_nodes(clip_node.GetScene())):
        stored = node.GetNodeReference(SEGMENTATION)
        if node.GetNodeReference(CLIP) is clip_node and stored is not None:
            return stored, _clip(node)["axis"]
    return None, None


def _read(node) -> dict[str, _Segment]:
    name = f"{mrml.alive(node, 'annotation state').GetName()!r}"
    version = node.GetParameter("version")
    if version != VERSION:
        raise InvalidValue(
            f"{name} is of version {version!r}, this SAMUSA reads {VERSION}; update SAMUSA"
        )
    length = _clip(node)["frames"]
    segments = {}
    for key in node.GetParameterNames():
        if key.startswith(_SEGMENT):
            segment = key.removeprefix(_SEGMENT)
            form = _json(node, key, name)
            segments[segment] = _read_segment(form, f"{name}, segment {segment}", length)
    return segments


def _read_segment(form, place: str, length: int) -> _Segment:
    need(form, dict, place, "an object")
    known(form, {"prompts", "frames"}, place)
    prompts = read_segment(form.get("prompts"), f"{place}.prompts", _find_mask)
    marks = {}
    for key, entry in need(form.get("frames", {}), dict, f"{place}.frames", "an object").items():
        here = f"{place}.frames[{key!r}]"
        if not key.isdecimal() or int(key) >= length:
            raise InvalidValue(f"{here}: frames are numbered 0 to {length - 1}")
        need(entry, list, here, "[state, confidence]")
        if len(entry) != 2:
            raise InvalidValue(f"{here} has {len(entry)} values; [state, confidence] is needed")
        numbers(entry[1:], 1, here, "a confidence")
        marks[int(key)] = placed(here, FrameMark, *entry)
    return _Segment(prompts, marks)


def _read_stale(node) -> dict[str, frozenset[int]]:
    name, length = f"{node.GetName()!r}", _clip(node)["frames"]
    stale = {}
    for key in node.GetParameterNames():
        if not key.startswith(_STALE):
            continue
        frames: set[int] = set()
        for span in need(_json(node, key, name), list, f"{name}, {key}", "a list of spans"):
            first, last = (int(n) for n in numbers(span, 2, f"{name}, {key}", "[first, last]"))
            if not 0 <= first <= last < length:
                raise InvalidValue(f"{name}, {key}: frames are numbered 0 to {length - 1}")
            frames.update(range(first, last + 1))
        stale[key.removeprefix(_STALE)] = frozenset(frames)
    return stale


def _spans(frames: Iterable[int]) -> list[list[int]]:
    """[first, last] of the runs of neighbours, in order."""
    spans: list[list[int]] = []
    for frame in sorted(frames):
        if spans and frame == spans[-1][1] + 1:
            spans[-1][1] = int(frame)
        else:
            spans.append([int(frame), int(frame)])
    return spans


def _check_frame(frame: int, length: int) -> None:
    if isinstance(frame, bool) or not 0 <= frame < length:
        raise InvalidValue(f"frame {frame} does not exist; the last one is {length - 1}")


def _clip(node) -> dict[str, int]:
    """Frames, height, width and axis of the clip that a node tells of."""
    name = f"{node.GetName()!r}"
    form = need(_json(node, "clip", name), dict, f"{name}.clip", "an object")
    for key in ("frames", "height", "width", "axis"):
        need(form.get(key), int, f"{name}.clip.{key}", "a whole number")
    if min(form["frames"], form["height"], form["width"]) < 1 or form["axis"] not in (0, 1, 2):
        raise InvalidValue(f"{name}.clip is {form}; counts of at least 1 and an axis are needed")
    return form


def _json(node, key: str, name: str):
    try:
        return json.loads(node.GetParameter(key))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidValue(
            f"{name}: {key!r} is no JSON ({error}); load the scene from a backup, or delete this "
            "node to start anew (the masks stay)"
        ) from None


def _mask_form(mask: np.ndarray) -> dict:
    encoded = EncodedMask.encode(mask)
    box = None if encoded.box is None else list(encoded.box)
    data = base64.b64encode(encoded.data).decode("ascii")
    return {"shape": list(encoded.shape), "box": box, "zlib": data}


def _find_mask(form, place: str) -> np.ndarray:
    need(form, dict, place, "an object")
    known(form, {"shape", "box", "zlib"}, place)
    shape = [int(n) for n in numbers(form.get("shape"), 2, f"{place}.shape", "[height, width]")]
    if min(shape) < 1 or max(shape) > 2**15:
        raise InvalidValue(f"{place}.shape is {shape}; a frame's height and width are needed")
    box = form.get("box")
    if box is not None:
        box = tuple(int(n) for n in numbers(box, 4, f"{place}.box", "[x0, y0, x1, y1]"))
    text = need(form.get("zlib"), str, f"{place}.zlib", "base64 text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(f"{place}.zlib is no base64 text") from None
    return placed(place, EncodedMask(tuple(shape), box, data).decode)
