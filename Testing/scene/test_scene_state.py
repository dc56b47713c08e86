"""What the annotator said and decided stays with the scene, and every step can be undone."""

import json
import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")

from scene_nodes import WorkingScene, random_matrix  # noqa: E402

from SAMUSALib.annotation import FrameState  # noqa: E402
from SAMUSALib.errors import InvalidValue, SceneChanged  # noqa: E402
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window  # noqa: E402
from SAMUSALib.scene.clip_source import SequenceSource, VolumeSource, open_clip  # noqa: E402
from SAMUSALib.scene.segments import new_masks, open_masks  # noqa: E402
from SAMUSALib.scene.state import FrameMark, SceneState, open_state, state_nodes  # noqa: E402
from SAMUSALib.scene.undo import History, Step  # noqa: E402

PROPAGATED, REVIEWED = FrameState.PROPAGATED, FrameState.REVIEWED


def opened(working, kind, count=6, size=(12, 9)):
    """(source, masks, state) with a segment "lumen" that has a mask on each frame."""
    rng = np.random.default_rng(0)
    if kind == "volume":
        voxels = rng.integers(0, 256, (*size, count), dtype=np.uint8)
        source = VolumeSource(working.volume(voxels, random_matrix(rng), name="Images"))
    else:
        images = [rng.integers(0, 256, (*size, 1), dtype=np.uint8) for _ in range(count)]
        times = [repr(float(t)) for t in np.cumsum(rng.uniform(0.1, 1, count))]
        matrices = [random_matrix(rng)] * count
        source = SequenceSource(*working.sequence(images, matrices, times, name="Images"))
    masks = new_masks(source, "Masks")
    return source, masks, open_state(source, masks)


def prompts_of(size=(9, 12)):
    mask = np.zeros(size, bool)
    mask[2:5, 3:8] = True
    return SegmentPrompts(
        'Lumen "µ" <1>',
        {
            1: FramePrompts(boundary=[[1.125, 2.0625], [5, 6]], exclude=[[0.1, 0.2]], mask=mask),
            4: FramePrompts(box=[1, 2, 3, 4.5]),
        },
        (Window(0, 2), Window(4, 5)),
        (1, 2, 3),
    )


def same(a, b):
    assert (a.name, a.windows, a.color, a.frames.keys()) == (
        b.name, b.windows, b.color, b.frames.keys(),
    )  # fmt: skip
    for frame, prompts in a.frames.items():
        for kind in ("boundary", "include", "exclude", "box", "mask"):
            left, right = getattr(prompts, kind), getattr(b.frames[frame], kind)
            assert (left is None and right is None) or np.array_equal(left, right)


@pytest.mark.parametrize("kind", ["volume", "cine"])
@pytest.mark.parametrize(("into", "file"), [("empty", ".mrb"), ("full", ".mrb"), ("full", ".mrml")])
def test_everything_is_there_after_saving_and_loading(working, tmp_path, kind, into, file):
    source, masks, state = opened(working, kind)
    segment, empty = masks.add_segment("lumen", (9, 8, 7)), masks.add_segment("empty")
    rng = np.random.default_rng(1)
    truth = rng.random((6, 9, 12)) < 0.3
    truth[3] = False
    masks.write(segment, dict(enumerate(truth)))
    state.set_prompts(segment, prompts_of())
    marks = {0: FrameMark(PROPAGATED, 1 / 3), 1: FrameMark(FrameState.PROMPTED)}
    state.set_marks(segment, {**marks, 5: FrameMark(REVIEWED, 0.5)})
    state.set_stale(segment, {0, 2, 3})
    if kind == "cine":
        list(masks.make_items())
        source.show_frame(4)
    frames, geometry, times = source.clip().frames, source.geometry, source.times
    source.node.SetName("Renamed images")
    masks.stored_node.SetName("Renamed masks")
    path = working.save(tmp_path / f"scene{file}")

    other = WorkingScene()
    if into == "full":  # the IDs are taken: Slicer gives all nodes new ones
        opened(other, kind)
    other.load(path)
    states = [SceneState(node) for node in state_nodes(other.scene)]
    (again,) = [found for found in states if found.clip_node.GetName() == "Renamed images"]
    assert again.segmentation_node.GetName() == "Renamed masks"
    if kind == "volume":
        reopened = open_clip(again.clip_node, again.axis)
        masks_again = open_masks(reopened, again.segmentation_node)
    else:
        (browser,) = [
            browser
            for browser in other.nodes("vtkMRMLSequenceBrowserNode")
            if browser.IsSynchronizedSequenceNodeID(again.clip_node.GetID(), True)
        ]
        reopened = open_clip(browser.GetProxyNode(again.clip_node))
        masks_again = open_masks(reopened, browser.GetProxyNode(again.segmentation_node))
        assert reopened.shown_frame() == 4
    assert open_state(reopened, masks_again).node is again.node
    assert np.array_equal(reopened.clip().frames, frames)
    assert np.allclose(reopened.geometry.ijk_to_ras, geometry.ijk_to_ras, atol=1e-4)
    assert times is None or np.allclose(reopened.times, times)
    assert [(s.id, s.name) for s in masks_again.segments()] == [
        (segment, "lumen"), (empty, "empty"),
    ]  # fmt: skip
    for frame in range(6):
        assert np.array_equal(masks_again.mask(segment, frame), truth[frame])
        assert not masks_again.mask(empty, frame).any()
    same(again.prompts(segment), prompts_of())
    assert again.marks(segment) == {**marks, 5: FrameMark(REVIEWED, 0.5)}
    assert again.locked(segment) == {5}
    assert again.stale(segment) == {0, 2, 3} and again.stale(empty) == set(range(6))
    # and work goes on
    masks_again.write(segment, {3: truth[0]})
    assert np.array_equal(masks_again.mask(segment, 3), truth[0])
    other.scene.Clear(True)


def test_there_is_one_state_for_each_clip_and_segmentation(working):
    source, masks, state = opened(working, "volume")
    assert open_state(source, masks).node is state.node
    assert open_state(VolumeSource(source.node, 0), masks).node is not state.node
    assert open_state(source, new_masks(source, "Second")).node is not state.node
    assert len(state_nodes(working.scene)) == 3


def test_a_locked_frame_is_not_overwritten_until_it_is_unlocked(working):
    _, masks, state = opened(working, "cine")
    segment = masks.add_segment("a")
    state.set_marks(segment, {2: FrameMark(REVIEWED, 0.25)})
    with pytest.raises(InvalidValue, match="frame 2 is locked; unlock it first"):
        state.set_marks(segment, {1: FrameMark(PROPAGATED), 2: FrameMark(PROPAGATED)})
    assert state.mark(segment, 1) is None
    changed = state.unlock(segment, [1, 2])
    assert changed == {(segment, 2): (FrameMark(REVIEWED, 0.25), FrameMark(PROPAGATED, 0.25))}
    state.set_marks(segment, {2: FrameMark(PROPAGATED, 0.75)})
    assert SceneState(state.node).mark(segment, 2) == FrameMark(PROPAGATED, 0.75)


def test_what_does_not_fit_the_clip_is_refused(working):
    _, masks, state = opened(working, "cine")
    segment = masks.add_segment("a")
    with pytest.raises(InvalidValue, match="frame 6 does not exist; the last one is 5"):
        state.set_marks(segment, {6: FrameMark(PROPAGATED)})
    with pytest.raises(InvalidValue, match="frame 9 does not exist"):
        state.set_prompts(segment, SegmentPrompts("a", windows=(Window(1, 9),)))
    with pytest.raises(InvalidValue, match="outside the frame"):
        far = {0: FramePrompts(boundary=[[50, 1]])}
        state.set_prompts(segment, SegmentPrompts("a", far))
    with pytest.raises(InvalidValue, match="confidence is nan"):
        FrameMark(PROPAGATED, float("nan"))
    with pytest.raises(InvalidValue, match="frame 6 does not exist"):
        state.set_stale(segment, {0, 6})
    assert state.segments == [] and state.prompts(segment) is None
    assert state.stale(segment) == set(range(6))


def test_a_clip_that_has_another_length_now_is_told(working):
    source, masks, _ = opened(working, "cine")
    source.node.RemoveDataNodeAtValue(source.index_value(5))
    with pytest.raises(InvalidValue, match="annotated with 6 frames .* now has 5"):
        open_state(source, masks)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "2", "is of version '2', this SAMUSA reads 1; update SAMUSA"),
        ("version", "", "is of version ''"),
        ("clip", "{", "'clip' is no JSON"),
        ("clip", '{"frames": 6}', "clip.height is None; a whole number is needed"),
        ("segment a", "[1", r"no JSON .*the masks stay"),
        ("segment a", "[]", r"segment a is \[\]; an object"),
        ("segment a", '{"prompts": {"name": "a"}, "frames": {"6": ["propagated", 1]}}', "0 to 5"),
        ("segment a", '{"prompts": {"name": "a"}, "frames": {"1": ["odd", 1]}}', "odd"),
        ("segment a", '{"prompts": {"name": "a"}, "frames": {"1": ["propagated", 7]}}', "7"),
        ("segment a", '{"prompts": {"name": "a"}, "frames": {"1": ["propagated"]}}', "1 values"),
        ("segment a", '{"prompts": {"name": 3}}', "prompts.name is 3"),
        ("stale a", "5", "stale a is 5; a list"),
        ("stale a", "[[2, 6]]", "0 to 5"),
        ("stale a", "[[2]]", "first, last"),
        (
            "segment a",
            json.dumps({"prompts": {"name": "a", "frames": {"1": {"mask": {
                "shape": [9, 12], "box": [0, 0, 3, 3], "zlib": "%%"}}}}}),
            "zlib is no base64",
        ),
        (
            "segment a",
            json.dumps({"prompts": {"name": "a", "frames": {"1": {"mask": {
                "shape": [9, 12], "box": [0, 0, 3, 3], "zlib": "AAAA"}}}}}),
            "is damaged",
        ),
    ],
)  # fmt: skip
def test_a_damaged_or_newer_state_is_refused_by_its_place(working, key, value, message):
    _, _, state = opened(working, "volume")
    state.node.SetParameter(key, value)
    with pytest.raises(InvalidValue, match=message):
        SceneState(state.node)


def test_a_state_whose_nodes_are_deleted_is_safe_to_hold(working):
    source, masks, state = opened(working, "volume")
    segment = masks.add_segment("a")
    state.set_marks(segment, {1: FrameMark(PROPAGATED)})
    working.scene.RemoveNode(masks.shown_node)
    assert state.segmentation_node is None and state.clip_node is source.node
    state.set_stale(segment, {2})
    state.remove_segment(segment)
    assert SceneState(state.node).segments == []
    assert SceneState(state.node).stale(segment) == set(range(6))
    working.scene.RemoveNode(state.node)
    with pytest.raises(SceneChanged, match="annotation state"):
        state.set_marks(segment, {1: FrameMark(PROPAGATED)})


def test_observers_hear_of_a_change_and_another_reader_sees_it(working):
    _, masks, state = opened(working, "volume")
    segment, told = masks.add_segment("a"), []
    state.node.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    state.set_marks(segment, {frame: FrameMark(PROPAGATED) for frame in range(6)})
    assert len(told) == 1
    assert SceneState(state.node).marks(segment) == state.marks(segment)


def accepted(masks, state, segment, frames, name="Propagation"):
    """What the modules do when masks are accepted."""
    step = Step(name, masks.write(segment, frames))
    marks = {frame: FrameMark(PROPAGATED, 0.75) for frame in frames}
    step.add({}, state.set_marks(segment, marks))
    return step


@pytest.mark.parametrize("kind", ["volume", "cine"])
def test_every_step_can_be_undone_and_redone(working, kind):
    _, masks, state = opened(working, kind)
    segments = [masks.add_segment(name) for name in "ab"]
    rng, history = np.random.default_rng(2), History()

    def everything():
        found = np.stack([[masks.mask(s, frame) for frame in range(6)] for s in segments])
        return found, [state.marks(s) for s in segments]

    seen = [everything()]
    for number in range(8):
        some = rng.choice(6, int(rng.integers(1, 6)), replace=False)
        frames = {int(frame): rng.random((9, 12)) < 0.3 for frame in some}
        step = accepted(masks, state, segments[number % 2], frames, f"step {number}")
        history.record(step)
        seen.append(everything())
    for number in reversed(range(8)):
        assert history.undo_name == f"step {number}"
        assert history.undo(masks, state).name == f"step {number}"
        found, marks = everything()
        assert np.array_equal(found, seen[number][0]) and marks == seen[number][1]
    assert history.undo(masks, state) is None and history.undo_name is None
    for number in range(1, 6):
        history.redo(masks, state)
        found, marks = everything()
        assert np.array_equal(found, seen[number][0]) and marks == seen[number][1]
    history.record(accepted(masks, state, segments[0], {0: np.ones((9, 12), bool)}, "new"))
    assert history.redo(masks, state) is None and history.undo_name == "new"


def test_undo_restores_what_was_overwritten_in_other_segments(working):
    from SAMUSALib.scene.rules import EditRules

    _, masks, state = opened(working, "volume")
    wall, lumen = masks.add_segment("wall"), masks.add_segment("lumen")
    full = np.ones((9, 12), bool)
    masks.write(wall, {1: full})
    history = History()
    half = full.copy()
    half[:, 6:] = False
    history.record(Step("click", masks.write(lumen, {1: half}, EditRules(overwrite="all"))))
    assert np.array_equal(masks.mask(wall, 1), ~half)
    history.undo(masks, state)
    assert masks.mask(wall, 1).all() and not masks.mask(lumen, 1).any()


def test_segments_that_overwrite_each_other_within_one_step_are_undone_together(working):
    from SAMUSALib.scene.rules import EditRules

    _, masks, state = opened(working, "cine")
    segments = [masks.add_segment(name) for name in "ab"]
    rng, history, step = np.random.default_rng(3), History(), Step("Propagation")
    for segment in segments:
        masks.write(segment, {1: rng.random((9, 12)) < 0.4})
    before = [masks.mask(segment, 1) for segment in segments]
    for number in range(6):
        segment, mask = segments[number % 2], rng.random((9, 12)) < 0.4
        marks = state.set_marks(segment, {1: FrameMark(PROPAGATED, number / 8)})
        step.add(masks.write(segment, {1: mask}, EditRules(overwrite="all")), marks)
    after = [masks.mask(segment, 1) for segment in segments]
    history.record(step)
    history.undo(masks, state)
    assert np.array_equal([masks.mask(segment, 1) for segment in segments], before)
    assert state.marks(segments[0]) == state.marks(segments[1]) == {}
    history.redo(masks, state)
    assert np.array_equal([masks.mask(segment, 1) for segment in segments], after)
    assert state.mark(segments[1], 1) == FrameMark(PROPAGATED, 0.625)


def test_undo_after_a_segment_or_node_was_deleted_is_safe(working):
    _, masks, state = opened(working, "cine")
    kept, gone = masks.add_segment("kept"), masks.add_segment("gone")
    history, full = History(), np.ones((9, 12), bool)
    step = accepted(masks, state, kept, {0: full})
    step.add(masks.write(gone, {0: full}))
    history.record(step)
    masks.remove_segment(gone)
    state.remove_segment(gone)
    history.undo(masks, state)
    assert not masks.mask(kept, 0).any() and not masks.has_segment(gone)
    history.redo(masks, state)
    working.scene.RemoveNode(masks.stored_node)
    with pytest.raises(SceneChanged):
        history.undo(masks, state)
    assert history.undo_name == "Propagation"
    history.clear()
    assert history.undo(masks, state) is None


def test_the_oldest_steps_are_dropped_when_memory_is_used_up(working):
    _, masks, state = opened(working, "volume")
    segment, history = masks.add_segment("a"), History(limit=2500)
    history.record(Step("nothing"))
    assert history.undo_name is None
    full = np.ones((9, 12), bool)
    for number in range(10):
        history.record(accepted(masks, state, segment, {1: full}, f"{number}"))
        full = ~full
    count = 0
    while history.undo(masks, state):
        count += 1
    assert 2 <= count < 6


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["volume", "cine"])
def test_700_frames_of_640_x_480_are_undone_in_a_second(working, kind):
    _, masks, state = opened(working, kind, 700, (640, 480))
    segment, history = masks.add_segment("a"), History()
    y, x = np.mgrid[:480, :640]
    frames = {t: (x - 300) ** 2 + (y - 240) ** 2 < (80 + t % 20) ** 2 for t in range(700)}
    step = accepted(masks, state, segment, frames)
    assert step.size < 2e6
    history.record(step)
    start = time.process_time()
    history.undo(masks, state)
    assert time.process_time() - start < 3  # 0.5 s on a busy core; noise must not fail it
    assert not masks.mask(segment, 350).any()
