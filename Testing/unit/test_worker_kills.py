"""A real worker, killed or stopped at random moments of mixed work: nothing that was accepted is
lost, nobody waits for ever, and no process and no shared memory is left behind."""

import os
import signal
import sys
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SAMUSALib.annotation import FrameAnnotation, FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.engine.checkpoints import write_checkpoint
from SAMUSALib.prompts import FramePrompts
from SAMUSALib.worker import client as client_module
from SAMUSALib.worker.client import RequestFailed, WorkerLost
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.journal import list_journals, read_journal
from SAMUSALib.worker.messages import FailureKind
from SAMUSALib.worker.session import Session, WorkerState
from SAMUSALib.worker.transport import SubprocessTransport
from tiny import tiny_checkpoint

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

PATIENCE = 180.0  # s without any answer: a hang. A start with torch takes 3 to 15 s
FRAMES, HEIGHT, WIDTH = 10, 48, 64
MARK = "SAMUSA_TEST_MARK"
OUTLINES = [
    FramePrompts(boundary=[[12, 10], [40, 12], [26, 34]]),
    FramePrompts(boundary=[[20, 8], [50, 20], [30, 40], [10, 25]]),
    FramePrompts(boundary=[[30, 15], [44, 15], [37, 30]], include=[[37, 20]]),
]


def make_clip(seed: int) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 255, (FRAMES, HEIGHT, WIDTH), np.uint8)
    return Clip(pixels, Geometry.for_cine(FRAMES, HEIGHT, WIDTH), f"clip {seed}")


class Annotator:
    """Asks, accepts and closes at random, and remembers what a True has confirmed."""

    def __init__(self, session: Session, random: np.random.Generator):
        self.session, self.random = session, random
        self.accepted: dict = {}  # clip -> (segment, frame) -> FrameAnnotation
        self.clicked: dict = {}  # clip -> (segment, frame) -> number of its outline
        self.masks: dict = {}  # (seed, frame, outline) -> the mask that every worker gives
        self.seeds: dict = {}  # clip -> seed
        self.counts: Counter = Counter()
        self.running: list = []
        self.answered_at = time.monotonic()
        self.opened = 0
        for _ in range(2):
            self.open()

    def open(self):
        seed = self.opened % 3
        self.opened += 1
        clip = self.session.open_clip(make_clip(seed))
        self.seeds[clip], self.accepted[clip], self.clicked[clip] = seed, {}, {}
        for segment in ("a", "b"):
            assert clip.set_segment(segment, f"structure {segment}")

    def act(self):
        """One thing that an annotator, or a module on his behalf, does."""
        if len(self.running) > 4:
            return
        acts = (self.click, self.click, self.propagate, self.review, self.change_clip, self.other)
        shares = (0.35, 0.1, 0.2, 0.2, 0.05, 0.1)
        clip = list(self.accepted)[self.random.integers(len(self.accepted))]
        acts[self.random.choice(len(acts), p=shares)](clip)

    def click(self, clip):
        segment, frame = "ab"[self.random.integers(2)], int(self.random.integers(FRAMES))
        number = int(self.random.integers(len(OUTLINES)))
        steps = (OUTLINES[number],)
        pending = self.watch(clip.segment_frame(segment, frame, steps))

        def done(_):
            event = self.outcome(pending)
            if event is None or not clip.is_open:
                return
            known = self.masks.setdefault((self.seeds[clip], frame, number), event.mask)
            assert known == event.mask, "every worker gives the same mask"
            if clip.set_steps(segment, frame, steps):
                self.clicked[clip][segment, frame] = number
            self.accept(clip, segment, frame, event.mask, FrameState.PROMPTED, event.confidence)

        pending.on_done(done)

    def propagate(self, clip):
        prompted = {segment for segment, _ in self.clicked[clip]}
        if not prompted:
            return
        pending = self.watch(clip.propagate(prompted))

        def frame(event):
            self.answered_at = time.monotonic()
            before = self.accepted[clip].get((event.segment, event.frame))
            if clip.is_open and not (before and before.state is FrameState.REVIEWED):
                self.accept(
                    clip, event.segment, event.frame, event.mask, event.state, event.confidence
                )

        pending.on_frame(frame)
        pending.on_done(lambda _: self.outcome(pending))

    def review(self, clip):
        known = self.accepted[clip]
        if known:
            segment, frame = list(known)[self.random.integers(len(known))]
            before = known[segment, frame]
            lock = FrameState.REVIEWED
            state = FrameState.PROPAGATED if before.state is lock else lock
            self.accept(clip, segment, frame, before.mask, state, before.confidence)

    def change_clip(self, clip):
        if len(self.accepted) > 1:
            clip.close()
            self.check(clip)
            del self.accepted[clip]
        self.open()

    def other(self, clip):
        if self.running and self.random.random() < 0.4:
            self.running[self.random.integers(len(self.running))].cancel()
        else:
            pending = self.watch(clip.embed([int(self.random.integers(FRAMES))]))
            pending.on_done(lambda _: self.outcome(pending))

    def accept(self, clip, segment, frame, mask, state, confidence):
        assert clip.accept(segment, frame, mask, state, confidence)
        self.accepted[clip][segment, frame] = FrameAnnotation(mask, state, confidence)
        self.counts["accepted masks"] += 1

    def watch(self, pending):
        self.running.append(pending)
        return pending

    def outcome(self, pending):
        """The answer; None for what an annotator has to put up with."""
        self.running.remove(pending)
        try:
            event = pending.result()
        except WorkerLost:
            self.counts["requests lost with a worker"] += 1
            return None
        except RequestFailed as error:
            assert error.kind in (FailureKind.CANCELLED, FailureKind.SUPERSEDED), error
            return None
        self.counts["answers"] += 1
        self.answered_at = time.monotonic()
        return event

    def check(self, clip):
        """What was confirmed is in memory and on disk, and nothing else."""
        for work in (clip.work, read_journal(clip.journal.path).work):
            masks = {
                (key, index): frame
                for key, segment in work.segments.items()
                for index, frame in segment.frames.items()
            }
            assert masks == self.accepted[clip]
            clicked = {
                (key, index): [each.boundary.tolist() for each in steps]
                for key, segment in work.segments.items()
                for index, steps in segment.steps.items()
            }
            assert clicked == {
                key: [OUTLINES[number].boundary.tolist()]
                for key, number in self.clicked[clip].items()
            }


def marked(mark: str) -> set[int]:
    """Processes whose environment holds the mark."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def blocks() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith(f"samusa-{os.getpid()}-")}


@pytest.mark.parametrize(
    "model, kills, start_seconds",
    [
        pytest.param("spline", 12, 2.0, id="spline"),  # which starts in a second
        pytest.param("network", 200, 6.0, id="network", marks=pytest.mark.heavy),
    ],
)
def test_a_worker_killed_at_random_moments_costs_nothing(
    tmp_path, monkeypatch, model, kills, start_seconds
):
    monkeypatch.setattr(client_module, "HANG_SECONDS", 3.0)
    monkeypatch.setattr(client_module, "START_SECONDS", 15.0)
    if model == "network":
        model = str(tmp_path / "tiny.safetensors")
        write_checkpoint(tmp_path / "tiny.safetensors", tiny_checkpoint())
    mark, random = uuid.uuid4().hex, np.random.default_rng(5)
    command = WorkerCommand.this_python()
    command = replace(command, environment={**command.environment, MARK: mark})
    before = blocks()
    transport = SubprocessTransport()
    session = Session(transport, command, model, tmp_path / "journals", "cpu")
    faults: list[str] = []
    session.on_log = lambda text: faults.append(text) if "Traceback" in text else None
    annotator = Annotator(session, random)
    counts = annotator.counts
    killed, next_kill, answers = None, None, 0
    try:
        while counts["kills"] < kills or counts["answers"] < answers + 5:
            transport.pump(0.02)
            session.tick()
            annotator.act()
            now = time.monotonic()
            assert now - annotator.answered_at < PATIENCE, ("a hang", counts, session.state_text)
            if session.state is WorkerState.FAILED:
                session.start()
            process = transport.process
            if process is None or process == killed or counts["kills"] == kills:
                next_kill = None
                continue
            if next_kill is None:
                # Half of them at any moment of a start, half after it, in the middle of work.
                in_work, answers = random.random() < 0.5, counts["answers"]
                next_kill = now + random.uniform(0, start_seconds)
            if in_work and counts["answers"] == answers:
                next_kill = now + random.uniform(0, 1.5)
                continue
            if now < next_kill:
                continue
            hang = random.random() < 0.2
            os.kill(process, signal.SIGSTOP if hang else signal.SIGKILL)
            killed, answers = process, counts["answers"]
            counts["kills"] += 1
            counts["stopped" if hang else "killed"] += 1
            counts[f"while {session.state.value}"] += 1
            for clip in annotator.accepted:
                annotator.check(clip)
            assert marked(mark) <= {process}
        assert not faults, faults[0]
        assert counts["accepted masks"] > 0
    finally:
        session.stop(grace=0)
        deadline = time.monotonic() + 30
        while session.running and time.monotonic() < deadline:
            transport.pump(0.05)
            session.tick()
        print(dict(counts))
    for clip in list(annotator.accepted):
        clip.close()
        annotator.check(clip)
    assert not session.running and marked(mark) == set()
    assert blocks() == before
    assert not any(each.is_open or each.trouble for each in list_journals(tmp_path / "journals"))
