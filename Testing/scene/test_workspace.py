"""Workspaces on real MRML nodes with a real worker: a clip is opened, clicked, propagated, undone
and reviewed; segments, nodes and the worker go while it runs; what was accepted stays."""

import os
import signal
import time
import tracemalloc

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from scene_nodes import WorkingScene  # noqa: E402

from SAMUSALib.annotation import FrameState  # noqa: E402
from SAMUSALib.app.click_session import ClickSession  # noqa: E402
from SAMUSALib.app.workspaces import Workspaces  # noqa: E402
from SAMUSALib.engine.checkpoints import write_checkpoint  # noqa: E402
from SAMUSALib.errors import InvalidValue, SceneChanged  # noqa: E402
from SAMUSALib.masks import EncodedMask  # noqa: E402
from SAMUSALib.prompts import FramePrompts, Window  # noqa: E402
from SAMUSALib.scene.rules import EditRules  # noqa: E402
from SAMUSALib.scene.state import SceneState, state_nodes  # noqa: E402
from SAMUSALib.worker.command import WorkerCommand  # noqa: E402
from SAMUSALib.worker.journal import list_journals, read_journal  # noqa: E402
from SAMUSALib.worker.session import Session, WorkerState  # noqa: E402
from SAMUSALib.worker.transport import SubprocessTransport  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

FRAMES, HEIGHT, WIDTH = 12, 48, 64
RING = np.array([[40.25, 14], [50, 24.5], [40, 35], [30, 25]])
PATIENCE = 600.0  # s; a worker takes 3 to 15 s to start, minutes on a busy computer


class Desk:
    """A session with a real worker, and the event loop that Slicer would run."""

    def __init__(self, folder, model="spline"):
        self.transport = SubprocessTransport()
        self.journals = folder
        self.session = Session(self.transport, WorkerCommand.this_python(), model, folder)

    def turn(self):
        self.transport.pump(0.0)
        self.session.tick()
        time.sleep(0.002)

    def wait(self, condition, what="it"):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}: {self.session.state_text}"
            self.turn()

    def answer(self, pending):
        self.wait(lambda: pending.done, pending.request.NAME)
        return pending.result()

    def stop(self):
        self.session.stop(grace=0.0)
        self.wait(lambda: not self.session.running, "the worker's end")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    made = Desk(tmp_path_factory.mktemp("journals"))
    yield made
    made.stop()


@pytest.fixture
def spaces(desk, working):
    made = Workspaces(desk.session, desk.transport.soon, working.scene)
    yield made
    made.end()
    for each in desk.journals.iterdir():
        each.unlink()


def images(count=FRAMES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (WIDTH, HEIGHT, 1), np.uint8) for _ in range(count)]


def a_cine(working, **kwargs):
    browser, sequence = working.sequence(images(), name="Cine", **kwargs)
    return browser.GetProxyNode(sequence)


def open_cine(desk, working, spaces):
    space = spaces.open(a_cine(working))
    heard = listen(space)
    desk.wait(lambda: space.is_open, "the clip")
    return space, heard


def listen(space):
    heard = {}
    names = ("opened", "failed", "frame_changed", "progress", "propagated", "notice", "closed")
    for name in names:
        calls = heard[name] = []
        getattr(space, name).connect(lambda *values, calls=calls: calls.append(values))
    return heard


def propagated(desk, space, heard):
    count = len(heard["propagated"])
    desk.wait(lambda: len(heard["propagated"]) > count, "the propagation")
    return heard["propagated"][-1][0]


def click(desk, space, segment, frame, shift=0.0, **kwargs):
    """Ask, and accept what the worker says."""
    steps = [FramePrompts(boundary=RING + shift)]
    result = desk.answer(space.segment(segment, frame, steps))
    space.accept(segment, frame, steps, result.mask.decode(), result.confidence, **kwargs)
    return result.mask.decode()


def drawn(space, segment):
    return [n for n in range(len(space.source)) if space.masks.mask(segment, n).any()]


def test_a_clip_opens_over_many_turns_and_keeps_no_pixels(desk, working, spaces):
    space = spaces.open(a_cine(working))
    heard = listen(space)
    assert not space.is_open
    with pytest.raises(InvalidValue, match="still being opened"):
        space.segment("s", 0, [FramePrompts(boundary=RING)])
    preview = space.preview(FramePrompts(boundary=RING))
    assert preview[25, 40] and not preview[2, 2]
    desk.wait(lambda: space.is_open)
    assert heard["opened"] == [()]
    frames = space.annotated.clip.frames
    assert frames.shape == (FRAMES, HEIGHT, WIDTH)
    assert np.array_equal(frames[3], images()[3][..., 0].T)
    assert (
        len(space.masks.stored_node.GetDataNodeAtValue("11").GetSegmentation().GetSegmentIDs()) == 0
    )


def test_the_worker_sees_the_pixels_of_the_scene(desk, working, spaces):
    """Its confidence comes from the image: the same clicks on noise and on a disc differ."""
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    result = desk.answer(space.segment(segment, 2, [FramePrompts(boundary=RING)]))
    assert np.array_equal(result.mask.decode(), space.preview(FramePrompts(boundary=RING)))


def test_effect_and_timeline_find_the_same_workspace(desk, working, spaces):
    proxy = a_cine(working)
    space = spaces.open(proxy)
    assert spaces.open(proxy, space.masks.shown_node) is space
    assert spaces.find(proxy, space.masks.shown_node, axis=0) is space
    volume = working.volume(np.zeros((8, 9, 10), np.uint8))
    one, other = spaces.open(volume, None, 2), spaces.open(volume, None, 1)
    assert one is not other and spaces.find(volume, one.masks.shown_node, 1) is None
    assert len(spaces) == 3
    one.close()
    assert len(spaces) == 2 and spaces.find(volume, one.masks.shown_node, 2) is None


def test_an_accepted_click_is_in_the_segment_and_on_disk_at_once(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen", (1, 2, 3))
    mask = click(desk, space, segment, 4)
    assert mask[25, 40] and np.array_equal(space.masks.mask(segment, 4), mask)
    assert space.state.mark(segment, 4).state is FrameState.PROMPTED
    assert heard["frame_changed"][-1] == (segment, (4,))
    work = read_journal(list_journals(desk.journals)[0].path).work
    known = work.segments[segment]
    assert (known.name, known.color) == ("lumen", (1, 2, 3))
    assert np.array_equal(known.frames[4].mask.decode(), mask)
    assert np.array_equal(known.steps[4][-1].boundary, RING)


def test_undo_and_redo_of_a_click_take_mask_mark_and_prompts(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    first = click(desk, space, segment, 4)
    click(desk, space, segment, 4, shift=3.0)
    assert space.undo() == "Click"
    assert np.array_equal(space.masks.mask(segment, 4), first)
    assert np.array_equal(space.steps(segment, 4)[-1].boundary, RING)
    assert space.undo() == "Click" and space.undo() is None
    assert not space.masks.mask(segment, 4).any()
    assert space.state.mark(segment, 4) is None and space.steps(segment, 4) == ()
    desk.wait(lambda: not space.is_journaling)
    assert space.annotated.work.segment(segment).frames == {}
    assert space.redo() == "Click"
    assert np.array_equal(space.masks.mask(segment, 4), first)
    assert np.array_equal(space.steps(segment, 4)[-1].boundary, RING)


def everything(desk, space, segment):
    """What the scene says of a segment, when the journal has it too."""
    desk.wait(lambda: not (space.is_replaying or space.is_journaling), "the journal")
    masks = [space.masks.mask(segment, n).tobytes() for n in range(FRAMES)]
    prompts = space.state.prompts(segment)
    frames = {n: p.boundary.tolist() for n, p in prompts.frames.items()} if prompts else {}
    marks = space.state.marks(segment)
    return masks, frames, marks, space.stale(segment).frames, space.to_compute(segment)


def test_undo_and_redo_restore_all_that_was_there_also_what_is_to_compute(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    space.set_windows(segment, [Window(1, 10)])

    def propagate(**kwargs):
        space.propagate(**kwargs)
        assert not propagated(desk, space, heard).error

    states = [everything(desk, space, segment)]
    for act in (
        lambda: click(desk, space, segment, 3),
        lambda: propagate(direction="forward"),
        lambda: space.approve(segment, [6, 7]),
        lambda: click(desk, space, segment, 9, shift=2),
        lambda: space.approve(segment, [2]),
        lambda: propagate(within=(7, 10)),
        lambda: space.unlock(segment, [6]),
        lambda: space.approve(segment, range(1, 11)),
        lambda: space.unlock(segment, [3, 8]),
        lambda: propagate(only_affected=False),
    ):
        act()
        states.append(everything(desk, space, segment))
    assert len({tuple(sorted(state[4])) for state in states}) > 4, "what is to compute varies"
    for before in states[-2::-1]:
        assert space.undo() is not None
        assert everything(desk, space, segment) == before
    assert space.undo() is None
    for after in states[1:]:
        assert space.redo() is not None
        assert everything(desk, space, segment) == after


def test_undo_under_other_windows_takes_nothing_off_what_is_to_compute(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 3)
    space.propagate()
    propagated(desk, space, heard)
    click(desk, space, segment, 8, shift=2)
    assert space.to_compute(segment) == {4, 5, 6, 7, 9, 10, 11}
    space.set_windows(segment, [Window(2, 9)])
    space.undo()
    assert space.to_compute(segment) == {2, 4, 5, 6, 7, 8, 9}


def test_undo_of_what_was_accepted_during_a_run_leaves_its_frames_to_compute(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 3)
    space.propagate()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:20, 6:30] = True
    space.accept(segment, 8, [FramePrompts(boundary=RING)], mask)
    propagated(desk, space, heard)
    assert space.undo() == "Propagation" and space.undo() == "Click"
    assert drawn(space, segment) == [3]
    assert space.to_compute(segment) == set(range(FRAMES)) - {3}


def test_masking_rules_hold_for_a_click_and_the_journal_has_the_outcome(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    lumen, wall = space.masks.add_segment("lumen"), space.masks.add_segment("wall")
    whole = np.ones((HEIGHT, WIDTH), bool)
    space.accept(wall, 1, [], whole)
    mask = click(desk, space, lumen, 1, rules=EditRules(overwrite="all"))
    assert np.array_equal(space.masks.mask(wall, 1), whole & ~mask)
    kept = space.annotated.work.segment(wall).frames[1].mask.decode()
    assert np.array_equal(kept, whole & ~mask)


def test_propagation_fills_the_windows_as_one_undo_step(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    mask = click(desk, space, segment, 4)
    space.set_windows(segment, [Window(2, 8)])
    space.propagate()
    with pytest.raises(InvalidValue, match="propagation is running"):
        space.undo()
    outcome = propagated(desk, space, heard)
    assert outcome.complete and outcome.frames == 6 and not outcome.error
    assert drawn(space, segment) == list(range(2, 9))
    assert np.array_equal(space.masks.mask(segment, 4), mask)
    assert heard["progress"][-1][0].done == 6 == heard["progress"][-1][0].total
    assert set(space.annotated.work.segment(segment).frames) == set(range(2, 9))
    assert space.undo() == "Propagation"
    assert drawn(space, segment) == [4]
    assert space.state.marks(segment).keys() == {4}


def test_what_was_accepted_starts_the_propagation_as_it_is(desk, working, spaces):
    """Also what the annotator has drawn on it since."""
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 4)
    drawn_over = np.zeros((HEIGHT, WIDTH), bool)
    drawn_over[5:20, 6:30] = True
    space.masks.write(segment, {4: drawn_over})
    space.propagate()
    propagated(desk, space, heard)
    assert np.array_equal(space.masks.mask(segment, 4), drawn_over)
    assert np.array_equal(space.masks.mask(segment, 5), drawn_over)


def test_a_correction_computes_only_what_it_affects(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    for frame in (0, 5, 11):
        click(desk, space, segment, frame, shift=frame / 2)
    space.propagate()
    assert propagated(desk, space, heard).frames == 9
    space.propagate()
    assert propagated(desk, space, heard).frames == 0
    assert "follow from your clicks" in heard["notice"][-1][0]
    click(desk, space, segment, 8, shift=-3)
    before = [space.masks.mask(segment, n) for n in range(6)]
    space.propagate()
    assert propagated(desk, space, heard).frames == 4  # 6, 7, 9, 10
    assert all(np.array_equal(space.masks.mask(segment, n), m) for n, m in enumerate(before))


def test_approved_frames_stay_and_start_a_propagation_without_clicks(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 10:30] = True
    space.masks.write(segment, {3: mask})
    with pytest.raises(InvalidValue, match="nothing to start from"):
        space.propagate()
    space.approve(segment, [3, 9])  # on 9 there is nothing
    space.propagate()
    assert propagated(desk, space, heard).complete
    assert np.array_equal(space.masks.mask(segment, 3), mask)
    assert drawn(space, segment) == [n for n in range(FRAMES) if n != 9]
    with pytest.raises(InvalidValue, match="locked"):
        space.accept(segment, 9, [], mask)
    space.unlock(segment, [9])
    space.propagate()
    assert propagated(desk, space, heard).complete and drawn(space, segment) == [*range(FRAMES)]


def test_frames_outside_new_windows_are_cleared_by_the_next_run_and_come_back_by_undo(
    desk, working, spaces
):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 4)
    space.propagate()
    propagated(desk, space, heard)
    space.set_windows(segment, [Window(3, 6)])
    assert len(drawn(space, segment)) == FRAMES
    space.propagate()
    propagated(desk, space, heard)
    assert drawn(space, segment) == [3, 4, 5, 6]
    space.undo()
    assert len(drawn(space, segment)) == FRAMES


def test_a_segment_clicked_outside_its_windows_alone_is_left_out_in_words(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    one, other = space.masks.add_segment("one"), space.masks.add_segment("other")
    for segment in (one, other):
        click(desk, space, segment, 4)
    space.set_windows(one, [Window(8, 9)])
    with pytest.raises(InvalidValue, match="'one': no accepted frame lies inside"):
        space.propagate([one])
    space.propagate()
    assert propagated(desk, space, heard).complete
    assert "'one'" in heard["notice"][0][0]
    assert drawn(space, one) == [4] and len(drawn(space, other)) == FRAMES


def test_to_the_next_prompted_frame_and_no_further(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    for frame in (2, 7):
        click(desk, space, segment, frame)
    assert space.next_prompted(segment, 2) == 7 and space.next_prompted(segment, 7) is None
    space.propagate([segment], "forward", within=(2, space.next_prompted(segment, 2)))
    propagated(desk, space, heard)
    assert drawn(space, segment) == [2, 3, 4, 5, 6, 7]


def test_cancel_keeps_what_is_finished_and_the_next_run_does_the_rest(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 0)
    space.progress.connect(lambda progress: space.cancel())
    space.propagate()
    first = propagated(desk, space, heard)
    assert len(drawn(space, segment)) == first.frames + 1
    done = [space.masks.mask(segment, n) for n in drawn(space, segment)]
    space.progress._listeners.pop()
    if not first.complete:
        assert first.cancelled
        space.propagate()
        assert propagated(desk, space, heard).complete
    assert len(drawn(space, segment)) == FRAMES
    assert all(np.array_equal(space.masks.mask(segment, n), m) for n, m in enumerate(done))


def test_a_frame_accepted_or_approved_during_a_run_is_not_overwritten(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 0)
    mine = np.zeros((HEIGHT, WIDTH), bool)
    mine[1:5, 1:5] = True
    space.propagate()
    space.accept(segment, 7, [], mine)
    space.approve(segment, [8])
    propagated(desk, space, heard)
    assert np.array_equal(space.masks.mask(segment, 7), mine)
    assert not space.masks.mask(segment, 8).any()
    assert drawn(space, segment) == [n for n in range(FRAMES) if n != 8]


@pytest.mark.heavy  # two starts of a worker that imports torch
@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_killed_worker_is_told_in_words_and_one_more_call_resumes(tmp_path, working):
    write_checkpoint(tmp_path / "tiny.safetensors", tiny_checkpoint())
    desk = Desk(tmp_path / "journals", str(tmp_path / "tiny.safetensors"))
    spaces = Workspaces(desk.session, desk.transport.soon, working.scene)
    try:
        space, heard = open_cine(desk, working, spaces)
        segment = space.masks.add_segment("lumen")
        click(desk, space, segment, 5)
        space.progress.connect(lambda progress: desk.transport.process and kill(desk))
        space.propagate()
        outcome = propagated(desk, space, heard)
        space.progress._listeners.pop()
        assert outcome.frames > 0 and not outcome.complete and not outcome.cancelled
        assert "killed" in outcome.error or "ended" in outcome.error
        assert len(drawn_marks(space, segment)) == outcome.frames + 1
        space.propagate()
        assert propagated(desk, space, heard).complete
        assert drawn_marks(space, segment) == list(range(FRAMES))
        assert desk.session.state is WorkerState.READY
    finally:
        spaces.end()
        desk.stop()


def kill(desk):
    os.kill(desk.transport.process, signal.SIGKILL)


def drawn_marks(space, segment):
    return sorted(space.state.marks(segment))


def test_a_segment_deleted_or_renamed_during_a_run_stops_nothing(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    one, other = space.masks.add_segment("one"), space.masks.add_segment("other")
    for segment in (one, other):
        click(desk, space, segment, 0)
    desk.turn()
    space.propagate()
    segmentation = space.masks.shown_node.GetSegmentation()
    segmentation.RemoveSegment(one)
    segmentation.GetSegment(other).SetName("renamed")
    assert propagated(desk, space, heard).complete
    desk.wait(lambda: not space.is_aligning)
    assert [info.name for info in space.masks.segments()] == ["renamed"]
    assert space.state.segments == [other] and not space.is_closed
    assert drawn(space, other) == list(range(FRAMES))
    assert "one" not in {s.name for s in space.annotated.work.segments.values()}


def test_a_segment_deleted_while_its_masks_wait_to_be_written_does_not_come_back(
    desk, working, spaces
):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 5)
    desk.turn()
    space.propagate()
    run = space._propagation
    desk.wait(lambda: run._arrived, "frames")
    space.masks.shown_node.GetSegmentation().RemoveSegment(segment)
    run._write()  # before the other frames have heard of it
    desk.wait(lambda: heard["propagated"] and not space.is_aligning)
    assert space.segment_ids() == [] and space.state.segments == []


def items_with(space, segment):
    """Frames whose item of Slicer's still has a segment of this ID."""
    sequence = space.masks.stored_node
    return [
        frame
        for frame in range(FRAMES)
        if sequence.GetNthDataNode(frame).GetSegmentation().GetSegment(segment) is not None
    ]


@pytest.fixture
def slow_removal(desk, working, spaces, monkeypatch):
    """(workspace, the segment that stays, one that was removed on the shown frame and is still on
    others): in each turn one of them loses it."""
    monkeypatch.setattr("SAMUSALib.app.steps.PIECE_SECONDS", 0.0)
    space, _ = open_cine(desk, working, spaces)
    stays, goes = space.masks.add_segment("stays"), space.masks.add_segment("goes")
    for segment in (stays, goes):
        click(desk, space, segment, 3)
        click(desk, space, segment, 9)
    desk.wait(lambda: not (space.is_aligning or space.is_journaling), "calm")
    space.masks.shown_node.GetSegmentation().RemoveSegment(goes)
    desk.wait(lambda: 0 < len(items_with(space, goes)) < FRAMES - 1, "the removal to begin")
    return space, stays, goes


def test_a_removed_segment_is_gone_at_once_and_leaves_the_frames_one_after_the_other(
    desk, slow_removal
):
    space, stays, goes = slow_removal
    assert space.is_aligning and items_with(space, goes)
    assert space.segment_ids() == [stays] and not space.has_segment(goes)
    assert space.state.segments == [stays] and list(space.annotated.work.segments) == [stays]
    assert [info.name for info in space.masks.segments()] == ["stays"]
    desk.wait(lambda: not space.is_aligning)
    assert items_with(space, goes) == [] and items_with(space, stays) == list(range(FRAMES))
    assert drawn(space, stays) == [3, 9]


def test_a_frame_that_is_shown_loses_a_removed_segment_before_the_others(desk, slow_removal):
    space, stays, goes = slow_removal
    frame = items_with(space, goes)[-1]
    space.show_frame(frame)
    desk.turn()
    desk.turn()
    assert frame not in items_with(space, goes)
    desk.wait(lambda: not space.is_aligning)
    assert space.segment_ids() == [stays]
    assert space.masks.shown_node.GetSegmentation().GetSegmentIDs() == (stays,)


def test_undo_and_accepting_do_not_bring_a_removed_segment_back(desk, slow_removal):
    space, stays, goes = slow_removal
    for _ in range(2):
        space.undo()  # clicks on the removed one
    assert space.masks.mask(stays, 9).any()
    with pytest.raises(SceneChanged, match="no longer in"):
        space.accept(goes, 9, [FramePrompts(boundary=RING)], np.ones((HEIGHT, WIDTH), bool))
    rules = EditRules(overwrite="all")
    space.accept(stays, 10, [FramePrompts(boundary=RING)], np.ones((HEIGHT, WIDTH), bool), 1, rules)
    desk.wait(lambda: not (space.is_aligning or space.is_journaling))
    assert items_with(space, goes) == [] and space.masks.mask(stays, 10).all()


def test_a_segment_of_the_same_id_that_is_added_meanwhile_is_another_one(desk, slow_removal):
    space, stays, goes = slow_removal
    space.masks.shown_node.GetSegmentation().AddEmptySegment(goes, "new")
    assert not any(space.masks.mask(goes, frame).any() for frame in range(FRAMES))
    space.accept(goes, 9, [FramePrompts(boundary=RING)], np.ones((HEIGHT, WIDTH), bool))
    desk.wait(lambda: not space.is_aligning)
    assert items_with(space, goes) == list(range(FRAMES))
    assert drawn(space, goes) == [9] and space.masks.segment(goes).name == "new"
    space.masks.shown_node.GetSegmentation().RemoveSegment(goes)
    desk.wait(lambda: not (space.is_aligning or space.has_segment(goes)))
    assert items_with(space, goes) == []


def test_a_second_segment_that_is_removed_meanwhile_goes_too(desk, slow_removal):
    space, stays, goes = slow_removal
    space.masks.shown_node.GetSegmentation().RemoveSegment(stays)
    desk.wait(lambda: not space.has_segment(stays))
    desk.wait(lambda: not space.is_aligning)
    assert items_with(space, goes) == items_with(space, stays) == [] == space.segment_ids()


def test_a_workspace_that_closes_finishes_the_removal(slow_removal):
    space, stays, goes = slow_removal
    space.close()
    assert items_with(space, goes) == [] and items_with(space, stays) == list(range(FRAMES))


@pytest.mark.parametrize("what", ["the masks", "the scene"])
def test_nodes_that_are_deleted_during_a_removal_end_it_without_an_exception(
    desk, working, slow_removal, caplog, what
):
    space, _, _ = slow_removal
    if what == "the masks":
        working.scene.RemoveNode(space.masks.stored_node)
    else:
        working.scene.Clear(True)
    desk.wait(lambda: space.is_closed and not space.is_aligning)
    for _ in range(3):
        desk.turn()
    assert caplog.messages == []


def test_what_is_saved_during_a_removal_keeps_the_journal(desk, working, slow_removal, tmp_path):
    """The file may still have the removed segment on some frames; the scene goes on without it."""
    space, stays, goes = slow_removal
    working.save(tmp_path / "scene.mrb")
    desk.wait(lambda: not space.is_aligning)
    assert items_with(space, goes) == []
    assert space.masks.stored_node.GetModifiedSinceRead()
    space.check_saved()
    (journal,) = list_journals(desk.journals)
    assert list(read_journal(journal.path).work.segments) == [stays]


def test_a_segment_added_on_one_frame_is_on_all_and_browsing_removes_none(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.shown_node.GetSegmentation().AddEmptySegment("new", "new")
    desk.wait(lambda: not space.is_aligning)
    for frame in (0, 6, 11, 3):
        space.show_frame(frame)
        desk.turn()
        assert space.masks.shown_node.GetSegmentation().GetSegmentIDs() == (segment,)
    assert space.segment_ids() == [segment]


def test_a_deleted_proxy_comes_back_with_the_next_frame_and_its_segments_are_heard_of(
    desk, working, spaces
):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    mask = click(desk, space, segment, 4)
    working.scene.RemoveNode(space.masks.shown_node)
    space.masks.write(segment, {5: mask})  # as a propagation that runs
    space.show_frame(5)
    assert np.array_equal(space.masks.mask(segment, 5), mask)
    for _ in range(5):
        desk.turn()
    shown = space.masks.shown_node.GetSegmentation()
    shown.GetSegment(segment).SetName("vessel")
    items = [space.masks.stored_node.GetNthDataNode(n).GetSegmentation() for n in range(FRAMES)]

    def is_everywhere(name):
        return all(item.GetSegment(segment).GetName() == name for item in items)

    desk.wait(lambda: is_everywhere("vessel"), "the new name on all frames")
    shown.RemoveSegment(segment)
    desk.wait(lambda: not space.masks.has_segment(segment), "its removal on all frames")
    assert not space.is_closed and space.state.segments == []


@pytest.mark.parametrize("what", ["clip", "segmentation", "browser", "state", "scene"])
def test_nodes_deleted_during_a_run_close_the_workspace_in_words(desk, working, spaces, what):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    mask = click(desk, space, segment, 0)
    space.propagate()
    desk.turn()
    nodes = {
        "clip": space.source.node,
        "segmentation": space.masks.stored_node,
        "browser": space.source.browser,
        "state": space.state.node,
    }
    if what == "scene":
        working.scene.Clear(False)
    else:
        working.scene.RemoveNode(nodes[what])
    desk.wait(lambda: space.is_closed)
    assert heard["closed"] == [()] and len(spaces) == 0
    if what != "scene":
        assert "no longer in the scene" in heard["failed"][0][0]
    with pytest.raises(SceneChanged):
        space.propagate()
    journal = list_journals(desk.journals)[0]
    assert not journal.is_open
    work = read_journal(journal.path).work
    assert np.array_equal(work.segments[segment].frames[0].mask.decode(), mask)
    for _ in range(20):
        desk.turn()
    assert "Traceback" not in desk.session.log


def test_a_journal_brings_work_back_into_a_new_scene(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen", (9, 8, 7))
    click(desk, space, segment, 4)
    space.set_windows(segment, [Window(1, 9)])
    space.propagate()
    propagated(desk, space, heard)
    space.approve(segment, [6])
    click(desk, space, segment, 8, shift=2)
    said = everything(desk, space, segment)
    assert said[-1] == {7, 9}
    space.close()
    working.scene.Clear(False)
    again, heard = open_cine(desk, working, spaces)
    (journal,) = desk.session.recoverable(again.annotated)
    again.recover(journal.path)
    desk.wait(lambda: not journal.path.exists(), "all of it in another journal")
    assert "frames are back" in heard["notice"][-1][0]
    (found,) = again.masks.segments()
    assert (found.name, found.color) == ("lumen", (9, 8, 7))
    assert everything(desk, again, found.id) == said
    assert again.windows(found.id) == (Window(1, 9),)
    assert np.array_equal(again.steps(found.id, 4)[-1].boundary, RING)
    assert len(list_journals(desk.journals)) == 1
    assert again.undo() == "Recover" and drawn(again, found.id) == []
    assert again.to_compute(found.id) == set(range(1, 10))


def test_a_journal_comes_back_beside_what_was_done_meanwhile(desk, working, spaces):
    """The journal has frame 4 and all that follows from it; here frame 7 was
    approved with another mask."""
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 4)
    space.propagate()
    propagated(desk, space, heard)
    assert everything(desk, space, segment)[-1] == set()
    space.close()
    working.scene.Clear(False)
    again, heard = open_cine(desk, working, spaces)
    (journal,) = desk.session.recoverable(again.annotated)
    segment = again.masks.add_segment("lumen")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:20, 6:30] = True
    again.masks.write(segment, {7: mask})
    again.approve(segment, [7])
    again.recover(journal.path)
    desk.wait(lambda: not journal.path.exists(), "all of it in another journal")
    assert np.array_equal(again.masks.mask(segment, 7), mask)
    assert again.to_compute(segment) == {5, 6, 8, 9, 10, 11}


@pytest.mark.parametrize("file", ["scene.mrb", "scene.mrml"])
def test_a_loaded_scene_asks_only_for_what_is_missing(desk, working, spaces, tmp_path, file):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 4)
    space.set_windows(segment, [Window(2, 9)])
    space.propagate(direction="forward")
    propagated(desk, space, heard)
    space.approve(segment, [7])
    before, marks = drawn(space, segment), space.state.marks(segment)
    path = working.save(tmp_path / file)
    spaces.close_all()

    other = WorkingScene()
    other.load(path)
    (state,) = (SceneState(node) for node in state_nodes(other.scene))
    (browser,) = other.nodes("vtkMRMLSequenceBrowserNode")
    proxies = [browser.GetProxyNode(n) for n in (state.clip_node, state.segmentation_node)]
    others = Workspaces(desk.session, desk.transport.soon, other.scene)
    again = others.open(*proxies)
    heard = listen(again)
    desk.wait(lambda: again.is_open, "the loaded clip")
    assert again.state.marks(segment) == marks and drawn(again, segment) == before
    assert again.to_compute(segment) == {2, 3}
    again.propagate()
    assert propagated(desk, again, heard).frames == 2 and again.to_compute(segment) == set()
    click(desk, again, segment, 4, shift=2)
    assert again.to_compute(segment) == {2, 3, 5, 6}
    others.end()
    other.scene.Clear(True)


def test_a_saved_scene_needs_no_journal_until_the_next_change(desk, working, spaces, tmp_path):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 4)
    spaces.tick()
    assert len(list_journals(desk.journals)) == 1
    working.save(tmp_path / "scene.mrb")
    spaces.tick()
    desk.turn()
    assert list_journals(desk.journals) == []
    click(desk, space, segment, 5)
    spaces.tick()
    work = read_journal(list_journals(desk.journals)[0].path).work
    assert set(work.segments[segment].frames) == {4, 5}


def test_many_masks_are_made_ready_in_pieces_and_written_together(
    desk, working, spaces, monkeypatch
):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    written, accept = [], space.annotated.accept_frames

    def accept_frames(segment, records, stale):
        written.append([(record.frame, "encoded" in vars(record)) for record in records])
        return accept(segment, records, stale)

    monkeypatch.setattr(space.annotated, "accept_frames", accept_frames)
    space.approve(segment, range(FRAMES))
    desk.wait(lambda: not space.is_journaling, "the journal")
    assert [sorted(records) for records in written] == [[(n, True) for n in range(FRAMES)]]
    assert space.annotated.work.segment(segment).locked == set(range(FRAMES))


def test_saving_several_segments_leaves_nothing_to_save(desk, working, spaces, tmp_path):
    """To save, Slicer puts segments that do not overlap into one labelmap, with other labels."""
    space, heard = open_cine(desk, working, spaces)
    shown = space.source.shown_frame()
    for n in range(3):
        segment = space.masks.add_segment(f"layer {n}")
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[10 * n : 10 * n + 8, 5:20] = True
        space.accept(segment, shown, [FramePrompts(boundary=RING)], mask)
    desk.wait(lambda: not space.is_journaling, "the journal")
    working.save(tmp_path / "scene.mrb")
    labels = {
        space.masks.shown_node.GetSegmentation().GetSegment(each).GetLabelValue()
        for each in space.segment_ids()
    }
    assert len(labels) == 3
    for _ in range(5):
        desk.turn()
    assert not space.masks.stored_node.GetModifiedSinceRead()
    spaces.tick()
    assert list_journals(desk.journals) == []
    shown = space.masks.shown_node.GetSegmentation()
    shown.GetSegment(space.segment_ids()[0]).SetName("media")
    for _ in range(5):
        desk.turn()
    assert space.masks.stored_node.GetModifiedSinceRead()
    last = space.masks.stored_node.GetNthDataNode(FRAMES - 1)
    assert last.GetSegmentation().GetNthSegment(0).GetName() == "media"


def test_the_frames_to_check_are_those_where_the_mask_jumps(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 0)
    space.propagate()
    propagated(desk, space, heard)
    odd = np.zeros((HEIGHT, WIDTH), bool)
    odd[30:40, 2:20] = True
    space.masks.write(segment, {7: odd})
    space.review.seen[segment, 7] = EncodedMask.encode(odd)
    assert space.next_to_check(segment) == 7
    assert space.next_to_check(segment, 7) != 7
    space.approve(segment, range(FRAMES))
    assert space.next_to_check(segment) is None


def test_propagated_masks_are_compared_before_anybody_asks_what_to_check(
    desk, working, spaces, monkeypatch
):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 5)
    found = []

    def ask(outcome):
        late = lambda *masks: pytest.fail("masks are compared when it is asked")  # noqa: E731
        monkeypatch.setattr("SAMUSALib.app.review.overlap", late)
        found.append(space.next_to_check(segment))

    space.propagated.connect(ask)
    space.propagate()
    assert propagated(desk, space, heard).complete
    assert found[0] is not None


def test_frames_that_come_are_written_for_a_moment_and_the_event_loop_has_its_turn(
    desk, working, spaces, monkeypatch
):
    monkeypatch.setattr("SAMUSALib.app.propagation.PIECE_SECONDS", 0.0)
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    click(desk, space, segment, 5)
    desk.turn()
    space.propagate()
    run = space._propagation
    desk.wait(lambda: run._answered, "all frames")
    outcome = propagated(desk, space, heard)
    assert outcome.complete and drawn(space, segment) == list(range(FRAMES))
    shown = [frames for of, frames in heard["frame_changed"] if of == segment]
    assert sorted(shown[1:]) == [(frame,) for frame in range(FRAMES) if frame != 5]
    assert SceneState(space.state.node).marks(segment) == space.state.marks(segment)


def test_a_mask_that_cannot_be_written_leaves_nothing_behind(desk, working, spaces):
    space, heard = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    with pytest.raises(InvalidValue, match="shape"):
        space.accept(segment, 2, [FramePrompts(boundary=RING)], np.ones((3, 3), bool))
    assert space.state.mark(segment, 2) is None and space.steps(segment, 2) == ()
    assert space.history.undo_name is None and heard["frame_changed"] == []


def test_slices_of_a_volume_are_frames_along_any_axis(desk, working, spaces):
    rng = np.random.default_rng(3)
    volume = working.volume(rng.integers(0, 9, (70, 60, 50), np.int16))
    for axis in range(3):
        space = spaces.open(volume, None, axis)
        heard = listen(space)
        desk.wait(lambda space=space: space.is_open)
        segment = space.masks.add_segment("mass")
        mask = click(desk, space, segment, 20)
        space.set_windows(segment, [Window(18, 22)])
        space.propagate()
        assert propagated(desk, space, heard).frames == 4
        voxels = space.source.geometry.to_source(
            np.stack([space.masks.mask(segment, n) for n in range(len(space.source))])
        )
        assert voxels.sum() == 5 * mask.sum()
        space.close()


def test_a_long_cine_costs_no_copy_of_its_pixels(desk, working, spaces):
    """160 frames of 320 x 240 are 12 MB; on their way are 4 MB at a time."""
    frame = np.random.default_rng(4).integers(0, 255, (320, 240, 1), np.uint8)
    browser, sequence = working.sequence([np.roll(frame, n, 0) for n in range(160)])
    space = spaces.open(browser.GetProxyNode(sequence))
    desk.wait(lambda: space.is_open)
    segment = space.masks.add_segment("lumen")
    tracemalloc.start()
    click(desk, space, segment, 150)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def clicked(space, segment, frame, places=RING):
    clicks = ClickSession(space, segment, frame)
    for x, y in places:
        clicks.add("boundary", x, y)
    return clicks


def test_clicks_show_the_curve_at_once_and_the_model_s_mask_when_it_is_there(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    clicks = clicked(space, segment, 3)
    assert clicks.mask[25, 40] and not clicks.from_model and clicks.is_waiting
    desk.wait(lambda: not clicks.is_waiting)
    assert clicks.from_model and clicks.latency > 0
    assert not space.masks.mask(segment, 3).any()
    assert clicks.accept() and not clicks.accept()
    assert space.masks.mask(segment, 3)[25, 40] and len(space.steps(segment, 3)) == 4


def test_clicks_made_while_the_clip_opens_are_answered_when_it_is_open(desk, working, spaces):
    space = spaces.open(a_cine(working))
    segment = space.masks.add_segment("lumen")
    clicks = clicked(space, segment, 3)
    assert clicks.mask.any() and not clicks.from_model
    assert clicks.accept()  # before anything was computed
    desk.wait(lambda: space.masks.mask(segment, 3).any(), "the accepted mask")
    assert space.history.undo_name == "Click"


def test_newer_clicks_count_and_cleared_ones_do_not(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    clicks = clicked(space, segment, 3)
    clicks.add("boundary", 45, 33)
    desk.wait(lambda: not clicks.is_waiting)
    five = clicks.mask
    assert np.array_equal(five, space.preview(clicks.editor.clicks.prompts))
    clicks.undo()
    desk.wait(lambda: not clicks.is_waiting)
    assert not np.array_equal(clicks.mask, five)
    clicks.add("boundary", 46, 34)
    clicks.clear()
    for _ in range(20):
        desk.turn()
    assert clicks.mask is None and not clicks.accept()


def test_accepted_clicks_are_there_again_and_more_correct_them(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    clicked(space, segment, 3).accept()
    desk.wait(lambda: space.masks.mask(segment, 3).any())
    again = ClickSession(space, segment, 3)
    assert len(again.editor.clicks.points) == 4 and again.mask is None and not again.undo()
    again.add("boundary", 56, 25)
    desk.wait(lambda: not again.is_waiting)
    again.accept()
    assert space.masks.mask(segment, 3)[25, 54]
    space.undo()
    assert not space.masks.mask(segment, 3)[25, 54]


def test_clicks_on_an_approved_frame_are_refused_in_words_and_stay(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    space.approve(segment, [3])
    clicks = clicked(space, segment, 3)
    desk.wait(lambda: not clicks.is_waiting)
    with pytest.raises(InvalidValue, match="unlock it first"):
        clicks.accept()
    assert clicks.mask is not None and clicks.editor.is_changed


def test_the_mask_of_the_segment_can_be_where_clicks_start(desk, working, spaces):
    space, _ = open_cine(desk, working, spaces)
    segment = space.masks.add_segment("lumen")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 10:40] = True
    space.masks.write(segment, {3: mask})
    clicks = ClickSession(space, segment, 3, use_mask=True)
    clicks.add("boundary", 45, 20)
    assert np.array_equal(clicks.editor.steps[-1].mask, mask)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_a_700_frame_cine_never_keeps_the_gui_and_costs_its_masks_alone(
    desk, working, spaces, kind
):
    """Seconds of the processor, so that other programs do not count: opening 3 s, a turn of the
    event loop 50 ms, undo 1 s; 60 MB of memory."""
    psutil = pytest.importorskip("psutil")
    frame = np.random.default_rng(0).integers(0, 255, (640, 480, 1)).astype(kind)
    browser, sequence = working.sequence([np.roll(frame, n, 0) for n in range(700)])
    desk.session.start()
    desk.wait(lambda: desk.session.state is WorkerState.READY)
    turns, memory = [], psutil.Process().memory_info().rss
    plain = desk.turn

    def timed():
        start = time.thread_time()
        plain()
        turns.append(time.thread_time() - start)

    desk.turn = timed
    try:
        start = time.thread_time()
        space = spaces.open(browser.GetProxyNode(sequence))
        heard = listen(space)
        desk.wait(lambda: space.is_open)
        assert time.thread_time() - start < 3.0
        segment = space.masks.add_segment("lumen")
        click(desk, space, segment, 350, shift=200.0)
        space.propagate()
        assert propagated(desk, space, heard).frames == 699
        assert max(turns) < 0.05
        assert psutil.Process().memory_info().rss - memory < 60 * 2**20
        start = time.thread_time()
        del turns[:]
        assert space.undo() == "Propagation" and space.is_replaying
        desk.wait(lambda: not space.is_replaying, "the undo")
        assert time.thread_time() - start < 1.0 and max(turns) < 0.05
        assert drawn(space, segment) == [350]
    finally:
        desk.turn = plain
