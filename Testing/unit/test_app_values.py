"""What Slicer's modules share and needs neither Qt nor a scene: settings, signals, staleness,
review, long work in pieces."""

from collections import deque

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.app.review import Jumps, overlap, to_check
from SAMUSALib.app.settings import ACTION_WORDS, SHORTCUTS, Settings
from SAMUSALib.app.signals import Signal
from SAMUSALib.app.staleness import Stale
from SAMUSALib.app.steps import Stepper
from SAMUSALib.errors import InvalidValue
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import Window
from SAMUSALib.scene.state import FrameMark


class Store(dict):
    """As QSettings with an ini file: everything comes back as text."""

    def value(self, key, default=None):
        return self.get(key, default)

    def setValue(self, key, value):
        self[key] = str(value)

    def remove(self, key):
        for known in [each for each in self if each == key or each.startswith(f"{key}/")]:
            del self[known]


def test_settings_come_back_as_they_were_set_and_default_where_they_are_damaged():
    store = Store()
    settings = Settings(store)
    assert (settings.model, settings.place, settings.cache_mb) == ("samusa-small", "slicer", 512)
    settings.cache_mb, settings.place = 1024, "ssh"
    assert (Settings(store).cache_mb, Settings(store).place) == (1024, "ssh")
    store["SAMUSA/cache_mb"], store["SAMUSA/worker/place"] = "many", "moon"
    assert (settings.cache_mb, settings.place) == (512, "slicer")
    for name, value in (("place", "moon"), ("cache_mb", 1), ("cache_mb", True), ("device", "tpu")):
        with pytest.raises(InvalidValue, match="is needed"):
            setattr(settings, name, value)


def test_segments_of_the_last_clip_come_back_and_are_none_where_they_are_damaged():
    store = Store()
    settings = Settings(store)
    assert settings.segments == []
    settings.segments = [("Wall, outer", (230, 25, 75))]
    assert Settings(store).segments == [("Wall, outer", (230, 25, 75))]
    for damaged in ("[", "7", '["a"]', '[["a", [1, 2]]]', '[["a", ["x", 1, 2]]]'):
        store["SAMUSA/segments"] = damaged
        assert settings.segments == []


def test_ssh_options_are_words_as_in_a_shell():
    settings = Settings(Store())
    settings.ssh_options = "-p 2222 -i 'my key'"
    assert settings.ssh_arguments == ["-p", "2222", "-i", "my key"]
    settings.ssh_options = "-i 'my key"
    with pytest.raises(InvalidValue, match="correct them"):
        _ = settings.ssh_arguments


def test_every_action_has_a_key_of_its_own_and_it_may_be_changed():
    settings, told = Settings(Store()), []
    settings.shortcuts_changed.connect(lambda: told.append(settings.shortcut("accept")))
    keys = [settings.shortcut(name) for name in SHORTCUTS]
    assert len(set(keys)) == len(keys) and set(ACTION_WORDS) == set(SHORTCUTS)
    settings.set_shortcut("accept", "Space")
    with pytest.raises(InvalidValue, match="key of 'Accept the mask' already"):
        settings.set_shortcut("clear", "space")
    assert settings.action_on("SPACE") == "accept" and settings.action_on("Return") is None
    settings.set_shortcut("accept", "Space")  # as it is: nothing to tell
    assert told == ["Space"]
    settings.set_shortcut("box", "")
    settings.set_shortcut("propagate", "")
    assert settings.action_on("") is None
    settings.reset_shortcuts()
    assert settings.shortcut("accept") == SHORTCUTS["accept"] == told[-1]


def test_a_listener_that_raises_or_leaves_keeps_nobody_from_hearing(caplog):
    signal, heard = Signal(), []

    def fails(value):
        raise RuntimeError("no")

    def leaves(value):
        disconnect_last()

    signal.connect(fails)
    signal.connect(leaves)
    signal.connect(heard.append)
    disconnect_last = signal.connect(lambda value: heard.append("never"))
    signal.emit(3)
    assert heard == [3] and "Traceback" in caplog.text
    disconnect_last()


NOTHING_STALE = Stale(20, frozenset())


def numbers(stale, windows=(), kept=()):
    return sorted(stale.within(windows, kept))


def test_a_change_makes_the_frames_up_to_its_neighbours_stale():
    stale = NOTHING_STALE.all()
    assert numbers(stale) == list(range(20)) and numbers(stale.done(range(20))) == []
    stale = NOTHING_STALE.changed([8], [4, 8, 12, 15], [])
    assert numbers(stale) == list(range(5, 12))
    assert numbers(stale, [Window(6, 9)], {8}) == [6, 7, 9]


def test_a_change_ends_at_its_window_and_reaches_windows_that_borrow():
    windows = [Window(2, 8), Window(10, 12), Window(17, 19)]
    assert numbers(NOTHING_STALE.changed([3], [6, 18], windows)) == [2, 3, 4, 5, 10, 11, 12]


def test_frames_that_change_together_make_stale_what_each_of_them_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        conditioning = np.flatnonzero(rng.random(20) < 0.3).tolist()
        changed = np.flatnonzero(rng.random(20) < 0.2).tolist()
        windows = [Window(1, 7), Window(9, 18)] if rng.random() < 0.5 else []
        one_by_one = NOTHING_STALE
        for frame in changed:
            one_by_one = one_by_one.changed([frame], conditioning, windows)
        assert NOTHING_STALE.changed(changed, conditioning, windows) == one_by_one


def test_a_wider_window_makes_what_it_adds_stale_and_the_first_one_everything():
    stale = NOTHING_STALE.windows_changed([Window(2, 4)], [Window(2, 6)])
    assert numbers(stale) == [5, 6]
    assert numbers(stale.windows_changed([], [Window(0, 3)])) == list(range(20))


def square(x, y=5, size=10):
    mask = np.zeros((40, 60), bool)
    mask[y : y + size, x : x + size] = True
    return EncodedMask.encode(mask)


def test_overlap_is_that_of_the_masks():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (rng.random((2, 20, 30)) < 0.2) & (rng.random((2, 1, 30)) < 0.5)
        union = (a | b).sum()
        expected = (a & b).sum() / union if union else 1.0
        assert overlap(EncodedMask.encode(a), EncodedMask.encode(b)) == pytest.approx(expected)


def test_unsure_frames_and_jumps_come_first_and_neighbours_are_named_once():
    marks = {n: FrameMark(FrameState.PROPAGATED, 0.9) for n in range(30)}
    marks[20] = FrameMark(FrameState.PROPAGATED, 0.2)
    marks[21] = FrameMark(FrameState.PROPAGATED, 0.25)
    marks[5] = FrameMark(FrameState.REVIEWED, 0.0)
    masks = {("s", n): square(10) for n in range(30)}
    masks["s", 12] = square(40)
    jumps = Jumps()
    chosen = to_check(marks, lambda frame: jumps.of("s", frame, masks))
    assert set(chosen[:2]) == {12, 20}
    assert 21 not in chosen and 5 not in chosen and 13 not in chosen
    assert to_check({}, lambda frame: 0.0) == []


def test_a_jump_is_looked_at_again_only_when_one_of_its_masks_is_another(monkeypatch):
    masks, jumps, looked = {("s", 3): square(10), ("s", 4): square(15)}, Jumps(), []
    monkeypatch.setattr(
        "SAMUSALib.app.review.overlap", lambda *pair: looked.append(pair) or overlap(*pair)
    )
    assert jumps.of("s", 4, masks) == jumps.of("s", 4, masks) == pytest.approx(2 / 3)
    assert len(looked) == 1 and jumps.of("s", 3, masks) == 0.0
    masks["s", 3] = square(15)
    assert jumps.of("s", 4, masks) == 0.0 and len(looked) == 2


def test_long_work_leaves_turns_to_others_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr("SAMUSALib.app.steps.PIECE_SECONDS", 0.0)
    calls, done = deque(), []

    def work():
        for n in range(5):
            done.append(n)
            yield n

    ended = []
    Stepper(work(), calls.append, lambda: ended.append(True))
    turns = 0
    while calls:
        calls.popleft()()
        turns += 1
    assert done == list(range(5)) and ended == [True] and turns == 6
    stopped = Stepper(work(), calls.append, lambda: ended.append("never"))
    calls.popleft()()
    stopped.cancel()
    while calls:
        calls.popleft()()
    assert len(done) == 6 and ended == [True] and not stopped.running


def test_an_error_of_ours_ends_long_work_with_its_sentence():
    calls, errors = deque(), []

    def work():
        yield 1
        raise InvalidValue("no")

    Stepper(work(), calls.append, on_error=errors.append)
    while calls:
        calls.popleft()()
    assert [str(error) for error in errors] == ["no"]


def test_the_rest_of_long_work_can_be_done_at_once(monkeypatch):
    monkeypatch.setattr("SAMUSALib.app.steps.PIECE_SECONDS", 0.0)
    calls, done, ended = deque(), [], []
    work = Stepper((done.append(n) for n in range(5)), calls.append, lambda: ended.append(True))
    calls.popleft()()
    assert done == [0]
    work.finish()
    while calls:
        calls.popleft()()
    assert done == list(range(5)) and ended == [True] and not work.running
