"""The client of the worker, on a scripted transport and a virtual clock: answers find their
requests, clips travel in pieces, and whatever the worker does ends in an answer or in words."""

import gc
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.annotation import FrameState
from SAMUSALib.errors import InvalidValue
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import FramePrompts, SegmentPrompts
from SAMUSALib.worker import clip_transfer, shared_frames
from SAMUSALib.worker import messages as m
from SAMUSALib.worker.client import (
    HANG_SECONDS,
    LOG_LENGTH,
    START_SECONDS,
    STUCK_SECONDS,
    Client,
    RequestFailed,
    WorkerLost,
)
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.protocol import VERSION, Decoder, encode
from SAMUSALib.worker.shared_frames import CannotShare, attach
from SAMUSALib.worker.transport import LOW_WATER

LOCAL = WorkerCommand("python", (), {})
REMOTE = WorkerCommand("ssh", (), {}, remote=True, place="gpu")
CLICK = FramePrompts(include=[[1, 2]])
MASK = EncodedMask.encode(np.eye(8, dtype=bool))


class ScriptedTransport:
    """Keeps what is written as requests; the test says what the worker says."""

    def __init__(self):
        self.decoder = Decoder()
        self.requests: list[tuple[int, m.Request]] = []
        self.backlog = 0
        self.killed = False
        self.calls = []
        self.receiver = None

    def start(self, command, receiver):
        self.decoder, self.killed, self.receiver = Decoder(), False, receiver

    def write(self, data):
        self.requests += [m.read_request(each) for each in self.decoder.feed(data)]

    def kill(self):
        self.killed = True

    def soon(self, callback):
        self.calls.append(callback)

    def step(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def run(self):
        while self.calls:
            self.step()

    def say(self, number, event):
        self.receiver.received(encode(m.event_message(number, event)))

    def number_of(self, kind):
        return next(number for number, each in self.requests if isinstance(each, kind))

    def sent(self, kind):
        return [each for _, each in self.requests if isinstance(each, kind)]

    def answer(self, kind=None, event=None):
        """Answer Done to all that waits, or `event` to requests of one kind."""
        waiting, self.requests = self.requests, []
        for number, request in waiting:
            if kind is None or isinstance(request, kind):
                self.say(number, event or m.Done())
            else:
                self.requests.append((number, request))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def transport():
    return ScriptedTransport()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(transport, clock):
    made = Client(transport, clock)
    made.told = []
    made.on_lost = lambda lost: made.told.append(("lost", str(lost)))
    made.on_notice = lambda text: made.told.append(("notice", text))
    yield made
    if made.running:
        made.ended("ended with status 0")


def welcome(protocol=VERSION, shared_memory=True):
    return m.Welcome(protocol, "9.9", "3.11", 4711, shared_memory)


def started(client, transport, command=LOCAL, **fields):
    hello = client.start(command)
    transport.answer(m.Hello, welcome(**fields))
    assert hello.result().process == 4711
    return client


def propagation(client, transport):
    """A propagation of 9 frames that is asked for, its number, and the frames as they come."""
    started(client, transport)
    client.send_clip("c", frames_of(9))
    transport.run()
    transport.answer(m.OpenClip)
    pending = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    seen = []
    pending.on_frame(lambda event: seen.append(event.frame))
    return pending, transport.number_of(m.Propagate), seen


def frame_events(number, frames):
    return b"".join(
        encode(
            m.event_message(
                number,
                m.FramePropagated("s", frame, MASK, 0.5, FrameState.PROPAGATED, frame + 1, 9, 0.1),
            )
        )
        for frame in frames
    )


def wait_silently(client, clock, seconds):
    for _ in range(int(seconds * 2)):
        clock.now += 0.5
        client.tick()


def frames_of(count, height=8, width=8):
    pixels = np.arange(count * height * width, dtype=np.int64) % 251
    return pixels.astype(np.uint8).reshape(count, height, width)


def segment(frame=0, clip="c"):
    return m.SegmentFrame(clip, "s", frame, (CLICK,))


def propagated(frame, total=3):
    return m.FramePropagated("s", frame, MASK, 0.5, FrameState.PROPAGATED, frame + 1, total, 0.1)


# Answers --------------------------------------------------------------------------------------


def test_an_answer_reaches_the_request_it_belongs_to_whatever_the_order(client, transport):
    started(client, transport)
    status, model = client.ask(m.AskStatus()), client.ask(m.LoadModel("small"))
    loaded = m.ModelLoaded("small", "cpu", ("box",), 1, 256, "Apache-2.0")
    transport.answer(m.LoadModel, loaded)
    assert model.result() == loaded
    assert not status.done
    with pytest.raises(RuntimeError):
        status.result()
    told = m.Status(None, None, 1, 0, 0, 0, 0, 1.0)
    transport.answer(m.AskStatus, told)
    assert status.result() == told


def test_callbacks_come_once_in_order_and_at_once_for_what_is_done(client, transport):
    started(client, transport)
    seen = []
    pending = client.ask(m.Cancel(99))
    pending.on_done(lambda p: seen.append("first"))
    pending.on_done(lambda p: seen.append("second"))
    transport.answer()
    pending.on_done(lambda p: seen.append(p))
    assert seen == ["first", "second", pending]


def test_frames_of_a_propagation_come_in_order_and_before_its_end(client, transport):
    started(client, transport)
    seen = []
    pending = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    pending.on_frame(lambda event: seen.append(event.frame))
    pending.on_done(lambda p: seen.append("done"))
    number = transport.number_of(m.Propagate)
    for frame in range(3):
        transport.say(number, propagated(frame))
    transport.say(number, m.Propagated(3, 1.0))
    assert seen == [0, 1, 2, "done"]
    assert pending.result().frames == 3


def test_a_failure_is_an_error_with_kind_sentence_and_details(client, transport):
    started(client, transport)
    pending = client.ask(segment())
    transport.answer(
        m.SegmentFrame, m.Failure(m.FailureKind.OUT_OF_MEMORY, "Too big.", "Traceback of it")
    )
    with pytest.raises(RequestFailed, match="Too big") as failed:
        pending.result()
    assert failed.value.kind is m.FailureKind.OUT_OF_MEMORY
    assert failed.value.details == "Traceback of it"
    assert "Traceback of it" in client.log


def test_a_callback_that_raises_is_told_and_stops_nothing(client, transport):
    started(client, transport)
    seen = []

    def broken(_):
        raise ZeroDivisionError("mine")

    pending = client.ask(m.Cancel(99))
    pending.on_done(broken)
    pending.on_done(seen.append)
    transport.answer()
    assert seen == [pending]
    assert "ZeroDivisionError: mine" in client.log
    assert any("ZeroDivisionError" in text for _, text in client.told)
    client.on_notice = broken
    client.on_log = broken
    transport.say(None, m.Notice("now on the processor"))
    assert client.accepting


def test_a_callback_may_ask_again(client, transport):
    started(client, transport)
    second = []
    pending = client.ask(m.Cancel(98))
    pending.on_done(lambda _: second.append(client.ask(m.Cancel(99))))
    transport.answer()
    transport.answer()
    assert second[0].done


def test_notices_are_told_and_heartbeats_are_not(client, transport):
    started(client, transport)
    transport.say(None, m.Heartbeat(None, 0.0))
    transport.say(None, m.Notice("now on the processor"))
    assert client.told == [("notice", "now on the processor")]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_pieces_of_any_size_give_the_same_answers(data):
    transport, seen = ScriptedTransport(), []
    client = started(Client(transport, Clock()), transport)
    pending = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    status = client.ask(m.AskStatus())
    pending.on_frame(lambda event: seen.append(event.frame))
    number, status_number = (each for each, _ in transport.requests)
    events = [(number, propagated(frame)) for frame in range(3)]
    events.insert(1, (None, m.Heartbeat(number, 0.1)))
    events.insert(2, (status_number, m.Status(None, None, 1, 0, 0, 0, 0, 1.0)))
    events.append((number, m.Propagated(3, 1.0)))
    stream = b"".join(encode(m.event_message(*each)) for each in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        client.received(stream[start:end])
    assert seen == [0, 1, 2]
    assert pending.done and status.done
    assert client.accepting


# Start and versions ---------------------------------------------------------------------------


def test_requests_asked_before_the_welcome_are_sent_after_it(client, transport):
    client.start(LOCAL)
    client.ask(m.AskStatus())
    assert [type(each) for _, each in transport.requests] == [m.Hello]
    transport.answer(m.Hello, welcome())
    assert [type(each) for _, each in transport.requests] == [m.AskStatus]


@pytest.mark.parametrize(
    "answer",
    [
        welcome(protocol=VERSION + 1),
        m.Failure(m.FailureKind.BAD_REQUEST, f"This is version {VERSION + 1}, not {VERSION}."),
    ],
    ids=["welcome", "failure"],
)
def test_another_version_is_refused_in_words_and_is_no_loss(client, transport, answer):
    hello, model = client.start(LOCAL), client.ask(m.LoadModel("small"))
    transport.answer(m.Hello, answer)
    with pytest.raises(RequestFailed, match=f"version {VERSION + 1}"):
        hello.result()
    assert transport.killed
    client.ended("was ended by SIGKILL")
    with pytest.raises(WorkerLost):
        model.result()
    assert client.told == []


def test_only_one_worker_at_a_time(client, transport):
    started(client, transport)
    with pytest.raises(RuntimeError):
        client.start(LOCAL)
    client.ended("ended with status 1")
    client.start(LOCAL)


# Losses ---------------------------------------------------------------------------------------


def test_a_lost_worker_is_told_first_then_all_its_requests_fail(client, transport):
    started(client, transport)
    pending = [
        client.ask(m.AskStatus()),
        client.send_clip("c", frames_of(2)),
        client.ask(segment()),
    ]
    for each in pending:
        each.on_done(lambda _: client.told.append("failed"))
    client.logged("loading\nIllegal instruction\n")
    client.ended("was ended by SIGILL")
    sentence = "The worker was ended by SIGILL. It said: Illegal instruction"
    assert client.told == [("lost", sentence), "failed", "failed", "failed"]
    for each in pending:
        with pytest.raises(WorkerLost, match="SIGILL"):
            each.result()


@pytest.mark.parametrize(
    "said, told",
    [
        (
            "Traceback (most recent call last):\nMemoryError: 4 GiB\nbye\n",
            "It said: MemoryError: 4 GiB",
        ),
        ("spline is loaded on cpu\n", "Its log, in the module SAMUSA under Worker, may tell why."),
        (
            "UserWarning: fallback failed\n",
            "Its log, in the module SAMUSA under Worker, may tell why.",
        ),
        ("", ""),
    ],
    ids=["error", "chat", "warning", "nothing"],
)
def test_a_loss_quotes_only_a_line_that_tells_why(client, transport, said, told):
    started(client, transport)
    client.logged(said)
    client.ended("was ended by SIGKILL")
    assert client.told == [("lost", f"The worker was ended by SIGKILL. {told}".strip())]


def test_without_a_worker_requests_fail_with_words_and_do_not_raise(client, transport):
    for pending in (
        client.ask(m.AskStatus()),
        client.send_clip("c", frames_of(1)),
        client.close_clip("c"),
    ):
        with pytest.raises(WorkerLost, match="No worker is running"):
            pending.result()


def test_a_new_worker_may_be_started_from_within_the_loss(client, transport):
    started(client, transport)
    restarted = []
    client.on_lost = lambda _: restarted.append(client.start(LOCAL))
    old = client.ask(m.AskStatus())
    client.ended("was ended by SIGKILL")
    assert isinstance(old._answer, WorkerLost)
    transport.requests = [each for each in transport.requests if isinstance(each[1], m.Hello)][-1:]
    transport.answer(m.Hello, welcome())
    assert restarted[0].done
    assert client.accepting


@pytest.mark.parametrize(
    "data",
    [
        b"Warning: deprecated\n",
        encode(m.event_message(77, m.Done())),
        encode(m.event_message(2, m.Propagated(1, 1.0))),
        encode(m.event_message(2, propagated(0))),
        encode(m.event_message(None, m.Done())),
        encode(m.event_message(1, welcome())),
        encode(m.request_message(2, m.AskStatus())),
    ],
    ids=["text", "unknown", "wrong kind", "frame", "no number", "second welcome", "request"],
)
def test_a_worker_that_says_what_it_must_not_is_killed_and_told(client, transport, data):
    started(client, transport)
    pending = client.ask(m.AskStatus())
    client.received(data)
    assert transport.killed and not client.accepting
    transport.say(2, m.Status(None, None, 1, 0, 0, 0, 0, 1.0))  # what it says now counts no more
    assert not pending.done
    client.ended("was ended by SIGKILL")
    with pytest.raises(WorkerLost, match="was ended"):
        pending.result()
    assert len(client.told) == 1


def test_text_before_the_protocol_on_another_computer_is_explained(client, transport):
    client.start(REMOTE)
    client.received(b"Welcome to the cluster!\nquota 3 %\n")
    client.ended("was ended by SIGKILL")
    ((_, sentence),) = client.told
    assert "Welcome to the cluster!" in sentence and "bashrc" in sentence


def test_a_worker_that_says_nothing_is_killed_and_told(client, transport, clock):
    started(client, transport)
    pending = client.ask(m.AskStatus())
    wait_silently(client, clock, HANG_SECONDS - 1)
    assert not transport.killed
    transport.say(None, m.Heartbeat(1, 5.0))
    wait_silently(client, clock, HANG_SECONDS - 1)
    assert not transport.killed
    wait_silently(client, clock, 2)
    assert transport.killed
    client.ended("was ended by SIGKILL")
    with pytest.raises(WorkerLost, match="has said nothing for 20 s"):
        pending.result()


def test_a_worker_that_starts_has_more_time(client, transport, clock):
    client.start(LOCAL)
    wait_silently(client, clock, START_SECONDS - 1)
    assert not transport.killed
    wait_silently(client, clock, 2)
    assert transport.killed


def test_a_worker_whose_work_stands_still_is_ended_though_its_heart_beats(client, transport, clock):
    started(client, transport)
    transport.say(None, m.Heartbeat(1, STUCK_SECONDS - 1))
    assert not transport.killed
    transport.say(None, m.Heartbeat(1, STUCK_SECONDS + 1))
    assert transport.killed


def test_an_owner_that_was_away_does_not_take_its_own_absence_for_a_hang(client, transport, clock):
    started(client, transport)
    clock.now += 3600.0
    client.tick()
    wait_silently(client, clock, HANG_SECONDS / 2)
    assert not transport.killed


def test_the_log_is_bounded_and_keeps_its_end(client, transport):
    started(client, transport)
    for number in range(3000):
        client.logged(f"line {number} " + "x" * 100 + "\n")
    client.logged("y" * 3 * LOG_LENGTH + "end")
    assert len(client.log) == LOG_LENGTH
    assert client.log.endswith("yend")
    client.logged("more")
    assert client.log.endswith("yendmore") and len(client.log) == LOG_LENGTH


# Stopping and cancelling ----------------------------------------------------------------------


def test_stop_asks_waits_for_its_grace_and_then_kills(client, transport, clock):
    started(client, transport)
    client.stop(grace=5.0)
    assert [type(each) for _, each in transport.requests] == [m.Shutdown]
    with pytest.raises(WorkerLost):
        client.ask(m.AskStatus()).result()
    wait_silently(client, clock, 4)
    assert not transport.killed
    wait_silently(client, clock, 2)
    assert transport.killed
    client.ended("was ended by SIGKILL")
    assert not client.running and client.told == []


def test_stop_may_be_asked_without_grace_twice_and_of_nothing(client, transport):
    client.stop()
    started(client, transport)
    client.stop()
    client.stop(grace=0)
    assert transport.killed


def test_what_a_stopping_worker_still_says_is_heard(client, transport):
    started(client, transport)
    status = client.ask(m.AskStatus())
    client.stop()
    transport.answer(m.AskStatus, m.Status(None, None, 1, 0, 0, 0, 0, 1.0))
    transport.answer(m.Shutdown)
    assert status.done
    client.ended("ended with status 0")
    assert client.told == []


def test_cancel_tells_the_worker_and_its_answer_ends_the_request(client, transport):
    started(client, transport)
    pending = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    number = transport.number_of(m.Propagate)
    pending.cancel()
    assert transport.sent(m.Cancel) == [m.Cancel(number)]
    transport.say(number, m.Failure(m.FailureKind.CANCELLED, "Cancelled."))
    with pytest.raises(RequestFailed) as failed:
        pending.result()
    assert failed.value.kind is m.FailureKind.CANCELLED
    pending.cancel()
    assert len(transport.sent(m.Cancel)) == 1


def test_what_was_not_sent_yet_is_cancelled_here(client, transport):
    client.start(LOCAL)
    pending = client.ask(m.LoadModel("small"))
    pending.cancel()
    with pytest.raises(RequestFailed):
        pending.result()
    transport.answer(m.Hello, welcome())
    assert transport.requests == []


def test_too_much_for_a_message_is_refused_without_harm(client, transport, monkeypatch):
    started(client, transport)
    monkeypatch.setattr("SAMUSALib.worker.protocol.MAX_HEADER", 500)
    with pytest.raises(RequestFailed, match="Too much"):
        client.ask(m.LoadModel("x" * 1000)).result()
    assert client.ask(m.AskStatus()) and client.accepting


# Clips ----------------------------------------------------------------------------------------


def blocks():
    return sorted(each.name for each in shared_frames.folder().glob(f"samusa-{os.getpid()}-*"))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(clip_transfer, "PIECE", 3 * 64)  # three of the frames above


def test_a_local_clip_is_copied_piece_by_piece_then_announced(client, transport, small_pieces):
    started(client, transport)
    frames, before = frames_of(10), blocks()
    pending = client.send_clip("c", frames, 1.5)
    for _ in range(3):
        transport.step()
        assert transport.requests == []
    transport.step()
    (opened,) = transport.sent(m.OpenClip)
    assert (opened.clip, opened.shape, opened.aspect) == ("c", (10, 8, 8), 1.5)
    assert transport.calls == []
    assert np.array_equal(attach(opened.shared, opened.shape), frames)
    transport.answer(m.OpenClip)
    assert pending.result() == m.Done()
    closed = client.close_clip("c")
    assert len(blocks()) == len(before) + 1  # until the worker lets go
    transport.answer(m.CloseClip)
    assert closed.result() == m.Done()
    assert blocks() == before


def test_views_and_colours_are_copied_as_they_look(client, transport, small_pieces):
    started(client, transport)
    frames = np.random.default_rng(1).integers(0, 255, (12, 9, 14, 3), np.uint8)[::2, ::-1, 3:11]
    client.send_clip("c", frames)
    transport.run()
    (opened,) = transport.sent(m.OpenClip)
    assert np.array_equal(attach(opened.shared, opened.shape), frames)


def test_requests_wait_for_the_pixels_that_they_need(client, transport, small_pieces):
    started(client, transport, REMOTE)
    client.send_clip("c", frames_of(9))
    client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    client.ask(segment(7))
    client.ask(segment(1, clip="other"))
    transport.step()
    kinds = [type(each).NAME for _, each in transport.requests]
    assert kinds == ["segment_frame", "open_clip", "send_frames", "segment_frame"]
    assert transport.sent(m.SendFrames)[0].first == 6  # of the frame that was clicked on
    transport.run()
    assert [type(each).NAME for _, each in transport.requests][4:] == [
        "send_frames",
        "send_frames",
        "propagate",
    ]


def test_inline_pieces_arrive_whole_and_wait_for_the_line(client, transport, small_pieces):
    started(client, transport, LOCAL, shared_memory=False)
    frames = frames_of(10)
    transport.backlog = LOW_WATER
    pending = client.send_clip("c", frames)
    transport.run()
    assert len(transport.sent(m.SendFrames)) == 0
    transport.backlog = LOW_WATER - 1
    client.drained()
    transport.run()
    parts = transport.sent(m.SendFrames)
    arrived = np.zeros_like(frames)
    for part in parts:
        pixels = np.frombuffer(part.pixels, np.uint8).reshape(-1, 8, 8)
        arrived[part.first : part.first + len(pixels)] = pixels
    assert len(parts) == 4
    assert np.array_equal(arrived, frames)
    transport.answer(m.OpenClip)
    assert not pending.done
    transport.answer(m.SendFrames)
    assert pending.result() == m.Done()


def test_without_shared_memory_pixels_go_inline_with_a_notice(client, transport, monkeypatch):
    def none_left(size):
        raise CannotShare("there is no shared memory (the folder is missing)")

    monkeypatch.setattr(clip_transfer, "SharedBlock", none_left)
    started(client, transport)
    pending = client.send_clip("c", frames_of(3))
    transport.run()
    assert transport.sent(m.OpenClip)[0].shared is None
    transport.answer()
    assert pending.done
    ((kind, text),) = client.told
    assert kind == "notice" and "the folder is missing" in text


def test_shared_memory_that_fills_up_half_way_is_given_back(
    client, transport, monkeypatch, small_pieces
):
    started(client, transport)
    frames, before, write = frames_of(10), blocks(), shared_frames.SharedBlock.write

    def full(self, offset, data):
        if offset > 300:
            raise CannotShare("the shared memory is full (No space left on device)")
        write(self, offset, data)

    monkeypatch.setattr(shared_frames.SharedBlock, "write", full)
    pending = client.send_clip("c", frames)
    transport.run()
    assert blocks() == before
    assert b"".join(each.pixels for each in transport.sent(m.SendFrames)) == frames.tobytes()
    transport.answer()
    assert pending.done


def test_a_worker_that_cannot_attach_gets_the_pixels_inline(client, transport):
    started(client, transport)
    before = blocks()
    pending = client.send_clip("c", frames_of(3))
    transport.run()
    refusal = m.Failure(m.FailureKind.BAD_REQUEST, "there is no such shared memory")
    transport.answer(m.OpenClip, refusal)
    transport.run()
    assert blocks() == before
    assert transport.sent(m.OpenClip)[0].shared is None
    transport.answer()
    assert pending.result() == m.Done()
    assert any("no such shared memory" in text for _, text in client.told)


def test_a_clip_that_the_worker_refuses_fails_with_its_words(client, transport):
    started(client, transport, REMOTE)
    pending = client.send_clip("c", frames_of(3))
    transport.run()
    transport.answer(m.OpenClip, m.Failure(m.FailureKind.OUT_OF_MEMORY, "Too many clips."))
    transport.answer(m.SendFrames, m.Failure(m.FailureKind.UNKNOWN_CLIP, "not open"))
    with pytest.raises(RequestFailed, match="Too many clips"):
        pending.result()
    again = client.send_clip("c", frames_of(1))
    transport.run()
    transport.answer()
    assert again.done


def test_closing_a_clip_on_its_way_stops_it_and_what_waits_for_it(client, transport, small_pieces):
    started(client, transport)
    before = blocks()
    pending, click = client.send_clip("c", frames_of(10)), client.ask(segment())
    transport.step()
    assert len(blocks()) == len(before) + 1
    assert client.close_clip("c").result() == m.Done()
    assert blocks() == before
    transport.run()
    assert transport.requests == []
    for each in (pending, click):
        with pytest.raises(RequestFailed) as failed:
            each.result()
        assert failed.value.kind is m.FailureKind.CANCELLED


def test_a_clip_may_be_opened_again_right_after_it_was_closed(client, transport):
    started(client, transport)
    client.send_clip("c", frames_of(3))
    transport.run()
    client.close_clip("c")
    second = client.send_clip("c", frames_of(4))
    transport.run()
    kinds = [type(each).NAME for _, each in transport.requests]
    assert kinds == ["open_clip", "close_clip", "open_clip"]
    transport.answer()
    assert second.result() == m.Done()


def test_cancelling_a_clip_closes_it(client, transport, small_pieces):
    started(client, transport, REMOTE)
    pending = client.send_clip("c", frames_of(10))
    transport.step()
    pending.cancel()
    transport.run()
    assert [type(each).NAME for _, each in transport.requests] == [
        "open_clip",
        "send_frames",
        "close_clip",
    ]


def test_a_thousand_clips_leave_nothing_behind(client, transport):
    started(client, transport)
    before, frames = blocks(), frames_of(4)

    def open_and_close(count):
        for _ in range(count):
            client.send_clip("c", frames)
            transport.run()
            client.close_clip("c")
            transport.answer()

    open_and_close(600)
    tracemalloc.start()
    open_and_close(400)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**17
    assert blocks() == before


@pytest.mark.parametrize("end", ["loss", "stop"])
def test_no_block_outlives_the_worker(client, transport, end):
    started(client, transport)
    before = blocks()
    for clip in "abc":
        client.send_clip(clip, frames_of(3))
        transport.run()
    assert len(blocks()) == len(before) + 3
    if end == "stop":
        client.stop()
    else:
        client.ended("was ended by SIGKILL")
    assert blocks() == before


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.zeros((3, 8, 8)), "float64"),
        ([[1]], "list"),
        (np.zeros((8, 8), np.uint8), "shape"),
        (np.zeros((3, 8, 8, 4), np.uint8), "shape"),
        (np.zeros((0, 8, 8), np.uint8), "shape"),
    ],
)
def test_wrong_frames_are_refused_in_words(client, transport, frames, says):
    started(client, transport)
    with pytest.raises(InvalidValue, match=says):
        client.send_clip("c", frames)


def test_two_clips_of_one_name_are_refused(client, transport):
    started(client, transport)
    client.send_clip("c", frames_of(1))
    with pytest.raises(InvalidValue, match="open already"):
        client.send_clip("c", frames_of(1))


def test_much_that_comes_at_once_is_handled_over_many_turns_in_its_order(client, transport, clock):
    pending, number, seen = propagation(client, transport)
    pending.on_frame(lambda event: setattr(clock, "now", clock.now + 0.003))
    client.received(frame_events(number, range(7)))
    assert seen == [0, 1, 2], "8 ms are over"
    client.received(frame_events(number, [7, 8]))
    assert seen == [0, 1, 2], "what comes meanwhile waits for the event loop too"
    transport.say(number, m.Propagated(9, 0.1))
    transport.step()
    assert seen == [0, 1, 2, 3, 4, 5] and not pending.done
    transport.run()
    assert seen == list(range(9)) and pending.result().frames == 9


def test_the_end_of_a_process_is_told_after_all_that_it_has_said(client, transport, clock):
    pending, number, seen = propagation(client, transport)
    pending.on_frame(lambda event: setattr(clock, "now", clock.now + 0.01))
    client.received(frame_events(number, range(4)))
    client.ended("crashed or was killed")
    assert client.running and not pending.done and client.told == []
    transport.run()
    assert seen == [0, 1, 2, 3] and not client.running
    with pytest.raises(WorkerLost, match="crashed"):
        pending.result()
    assert [kind for kind, _ in client.told] == ["lost"]
    transport.requests.clear()
    assert started(client, transport).running


def test_a_stop_does_not_wait_for_what_a_gone_process_has_said(client, transport, clock):
    pending, number, seen = propagation(client, transport)
    pending.on_frame(lambda event: setattr(clock, "now", clock.now + 0.01))
    client.received(frame_events(number, range(4)))
    client.ended("ended with status 0")
    client.stop(grace=0.0)
    assert not client.running and seen == [0, 1, 2, 3] and pending.done
    transport.run()
    assert client.told == []


def test_garbage_does_not_swallow_what_waits_before_it(client, transport, clock):
    pending, number, seen = propagation(client, transport)
    pending.on_frame(lambda event: setattr(clock, "now", clock.now + 0.01))
    client.received(frame_events(number, range(4)))
    client.received(b"Warning: something")
    assert seen == [0] and not transport.killed
    transport.run()
    assert seen == [0, 1, 2, 3] and transport.killed
