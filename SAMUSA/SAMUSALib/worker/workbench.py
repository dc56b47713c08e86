"""What the worker's inference thread does: requests in, events out, step by step.

Every method that computes is a generator: it yields None or an event after each step (a frame, a
click, a part of loading a model) and its final event last. Errors are for `failure_of`.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..errors import InvalidValue, SamusaError, UnknownModel, UnreadableFile, WrongCheckpoint
from ..masks import EncodedMask
from .clips import OpenClips, TooMuch, UnknownClip
from .engines import Engine, NetworkEngine, Room, SplineEngine, check_steps, find_intact
from .messages import (
    Done,
    Embed,
    Event,
    Failure,
    FailureKind,
    FramePropagated,
    FrameSegmented,
    LoadModel,
    ModelLoaded,
    Propagate,
    Propagated,
    Request,
    SegmentFrame,
)


class Workbench:
    """The loaded model and the open clips. For one thread, except `clips`, `engine` to be looked
    at, and nothing else.

    room: for embeddings. clip_bytes: of clips sent inline. notice: told, in a sentence, what the
    user should know.
    """

    def __init__(self, room: Room, clip_bytes: int, notice: Callable[[str], None]):
        self.clips = OpenClips(clip_bytes)
        self.engine: Engine | None = None
        self._room = room
        self._notice = notice

    def steps(self, request: Request) -> Iterator[Event | None]:
        """The work that a request asks for."""
        work = {
            LoadModel: self._load,
            SegmentFrame: self._segment,
            Propagate: self._propagate,
            Embed: self._embed,
        }
        return work[type(request)](request)

    def tidy(self) -> None:
        """Drop what closed clips have left; to be called between steps."""
        for key in self.clips.newly_closed():
            if self.engine is not None:
                self.engine.forget(key)

    def _load(self, request: LoadModel) -> Iterator[Event | None]:
        """The model before goes first, so that both need not fit; where loading fails there is
        none, rather than another than was asked for."""
        self.engine = None
        entry = find_intact(request.model)
        if entry.architecture == "spline":
            self.engine, note = SplineEngine(entry), ""
        else:
            yield None
            engine = NetworkEngine(entry, request.device, self._room, self._notice)
            yield None
            engine.warm_up()
            self.engine, note = engine, _device_note(request.device, engine.device)
        engine = self.engine
        yield ModelLoaded(
            engine.name,
            engine.device,
            tuple(engine.prompts),
            engine.parameters,
            engine.input_size,
            engine.licence,
            note,
        )

    def _segment(self, request: SegmentFrame) -> Iterator[Event | None]:
        check_steps(request.steps)
        engine, opened = self._loaded(), self.clips.get(request.clip)
        opened.need([request.frame])
        start = time.perf_counter()
        for result in engine.segment(opened, request.segment, request.frame, request.steps):
            if result is None:
                yield None
                continue
            mask = EncodedMask.encode(result.mask)
            seconds = time.perf_counter() - start
            yield FrameSegmented(request.segment, request.frame, mask, result.confidence, seconds)

    def _propagate(self, request: Propagate) -> Iterator[Event | None]:
        from ..engine.plan import count_masks

        engine, opened = self._loaded(), self.clips.get(request.clip)
        clip = opened.clip
        names = [segment.name for segment in request.segments]
        if len(set(names)) < len(names):
            raise InvalidValue("two segments have one name; names must differ")
        locked = {}
        for name, masks in request.locked.items():
            opened.need(masks)
            locked[name] = LockedMasks(masks, clip.frame_size)
        for segment in request.segments:
            segment.check(len(clip), clip.frame_size, bool(locked.get(segment.name)))
            for window in segment.windows_within(len(clip)):
                opened.need(range(window.start, window.end + 1))
        how = (request.direction, locked, request.changed)
        total = count_masks(request.segments, len(clip), *how)
        results = engine.propagate(opened, request.segments, *how)
        done, start = 0, time.perf_counter()
        for result in results:
            if result is None:
                yield None
                continue
            done += 1
            yield FramePropagated(
                result.segment,
                result.frame,
                EncodedMask.encode(result.mask),
                float(result.confidence),
                result.state,
                done,
                total,
                time.perf_counter() - start,
            )
        yield Propagated(done, time.perf_counter() - start)

    def _embed(self, request: Embed) -> Iterator[Event | None]:
        engine, opened = self._loaded(), self.clips.get(request.clip)
        opened.need(request.frames)
        yield from engine.embed(opened, request.frames, request.extent)
        yield Done()

    def _loaded(self) -> Engine:
        if self.engine is None:
            raise UnknownModel("no model is loaded; load one first")
        return self.engine


class LockedMasks(Mapping[int, np.ndarray]):
    """Encoded masks by frame, each decoded when it is looked at: 700 masks of 1024 x 768 would take
    half a gigabyte. Raises InvalidValue for masks of another size than the frames'."""

    def __init__(self, masks: Mapping[int, EncodedMask], frame_size: tuple[int, int]):
        for index, mask in masks.items():
            if mask.shape != frame_size:
                raise InvalidValue(
                    f"the locked mask of frame {index} is {mask.shape[1]} x {mask.shape[0]} "
                    f"pixels; the frame is {frame_size[1]} x {frame_size[0]}"
                )
        self._masks = masks

    def __getitem__(self, index: int) -> np.ndarray:
        return self._masks[index].decode()

    def __iter__(self) -> Iterator[int]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)


def _device_note(asked: str, device: str) -> str:
    if asked == "auto" and device == "cpu":
        return "no GPU that can be used was found; the processor computes"
    return ""


def failure_of(error: BaseException) -> Failure:
    """An exception in the words of the protocol."""
    if isinstance(error, SamusaError):
        return Failure(_kind_of(error), _one_line(error))
    details = "".join(traceback.format_exception(error))[-50_000:]
    if _is_out_of_memory(error):
        message = "the memory of this computer does not suffice; close clips or take fewer frames"
        return Failure(FailureKind.OUT_OF_MEMORY, message, details)
    if isinstance(error, ImportError):
        message = (
            f"{_one_line(error)}; in Slicer press Install in the module SAMUSA, elsewhere "
            "`samusa doctor` lists what is missing"
        )
        return Failure(FailureKind.INTERNAL, message, details)
    message = f"unexpected error in the worker, {type(error).__name__}: {_one_line(error)[:300]}"
    return Failure(FailureKind.INTERNAL, message, details)


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from ..engine.out_of_memory import is_out_of_memory

    return is_out_of_memory(error)


def _kind_of(error: SamusaError) -> FailureKind:
    if isinstance(error, UnknownClip):
        return FailureKind.UNKNOWN_CLIP
    if isinstance(error, TooMuch):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(error, (UnknownModel, UnreadableFile, WrongCheckpoint)):
        return FailureKind.UNKNOWN_MODEL
    return FailureKind.BAD_REQUEST


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
