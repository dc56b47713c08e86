"""What client and worker say to each other, as values; `protocol` turns them into bytes.

Every class has `to_message` and is read by `read_request` or `read_event`, which check every
field and raise BadMessage: the stream is still good, only this message is refused. A request has
a number; events that belong to a request carry it. docs/protocol.md tells who says what when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar, get_args

import numpy as np

from ..annotation import FrameState
from ..errors import InvalidValue, SamusaError
from ..masks import EncodedMask
from ..prompt_form import frame_form, known, need, numbers, read_frame, read_segment, segment_form
from ..prompts import FramePrompts, SegmentPrompts
from .protocol import Message

LONGEST_TEXT = 100_000
LARGEST_SIDE = 16_384  # pixels of a frame
LONGEST_CLIP = 1_000_000  # frames
MOST_STEPS = 64  # prompt sets of one frame, oldest first, that a segment request may hold
DEVICES = ("auto", "cpu", "cuda", "mps")


class BadMessage(SamusaError):
    """A message that is not as agreed. request: its number, None where that is unreadable."""

    def __init__(self, message: str, request: int | None = None):
        super().__init__(message)
        self.request = request


class FailureKind(str, Enum):
    """Why a request failed."""

    BAD_REQUEST = "bad_request"  # what was asked makes no sense; asking again does not help
    UNKNOWN_MODEL = "unknown_model"  # no such model or file, or the file is not a model
    UNKNOWN_CLIP = "unknown_clip"  # not open, or pixels that were not sent: open it again
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"  # by Cancel, a closed clip or shutdown
    SUPERSEDED = "superseded"  # by a newer segment request for the same segment and frame
    INTERNAL = "internal"


# Requests -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """First of all; answered by Welcome, before the worker imports anything slow."""

    NAME: ClassVar[str] = "hello"
    protocol: int
    client: str  # name and version, for the log


@dataclass(frozen=True)
class LoadModel:
    """model: a registered name or a checkpoint file. Answered by ModelLoaded."""

    NAME: ClassVar[str] = "load_model"
    model: str
    device: str = "auto"


@dataclass(frozen=True)
class OpenClip:
    """Announce a clip; answered by Done. shape: (T, H, W) or (T, H, W, 3) uint8. aspect: height of
    a pixel over its width. shared: name of a shared-memory block that holds all frames in C order,
    or None: they come by SendFrames. The client made the block and removes it after CloseClip."""

    NAME: ClassVar[str] = "open_clip"
    clip: str
    shape: tuple[int, ...]
    aspect: float = 1.0
    shared: str | None = None


@dataclass(frozen=True)
class SendFrames:
    """Pixels of an announced clip, frames first, first + 1, ...; answered by Done."""

    NAME: ClassVar[str] = "send_frames"
    clip: str
    first: int
    pixels: bytes


@dataclass(frozen=True)
class Embed:
    """Compute the embeddings of frames ahead of time, at low priority; answered by Done.
    extent: x0, y0, x1, y1 in frame pixels of what will be looked at; None: the whole frame."""

    NAME: ClassVar[str] = "embed"
    clip: str
    frames: tuple[int, ...]
    extent: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class SegmentFrame:
    """A mask from prompts on one frame; answered by FrameSegmented.

    steps: the prompts after each click, oldest first, the last of them in force. Masks before
    steer later ones, so the same steps give the same mask, also from a worker that never saw the
    earlier clicks; it keeps what it has computed. Undo is a request with fewer steps.
    """

    NAME: ClassVar[str] = "segment_frame"
    clip: str
    segment: str
    frame: int
    steps: tuple[FramePrompts, ...]


@dataclass(frozen=True)
class Propagate:
    """Masks on all frames of the segments' windows: a stream of FramePropagated, prompted frames
    first, then Propagated. Arguments as of `engine.propagation.propagate`."""

    NAME: ClassVar[str] = "propagate"
    clip: str
    segments: tuple[SegmentPrompts, ...]
    direction: str = "both"
    locked: Mapping[str, Mapping[int, EncodedMask]] = field(default_factory=dict)
    changed: Mapping[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Cancel:
    """End a request, waiting or running; answered by Done, also where it has ended already. The
    cancelled request fails with CANCELLED; what it has streamed stays valid."""

    NAME: ClassVar[str] = "cancel"
    target: int


@dataclass(frozen=True)
class CloseClip:
    """Forget a clip and its embeddings; its requests are cancelled. Answered by Done."""

    NAME: ClassVar[str] = "close_clip"
    clip: str


@dataclass(frozen=True)
class AskStatus:
    """Answered by Status at once, also during work."""

    NAME: ClassVar[str] = "status"


@dataclass(frozen=True)
class Shutdown:
    """Cancel everything, answer Done, end."""

    NAME: ClassVar[str] = "shutdown"


Request = (
    Hello
    | LoadModel
    | OpenClip
    | SendFrames
    | Embed
    | SegmentFrame
    | Propagate
    | Cancel
    | CloseClip
    | AskStatus
    | Shutdown
)


# Events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Welcome:
    NAME: ClassVar[str] = "welcome"
    protocol: int
    version: str  # of SAMUSA
    python: str
    process: int
    shared_memory: bool  # whether the worker can attach blocks by name


@dataclass(frozen=True)
class ModelLoaded:
    """prompts: the kinds it was trained for; others are translated. note: what the user should
    know, such as that there is no GPU; may be empty."""

    NAME: ClassVar[str] = "model_loaded"
    model: str
    device: str
    prompts: tuple[str, ...]
    parameters: int
    input_size: int
    licence: str
    note: str = ""


@dataclass(frozen=True)
class Done:
    NAME: ClassVar[str] = "done"


@dataclass(frozen=True)
class FrameSegmented:
    """seconds: spent in the engine."""

    NAME: ClassVar[str] = "frame_segmented"
    segment: str
    frame: int
    mask: EncodedMask
    confidence: float
    seconds: float


@dataclass(frozen=True)
class FramePropagated:
    """One finished frame of a propagation; done of total frames, seconds since its start."""

    NAME: ClassVar[str] = "frame_propagated"
    segment: str
    frame: int
    mask: EncodedMask
    confidence: float
    state: FrameState
    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class Propagated:
    """A propagation is complete."""

    NAME: ClassVar[str] = "propagated"
    frames: int
    seconds: float


@dataclass(frozen=True)
class Status:
    """memory: resident bytes of the process, 0 where it cannot tell; cache: bytes of embeddings;
    device_memory: bytes on the GPU, 0 without one; waiting: requests in the queue."""

    NAME: ClassVar[str] = "worker_status"
    model: str | None
    device: str | None
    memory: int
    device_memory: int
    cache: int
    clips: int
    waiting: int
    uptime: float


@dataclass(frozen=True)
class Failure:
    """A request failed. message: a sentence for the user; details: for the log."""

    NAME: ClassVar[str] = "failure"
    kind: FailureKind
    message: str
    details: str = ""


@dataclass(frozen=True)
class Heartbeat:
    """Unasked, every second. working: number of the request in work or None; seconds: since that
    request last made progress."""

    NAME: ClassVar[str] = "heartbeat"
    working: int | None
    seconds: float


@dataclass(frozen=True)
class Notice:
    """Unasked: something the user should read, such as a change from the GPU to the CPU."""

    NAME: ClassVar[str] = "notice"
    message: str


Event = (
    Welcome
    | ModelLoaded
    | Done
    | FrameSegmented
    | FramePropagated
    | Propagated
    | Status
    | Failure
    | Heartbeat
    | Notice
)
FINAL = (Welcome, ModelLoaded, Done, FrameSegmented, Propagated, Status, Failure)


# Writing --------------------------------------------------------------------------------------


def request_message(number: int, request: Request) -> Message:
    """number: of the request, from 1 up, never used twice by a client."""
    return value_message("request", number, request)


def event_message(number: int | None, event: Event) -> Message:
    """number: of the request that the event belongs to; None for Heartbeat and Notice."""
    return value_message("event", number, event)


def value_message(role: str, number: int | None, value: Any) -> Message:
    """A dataclass with a NAME as a message; its fields are of the types in _READERS."""
    parts: list[bytes] = []
    header: dict[str, Any] = {role: value.NAME}
    if number is not None:
        header["number"] = number
    for each in fields(value):
        header[each.name] = _form(getattr(value, each.name), parts)
    return Message(header, tuple(parts))


def _form(value: Any, parts: list[bytes]) -> Any:
    """A field as JSON; binary goes to `parts` and its place there into the JSON."""
    if isinstance(value, bytes):
        parts.append(value)
        return len(parts) - 1
    if isinstance(value, EncodedMask):
        parts.append(value.data)
        box = None if value.box is None else list(value.box)
        return {"shape": list(value.shape), "box": box, "part": len(parts) - 1}
    if isinstance(value, FramePrompts):
        return frame_form(value, lambda mask: _form(EncodedMask.encode(mask), parts))
    if isinstance(value, SegmentPrompts):
        return segment_form(value, lambda _, mask: _form(EncodedMask.encode(mask), parts))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list, frozenset, set)):
        return [_form(each, parts) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _form(each, parts) for key, each in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value


# Reading --------------------------------------------------------------------------------------


def read_request(message: Message) -> tuple[int, Request]:
    """Number and request. Raises BadMessage."""
    number, request = read_value("request", message, _REQUESTS)
    if number is None:
        raise BadMessage("a request has no number")
    return number, request


def read_event(message: Message) -> tuple[int | None, Event]:
    """Number of the request, None for unasked events, and the event. Raises BadMessage."""
    return read_value("event", message, _EVENTS)


def read_value(
    role: str, message: Message, known_names: Mapping[str, type]
) -> tuple[int | None, Any]:
    """Number, None without one, and the value of what `value_message` made. Raises BadMessage."""
    form = dict(message.header)
    number = form.pop("number", None)
    if number is not None and not (type(number) is int and 0 < number < 2**53):
        raise BadMessage(f"number is {number!r}; a whole number from 1 up is needed")
    name = form.pop(role, None)
    kind = known_names.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadMessage(
            f"{role} is {_short(name)}; known are {', '.join(sorted(known_names))}", number
        )
    try:
        known(form, {each.name for each in fields(kind)}, name)
        values = {
            each.name: _reader(kind, each)(form[each.name], f"{name}.{each.name}", message.parts)
            for each in fields(kind)
            if each.name in form
        }
    except InvalidValue as error:
        raise BadMessage(str(error), number) from None
    missing = [
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values
    ]
    if missing:
        raise BadMessage(f"{name} lacks {', '.join(missing)}", number)
    return number, kind(**values)


def _reader(kind: type, each: Field) -> Callable:
    if kind is OpenClip and each.name == "shape":
        return _clip_shape
    return _READERS[each.type]


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _text(value, place, parts) -> str:
    need(value, str, place, "a text")
    if len(value) > LONGEST_TEXT:
        raise InvalidValue(f"{place} has {len(value)} characters; at most {LONGEST_TEXT}")
    return value


def _whole(value, place, parts) -> int:
    need(value, int, place, "a whole number")
    if not 0 <= value < 2**53:
        raise InvalidValue(f"{place} is {_short(value)}; 0 to 2^53 is needed")
    return value


def _number(value, place, parts) -> float:
    need(value, (int, float), place, "a number")
    if not (math.isfinite(value) and abs(value) < 2**53):
        raise InvalidValue(f"{place} is {_short(value)}; a finite number is needed")
    return float(value)


def _yes_or_no(value, place, parts) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{place} is {_short(value)}; true or false is needed")
    return value


def _choice(of: type[Enum]) -> Callable:
    def read(value, place, parts):
        try:
            return of(value)
        except ValueError:
            choices = ", ".join(member.value for member in of)
            raise InvalidValue(f"{place} is {_short(value)}; one of {choices}") from None

    return read


def _optional(read: Callable) -> Callable:
    return lambda value, place, parts: None if value is None else read(value, place, parts)


def _list_of(read: Callable, most: int) -> Callable:
    def read_all(value, place, parts) -> tuple:
        need(value, list, place, "a list")
        if len(value) > most:
            raise InvalidValue(f"{place} has {len(value)} entries; at most {most}")
        return tuple(read(each, f"{place}[{n}]", parts) for n, each in enumerate(value))

    return read_all


def _map_of(read: Callable, read_key: Callable = lambda key, place: key) -> Callable:
    def read_all(value, place, parts) -> dict:
        need(value, dict, place, "an object")
        return {
            read_key(key, place): read(each, f'{place}["{_short(key)}"]', parts)
            for key, each in value.items()
        }

    return read_all


def _frame_key(key: str, place: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 7):
        raise InvalidValue(f"{place} has the key {_short(key)}; a frame number is needed")
    return int(key)


def _part(value, place, parts) -> bytes:
    if not (type(value) is int and 0 <= value < len(parts)):
        raise InvalidValue(f"{place} is {_short(value)}; the message has {len(parts)} parts")
    return parts[value]


def _mask(value, place, parts) -> EncodedMask:
    need(value, dict, place, "a mask")
    known(value, {"shape", "box", "part"}, place)
    shape = numbers(value.get("shape"), 2, f"{place}.shape", "[height, width]")
    if not all(type(n) is int and 1 <= n <= LARGEST_SIDE for n in shape):
        raise InvalidValue(f"{place}.shape is {shape}; sides of 1 to {LARGEST_SIDE} pixels")
    box = value.get("box")
    if box is not None:
        numbers(box, 4, f"{place}.box", "[x0, y0, x1, y1]")
        x0, y0, x1, y1 = box
        whole = all(type(n) is int for n in box)
        if not (whole and 0 <= x0 <= x1 < shape[1] and 0 <= y0 <= y1 < shape[0]):
            raise InvalidValue(f"{place}.box is {box}, not within a frame of {shape}")
        box = tuple(box)
    return EncodedMask(tuple(shape), box, _part(value.get("part"), f"{place}.part", parts))


def _mask_finder(parts) -> Callable[[Any, str], np.ndarray]:
    return lambda reference, place: _mask(reference, place, parts).decode()


def _frame_prompts(value, place, parts) -> FramePrompts:
    return read_frame(value, place, _mask_finder(parts))


def _segment_prompts(value, place, parts) -> SegmentPrompts:
    return read_segment(value, place, _mask_finder(parts))


def _clip_shape(value, place, parts) -> tuple[int, ...]:
    shape = _list_of(_whole, 4)(value, place, parts)
    grey_or_rgb = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    if not grey_or_rgb or not 1 <= shape[0] <= LONGEST_CLIP:
        raise InvalidValue(f"{place} is {list(shape)}; [T, H, W] or [T, H, W, 3] is needed")
    if not all(1 <= side <= LARGEST_SIDE for side in shape[1:3]):
        raise InvalidValue(f"{place} is {list(shape)}; sides of 1 to {LARGEST_SIDE} pixels")
    return shape


def _extent(value, place, parts) -> tuple[float, float, float, float]:
    numbers(value, 4, place, "[x0, y0, x1, y1]")
    return tuple(_number(each, place, parts) for each in value)


# By the annotation of a field, as `from __future__ import annotations` keeps it: a text.
_READERS: dict[str, Callable] = {
    "int": _whole,
    "int | None": _optional(_whole),
    "float": _number,
    "bool": _yes_or_no,
    "str": _text,
    "str | None": _optional(_text),
    "bytes": _part,
    "EncodedMask": _mask,
    "FrameState": _choice(FrameState),
    "FailureKind": _choice(FailureKind),
    "SegmentPrompts": _segment_prompts,
    "tuple[str, ...]": _list_of(_text, 100),
    "tuple[float, ...]": _list_of(_number, 100),
    "tuple[FramePrompts, ...]": _list_of(_frame_prompts, MOST_STEPS),
    "tuple[SegmentPrompts, ...]": _list_of(_segment_prompts, 1000),
    "tuple[float, float, float, float] | None": _optional(_extent),
    "Mapping[str, Mapping[int, EncodedMask]]": _map_of(_map_of(_mask, _frame_key)),
    "Mapping[str, tuple[int, ...]] | None": _optional(_map_of(_list_of(_whole, LONGEST_CLIP))),
    "tuple[int, ...]": _list_of(_whole, LONGEST_CLIP),
}
_REQUESTS = {kind.NAME: kind for kind in get_args(Request)}
_EVENTS = {kind.NAME: kind for kind in get_args(Event)}
