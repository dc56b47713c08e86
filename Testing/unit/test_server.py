"""The worker as a process: what it answers, in which order, and how it ends. Driven through its
pipes with the protocol alone, as any client would."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SAMUSALib.engine.checkpoints import write_checkpoint
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from SAMUSALib.worker import messages as m
from SAMUSALib.worker import server
from SAMUSALib.worker.messages import FailureKind
from SAMUSALib.worker.protocol import PREFIX, Decoder, Message, encode
from SAMUSALib.worker.shared_frames import SharedBlock, attach
from tiny import tiny_checkpoint

PATIENCE = 120  # seconds; only a worker that hangs needs them
FRAMES, HEIGHT, WIDTH = 400, 48, 64
CLICKS = FramePrompts(boundary=[[20, 15], [40, 15], [30, 34]])
WORKER = [sys.executable, "-m", "SAMUSALib.cli", "worker"]


class Worker:
    """A worker and a plain client of it."""

    def __init__(self, command=WORKER, **options):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.number = 0
        self.log = b""
        self._events = queue.Queue()
        self._early = []
        self.readers = [
            threading.Thread(target=read, daemon=True) for read in (self._read, self._read_log)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self):
        decoder = Decoder()
        while data := self.process.stdout.read1(1 << 16):
            for message in decoder.feed(data):
                self._events.put(m.read_event(message))
        self._events.put((None, None))

    def _read_log(self):
        while data := self.process.stderr.read1(1 << 16):
            self.log += data

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, request):
        self.number += 1
        self.write(encode(m.request_message(self.number, request)))
        return self.number

    def next(self):
        """Number and event, whatever comes next."""
        return self._events.get(timeout=PATIENCE)

    def until(self, wanted):
        """All that comes up to and with what is wanted(number, event)."""
        events = []
        while True:
            number, event = self.next()
            assert event is not None, f"the worker has ended: {self.log.decode()}"
            events.append((number, event))
            if wanted(number, event):
                return events

    def all_of(self, number):
        """The events of a request up to its final one; others that come before are left out."""
        events = self.until(lambda n, event: n == number and isinstance(event, m.FINAL))
        return [event for n, event in events if n == number]

    def do(self, request):
        """Ask and wait for the final event."""
        return self.all_of(self.ask(request))[-1]

    def finals(self, *numbers):
        """The final events of several requests, by number, in the order in which they come."""
        found = {}
        while set(found) != set(numbers):
            number, event = self.next()
            assert event is not None, f"the worker has ended: {self.log.decode()}"
            if number in numbers and isinstance(event, m.FINAL):
                found[number] = event
        return found

    def ended(self):
        """Exit status; the log is complete then."""
        status = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return status

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                stream.close()
            except OSError:
                pass
        self.process.wait(PATIENCE)


def started(*options, **more):
    worker = Worker([*WORKER, *options], **more)
    assert isinstance(worker.do(m.Hello(1, "test")), m.Welcome)
    return worker


@pytest.fixture
def worker():
    """A worker of its own for a test that ends it."""
    worker = started()
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, tiny_checkpoint(), half=False)
    return path


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH), np.uint8)


@pytest.fixture(scope="module")
def serving(checkpoint, frames):
    """One worker with the tiny model and a long clip, for all tests that leave it alive."""
    worker = started()
    assert isinstance(worker.do(m.LoadModel(str(checkpoint), "cpu")), m.ModelLoaded)
    open_clip(worker, "clip", frames)
    yield worker
    assert isinstance(worker.do(m.Shutdown()), m.Done)
    assert worker.ended() == 0
    worker.stop()


def open_clip(worker, name, frames):
    assert worker.do(m.OpenClip(name, frames.shape)) == m.Done()
    assert worker.do(m.SendFrames(name, 0, frames.tobytes())) == m.Done()


def click(segment="a", frame=3, clip="clip", steps=(CLICKS,)):
    return m.SegmentFrame(clip, segment, frame, steps)


def propagation(last=FRAMES - 1, clip="clip"):
    return m.Propagate(clip, (SegmentPrompts("a", {0: CLICKS}, (Window(0, last),)),))


def begun(worker, request):
    """Number of a propagation that has delivered its first frame, which is returned too."""
    number = worker.ask(request)
    events = worker.until(lambda n, event: n == number)
    assert isinstance(events[-1][1], m.FramePropagated), events[-1]
    return number, events[-1][1]


# What it answers --------------------------------------------------------------------------------


def test_hello_is_answered_before_torch_is_imported(worker):
    modules = Path(f"/proc/{worker.process.pid}/maps")
    if not modules.exists():
        pytest.skip("no /proc here")
    assert "libtorch" not in modules.read_text()


def test_a_welcome_says_who_answers():
    worker = Worker()
    welcome = worker.do(m.Hello(1, "test"))
    assert (welcome.protocol, welcome.shared_memory) == (1, True)
    assert welcome.process == worker.process.pid
    worker.stop()


def test_clicks_propagation_and_prefetch_through_the_pipes(serving):
    found = serving.do(click())
    assert isinstance(found, m.FrameSegmented) and found.mask.shape == (HEIGHT, WIDTH)
    *masks, last = serving.all_of(serving.ask(propagation(last=4)))
    assert [each.frame for each in masks] == [0, 1, 2, 3, 4]
    assert isinstance(last, m.Propagated)
    assert serving.do(m.Embed("clip", (0, 1))) == m.Done()


def test_status_comes_at_once_also_during_work(serving):
    number, _ = begun(serving, propagation())
    asked = serving.ask(m.AskStatus())
    events = serving.until(lambda n, event: n == asked)
    status = events[-1][1]
    assert (status.model, status.device, status.clips) == ("tiny", "cpu", 1)
    assert status.memory > 50 * 2**20 and status.cache > 0
    assert not any(isinstance(e, m.Propagated) for _, e in events)
    serving.ask(m.Cancel(number))
    assert serving.all_of(number)[-1].kind is FailureKind.CANCELLED


def test_heartbeats_come_unasked_and_name_the_request_in_work(serving):
    events = serving.until(lambda n, event: isinstance(event, m.Heartbeat))
    assert events[-1][0] is None and events[-1][1].working is None
    number = serving.ask(propagation())
    events = serving.until(lambda n, e: isinstance(e, m.Heartbeat) and e.working or n == number)
    serving.ask(m.Cancel(number))
    serving.all_of(number)


def test_the_hours_that_a_computer_sleeps_do_not_count_as_work_that_hangs(monkeypatch):
    """Where the clock goes on meanwhile, as on Windows."""
    naps, now, beats = [1.0, 3600.0, 1.0, 1.0], [0.0], []

    class Ended(Exception):
        pass

    def sleep(_seconds):
        if not naps:
            raise Ended
        now[0] += naps.pop(0)

    def send_if_idle(data):
        (message,) = Decoder().feed(data)
        beats.append(m.read_event(message)[1])

    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    job = SimpleNamespace(running=SimpleNamespace(number=7))
    beating = SimpleNamespace(
        _changed=threading.Condition(),
        _scheduler=job,
        _progress=0.0,
        _parent=os.getppid(),
        _outbox=SimpleNamespace(send_if_idle=send_if_idle),
    )
    with pytest.raises(Ended):
        server.Server._beat(beating)
    assert [beat.seconds for beat in beats] == [1.0, 6.0, 7.0, 8.0]


def test_a_frame_in_shared_memory_gives_the_mask_of_a_frame_that_was_sent(serving, frames):
    block = SharedBlock(frames.nbytes)
    block.write(0, frames)
    assert serving.do(m.OpenClip("shared", frames.shape, 1.0, block.name)) == m.Done()
    shared, sent = serving.do(click(clip="shared")), serving.do(click())
    assert serving.do(m.CloseClip("shared")) == m.Done()
    assert shared.mask == sent.mask
    attach(block.name, frames.shape)  # the worker has not removed what is not its own
    block.close()


# In which order ---------------------------------------------------------------------------------


def test_a_click_interrupts_a_propagation_which_then_goes_on_with_the_same_masks(serving):
    last = 60
    expected = [each.mask for each in serving.all_of(serving.ask(propagation(last)))[:-1]]
    number, first = begun(serving, propagation(last))
    asked = serving.ask(click("b", 7))
    events = serving.until(lambda n, event: n == asked)
    assert isinstance(events[-1][1], m.FrameSegmented)
    before = [event for n, event in events if n == number]
    assert not any(isinstance(event, m.Propagated) for event in before)
    *after, end = serving.all_of(number)
    assert isinstance(end, m.Propagated)
    assert [each.mask for each in (first, *before, *after)] == expected


def test_a_newer_click_supersedes_the_waiting_one_and_no_other(serving):
    number, _ = begun(serving, propagation())
    # Written at once, so that all of them wait before the frame in work is done.
    requests = [click("a", 5), click("b", 5), click("a", 5), click("a", 5)]
    asked = [serving.number + 1 + n for n in range(4)]
    serving.number += 4
    pairs = zip(asked, requests, strict=True)
    serving.write(b"".join(encode(m.request_message(n, request)) for n, request in pairs))
    finals = serving.finals(*asked)
    kinds = [getattr(finals[n], "kind", None) for n in asked]
    assert kinds[1] is None and kinds[3] is None
    assert FailureKind.SUPERSEDED in (kinds[0], kinds[2])
    assert {kinds[0], kinds[2]} <= {FailureKind.SUPERSEDED, None}
    serving.ask(m.Cancel(number))
    serving.all_of(number)


def test_a_propagation_interrupts_prefetch(serving):
    prefetch = serving.ask(m.Embed("clip", tuple(range(FRAMES)), (3.0, 3.0, 20.0, 20.0)))
    number = serving.ask(propagation(last=3))
    finals = serving.finals(number, prefetch)
    assert list(finals) == [number, prefetch]


# Cancelling -------------------------------------------------------------------------------------


def test_cancel_ends_a_propagation_and_keeps_its_finished_frames(serving):
    number, first = begun(serving, propagation())
    cancel = serving.ask(m.Cancel(number))
    events = serving.until(lambda n, e: n == number and isinstance(e, m.FINAL))
    assert (cancel, m.Done()) in events
    frames = [first, *(e for n, e in events if isinstance(e, m.FramePropagated))]
    assert [each.done for each in frames] == list(range(1, len(frames) + 1))
    assert len(frames) < FRAMES
    answered = events.index((cancel, m.Done()))
    late = [e for _, e in events[answered:] if isinstance(e, m.FramePropagated)]
    assert len(late) <= 2  # what was in work, and what was on its way to be written
    assert events[-1][1].kind is FailureKind.CANCELLED
    assert isinstance(serving.do(click()), m.FrameSegmented)


def test_cancel_of_what_waits_or_has_ended_is_answered(serving):
    number, _ = begun(serving, propagation())
    waiting = serving.ask(propagation(last=2))
    assert serving.do(m.Cancel(serving.ask(m.Embed("clip", (1,))))) == m.Done()
    cancel = serving.ask(m.Cancel(waiting))
    finals = serving.finals(waiting, cancel)
    assert finals[waiting].kind is FailureKind.CANCELLED
    serving.ask(m.Cancel(number))
    serving.all_of(number)
    assert serving.do(m.Cancel(number)) == m.Done()


def test_closing_a_clip_cancels_its_requests(serving, frames):
    open_clip(serving, "short-lived", frames[:50])
    running, _ = begun(serving, propagation(last=49, clip="short-lived"))
    waiting = serving.ask(propagation(last=2, clip="short-lived"))
    close = serving.ask(m.CloseClip("short-lived"))
    finals = serving.finals(running, waiting, close)
    assert finals[running].kind is finals[waiting].kind is FailureKind.CANCELLED
    assert finals[close] == m.Done()
    assert serving.do(click(clip="short-lived")).kind is FailureKind.UNKNOWN_CLIP
    assert serving.do(m.CloseClip("short-lived")).kind is FailureKind.UNKNOWN_CLIP


# What it refuses, and goes on -------------------------------------------------------------------


def test_what_makes_no_sense_is_refused_and_the_worker_goes_on(serving):
    number = serving.number = serving.number + 1
    serving.write(encode(Message({"request": "fly", "number": number})))
    assert serving.all_of(number)[-1].kind is FailureKind.BAD_REQUEST
    serving.write(encode(Message({"request": "status", "number": number - 1})))
    assert "used before" in serving.all_of(number - 1)[-1].message
    serving.write(encode(Message({"no": "number"})))
    assert serving.do(click(frame=10**6)).kind is FailureKind.BAD_REQUEST
    assert serving.do(click(clip="no such clip")).kind is FailureKind.UNKNOWN_CLIP
    assert isinstance(serving.do(click()), m.FrameSegmented)


def test_too_many_waiting_requests_are_refused_and_the_first_ones_kept(serving):
    number, _ = begun(serving, propagation())
    first = serving.number + 1
    asked = range(first, first + 1003)
    serving.number += len(asked)
    requests = (m.request_message(n, m.Embed("clip", (1,))) for n in asked)
    serving.write(b"".join(encode(request) for request in requests))
    refused = serving.finals(asked[-1])[asked[-1]]
    assert refused.kind is FailureKind.BAD_REQUEST and "wait already" in refused.message
    serving.ask(m.Cancel(number))
    assert serving.finals(asked[0])[asked[0]] == m.Done()
    serving.all_of(asked[990])


def test_before_hello_nothing_is_done():
    worker = Worker()
    assert worker.do(m.LoadModel("samusa-small")).kind is FailureKind.BAD_REQUEST
    assert isinstance(worker.do(m.Hello(1, "test")), m.Welcome)
    worker.stop()


def test_a_model_file_that_goes_missing_or_is_swapped_is_told_and_survived(tmp_path, checkpoint):
    worker = started()
    path = tmp_path / "model.safetensors"
    for content in (None, b"no model at all", checkpoint.read_bytes()[:-1000]):
        if content is not None:
            path.write_bytes(content)
        failure = worker.do(m.LoadModel(str(path), "cpu"))
        assert failure.kind is FailureKind.UNKNOWN_MODEL and str(path) in failure.message
    path.write_bytes(checkpoint.read_bytes())
    assert isinstance(worker.do(m.LoadModel(str(path), "cpu")), m.ModelLoaded)
    worker.stop()


def test_the_spline_serves_without_torch(worker, frames):
    assert worker.do(m.LoadModel("spline")).model == "spline"
    open_clip(worker, "clip", frames[:4])
    assert isinstance(worker.do(click()), m.FrameSegmented)
    if sys.platform.startswith("linux"):
        assert "libtorch" not in Path(f"/proc/{worker.process.pid}/maps").read_text()


def test_inline_clips_are_bounded(frames):
    worker = started("--clips-mb", "1")
    assert worker.do(m.OpenClip("large", frames.shape)).kind is FailureKind.OUT_OF_MEMORY
    open_clip(worker, "clip", frames[:50])
    worker.stop()


# How it ends ------------------------------------------------------------------------------------


def test_shutdown_cancels_answers_and_ends(worker, frames):
    worker.do(m.LoadModel("spline"))
    open_clip(worker, "clip", frames)
    waiting = [worker.ask(propagation()) for _ in range(2)]
    shutdown = worker.ask(m.Shutdown())
    finals = worker.finals(*waiting, shutdown)
    assert all(finals[n].kind is FailureKind.CANCELLED for n in waiting)
    assert finals[shutdown] == m.Done()
    assert worker.ended() == 0


def test_a_client_of_another_version_is_told_both_versions_and_the_worker_ends():
    worker = Worker()
    worker.number = 1
    header = {"request": "hello", "number": 1, "protocol": 99, "client": "new", "more": True}
    worker.write(encode(Message(header)))
    failure = worker.all_of(1)[-1]
    assert failure.kind is FailureKind.BAD_REQUEST
    assert "version 1" in failure.message and "99" in failure.message
    assert worker.ended() == 2
    assert "version 99" in worker.log.decode()
    worker.stop()


@pytest.mark.parametrize(
    "garbage",
    [
        b"Last login: Tue from 10.0.0.7\r\n",
        bytes(1000),
        PREFIX.pack(b"SMSA", 2**31),
        PREFIX.pack(b"SMSA", 4) + b"{{{{",
    ],
)
def test_garbage_ends_the_worker_with_a_clear_line(garbage):
    worker = Worker()
    worker.write(garbage)
    assert worker.ended() == 2
    log = worker.log.decode()
    assert "the stream from the client is broken" in log and "Traceback" not in log
    worker.stop()


def test_it_ends_when_its_input_ends(worker):
    worker.process.stdin.close()
    assert worker.ended() == 0
    assert "Traceback" not in worker.log.decode()


def test_it_ends_when_its_input_ends_in_the_middle_of_a_message(worker):
    worker.write(PREFIX.pack(b"SMSA", 1000) + b'{"req')
    worker.process.stdin.close()
    assert worker.ended() == 0
    assert "in the middle of a message" in worker.log.decode()


def test_it_ends_when_the_client_vanishes_during_a_propagation(checkpoint, frames):
    worker = started()
    worker.do(m.LoadModel(str(checkpoint), "cpu"))
    open_clip(worker, "clip", frames)
    begun(worker, propagation())
    worker.process.stdin.close()
    assert worker.ended() == 0
    assert "Traceback" not in worker.log.decode()
    worker.stop()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no parent to lose")
def test_it_ends_with_its_parent_although_others_hold_its_pipes():
    """The parent starts a worker on pipes that this test holds too, and is killed."""
    to_worker, from_worker = os.pipe(), os.pipe()
    program = (
        "import subprocess, sys, time\n"
        f"worker = subprocess.Popen({WORKER!r}, stdin=int(sys.argv[1]), stdout=int(sys.argv[2]))\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(to_worker[0]), str(from_worker[1])],
        pass_fds=(to_worker[0], from_worker[1]),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_worker[0])
    os.close(from_worker[1])
    pid = int(parent.stdout.readline())
    os.write(to_worker[1], encode(m.request_message(1, m.Hello(1, "test"))))
    decoder = Decoder()
    while not decoder.feed(os.read(from_worker[0], 4096)):
        pass
    parent.kill()
    parent.wait(PATIENCE)
    # The end of its output is the end of the worker: nobody else has that end of the pipe.
    while os.read(from_worker[0], 4096):
        pass
    deadline = time.monotonic() + PATIENCE
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(pid)
    for descriptor in (to_worker[1], from_worker[0]):
        os.close(descriptor)
    parent.stdout.close()


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform.startswith("linux"):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    return True


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_it_quietly(worker):
    end = time.monotonic() + PATIENCE
    while worker.process.poll() is None and time.monotonic() < end:
        # One that comes in the instant before it reads is noticed with the next one.
        worker.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(10)
    assert worker.ended() == 130
    assert "Traceback" not in worker.log.decode()


def test_it_ends_when_nobody_reads_its_answers():
    worker = subprocess.Popen(
        WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    worker.stdout.close()
    worker.stdin.write(encode(m.request_message(1, m.Hello(1, "test"))))
    worker.stdin.flush()
    assert worker.wait(PATIENCE) == 0
    log = worker.stderr.read().decode()
    assert "the client reads no more" in log and "Traceback" not in log
    worker.stdin.close()
    worker.stderr.close()


# The folder for embeddings -----------------------------------------------------------------------


def test_the_cache_folder_is_gone_after_the_worker(tmp_path):
    worker = started("--cache-folder", str(tmp_path / "new"))
    assert len([path for path in (tmp_path / "new").iterdir() if path.is_dir()]) == 1
    worker.do(m.Shutdown())
    assert worker.ended() == 0
    worker.stop()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_killed_worker_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(
    tmp_path,
):
    killed, living = (started("--cache-folder", str(tmp_path)) for _ in range(2))
    killed.process.kill()
    killed.ended()
    assert len(list(tmp_path.glob("*.lock"))) == 2
    third = started("--cache-folder", str(tmp_path))
    left = sorted(int(path.name.split("-")[2]) for path in tmp_path.iterdir() if path.is_dir())
    assert left == sorted([living.process.pid, third.process.pid])
    for worker in (killed, living, third):
        worker.stop()


def test_a_cache_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    command = [*WORKER, "--cache-folder", str(tmp_path / "file" / "below")]
    run = subprocess.run(command, input=b"", capture_output=True)
    assert run.returncode == 2 and run.stdout == b""
    assert "cache folder" in run.stderr.decode() and run.stderr.count(b"\n") == 1


# Standard streams -------------------------------------------------------------------------------


PRINTS = """
import os, sys
from SAMUSALib.worker import standard_streams
incoming, outgoing = standard_streams.take_standard_streams()
print("from Python")
os.write(1, b"from C\\n")
os.system("echo from a child")
sys.stderr.write("to the log\\n")
assert sys.stdin.read() == "" and os.read(0, 10) == b""
os.write(outgoing, b"ours:" + os.read(incoming, 100))
"""


def test_nothing_that_is_printed_gets_into_the_stream():
    run = subprocess.run([sys.executable, "-c", PRINTS], input=b"hello", capture_output=True)
    assert run.stdout == b"ours:hello"
    lines = set(run.stderr.decode().split("\n")[:-1])
    assert lines == {"from Python", "from C", "from a child", "to the log"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_for_the_log_ends_nothing():
    with open("/dev/full", "wb") as full:
        requests = [m.Hello(1, "test"), m.LoadModel("no such model"), m.Shutdown()]
        data = b"".join(
            encode(m.request_message(n, request)) for n, request in enumerate(requests, 1)
        )
        run = subprocess.run(WORKER, input=data, stdout=subprocess.PIPE, stderr=full)
    events = [m.read_event(message)[1] for message in Decoder().feed(run.stdout)]
    assert run.returncode == 0
    assert isinstance(events[0], m.Welcome) and events[-1] == m.Done()


def test_closed_standard_streams_are_told_in_words():
    if os.name == "nt":
        pytest.skip("a shell is needed")
    run = subprocess.run(
        ["sh", "-c", 'exec "$0" -m SAMUSALib.cli worker <&-', sys.executable], capture_output=True
    )
    assert run.returncode == 2 and b"closed" in run.stderr and b"Traceback" not in run.stderr


# Memory -----------------------------------------------------------------------------------------


def open_and_close(worker, count, frames):
    """Clips by turns in shared memory and inline, each clicked once."""
    for n in range(count):
        block = None
        if n % 2:
            open_clip(worker, "clip", frames)
        else:
            block = SharedBlock(frames.nbytes)
            block.write(0, frames)
            assert worker.do(m.OpenClip("clip", frames.shape, 1.0, block.name)) == m.Done()
        assert isinstance(worker.do(click(frame=1)), m.FrameSegmented)
        assert worker.do(m.CloseClip("clip")) == m.Done()
        if block is not None:
            block.close()
    worker.do(click(clip="gone"))  # what is computed next comes after the last clip is dropped
    return worker.do(m.AskStatus())


def check_flat(worker, count, checkpoint):
    # 8 MB a clip. A few copies of one are on their way at any time, and come and go.
    frames = np.random.default_rng(0).integers(0, 255, (40, 400, 500), np.uint8)
    worker.do(m.LoadModel(str(checkpoint), "cpu"))
    before = open_and_close(worker, 6, frames)
    after = open_and_close(worker, count, frames)
    assert after.clips == after.cache == before.cache == 0
    assert after.memory - before.memory < 8 * frames.nbytes


def test_memory_stays_flat_over_clips_opened_and_closed(worker, checkpoint):
    check_flat(worker, 20, checkpoint)


@pytest.mark.heavy
def test_memory_stays_flat_over_a_thousand_clips(worker, checkpoint):
    check_flat(worker, 1000, checkpoint)


def test_memory_that_cannot_be_told_is_no_failure(monkeypatch):
    """A Slicer that is not set up has no psutil, and the spline works in it."""
    from SAMUSALib.worker.server import resident_bytes

    assert resident_bytes() > 2**20
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert resident_bytes() == 0
