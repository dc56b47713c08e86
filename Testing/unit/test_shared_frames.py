"""Blocks of shared frames: what is written is read, and none is left behind."""

import os
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

from SAMUSALib.errors import InvalidValue
from SAMUSALib.worker import shared_frames
from SAMUSALib.worker.shared_frames import CannotShare, SharedBlock, attach, remove_leftovers

files = pytest.mark.skipif(os.name == "nt", reason="blocks are no files on Windows")


@pytest.fixture
def block():
    made = SharedBlock(6 * 40)
    yield made
    made.close()


def run(code: str, *arguments: str) -> str:
    """What another Python prints; it has made or attached blocks and ended in some way."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.stdout.strip() + ended.stderr.strip()


def test_another_process_reads_what_was_written_and_cannot_change_it(block):
    block.write(0, np.full(200, 3, np.uint8))
    block.write(200, np.arange(40, dtype=np.uint8))
    code = """
        import sys
        from SAMUSALib.worker.shared_frames import attach
        frames = attach(sys.argv[1], (6, 5, 8))
        print(frames[:5].min(), frames[5].ravel().tolist() == list(range(40)), end=" ")
        try:
            frames[0, 0, 0] = 1
        except ValueError:
            print("read-only")
    """
    assert run(code, block.name) == "3 True read-only"
    assert attach(block.name, (6, 40))[0, 0] == 3  # its end has not removed the block


def test_a_reader_keeps_what_was_removed(block):
    block.write(0, np.full(240, 9, np.uint8))
    frames = attach(block.name, (6, 40))
    block.close()
    block.close()
    assert (frames == 9).all()
    with pytest.raises(InvalidValue):
        attach(block.name, (6, 40))


def test_names_cannot_be_guessed_and_differ(block):
    other = SharedBlock(10)
    try:
        assert other.name != block.name
        assert block.name.startswith(f"samusa-{os.getpid()}-")
        assert len(block.name.rsplit("-", 1)[1]) == 32
    finally:
        other.close()


@files
def test_only_this_user_may_read_a_block(block):
    assert (shared_frames.folder() / block.name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("samusa-1-" + "0" * 32, (1, 8, 8)),
        ("../../etc/passwd", (1, 8, 8)),
        ("psm_12345678", (1, 8, 8)),
        ("", (1, 8, 8)),
    ],
)
def test_what_is_no_block_is_refused_in_words(name, shape):
    with pytest.raises(InvalidValue):
        attach(name, shape)


@files
def test_a_block_that_is_too_small_is_refused_in_words(block):
    with pytest.raises(InvalidValue, match="cannot be opened"):
        attach(block.name, (7, 40))
    with pytest.raises(InvalidValue):
        attach(block.name, (10**6, 10**6, 10**6))


@files
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(1)"])
def test_leftovers_of_a_dead_process_are_removed_by_the_next_start(block, end):
    code = f"""
        import os
        import numpy as np
        from SAMUSALib.worker.shared_frames import SharedBlock
        block = SharedBlock(100)
        block.write(0, np.zeros(100, np.uint8))
        print(block.name, flush=True)
        {end}
    """
    name = run(code)
    assert (shared_frames.folder() / name).exists()
    assert name in remove_leftovers()
    assert not (shared_frames.folder() / name).exists()
    assert (shared_frames.folder() / block.name).exists()  # its maker lives


@files
@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError", "os.fork()"])
def test_the_end_of_the_interpreter_removes_blocks(end):
    code = f"""
        import os, sys
        from SAMUSALib.worker.shared_frames import SharedBlock
        block = SharedBlock(100)
        print(block.name, flush=True)
        {end}
    """
    name = run(code).splitlines()[0]
    assert not (shared_frames.folder() / name).exists()


@files
def test_a_forked_child_leaves_the_block_to_its_maker(block):
    child = os.fork()
    if child == 0:
        try:
            block.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (shared_frames.folder() / block.name).exists()


@files
def test_other_files_are_left_alone():
    path = shared_frames.folder() / f"samusa-notes-{os.getpid()}"
    path.touch()
    try:
        remove_leftovers()
        assert path.exists()
    finally:
        path.unlink()


@files
def test_no_folder_and_too_little_room_are_told_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_frames, "folder", lambda: tmp_path / "none")
    with pytest.raises(CannotShare, match="No such file"):
        SharedBlock(10)
    assert remove_leftovers() == []
    monkeypatch.setattr(shared_frames, "folder", lambda: tmp_path)
    full = types.SimpleNamespace(f_bavail=1, f_frsize=4096)
    monkeypatch.setattr(shared_frames.os, "statvfs", lambda _: full)
    with pytest.raises(CannotShare, match="0 MB left, 10 MB are needed"):
        SharedBlock(10 * 2**20)
    assert list(tmp_path.iterdir()) == []


@files
def test_memory_that_runs_out_while_writing_raises_and_kills_nobody(block):
    code = """
        import resource, signal
        import numpy as np
        from SAMUSALib.worker.shared_frames import CannotShare, SharedBlock
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
        block = SharedBlock(1000)
        try:
            block.write(0, np.zeros(1000, np.uint8))
        except CannotShare as error:
            print(error)
    """
    assert "the shared memory is full" in run(code)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_thousand_blocks_leave_no_file_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        made = SharedBlock(100)
        made.write(0, np.ones(100, np.uint8))
        assert attach(made.name, (10, 10)).all()
        made.close()
    assert len(os.listdir("/proc/self/fd")) == before
