"""Journals: what was accepted is there again, whatever happens to the process, the disk or the
file."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SAMUSALib.annotation import FrameAnnotation, FrameState
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.errors import CannotWrite, InvalidValue, UnreadableFile
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window
from SAMUSALib.worker import journal as journal_module
from SAMUSALib.worker.accepted import AcceptedWork, ClipIdentity, fingerprint
from SAMUSALib.worker.file_lock import FileLock, InUse, is_locked
from SAMUSALib.worker.journal import Journal, list_journals, read_journal, remove_journal
from SAMUSALib.worker.journal_records import HEAD, MAGIC, MaskRecord
from SAMUSALib.worker.protocol import Message, encode

SHAPE = (30, 40, 60)
EMPTY = EncodedMask((40, 60), None, b"")


def disc(x=20, y=15, radius=9) -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def accepted(x=20, state=FrameState.PROPAGATED, confidence=0.75, radius=9) -> FrameAnnotation:
    return FrameAnnotation(EncodedMask.encode(disc(x, radius=radius)), state, confidence)


def identity(name="Carotid, left") -> ClipIdentity:
    matrix = np.array([[0.1, 0, 0, 3.3], [0, 0, 0.2, -1 / 3], [0, 0.1, 0, 7e-9], [0, 0, 0, 1]])
    geometry = Geometry.for_volume((60, 40, 30), matrix)
    frames = np.random.default_rng(1).integers(0, 255, SHAPE, np.uint8)
    return ClipIdentity.of(Clip(frames, geometry, name, source="/data/carötid.nrrd"))


def untouched(name="Carotid, left") -> AcceptedWork:
    return AcceptedWork(identity(name))


CLICKS = (
    FramePrompts(boundary=[[1.25, 2.0]]),
    FramePrompts(boundary=[[1.25, 2.0], [1 / 3, 7e-9]], include=[[4, 5]], box=[1, 2, 3, 4.5]),
    FramePrompts(boundary=[[1.25, 2.0]], exclude=[[9, 9]], mask=disc()),
)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(work: AcceptedWork):
    """Everything in it, to compare."""

    def prompts(step: FramePrompts):
        points = [getattr(step, kind).tolist() for kind in ("boundary", "include", "exclude")]
        box = None if step.box is None else step.box.tolist()
        return points, box, None if step.mask is None else step.mask.tobytes()

    return {
        key: (
            segment.name,
            segment.color,
            segment.windows,
            {index: [prompts(step) for step in steps] for index, steps in segment.steps.items()},
            dict(sorted(segment.frames.items())),
            segment.stale,
        )
        for key, segment in work.segments.items()
    }


def annotate(journal: Journal):
    """Changes of every kind, and what the work is after each."""
    states = [shown(journal.work)]

    def note(safe: bool):
        assert safe and journal.trouble is None
        states.append(shown(journal.work))

    note(journal.set_segment("s1", "lumen", (1, 2, 3), (Window(2, 20),)))
    note(journal.set_steps("s1", 7, CLICKS[:2]))
    note(journal.set_frame("s1", 7, accepted(20, FrameState.PROMPTED, 1 / 3)))
    note(journal.set_segment("s2", "plaque"))
    note(journal.set_steps("s2", 3, CLICKS))
    note(journal.set_frame("s2", 3, FrameAnnotation(EMPTY, FrameState.REVIEWED)))
    note(journal.set_frame("s1", 8, accepted(23)))
    note(journal.set_stale("s1", {2, 3, 4, 6, 9}))
    note(journal.set_stale("s1", {2}))
    note(journal.set_frame("s1", 7, FrameAnnotation(EMPTY, FrameState.EMPTY)))
    note(journal.set_segment("s1", "Lümen", (9, 9, 9), (Window(0, 4), Window(8, 9))))
    note(journal.remove_segment("s2"))
    return states


def annotate_a_little(folder: Path) -> tuple[bytes, list[int], list]:
    """A journal's bytes, where its first and its four further records end, and the work then."""
    journal = Journal.create(folder, untouched())
    ends, states = [journal.size], [shown(journal.work)]
    for step in (
        lambda: journal.set_segment("s1", "lumen"),
        lambda: journal.set_steps("s1", 7, CLICKS[:1]),
        lambda: journal.set_frame("s1", 7, accepted(radius=3)),
        lambda: journal.remove_segment("s1"),
    ):
        assert step()
        ends.append(journal.size)
        states.append(shown(journal.work))
    data = journal.path.read_bytes()
    journal.close(remove=True)
    return data, ends, states


def test_what_is_accepted_comes_back_exactly(tmp_path):
    clip = identity()
    journal = Journal.create(tmp_path / "new" / "journals", AcceptedWork(clip))
    annotate(journal)
    journal.set_steps("s1", 9, CLICKS)
    journal.close()
    reading = read_journal(journal.path)
    assert shown(reading.work) == shown(journal.work)
    assert (reading.unfinished, reading.damaged, reading.trouble) == (0, 0, "")
    back = reading.work.clip
    assert (back.name, back.source, back.fingerprint) == (clip.name, clip.source, clip.fingerprint)
    assert back.created and (back.length, back.frame_size) == (30, (40, 60))
    for key in ("frame_to_ijk", "ijk_to_ras"):
        assert np.array_equal(getattr(back.geometry, key), getattr(clip.geometry, key))
    assert (back.geometry.source_shape, back.geometry.kind) == ((60, 40, 30), "volume")


def test_a_journal_can_begin_with_work(tmp_path):
    first = Journal.create(tmp_path, untouched())
    annotate(first)
    first.set_steps("s1", 9, CLICKS)
    second = Journal.create(tmp_path, first.work)
    assert shown(read_journal(second.path).work) == shown(first.work)
    assert second.size < first.size
    first.close()
    second.close()


def test_reading_gives_annotation_and_prompts(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    annotate(journal)
    journal.set_segment("s3", "Lümen", (4, 5, 6))
    journal.set_steps("s3", 5, CLICKS)
    journal.close()
    work = read_journal(journal.path).work
    annotation = work.annotation()
    assert [segment.name for segment in annotation.segments] == ["Lümen", "Lümen (2)"]
    frame = annotation.segment("Lümen").frame(8)
    assert np.array_equal(frame.mask.decode(), disc(23)) and frame.confidence == 0.75
    first, second = work.prompts()
    assert isinstance(first, SegmentPrompts) and first.windows == (Window(0, 4), Window(8, 9))
    assert second.name == "Lümen (2)" and second.color == (4, 5, 6)
    assert np.array_equal(second.frames[5].mask, disc())


def test_cut_at_every_byte_at_most_the_record_in_writing_is_lost(tmp_path):
    data, ends, states = annotate_a_little(tmp_path)
    cut = tmp_path / "cut.journal"
    for length in range(len(data) + 1):
        cut.write_bytes(data[:length])
        if length < ends[0]:
            with pytest.raises(UnreadableFile, match="cut off while it was begun"):
                read_journal(cut)
            continue
        whole = sum(end <= length for end in ends) - 1
        reading = read_journal(cut)
        assert shown(reading.work) == states[whole]
        assert (reading.good, reading.unfinished) == (ends[whole], length - ends[whole])
        assert not reading.damaged


def test_a_cut_journal_goes_on_where_it_was_cut(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    states = annotate(journal)
    journal.close()
    data = journal.path.read_bytes()
    for lost in (1, 5, 30):
        journal.path.write_bytes(data[:-lost])
        again, reading = Journal.open(journal.path)
        assert reading.unfinished and again.set_aside is None
        assert shown(again.work) == states[-2]
        assert again.remove_segment("s2")
        again.close()
        assert journal.path.read_bytes() == data


def test_a_flipped_bit_in_any_byte_is_noticed_and_nothing_before_it_is_lost(tmp_path):
    data, ends, states = annotate_a_little(tmp_path)
    hurt = tmp_path / "hurt.journal"
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place * 5 % 8)
        hurt.write_bytes(changed)
        if place < ends[0]:
            with pytest.raises(UnreadableFile):
                read_journal(hurt)
            continue
        whole = sum(end <= place for end in ends) - 1
        reading = read_journal(hurt)
        assert shown(reading.work) == states[whole]
        assert reading.good == ends[whole] and reading.damaged == len(data) - ends[whole]
        assert "damaged after" in reading.trouble


def test_damage_is_set_aside_before_a_journal_goes_on(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    states = annotate(journal)
    journal.close()
    data = bytearray(journal.path.read_bytes())
    place = len(data) // 2
    data[place] ^= 1
    journal.path.write_bytes(data)
    again, reading = Journal.open(journal.path)
    assert again.set_aside.read_bytes() == data[reading.good :]
    assert 0 < reading.good <= place and shown(again.work) in states
    assert again.set_segment("s9", "after")
    again.close()
    after = read_journal(journal.path)
    assert not after.damaged and "s9" in after.work.segments
    remove_journal(journal.path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "tail", [bytes(4096), b"SMSJ" + bytes(12), b"not a record at all", b"SMSJ\xff\xff\xff\xff"]
)
def test_what_a_broken_file_system_leaves_at_the_end_is_no_record(tmp_path, tail):
    journal = Journal.create(tmp_path, untouched())
    states = annotate(journal)
    journal.close()
    with open(journal.path, "ab") as file:
        file.write(tail)
    reading = read_journal(journal.path)
    assert shown(reading.work) == states[-1]
    assert reading.damaged + reading.unfinished == len(tail)


@pytest.mark.parametrize(
    "nonsense",
    [
        Message({"record": "later", "x": 1}),
        Message({"event": "done"}),
        Message({"record": "segment_removed", "segment": "none"}),
        Message({"record": "segment_removed", "segment": 7}),
        Message({"record": "prompts", "segment": "s1", "frame": 30, "steps": []}),
        Message({"record": "mask", "segment": "s1", "frame": 3}),
        Message({"record": "clip", "version": 1}),
        Message({"record": "stale", "segment": "s1", "spans": [0, 2, 4]}),
        Message({"record": "stale", "segment": "s1", "spans": [0, 30]}),
        None,
    ],
)
def test_a_whole_record_that_makes_no_sense_is_damage_too(tmp_path, nonsense):
    journal = Journal.create(tmp_path, untouched())
    states = annotate(journal)
    journal.close()
    payload = b"not a message" if nonsense is None else encode(nonsense)
    head = HEAD.pack(MAGIC, len(payload), zlib.crc32(payload), 0)[:12]
    with open(journal.path, "ab") as file:
        file.write(head + zlib.crc32(head).to_bytes(4, "big") + payload)
    reading = read_journal(journal.path)
    assert shown(reading.work) == states[-1]
    assert reading.damaged == HEAD.size + len(payload) and reading.reason


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_in_a_file_reading_it_ends_well(some_journal, data):
    path, content = some_journal
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(changed)))
        length = data.draw(st.integers(0, 40))
        changed[start : start + length] = data.draw(st.binary(max_size=40))
    path.write_bytes(changed)
    try:
        reading = read_journal(path)
    except UnreadableFile:
        return
    assert reading.good + reading.unfinished + reading.damaged == len(changed)


@pytest.fixture(scope="module")
def some_journal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journals")
    content, _, _ = annotate_a_little(folder)
    return folder / "some.journal", content


def test_nonsense_is_refused_and_changes_nothing(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    annotate(journal)
    before, size = shown(journal.work), journal.size
    for wrong in (
        lambda: journal.set_frame("none", 1, accepted()),
        lambda: journal.set_frame("s1", 30, accepted()),
        lambda: journal.set_frame(
            "s1", 1, FrameAnnotation(EncodedMask((9, 9), None, b""), "prompted")
        ),
        lambda: journal.set_steps("s1", -1, CLICKS),
        lambda: journal.set_steps("s1", 1, [FramePrompts(boundary=[[61, 3]])]),
        lambda: journal.set_segment("s1", " "),
        lambda: journal.set_segment("", "x"),
        lambda: journal.set_segment("s1", "x", (1, 2, 3), [Window(2, 30)]),
        lambda: journal.remove_segment("s2"),
    ):
        with pytest.raises(InvalidValue):
            wrong()
    assert (shown(journal.work), journal.size) == (before, size)
    journal.close()


def test_more_clicks_than_a_message_holds_keep_the_newest(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    steps = [FramePrompts(include=[[x / 2, 1]]) for x in range(100)]
    journal.set_steps("s1", 0, steps)
    journal.close()
    kept = read_journal(journal.path).work.segment("s1").steps[0]
    assert len(kept) == 64 and kept[-1].include[0, 0] == 49.5


# Disks ----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes")
def test_a_full_disk_keeps_work_in_memory_and_goes_on_when_there_is_room(tmp_path):
    import resource

    clock = Clock()
    journal = Journal.create(tmp_path, untouched(), clock)
    journal.set_segment("s1", "lumen")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system itself refuses, in the middle of a record.
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 1000, before[1]))
    try:
        safe = [journal.set_frame("s1", index, accepted(index + 5)) for index in range(20)]
        assert safe[0] and not safe[-1]
        assert isinstance(journal.trouble, CannotWrite)
        assert "in memory only" in str(journal.trouble)
        on_disk = read_journal(journal.path)
        assert len(on_disk.work.segment("s1").frames) == sum(safe)
        assert not on_disk.unfinished and not on_disk.damaged
        clock.now += 10
        journal.tick()
        assert journal.trouble is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not journal.set_frame("s1", 20, accepted())  # a disk that refused is not asked each time
    clock.now += 10
    journal.tick()
    assert journal.trouble is None
    assert shown(read_journal(journal.path).work) == shown(journal.work)
    journal.close()


def test_closing_on_a_full_disk_says_so(tmp_path, monkeypatch):
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "write", full)
        assert not journal.set_frame("s1", 0, accepted())
        with pytest.raises(CannotWrite, match="the disk is full"):
            journal.close()
    assert not is_locked(journal.path.with_name(journal.path.name + ".lock"))


def test_after_a_failed_fsync_everything_is_written_anew(tmp_path, monkeypatch):
    clock = Clock()
    journal = Journal.create(tmp_path, untouched(), clock)
    annotate(journal)

    def broken(handle):
        raise OSError(errno.EIO, "Input/output error")

    clock.now += 1
    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", broken)
        assert not journal.set_frame("s1", 1, accepted())
    inode = journal.path.stat().st_ino
    clock.now += 10
    assert journal.set_frame("s1", 2, accepted())
    assert journal.path.stat().st_ino != inode and journal.trouble is None
    assert shown(read_journal(journal.path).work) == shown(journal.work)
    journal.close()


@pytest.mark.parametrize("harm", ["removed", "replaced", "cut", "folder"])
def test_a_journal_that_somebody_removes_or_cuts_is_written_anew(tmp_path, harm):
    clock = Clock()
    folder = tmp_path / "journals"
    journal = Journal.create(folder, untouched(), clock)
    annotate(journal)
    if harm == "cut":
        os.truncate(journal.path, 100)
    else:
        for path in list(folder.iterdir()) if harm == "folder" else [journal.path]:
            path.unlink()
        if harm == "folder":
            folder.rmdir()
        if harm == "replaced":
            journal.path.write_bytes(b"something else")
    for index in range(4):
        clock.now += 5
        journal.set_frame("s1", index, accepted())
        journal.tick()
    assert journal.trouble is None
    assert shown(read_journal(journal.path).work) == shown(journal.work)
    journal.close()


def test_masks_of_a_propagation_share_an_fsync(tmp_path, monkeypatch):
    clock, syncs = Clock(), []
    monkeypatch.setattr(journal_module.os, "fsync", lambda handle: syncs.append(clock.now))
    journal = Journal.create(tmp_path, untouched(), clock)
    journal.set_segment("s1", "lumen")
    syncs.clear()
    for index in range(700):
        clock.now += 0.001
        journal.set_frame("s1", index % 30, accepted(index % 30))
    assert 5 <= len(syncs) <= 8
    journal.set_frame("s1", 0, accepted())
    clock.now += 0.2
    journal.tick()
    assert syncs[-1] == clock.now
    before = len(syncs)
    journal.tick()
    assert len(syncs) == before
    clock.now += 5
    journal.set_frame("s1", 3, accepted())
    assert syncs[-1] == clock.now, "a single accept is durable at once"
    journal.close()


# Compaction -----------------------------------------------------------------------------------


def busy_mask(seed: int) -> FrameAnnotation:
    """20 kB that no deflating makes smaller."""
    noise = np.random.default_rng(seed).random((40, 60)) < 0.5
    return FrameAnnotation(EncodedMask.encode(noise), FrameState.PROMPTED)


def test_a_journal_stays_small_however_often_things_change(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LEAST_COMPACTED", 10_000)
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    largest = 0
    for number in range(500):
        assert journal.set_frame("s1", number % 20, busy_mask(number))
        largest = max(largest, journal.size)
        assert journal.path.stat().st_size == journal.size
    live = 20 * 600
    assert largest < 2 * live + 10_000
    work = shown(journal.work)
    journal.close()
    assert shown(read_journal(journal.path).work) == work
    assert [path.name for path in tmp_path.iterdir()] == [journal.path.name]


@pytest.mark.parametrize("step", ["write_bytes", "fsync", "replace"])
def test_a_failing_compaction_loses_nothing(tmp_path, monkeypatch, step):
    monkeypatch.setattr(journal_module, "LEAST_COMPACTED", 3_000)
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "write_bytes":
            patch.setattr(Path, "write_bytes", refuse)
        else:
            patch.setattr(f"SAMUSALib.atomic.os.{step}", refuse)
            patch.setattr(journal, "_next_sync", np.inf)
        for number in range(50):
            assert journal.set_frame("s1", 1, busy_mask(number))
    assert shown(read_journal(journal.path).work) == shown(journal.work)
    journal.close()


def test_temporary_files_of_a_process_killed_while_compacting_go_away(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    journal.close()
    old, new = tmp_path / ".0123456789ab.tmp.journal", tmp_path / ".ba9876543210.tmp.journal"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert [each.path for each in list_journals(tmp_path)] == [journal.path]
    assert not old.exists() and new.exists()


# Several processes ----------------------------------------------------------------------------


def test_a_journal_without_work_leaves_nothing(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    journal.close()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_open_once(tmp_path):
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    with pytest.raises(InUse, match=f"is open in process {os.getpid()}; close it there first"):
        Journal.open(journal.path)
    with pytest.raises(InUse):
        remove_journal(journal.path)
    assert list_journals(tmp_path)[0].is_open
    assert shown(read_journal(journal.path).work) == shown(journal.work)
    journal.close()
    assert not list_journals(tmp_path)[0].is_open
    again, _ = Journal.open(journal.path)
    again.close()


WRITER = """
    import sys
    import numpy as np
    from SAMUSALib.annotation import FrameAnnotation
    from SAMUSALib.clip import Clip, Geometry
    from SAMUSALib.masks import EncodedMask
    from SAMUSALib.prompts import FramePrompts
    from SAMUSALib.worker import journal as module
    from SAMUSALib.worker.accepted import AcceptedWork, ClipIdentity

    module.LEAST_COMPACTED = 4000  # every dozen records
    frames = np.zeros((1000, 8, 600), np.uint8)
    clip = Clip(frames, Geometry.for_cine(1000, 8, 600), "killed")
    journal = module.Journal.create(sys.argv[1], AcceptedWork(ClipIdentity.of(clip)))
    assert journal.set_segment("s", "lumen")
    print(journal.path, flush=True)
    for number in range(1_000_000):
        mask = EncodedMask.encode(np.random.default_rng(number).random((8, 600)) < 0.5)
        frame = number % 7
        safe = journal.set_frame("s", frame, FrameAnnotation(mask, "prompted"))
        safe &= journal.set_steps("s", frame, [FramePrompts(include=[[number % 600, 1]])])
        if safe:
            print(number, flush=True)
"""


def start_writer(folder: Path) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.heavy)])
def test_a_writer_killed_at_any_moment_has_lost_nothing_it_confirmed(tmp_path, kills):
    random = np.random.default_rng(3)
    for kill in range(kills):
        process, path = start_writer(tmp_path)
        with pytest.raises(InUse, match=f"process {process.pid}"):
            Journal.open(path)
        time.sleep(random.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        confirmed = [int(line) for line in process.stdout.read().splitlines()]
        process.stdout.close()
        process.wait()
        journal, reading = Journal.open(path)  # the dead one's lock is no hindrance
        assert not reading.damaged
        segment = journal.work.segment("s")
        last = confirmed[-1] if confirmed else -1
        for frame in range(7):
            # The newest confirmed number of the frame, or the one that was being written.
            newest = max((n for n in range(last + 1) if n % 7 == frame), default=None)
            allowed = [newest, last + 1] if (last + 1) % 7 == frame else [newest]
            found = segment.frames.get(frame)
            masks = [None if n is None else mask_of(n) for n in allowed]
            assert (None if found is None else found.mask.data) in masks, (kill, frame)
            steps = segment.steps.get(frame)
            xs = [None if n is None else n % 600 for n in allowed]
            assert (None if steps is None else steps[-1].include[0, 0]) in xs, (kill, frame)
        journal.close(remove=True)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def mask_of(number: int) -> bytes:
    return EncodedMask.encode(np.random.default_rng(number).random((8, 600)) < 0.5).data


def test_a_lock_that_is_let_go_can_be_taken(tmp_path):
    lock = FileLock(tmp_path / "a.lock", "a")
    with pytest.raises(InUse):
        FileLock(tmp_path / "a.lock", "a")
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    FileLock(tmp_path / "a.lock", "a").release()


def test_no_lock_where_there_is_no_folder(tmp_path):
    with pytest.raises(CannotWrite, match="cannot be locked"):
        FileLock(tmp_path / "none" / "a.lock", "a")


# Lists ----------------------------------------------------------------------------------------


def test_the_list_names_what_is_there_newest_first(tmp_path):
    assert list_journals(tmp_path / "none") == []
    paths = []
    for age, name in enumerate(("first", "second")):
        journal = Journal.create(tmp_path, untouched(name))
        annotate(journal)
        journal.close()
        os.utime(journal.path, (1e9 - age,) * 2)
        paths.append(journal.path)
    (tmp_path / "broken.journal").write_bytes(b"hello")
    os.utime(tmp_path / "broken.journal", (1.0, 1.0))
    first, second, broken = list_journals(tmp_path)
    assert (first.clip.name, first.segments, first.masks) == ("first", 1, 1)
    assert [first.path, second.path] == paths and not first.is_open and first.trouble == ""
    assert broken.clip is None and "no journal" in broken.trouble


def test_only_journals_are_removed(tmp_path):
    other = tmp_path / "thesis.docx"
    other.write_bytes(b"years of work")
    with pytest.raises(InvalidValue, match="no journal"):
        remove_journal(other)
    with pytest.raises(UnreadableFile, match="does not exist"):
        remove_journal(tmp_path / "none.journal")
    assert other.exists()


def test_masks_and_what_is_to_be_propagated_then_are_one_write(tmp_path, monkeypatch):
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    writes, write = [], os.write

    def counted(handle, data):
        writes.append(bytes(data))
        return write(handle, data)

    monkeypatch.setattr("SAMUSALib.worker.journal.os.write", counted)
    assert journal.work.segment("s1").stale is None
    masks = [MaskRecord.of("s1", 9, accepted(22)), MaskRecord.of("s1", 10, accepted(21))]
    journal.set_frames("s1", masks, frozenset({2, 3, 11}))
    assert len(writes) == 1
    journal.set_frames("s1", [MaskRecord.of("s1", 9, accepted(20))], frozenset({2, 3, 11}))
    assert len(writes) == 2 and b'"stale"' in writes[0] and b'"stale"' not in writes[1]
    assert read_journal(journal.path).work.segment("s1").stale == {2, 3, 11}
    journal.set_frames("s1", [], frozenset())
    assert read_journal(journal.path).work.segment("s1").stale == frozenset()
    journal.close()


def test_a_journal_of_another_version_is_refused_with_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr("SAMUSALib.worker.journal_records.VERSION", 9)
    journal = Journal.create(tmp_path, untouched())
    journal.set_segment("s1", "lumen")
    journal.close()
    monkeypatch.undo()
    with pytest.raises(UnreadableFile, match="version 9; this SAMUSA reads version 1"):
        read_journal(journal.path)


def test_fingerprints_tell_clips_apart():
    frames = np.random.default_rng(0).integers(0, 255, (50, 60, 70), np.uint8)
    assert fingerprint(frames) == fingerprint(frames.copy())
    assert fingerprint(frames) != fingerprint(frames[::-1])
    assert fingerprint(frames) != fingerprint(frames[:, ::-1])
    assert fingerprint(frames) != fingerprint(frames[1:])
    assert fingerprint(frames[:1, :1, :1]) != fingerprint(frames[:1, :1, :2])


def test_masks_fit_a_clip_of_the_same_size_and_spacing_whatever_its_values():
    ours = identity()

    def other(shape=(60, 40, 30), spacing=0.1, axis=2):
        matrix = np.diag([spacing, 0.1, 0.2, 1.0])  # elsewhere, as under another transform
        geometry = Geometry.for_volume(shape, matrix, axis)
        return ClipIdentity.of(Clip(np.zeros(geometry.frame_shape, np.uint8), geometry, "Other"))

    assert ours.fits(other())
    for different in (other((60, 40, 31)), other(spacing=0.3), other(axis=1)):
        assert not ours.fits(different)
