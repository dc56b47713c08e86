"""The session: workers come and go, what belongs to the annotator stays. The worker is one inside
this process that dies, hangs and babbles when told, and the clock is ours."""

from collections import deque

import numpy as np
import pytest

import fake_worker
from SAMUSALib.annotation import FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.errors import InvalidValue
from SAMUSALib.prompts import FramePrompts, Window
from SAMUSALib.worker import journal_records
from SAMUSALib.worker import messages as m
from SAMUSALib.worker.client import HANG_SECONDS, RequestFailed, WorkerLost
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.file_lock import InUse
from SAMUSALib.worker.journal import list_journals, read_journal
from SAMUSALib.worker.protocol import Decoder
from SAMUSALib.worker.session import Session, WorkerState

CLICKS = (FramePrompts(boundary=[[5, 5]]), FramePrompts(boundary=[[5, 5], [20, 12]]))
HERE = WorkerCommand("here", (), {}, place="this computer")
THERE = WorkerCommand("there", (), {}, remote=True, place="gpu.lab")


class Transport:
    """A worker in this process. `fate(request)` says what becomes of it when a request comes:
    None (it answers), "dies", "hangs", "garbage", or an event to answer with."""

    def __init__(self):
        self.commands: list[WorkerCommand] = []
        self.requests: list[m.Request] = []
        self.fate = lambda request: None
        self.behaviours: set[str] = set()
        self.can_start = True
        self._calls: deque = deque()
        self._receiver = None

    def start(self, command, receiver):
        assert self._receiver is None
        self.commands.append(command)
        self._receiver, self._decoder, self._mute = receiver, Decoder(), False
        self._worker = fake_worker.FakeWorker(set(self.behaviours), self._say)
        if not self.can_start:
            self._end("could not be started")

    def _say(self, data):
        receiver = self._receiver
        self.soon(lambda: self._receiver is receiver and receiver.received(data))

    def write(self, data):
        for message in self._decoder.feed(data):
            number, request = m.read_request(message)
            if self._receiver is None or self._mute:
                return
            self.requests.append(request)
            fate = self.fate(request)
            if fate is None:
                self._worker.answer(number, request)
            elif fate == "dies":
                self._end("was ended by SIGKILL")
            elif fate == "hangs":
                self._mute = True
            elif fate == "garbage":
                self._say(b"Traceback (most recent call last)")
            else:
                self._worker.say(number, fate)
            if isinstance(request, m.Shutdown):
                self._end("ended with status 0")

    backlog = 0

    def kill(self):
        self._end("was ended by SIGKILL")

    def _end(self, reason):
        """What it has said before still arrives."""
        if self._receiver is None:
            return
        receiver, self._mute = self._receiver, True
        self.soon(lambda: self._ended(receiver, reason))

    def _ended(self, receiver, reason):
        if self._receiver is receiver:
            self._receiver = None
            receiver.ended(reason)

    def soon(self, callback):
        self._calls.append(callback)

    def run(self):
        while self._calls:
            self._calls.popleft()()

    def beat(self):
        if self._receiver is not None and not self._mute:
            self._worker.say(None, m.Heartbeat(None, 0.0))

    @property
    def starts(self) -> int:
        return len(self.commands)

    def asked(self, kind) -> list:
        return [each for each in self.requests if isinstance(each, kind)]


class World:
    def __init__(self, folder, command=HERE):
        self.folder = folder
        self.now = 0.0
        self.transport = Transport()
        self.states, self.notices = [], []
        self.session = Session(self.transport, command, "small", folder, clock=lambda: self.now)
        self.session.on_state = lambda state, text: self.states.append((state, text))
        self.session.on_notice = self.notices.append
        self.transport.run()

    def pass_time(self, seconds: float):
        for _ in range(round(seconds / 0.5)):
            self.now += 0.5
            self.transport.beat()
            self.session.tick()
            self.transport.run()

    def run(self):
        self.transport.run()
        self.pass_time(1)

    def answer(self, pending):
        self.run()
        assert pending.done
        return pending.result()


def a_clip(seed=0, frames=6) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 255, (frames, 24, 32), np.uint8)
    return Clip(pixels, Geometry.for_cine(frames, 24, 32), f"clip {seed}")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "journals")


@pytest.fixture
def opened(world):
    opened = world.session.open_clip(a_clip())
    opened.set_segment("s1", "lumen", windows=[Window(0, 4)])
    return opened


def bright(clip, frame):
    return fake_worker.bright(clip.clip.frames[frame])


def once(fate, kind=m.SegmentFrame):
    """So it goes the first time that this is asked."""
    left = [fate]
    return lambda request: left.pop() if isinstance(request, kind) and left else None


def test_nothing_is_started_before_it_is_needed(world, opened):
    world.run()
    assert world.transport.starts == 0 and world.session.state is WorkerState.DOWN


def test_the_first_request_starts_a_worker_with_model_and_clip(world, opened):
    event = world.answer(opened.segment_frame("s1", 2, CLICKS))
    assert event.mask == bright(opened, 2)
    kinds = [type(request) for request in world.transport.requests]
    assert kinds == [m.Hello, m.LoadModel, m.OpenClip, m.SegmentFrame]
    assert world.transport.requests[-1].steps[-1].boundary.tolist() == [[5, 5], [20, 12]]
    states = [state for state, _ in world.states]
    assert states == [WorkerState.STARTING, WorkerState.LOADING, WorkerState.READY]
    assert world.session.loaded.model == "small"
    assert world.answer(opened.segment_frame("s1", 3, CLICKS)).mask == bright(opened, 3)
    assert world.transport.starts == len(world.transport.asked(m.OpenClip)) == 1


def test_start_makes_ready_without_a_request(world):
    world.session.start()
    world.run()
    assert world.session.state is WorkerState.READY
    opened = world.session.open_clip(a_clip())
    world.run()
    assert len(world.transport.asked(m.OpenClip)) == 1, "pixels go at once"
    opened.close()


def test_a_preview_needs_no_worker(world, opened):
    square = FramePrompts(boundary=[[4, 4], [20, 4], [20, 20], [4, 20]])
    mask = opened.preview(square)
    assert mask.shape == (24, 32) and mask[12, 12] and not mask[1, 30]
    assert opened.preview(FramePrompts(include=[[4, 4]])) is None
    assert world.transport.starts == 0


@pytest.mark.parametrize("fate", ["dies", "hangs", "garbage"])
@pytest.mark.parametrize("at", [m.Hello, m.LoadModel, m.OpenClip, m.SegmentFrame])
def test_a_click_survives_the_worker(world, opened, fate, at):
    world.transport.fate = once(fate, at)
    click = opened.segment_frame("s1", 2, CLICKS)
    world.run()
    if fate == "hangs":
        assert not click.done
        world.pass_time(HANG_SECONDS + 50)
    assert click.result().mask == bright(opened, 2)
    assert world.transport.starts == 2 and world.session.state is WorkerState.READY
    assert len(world.notices) == 1, "no more than a message"
    assert "worker" in world.notices[0]


def test_after_an_idle_death_the_next_request_brings_everything_back(world, opened):
    other = world.session.open_clip(a_clip(1))
    other.set_segment("s9", "plaque")
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    world.answer(other.segment_frame("s9", 2, CLICKS))
    world.transport.kill()
    world.run()
    assert world.session.state is WorkerState.DOWN and world.transport.starts == 1
    assert "The next request starts a new one" in world.session.state_text
    assert world.answer(opened.segment_frame("s1", 4, CLICKS)).mask == bright(opened, 4)
    assert world.transport.starts == 2
    assert len(world.transport.asked(m.OpenClip)) == 3, "only the clip that is needed"
    assert world.answer(other.segment_frame("s9", 1, CLICKS)).mask == bright(other, 1)


def test_a_click_that_kills_every_worker_fails_and_says_so(world, opened):
    world.transport.fate = lambda request: "dies" if isinstance(request, m.SegmentFrame) else None
    click = opened.segment_frame("s1", 2, CLICKS)
    world.run()
    with pytest.raises(WorkerLost, match="was ended by SIGKILL"):
        click.result()
    assert world.transport.starts == 2


def test_three_losses_in_a_minute_end_it_until_asked(world, opened):
    world.transport.fate = lambda request: "dies" if isinstance(request, m.SegmentFrame) else None
    for _ in range(2):
        click = opened.segment_frame("s1", 2, CLICKS)
        world.run()
    with pytest.raises(WorkerLost, match="third time within a minute"):
        click.result()
    assert world.session.state is WorkerState.FAILED and world.transport.starts == 3
    late = opened.segment_frame("s1", 2, CLICKS)
    world.pass_time(200)
    with pytest.raises(WorkerLost, match="until you ask for it"):
        late.result()
    assert world.transport.starts == 3
    world.transport.fate = lambda request: None
    world.session.start()
    assert world.answer(opened.segment_frame("s1", 2, CLICKS)).mask == bright(opened, 2)


def test_losses_that_lie_far_apart_are_forgiven(world, opened):
    for _ in range(5):
        world.transport.fate = once("dies")
        assert world.answer(opened.segment_frame("s1", 2, CLICKS)).mask == bright(opened, 2)
        world.pass_time(40)
    assert world.transport.starts == 6


def test_a_worker_that_cannot_start_is_no_loop(world, opened):
    world.transport.can_start = False
    click = opened.segment_frame("s1", 2, CLICKS)
    world.pass_time(100)
    with pytest.raises(WorkerLost, match="could not be started"):
        click.result()
    assert world.transport.starts == 2


def test_another_version_is_said_once_and_not_tried_again(world, opened):
    world.transport.behaviours = {"other-version"}
    click = opened.segment_frame("s1", 2, CLICKS)
    world.run()
    with pytest.raises(RequestFailed, match="speaks version 99"):
        click.result()
    assert world.session.state is WorkerState.FAILED
    late = opened.segment_frame("s1", 2, CLICKS)
    world.pass_time(5)
    assert late.done and world.transport.starts == 1
    world.transport.behaviours = set()
    world.session.set_command(THERE)
    assert world.answer(opened.segment_frame("s1", 2, CLICKS)).mask == bright(opened, 2)


def test_a_missing_model_is_said_and_another_can_be_chosen(world, opened):
    missing = m.Failure(m.FailureKind.UNKNOWN_MODEL, "there is no model small")
    world.transport.fate = lambda request: missing if request == m.LoadModel("small") else None
    click = opened.segment_frame("s1", 2, CLICKS)
    world.run()
    with pytest.raises(RequestFailed, match="there is no model small"):
        click.result()
    assert world.session.state is WorkerState.NO_MODEL
    again = opened.segment_frame("s1", 2, CLICKS)
    world.run()
    assert again.done and len(world.transport.asked(m.LoadModel)) == 2
    world.session.set_model("large", "cuda")
    assert world.answer(opened.segment_frame("s1", 2, CLICKS)).mask == bright(opened, 2)
    assert world.transport.asked(m.LoadModel)[-1] == m.LoadModel("large", "cuda")
    assert world.transport.starts == 1


def test_what_a_model_has_to_say_is_said_once(world, opened):
    loaded = m.ModelLoaded("small", "cpu", ("boundary",), 1, 256, "Apache-2.0", "there is no GPU")
    world.transport.fate = lambda request: loaded if isinstance(request, m.LoadModel) else None
    for _ in range(2):
        world.answer(opened.segment_frame("s1", 2, CLICKS))
        world.transport.kill()
        world.run()
    assert world.transport.starts == 2 and world.notices.count("there is no GPU") == 1


def test_another_model_at_run_time_is_loaded_before_what_is_asked_next(world, opened):
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    world.session.set_model("large")
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    kinds = [type(request) for request in world.transport.requests]
    assert kinds[-3:] == [m.SegmentFrame, m.LoadModel, m.SegmentFrame]
    assert world.session.loaded.model == "large"
    assert len(world.transport.asked(m.OpenClip)) == 1


def test_a_model_that_is_loading_gives_way_to_another(world, opened):
    click = opened.segment_frame("s1", 2, CLICKS)
    world.transport.fate = lambda request: (
        m.Heartbeat(1, 0.0) if request == m.LoadModel("small") else None
    )
    world.transport.run()
    assert world.session.state is WorkerState.LOADING
    world.session.set_model("large")
    assert world.answer(click).mask == bright(opened, 2)
    assert len(world.transport.asked(m.Cancel)) == 1
    assert world.session.loaded.model == "large"


def test_another_command_at_run_time_keeps_the_session(world, opened):
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED)
    world.transport.fate = once("hangs")
    click = opened.segment_frame("s1", 3, CLICKS)
    world.run()
    world.session.set_command(THERE)
    assert world.answer(click).mask == bright(opened, 3)
    assert [command.place for command in world.transport.commands] == ["this computer", "gpu.lab"]
    assert world.notices == [] and opened.work.segment("s1").frames
    assert world.transport.asked(m.SendFrames), "pixels go inline to another computer"


def test_clips_that_the_worker_does_not_know_are_sent_again(world, opened):
    world.answer(opened.segment_frame("s1", 1, CLICKS))
    world.transport._worker.clips.clear()
    clicks = [opened.segment_frame("s1", index, CLICKS) for index in (2, 3)]
    world.run()
    assert [click.result().mask for click in clicks] == [bright(opened, 2), bright(opened, 3)]
    assert world.transport.starts == 1 and len(world.transport.asked(m.OpenClip)) == 2


def test_a_clip_that_does_not_fit_says_so(world, opened):
    full = m.Failure(m.FailureKind.OUT_OF_MEMORY, "the memory does not suffice")
    world.transport.fate = lambda request: full if isinstance(request, m.OpenClip) else None
    click = opened.segment_frame("s1", 1, CLICKS)
    world.run()
    with pytest.raises(RequestFailed, match="the memory does not suffice"):
        click.result()


def test_a_newer_click_supersedes_one_that_waits_for_the_worker(world, opened):
    first = opened.segment_frame("s1", 2, CLICKS[:1])
    other = opened.segment_frame("s1", 3, CLICKS[:1])
    second = opened.segment_frame("s1", 2, CLICKS)
    with pytest.raises(RequestFailed, match="Superseded"):
        first.result()
    world.run()
    assert second.done and other.done
    assert len(world.transport.asked(m.SegmentFrame)) == 2


def test_what_waits_can_be_cancelled(world, opened):
    click = opened.segment_frame("s1", 2, CLICKS)
    click.cancel()
    with pytest.raises(RequestFailed) as failed:
        click.result()
    assert failed.value.kind is m.FailureKind.CANCELLED
    world.run()
    assert not world.transport.asked(m.SegmentFrame)


def test_propagation_takes_what_is_accepted(world, opened):
    opened.set_steps("s1", 2, CLICKS)
    opened.accept("s1", 3, bright(opened, 3), FrameState.REVIEWED)
    opened.accept("s1", 4, bright(opened, 4), FrameState.PROPAGATED)
    opened.set_segment("s2", "nothing to start from")
    opened.accept("s2", 3, bright(opened, 3), FrameState.PROPAGATED)
    frames = []
    run = opened.propagate(changed={"s1": {2}})
    run.on_frame(frames.append)
    world.answer(run)
    request = world.transport.asked(m.Propagate)[0]
    (segment,) = request.segments
    assert segment.name == "s1" and segment.windows == (Window(0, 4),)
    assert segment.frames[2].boundary.tolist() == [[5, 5], [20, 12]]
    assert request.locked == {"s1": {3: bright(opened, 3)}} and request.changed == {"s1": (2,)}
    assert [event.frame for event in frames] == list(range(6))
    with pytest.raises(InvalidValue, match="there is no segment 'none'"):
        opened.propagate(["none"])


def test_propagation_can_keep_accepted_masks_and_stay_within_frames(world, opened):
    for frame in (0, 2):
        opened.set_steps("s1", frame, CLICKS)
    opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED)
    world.answer(opened.propagate(["s1"], keep={"s1": {2, 3}}, within=(1, 9)))
    (request,) = world.transport.asked(m.Propagate)
    (segment,) = request.segments
    assert segment.windows == (Window(1, 4),) and set(segment.frames) == {2}
    assert request.locked == {"s1": {2: bright(opened, 2)}}
    with pytest.raises(InvalidValue, match="no window between frames 5 and 5"):
        opened.propagate(["s1"], within=(5, 9))


def test_an_interrupted_propagation_keeps_its_frames_and_fails(world, opened):
    opened.set_steps("s1", 2, CLICKS)
    frames = []

    def dies_midway(number, request):
        for index in range(3):
            mask = bright(opened, index)
            event = m.FramePropagated("s1", index, mask, 0.5, "propagated", index + 1, 6, 0.1)
            world.transport._worker.say(number, event)
        world.transport.kill()

    world.answer(opened.segment_frame("s1", 2))
    world.transport._worker.propagate = dies_midway
    run = opened.propagate()
    run.on_frame(frames.append)
    world.run()
    with pytest.raises(WorkerLost):
        run.result()
    assert [event.frame for event in frames] == [0, 1, 2]
    again = opened.propagate()
    again.on_frame(frames.append)
    assert world.answer(again).frames == 6 and len(frames) == 9


def test_a_propagation_that_had_not_begun_is_asked_again(world, opened):
    opened.set_steps("s1", 2, CLICKS)
    world.transport.fate = once("dies", m.Propagate)
    frames = []
    run = opened.propagate()
    run.on_frame(frames.append)
    assert world.answer(run).frames == 6
    assert [event.frame for event in frames] == list(range(6))


def test_closing_a_clip_cancels_its_requests_and_no_others(world, opened):
    other = world.session.open_clip(a_clip(1))
    clicks = [opened.segment_frame("s1", 2, CLICKS), other.segment_frame("x", 2, CLICKS)]
    opened.close()
    world.run()
    with pytest.raises(RequestFailed) as failed:
        clicks[0].result()
    assert failed.value.kind is m.FailureKind.CANCELLED
    assert clicks[1].result().mask == bright(other, 2)
    world.answer(other.segment_frame("x", 1, CLICKS))
    other.close()
    world.run()
    assert world.transport.asked(m.CloseClip) == [m.CloseClip(other.id)]
    with pytest.raises(InvalidValue, match="is closed"):
        other.segment_frame("x", 2, CLICKS)


def test_stop_cancels_and_a_later_request_starts_anew(world, opened):
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    world.transport.fate = once("hangs")
    click = opened.segment_frame("s1", 3, CLICKS)
    world.session.stop()
    assert click.done and world.session.state is WorkerState.DOWN
    world.pass_time(6)
    assert not world.session.running and world.transport.starts == 1
    assert world.answer(opened.segment_frame("s1", 3, CLICKS)).mask == bright(opened, 3)
    world.session.stop(grace=0)
    late = opened.segment_frame("s1", 4, CLICKS)
    assert world.answer(late).mask == bright(opened, 4)


def test_restart_replaces_a_worker_that_one_has_had_enough_of(world, opened):
    world.answer(opened.segment_frame("s1", 2, CLICKS))
    world.session.restart()
    world.run()
    assert world.transport.starts == 2 and world.session.state is WorkerState.READY
    assert world.notices == []


def test_callbacks_may_ask_again(world, opened):
    """As a click that arrives while the answer to the one before is shown."""
    results = []

    def next_frame(pending):
        results.append(pending.result().frame)
        if results[-1] < 5:
            opened.segment_frame("s1", results[-1] + 1, CLICKS).on_done(next_frame)

    world.transport.fate = once("dies")
    opened.segment_frame("s1", 0, CLICKS).on_done(next_frame)
    world.pass_time(5)
    assert results == [0, 1, 2, 3, 4, 5]


# Journals -------------------------------------------------------------------------------------


def test_what_is_accepted_is_journaled_and_offered_back(world, opened):
    assert opened.set_steps("s1", 2, CLICKS)
    assert opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED, 0.9)
    assert opened.accept("s1", 3, bright(opened, 3), FrameState.REVIEWED)
    found = read_journal(opened.journal.path).work.segment("s1")
    assert found.frames[2].mask == bright(opened, 2) and len(found.steps[2]) == 2
    # Another Slicer, after this one has crashed; here it has been closed.
    later = World(world.folder)
    again = later.session.open_clip(a_clip())
    assert later.session.recoverable(again) == [], "one that is open is not offered"
    opened.close()
    (offered,) = later.session.recoverable(again)
    other = later.session.open_clip(a_clip(1))
    assert later.session.recoverable(other) == []
    with pytest.raises(InvalidValue, match="is of another clip"):
        other.recover(offered.path)
    again.recover(offered.path)
    assert again.work.segment("s1").locked == {3}
    click = again.segment_frame("s1", 2)
    later.answer(click)
    assert len(later.transport.asked(m.SegmentFrame)[0].steps) == 2
    with pytest.raises(InUse):
        world.session.open_clip(a_clip(), journal=offered.path)
    assert len(world.session.clips) == 0
    again.close(saved=True)
    assert list_journals(world.folder) == []


def test_the_journal_after_a_saved_one_has_everything_and_encodes_the_change_alone(
    world, opened, monkeypatch
):
    for frame in range(4):
        opened.accept("s1", frame, bright(opened, frame), FrameState.PROMPTED)
    opened.saved()
    assert list_journals(world.folder) == []
    encoded, encode = [], journal_records.encode
    monkeypatch.setattr(
        journal_records, "encode", lambda message: encoded.append(message) or encode(message)
    )
    assert opened.accept("s1", 3, bright(opened, 3), FrameState.REVIEWED)
    assert len(encoded) == 1
    found = read_journal(opened.journal.path).work.segment("s1")
    assert found.frames == opened.work.segment("s1").frames
    assert set(found.frames) == {0, 1, 2, 3} and found.locked == {3}


def test_what_was_accepted_while_no_journal_could_be_begun_is_in_the_next(world, opened):
    opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED)
    opened.saved()
    world.folder.rmdir()
    world.folder.write_bytes(b"in the way")
    assert not opened.accept("s1", 3, bright(opened, 3), FrameState.PROMPTED)
    world.folder.unlink()
    world.pass_time(10)
    assert set(read_journal(opened.journal.path).work.segment("s1").frames) == {2, 3}


def test_looking_at_a_clip_leaves_no_journal(world):
    opened = world.session.open_clip(a_clip())
    world.answer(opened.segment_frame("s", 0, CLICKS))
    opened.close()
    assert not world.folder.exists()


def test_without_a_place_for_journals_work_goes_on_and_is_written_later(tmp_path):
    world = World(tmp_path / "file" / "journals")
    (tmp_path / "file").write_bytes(b"in the way")
    opened = world.session.open_clip(a_clip())
    assert not opened.set_segment("s1", "lumen")
    assert not opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED)
    world.pass_time(10)
    assert len(world.notices) == 1 and "in memory only" in world.notices[0]
    assert opened.work.segment("s1").frames[2].mask == bright(opened, 2)
    (tmp_path / "file").unlink()
    world.pass_time(10)
    assert len(world.notices) == 2 and "all that was accepted is in it" in world.notices[1]
    found = read_journal(opened.journal.path).work.segment("s1")
    assert found.frames[2].mask == bright(opened, 2)
    opened.close()


def test_a_damaged_journal_is_recovered_as_far_as_it_goes(world, opened):
    opened.accept("s1", 2, bright(opened, 2), FrameState.PROMPTED)
    opened.accept("s1", 3, bright(opened, 3), FrameState.PROMPTED)
    opened.close()
    path = opened.journal.path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    again = world.session.open_clip(a_clip(), journal=path)
    assert set(again.work.segment("s1").frames) == {2}
    assert "damaged after" in world.notices[0] and "is kept in" in world.notices[0]


def test_work_on_several_clips_is_kept_apart(world):
    first, second = (world.session.open_clip(a_clip(seed)) for seed in (0, 1))
    for opened in (first, second):
        opened.set_segment("s", opened.clip.name)
    assert first.journal.path != second.journal.path
    assert len(list_journals(world.folder)) == 2


def test_a_callback_of_the_owner_that_fails_stops_nothing(world, opened):
    def broken(*arguments):
        raise KeyError("a fault of the owner's")

    world.session.on_state = broken
    click = opened.segment_frame("s1", 2, CLICKS)
    click.on_done(broken)
    assert world.answer(click).mask == bright(opened, 2)
    assert "a fault of the owner's" in world.session.log
