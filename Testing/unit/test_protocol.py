"""The worker's protocol: what is said comes back as it was said, and nothing that comes in, however
wrong, does more than raise the protocol's own errors."""

import json
import tracemalloc
from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.annotation import FrameState
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from SAMUSALib.worker import messages as m
from SAMUSALib.worker.protocol import (
    MAGIC,
    MAX_BODY,
    MAX_HEADER,
    PREFIX,
    BrokenStream,
    Decoder,
    Message,
    encode,
)


def disc(height=40, width=60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x - 20) ** 2 + (y - 15) ** 2 < 81


CLICKS = FramePrompts(
    boundary=[[1.25, 2.0], [1 / 3, 7e-9]],
    include=[[4, 5]],
    box=[0.5, 1, 9, 10.125],
    mask=disc(),
)
MASK = EncodedMask.encode(disc())

REQUESTS = [
    m.Hello(1, "SAMUSA 1.0 in Slicer"),
    m.LoadModel("samusa-small"),
    m.LoadModel("C:\\models\\Mödel.pt", "cuda"),
    m.OpenClip("clip 1", (700, 480, 640, 3), 1.25, "psm_1234"),
    m.OpenClip("clip 1", (1, 8, 8)),
    m.SendFrames("clip 1", 12, bytes(range(256)) * 10),
    m.Embed("clip 1", (0, 3, 4), (0.5, 1.0, 30.0, 40.25)),
    m.SegmentFrame("clip 1", "left ventricle", 7, (FramePrompts(include=[[1, 2]]), CLICKS)),
    m.Propagate(
        "clip 1",
        (
            SegmentPrompts("a", {3: CLICKS, 9: FramePrompts(exclude=[[2, 2]])}, (Window(0, 9),)),
            SegmentPrompts("b", {0: CLICKS}, (), (1, 2, 3)),
        ),
        "forward",
        {"a": {5: MASK, 6: EncodedMask((40, 60), None, b"")}},
        {"a": (3, 4), "b": ()},
    ),
    m.Propagate("clip 1", (SegmentPrompts("a", {3: CLICKS}),)),
    m.Cancel(8),
    m.CloseClip("clip 1"),
    m.AskStatus(),
    m.Shutdown(),
]
EVENTS = [
    m.Welcome(1, "1.0", "3.11", 4711, True),
    m.ModelLoaded("samusa-small", "cpu", ("boundary", "box"), 5_000_000, 256, "Apache-2.0", "slow"),
    m.Done(),
    m.FrameSegmented("a", 7, MASK, 0.5, 0.03),
    m.FramePropagated("a", 8, MASK, 0.25, FrameState.PROPAGATED, 3, 700, 0.4),
    m.Propagated(700, 60.5),
    m.Status("samusa-small", "cpu", 10**9, 0, 10**8, 1, 0, 3.5),
    m.Status(None, None, 10**9, 0, 0, 0, 0, 3.5),
    m.Failure(m.FailureKind.OUT_OF_MEMORY, "The GPU is full; …", "Traceback"),
    m.Heartbeat(None, 0.0),
    m.Notice("now on the processor"),
]


def same(first, second) -> bool:
    """Values that hold arrays have no equality of their own: their messages have."""
    if type(first) is not type(second):
        return False
    write = m.request_message if type(first) in get_args(m.Request) else m.event_message
    return write(1, first) == write(1, second)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.NAME)
def test_a_request_arrives_as_it_was_sent(request_):
    (message,) = Decoder().feed(encode(m.request_message(3, request_)))
    number, arrived = m.read_request(message)
    assert number == 3
    assert same(arrived, request_)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.NAME)
def test_an_event_arrives_as_it_was_sent(event):
    (message,) = Decoder().feed(encode(m.event_message(3, event)))
    assert m.read_event(message)[0] == 3
    assert same(m.read_event(message)[1], event)


def test_clicks_masks_and_locks_are_exact_to_the_last_bit():
    sent = REQUESTS[8]
    _, arrived = m.read_request(Decoder().feed(encode(m.request_message(1, sent)))[0])
    clicks = arrived.segments[0].frames[3]
    assert np.array_equal(clicks.boundary, CLICKS.boundary)
    assert np.array_equal(clicks.box, CLICKS.box)
    assert np.array_equal(clicks.mask, CLICKS.mask)
    assert np.array_equal(arrived.locked["a"][5].decode(), disc())
    assert arrived.locked["a"][6].is_empty
    assert arrived.changed == {"a": (3, 4), "b": ()}


def test_messages_may_arrive_in_pieces_of_any_size():
    stream = b"".join(encode(m.request_message(n, r)) for n, r in enumerate(REQUESTS, start=1))
    for size in (1, 7, 64, 5000, len(stream)):
        decoder, arrived = Decoder(), []
        for at in range(0, len(stream), size):
            arrived += decoder.feed(stream[at : at + size])
        assert [number for number, _ in map(m.read_request, arrived)] == list(
            range(1, len(REQUESTS) + 1)
        )
        assert not decoder.unfinished


def test_a_stream_that_ends_within_a_message_is_noticed():
    data = encode(m.request_message(1, REQUESTS[5]))
    for end in (1, PREFIX.size, PREFIX.size + 5, len(data) - 1):
        decoder = Decoder()
        assert decoder.feed(data[:end]) == []
        assert decoder.unfinished


@pytest.mark.parametrize(
    "data",
    [
        b"Warning: something\n",
        PREFIX.pack(b"HTTP", 10),
        PREFIX.pack(MAGIC, MAX_HEADER + 1),
        PREFIX.pack(MAGIC, 0),
        PREFIX.pack(MAGIC, 4) + b"null",
        PREFIX.pack(MAGIC, 4) + b"\xff\xfe\xfd\xfc",
        PREFIX.pack(MAGIC, 9) + b'{"a":NaN}',
        PREFIX.pack(MAGIC, 100_000) + b"[" * 100_000,
        PREFIX.pack(MAGIC, 5007) + b'{"a":' + b"9" * 5000 + b"}" + b" ",
    ],
)
def test_what_is_not_the_protocol_breaks_the_stream_for_good(data):
    decoder = Decoder()
    with pytest.raises(BrokenStream):
        decoder.feed(data)
    with pytest.raises(BrokenStream):
        decoder.feed(encode(m.request_message(1, m.AskStatus())))


@pytest.mark.parametrize(
    "parts", ["x", [-1], [1.5], [True], [MAX_BODY + 1], [MAX_BODY, 1], [0] * 9000, {"a": 1}]
)
def test_sizes_beyond_the_bounds_are_refused_before_a_byte_of_them_is_kept(parts):
    header = json.dumps({"request": "status", "number": 1, "parts": parts}).encode()
    with pytest.raises(BrokenStream):
        Decoder().feed(PREFIX.pack(MAGIC, len(header)) + header)


def test_what_the_other_side_would_refuse_is_not_sent():
    for message in (
        Message({"parts": 1}),
        Message({"a": float("nan")}),
        Message({"a": object()}),
        Message({"a": "x" * (MAX_HEADER + 1)}),
        Message({}, (b"",) * 9000),
    ):
        with pytest.raises(BrokenStream):
            encode(message)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({}, "request is None"),
        ({"request": "sudo", "number": 1}, "known are"),
        ({"request": "status"}, "no number"),
        ({"request": "status", "number": "1"}, "number is '1'"),
        ({"request": "status", "number": 0}, "number is 0"),
        ({"request": "status", "number": 1, "more": 2}, "status.more is not known"),
        ({"request": "load_model", "number": 1}, "lacks model"),
        ({"request": "load_model", "number": 1, "model": 5}, "a text is needed"),
        ({"request": "open_clip", "number": 1, "clip": "c", "shape": [2, 3]}, "[T, H, W]"),
        ({"request": "open_clip", "number": 1, "clip": "c", "shape": [1, 9**9, 1]}, "sides of"),
        ({"request": "open_clip", "number": 1, "clip": "c", "shape": [0, 9, 9]}, "[T, H, W]"),
        ({"request": "send_frames", "number": 1, "clip": "c", "first": 0, "pixels": 0}, "0 parts"),
        (
            {
                "request": "segment_frame",
                "number": 1,
                "clip": "c",
                "segment": "s",
                "frame": 0,
                "steps": [{"boundary": [["a", 1]]}],
            },
            "boundary[0]",
        ),
        (
            {
                "request": "propagate",
                "number": 1,
                "clip": "c",
                "segments": [{"name": "a", "windows": [[5, 2]]}],
            },
            "turned round",
        ),
    ],
)
def test_a_message_with_wrong_content_is_refused_in_words_and_by_number(header, says):
    with pytest.raises(m.BadMessage) as refused:
        m.read_request(Message(header))
    assert says in str(refused.value)
    if header.get("number") == 1:
        assert refused.value.request == 1


def test_a_mask_cannot_claim_more_pixels_than_a_frame_has():
    segmented = m.event_message(1, EVENTS[3])
    for change in (
        {"shape": [10**9, 10**9]},
        {"shape": [0, 5]},
        {"box": [0, 0, 60, 39]},
        {"box": [5, 5, 4, 9]},
        {"box": [0.5, 0, 3, 3]},
        {"part": 1},
        {"part": -1},
    ):
        header = dict(segmented.header, mask={**segmented.header["mask"], **change})
        with pytest.raises(m.BadMessage):
            m.read_event(Message(header, segmented.parts))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
field_names = st.sampled_from(
    sorted({each.name for kind in get_args(m.Request) for each in fields(kind)})
)


@given(st.lists(st.binary(max_size=200), max_size=8))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_decoder_raise_anything_but_its_own_error(pieces):
    decoder = Decoder()
    try:
        for piece in [PREFIX.pack(MAGIC, 8), *pieces]:
            decoder.feed(piece)
    except BrokenStream:
        pass


@given(
    st.sampled_from([kind.NAME for kind in get_args(m.Request)]),
    st.dictionaries(field_names, json_values, max_size=6),
    st.lists(st.binary(max_size=50), max_size=3),
)
@settings(max_examples=500, deadline=None)
def test_no_content_makes_the_reader_raise_anything_but_its_own_error(name, values, parts):
    try:
        m.read_request(Message({"request": name, "number": 1, **values}, tuple(parts)))
    except m.BadMessage:
        pass


@given(st.sampled_from(REQUESTS), st.data())
@settings(max_examples=300, deadline=None)
def test_a_good_message_with_bytes_changed_never_hangs_or_crashes_the_reader(request_, data):
    stream = bytearray(encode(m.request_message(1, request_)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    try:
        for message in Decoder().feed(bytes(stream)):
            m.read_request(message)
    except (BrokenStream, m.BadMessage):
        pass


def test_memory_follows_what_arrives_not_what_is_announced():
    header = json.dumps({"request": "send_frames", "parts": [MAX_BODY]}).encode()
    decoder = Decoder()
    tracemalloc.start()
    decoder.feed(PREFIX.pack(MAGIC, len(header)) + header)
    for _ in range(50):
        decoder.feed(bytes(1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_long_conversation_leaves_nothing_behind():
    decoder, data = Decoder(), encode(m.request_message(1, REQUESTS[5]))
    tracemalloc.start()
    for _ in range(2000):
        decoder.feed(data)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 2**18
