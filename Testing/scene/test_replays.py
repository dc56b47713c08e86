"""Undo of a long step goes on between turns of the event loop: it is whole or has not begun,
whatever happens meanwhile. No worker is needed."""

from collections import deque

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from SAMUSALib.annotation import FrameState  # noqa: E402
from SAMUSALib.app.workspaces import Workspaces  # noqa: E402
from SAMUSALib.errors import InvalidValue  # noqa: E402
from SAMUSALib.masks import EncodedMask  # noqa: E402
from SAMUSALib.scene.state import FrameMark  # noqa: E402
from SAMUSALib.scene.undo import Step  # noqa: E402
from SAMUSALib.worker.command import WorkerCommand  # noqa: E402
from SAMUSALib.worker.journal import list_journals, read_journal  # noqa: E402
from SAMUSALib.worker.session import Session  # noqa: E402

FRAMES, HEIGHT, WIDTH = 40, 9, 12


class SilentTransport:
    """A worker that never answers, and the event loop."""

    backlog, process = 0, None

    def __init__(self):
        self.calls = deque()

    def start(self, command, receiver):
        self.receiver = receiver

    def write(self, data):
        pass

    def kill(self):
        self.soon(lambda: self.receiver.ended("was killed"))

    def soon(self, callback):
        self.calls.append(callback)

    def turn(self):
        for _ in range(len(self.calls)):
            self.calls.popleft()()

    def turn_until(self, condition):
        for _ in range(2000):
            if condition():
                return
            self.turn()
        raise AssertionError("2000 turns of the event loop in vain")


class Desk:
    """An open cine with a segment, and long steps on it."""

    def __init__(self, working, folder):
        self.loop, self.journals, self.working = SilentTransport(), folder, working
        session = Session(self.loop, WorkerCommand.this_python(), "spline", folder)
        self.spaces = Workspaces(session, self.loop.soon, working.scene)
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 255, (WIDTH, HEIGHT, 1), np.uint8) for _ in range(FRAMES)]
        browser, sequence = working.sequence(images, name="Cine")
        self.space = self.spaces.open(browser.GetProxyNode(sequence))
        self.loop.turn_until(lambda: self.space.is_open)
        self.segment = self.space.masks.add_segment("lumen")
        self.said = []
        for name in ("replayed", "notice", "failed"):
            getattr(self.space, name).connect(self.said.append)

    def long_step(self, name, columns):
        """One step that draws on all frames, and is in the journal."""
        space, step = self.space, Step(name)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[:, :columns] = True
        mark = FrameMark(FrameState.PROPAGATED, columns / WIDTH)
        marks = space.state.set_marks(self.segment, dict.fromkeys(range(FRAMES), mark))
        step.add(space.masks.write(self.segment, dict.fromkeys(range(FRAMES), mask)), marks)
        space.history.record(step)
        space.keeper.keep(self.segment, dict.fromkeys(range(FRAMES), EncodedMask.encode(mask)))

    def drawn(self):
        """Columns that are drawn, by frame."""
        masks = [self.space.masks.mask(self.segment, n) for n in range(FRAMES)]
        return [int(mask.any(axis=0).sum()) for mask in masks]

    def journaled(self):
        """(columns, state) of all frames in the journal, as a set: one is whole."""
        (journal,) = list_journals(self.journals)
        frames = read_journal(journal.path).work.segments[self.segment].frames
        found = (frames.get(n) for n in range(FRAMES))
        return {
            (int(f.mask.decode().any(axis=0).sum()), f.confidence * WIDTH) if f else None
            for f in found
        }


@pytest.fixture
def desk(working, tmp_path, monkeypatch):
    monkeypatch.setattr("SAMUSALib.app.steps.PIECE_SECONDS", 0.0)  # one piece in a turn
    made = Desk(working, tmp_path / "journals")
    yield made
    made.spaces.end()


def test_a_long_undo_leaves_turns_to_others_and_tells_how_far_it_is(desk):
    desk.long_step("Propagation", 5)
    space, told = desk.space, []
    space.replaying.connect(told.append)
    assert space.undo() == "Propagation" and space.is_replaying
    assert space.history.undo_name is None and space.history.redo_name == "Propagation"
    desk.loop.turn()
    assert set(desk.drawn()) == {0, 5}, "some of it is done"
    assert len(space.state.marks(desk.segment)) == FRAMES, "the marks follow at the end"
    desk.loop.turn_until(lambda: not space.is_replaying)
    assert set(desk.drawn()) == {0} and space.state.marks(desk.segment) == {}
    fractions = [each.fraction for each in told]
    assert fractions == sorted(fractions) and len(fractions) >= 5 and fractions[-1] == 1.0
    assert told[0].text == "Undoing: propagation"
    assert desk.said == ["Undone: Propagation."]


def test_steps_that_are_asked_for_meanwhile_come_after_it_in_their_order(desk):
    for columns in (3, 5, 7):
        desk.long_step(f"to {columns}", columns)
    space = desk.space
    asked = [space.undo(), space.undo(), space.redo(), space.undo()]
    assert asked == ["to 7", "to 5", "to 5", "to 5"]
    desk.loop.turn_until(lambda: not space.is_replaying)
    assert set(desk.drawn()) == {3}
    assert (space.history.undo_name, space.history.redo_name) == ("to 3", "to 5")
    assert [s.split(":")[0] for s in desk.said] == ["Undone", "Undone", "Done again", "Undone"]


def test_a_mask_that_would_be_in_the_way_is_refused_in_words(desk):
    desk.long_step("Propagation", 5)
    space, mask = desk.space, np.ones((HEIGHT, WIDTH), bool)
    space.undo()
    for action in (
        lambda: space.accept(desk.segment, 3, [], mask),
        lambda: space.approve(desk.segment, [3]),
        lambda: space.propagate(),
    ):
        with pytest.raises(InvalidValue, match="propagation is still being undone .* wait a mom"):
            action()
    desk.loop.turn_until(lambda: not space.is_replaying)
    space.accept(desk.segment, 3, [], mask)
    assert desk.drawn()[3] == WIDTH


def test_the_journal_of_a_process_that_is_killed_meanwhile_is_whole(desk):
    desk.long_step("to 3", 3)
    desk.long_step("to 5", 5)
    seen = []
    for move in (desk.space.undo, desk.space.redo):
        move()
        for _ in range(200):
            desk.loop.turn()
            found = desk.journaled()
            if found not in seen[-1:]:
                seen.append(found)
    assert seen == [{(5, 5.0)}, {(3, 3.0)}, {(5, 5.0)}]


def test_what_is_half_undone_when_the_workspace_closes_is_undone(desk):
    desk.long_step("to 3", 3)
    desk.long_step("to 5", 5)
    desk.space.undo()
    desk.space.undo()
    desk.loop.turn()
    desk.space.close()
    assert set(desk.drawn()) == {0} and desk.journaled() == {None}
    desk.loop.turn_until(lambda: not desk.loop.calls)


@pytest.mark.parametrize("what", ["segment", "segmentation", "scene"])
def test_what_is_deleted_while_it_is_undone_ends_it_without_an_exception(desk, what, caplog):
    desk.long_step("to 3", 3)
    desk.long_step("to 5", 5)
    space = desk.space
    space.undo()
    desk.loop.turn()
    if what == "segment":
        space.masks.shown_node.GetSegmentation().RemoveSegment(desk.segment)
    elif what == "segmentation":
        desk.working.scene.RemoveNode(space.masks.stored_node)
    else:
        desk.working.scene.Clear(False)
    desk.loop.turn_until(lambda: not desk.loop.calls)
    assert not space.is_replaying and "Traceback" not in caplog.text
    if what == "segment":
        assert desk.said[-1] == "Undone: to 5." and space.segment_ids() == []
    elif what == "segmentation":
        assert space.is_closed and "choose another one" in desk.said[-1]
        assert desk.journaled() == {(5, 5.0)}, "as before it was undone"
    else:
        assert space.is_closed and desk.journaled() == {(3, 3.0)}


def test_a_step_that_fails_halfway_can_be_undone_once_more(desk, monkeypatch):
    desk.long_step("to 3", 3)
    desk.long_step("to 5", 5)
    space, apply, calls = desk.space, desk.space.masks.apply, []

    def fails_once(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise InvalidValue("no labelmaps")
        apply(*arguments)

    monkeypatch.setattr(space.masks, "apply", fails_once)
    space.undo()
    space.undo()
    desk.loop.turn_until(lambda: not space.is_replaying)
    assert desk.said == ["no labelmaps"] and space.history.undo_name == "to 5"
    assert set(desk.drawn()) == {3, 5}
    assert space.undo() == "to 5"
    desk.loop.turn_until(lambda: not space.is_replaying)
    assert set(desk.drawn()) == {3} and desk.said[-1] == "Undone: to 5."


def test_a_short_step_is_undone_when_the_call_returns(desk):
    mask = np.ones((HEIGHT, WIDTH), bool)
    desk.space.accept(desk.segment, 3, [], mask)
    assert desk.space.undo() == "Click" and not desk.space.is_replaying
    assert desk.drawn()[3] == 0
