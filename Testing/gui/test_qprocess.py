"""A worker behind QProcess: the client works in Qt's event loop, with a real process."""

import dataclasses
import gc
import gzip
import json
import os
import signal
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

QtCore = pytest.importorskip("PySide6.QtCore", reason="PySide6 is not installed")

import host  # noqa: E402
import pythonqt_process  # noqa: E402

from processes import Recorder, gone, python  # noqa: E402
from SAMUSALib.app.qprocess import QProcessTransport  # noqa: E402
from SAMUSALib.prompts import FramePrompts, SegmentPrompts  # noqa: E402
from SAMUSALib.worker import messages as m  # noqa: E402
from SAMUSALib.worker import shared_frames  # noqa: E402
from SAMUSALib.worker.client import Client, WorkerLost  # noqa: E402
from SAMUSALib.worker.command import WorkerCommand  # noqa: E402
from SAMUSALib.worker.transport import LOW_WATER, kill_tree  # noqa: E402

FAKE = str(Path(__file__).resolve().parent.parent / "fake_worker.py")
CLICK = FramePrompts(include=[[1, 2]])
PATIENCE = 30.0  # s
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def application():
    if host.missing() is None:
        with host.running(main_window=False):
            pass  # makes its application: there is one only, and later tests need that
    return QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])


@pytest.fixture
def transport(application, monkeypatch):
    monkeypatch.setitem(sys.modules, "qt", pythonqt_process)
    made = QProcessTransport()
    yield made
    made.kill()
    run_until(lambda: made.process is None)


def run_until(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        QtCore.QCoreApplication.processEvents(
            QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 50
        )
        QtCore.QCoreApplication.processEvents()


def fake(*behaviours: str) -> WorkerCommand:
    return dataclasses.replace(WorkerCommand.this_python(), arguments=(FAKE, *behaviours))


def answer_of(pending):
    run_until(lambda: pending.done)
    return pending.result()


def test_the_stand_in_has_no_name_that_slicer_lacks():
    table = Path(__file__).resolve().parents[3] / "shared" / "slicer_api.json.gz"
    if not table.exists():
        pytest.skip("no table of Slicer's names")
    qt = json.loads(gzip.decompress(table.read_bytes()))["qt"]
    assert set(pythonqt_process.QProcess._SAME) <= set(qt["QProcess"]["members"])
    for kind in ("QProcess", "QProcessEnvironment", "QTimer"):
        own = {name for name in vars(getattr(pythonqt_process, kind)) if name[0] != "_"}
        assert own <= set(qt[kind]["members"])


def test_bytes_go_there_and_back_unchanged(transport):
    seen = Recorder()
    transport.start(python("sys.stdout.buffer.write(sys.stdin.buffer.read(3000))"), seen)
    data = bytes(range(250)) * 12
    transport.write(data[:1000])
    transport.write(data[1000:])
    run_until(lambda: seen.ends)
    assert seen.data == data
    assert seen.ends == ["ended with status 0"]
    assert transport.process is None


def test_a_process_that_ends_at_once_is_told_once_with_its_last_words(transport):
    seen = Recorder()
    transport.start(python("print('bye'); print('Größe', file=sys.stderr); sys.exit(3)"), seen)
    transport.write(b"x" * 100_000)
    run_until(lambda: seen.ends)
    QtCore.QCoreApplication.processEvents()
    assert (seen.data.strip(), seen.log.strip()) == (b"bye", "Größe")
    assert seen.ends == ["ended with status 3"]


def test_a_process_outlives_the_signal_that_tells_its_end(transport):
    """PythonQt destroys a QProcess with its last reference, also within its own signal."""
    seen, alive = Recorder(), []
    transport.start(python("print(1)"), seen)
    process = weakref.ref(transport._process)
    process()._wrapped.finished.connect(lambda *_: alive.append(process() is not None))
    run_until(lambda: alive)
    assert alive == [True] and seen.ends == ["ended with status 0"]
    run_until(lambda: process() is None)


@pytest.mark.parametrize("program", ["/nowhere/python", ""])
def test_a_program_that_cannot_start_is_told_later_and_does_not_raise(transport, program):
    seen = Recorder()
    transport.start(WorkerCommand(program, (), {}), seen)
    assert seen.ends == []
    transport.write(b"hello")
    run_until(lambda: seen.ends)
    assert "could not be started" in seen.ends[0]
    transport.start(python("print(1)"), seen)
    run_until(lambda: len(seen.ends) == 2)


def test_both_sides_may_fill_their_pipes_at_once(transport):
    code = """
        for _ in range(400):
            sys.stdout.buffer.write(b"o" * 10_000)
            sys.stderr.write("e" * 1_000)
        sys.stdout.flush()
        sys.stdout.buffer.write(str(len(sys.stdin.buffer.read(8_000_000))).encode())
    """
    seen = Recorder()
    transport.start(python(code), seen)
    transport.write(b"i" * 8_000_000)
    assert transport.backlog > LOW_WATER
    run_until(lambda: seen.ends)
    assert seen.data == b"o" * 4_000_000 + b"8000000"
    assert len(seen.log) == 400_000
    assert seen.drains == 1


@posix
@pytest.mark.parametrize("stopped", [False, True])
def test_a_kill_reaches_the_worker_behind_a_launcher(transport, stopped):
    """Slicer's PythonSlicer is a launcher: the worker is its child."""
    seen = Recorder()
    code = f"""
        worker = "import os, signal, time; print(os.getpid(), flush=True);"
        worker += "os.kill(os.getpid(), signal.SIGSTOP);" if {stopped} else "time.sleep(1000)"
        sys.exit(subprocess.run([sys.executable, "-c", worker]).returncode)
    """
    transport.start(python(code), seen)
    run_until(lambda: seen.data.endswith(b"\n"))
    transport.kill()
    run_until(lambda: seen.ends)
    assert seen.ends == ["crashed or was killed"]
    run_until(lambda: gone(int(seen.data)))


@posix
def test_on_windows_the_launcher_is_left_to_taskkill_which_comes_later(transport, monkeypatch):
    """It is a process of its own, and finds the worker as a child of the launcher."""
    seen = Recorder()
    code = """
        worker = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
        sys.exit(subprocess.run([sys.executable, "-c", worker]).returncode)
    """
    transport.start(python(code), seen)
    run_until(lambda: seen.data.endswith(b"\n"))

    def taskkill(launcher):
        QtCore.QTimer.singleShot(300, lambda: kill_tree(launcher))

    with monkeypatch.context() as patch:
        patch.setattr("SAMUSALib.app.qprocess.os", SimpleNamespace(name="nt"))
        patch.setattr("SAMUSALib.app.qprocess.kill_tree", taskkill)
        transport.kill()
        run_until(lambda: seen.ends)
    run_until(lambda: gone(int(seen.data)))


def test_a_process_that_cannot_die_is_given_up(transport, monkeypatch):
    monkeypatch.setattr("SAMUSALib.app.qprocess.KILL_SECONDS", 0.1)
    seen = Recorder()
    transport.start(python("print(1, flush=True); time.sleep(1000)"), seen)
    run_until(lambda: seen.data)
    process = transport._process
    with monkeypatch.context() as patch:
        patch.setattr("SAMUSALib.app.qprocess.kill_tree", lambda _: None)
        patch.setattr(QtCore.QProcess, "kill", lambda _: None)
        transport.kill()
        run_until(lambda: seen.ends)
    assert seen.ends == ["could not be killed"]
    second = Recorder()
    transport.start(python("time.sleep(0.3); print(2)"), second)
    process.kill()
    run_until(lambda: second.ends)
    assert (second.data.strip(), second.ends) == (b"2", ["ended with status 0"])
    assert len(seen.ends) == 1


def test_it_starts_again_after_an_end_and_not_before(transport):
    for _ in range(3):
        seen = Recorder()
        transport.start(python("print('again')"), seen)
        with pytest.raises(RuntimeError):
            transport.start(python("print('twice')"), seen)
        run_until(lambda: seen.ends)  # noqa: B023
        assert seen.data.strip() == b"again"


def test_the_client_works_in_the_event_loop(transport):
    client = Client(transport)
    frames = np.random.default_rng(5).integers(0, 255, (60, 120, 160), np.uint8)
    before = {each.name for each in shared_frames.folder().glob("samusa-*")}
    assert answer_of(client.start(fake())).shared_memory
    clip = client.send_clip("c", frames)
    click = answer_of(client.ask(m.SegmentFrame("c", "s", 33, (CLICK,))))
    assert np.array_equal(click.mask.decode(), frames[33] > 128)
    assert clip.done
    seen = []
    propagation = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    propagation.on_frame(lambda event: seen.append(event.frame))
    assert answer_of(propagation).frames == 60
    assert seen == list(range(60))
    answer_of(client.close_clip("c"))
    assert {each.name for each in shared_frames.folder().glob("samusa-*")} <= before
    client.stop()
    run_until(lambda: not client.running)


def test_a_burst_of_masks_leaves_the_event_loop_its_turns(transport):
    """The worker says faster than we handle: its pipe alone holds dozens of masks."""
    client = Client(transport)
    answer_of(client.start(fake()))
    client.send_clip("c", np.zeros((400, 8, 8), np.uint8))
    happened = []
    beats = QtCore.QTimer()
    beats.timeout.connect(lambda: happened.append("turn"))
    beats.start(0)

    def handle(event):
        happened.append(event.frame)
        time.sleep(0.002)  # what handling costs

    propagation = client.ask(m.Propagate("c", (SegmentPrompts("s", {0: CLICK}),)))
    propagation.on_frame(handle)
    assert answer_of(propagation).frames == 400
    beats.stop()
    assert [each for each in happened if each != "turn"] == list(range(400))
    runs = " ".join("-" if each == "turn" else "f" for each in happened).split("-")
    assert max(run.count("f") for run in runs) <= 10  # 8 ms, twice
    client.stop()
    run_until(lambda: not client.running)


def test_pixels_go_through_the_pipe_in_pieces_where_they_must(transport):
    client = Client(transport)
    frames = np.random.default_rng(6).integers(0, 255, (50, 600, 800), np.uint8)
    answer_of(client.start(fake("no-shared-memory")))
    longest, turns = 0.0, 0
    clip = client.send_clip("c", frames)
    while not clip.done:
        assert turns < 100_000
        QtCore.QCoreApplication.processEvents()
        longest, turns = max(longest, transport.backlog), turns + 1
    clip.result()
    assert longest < 2 * 8 * 2**20 + LOW_WATER  # never the whole clip at once
    click = answer_of(client.ask(m.SegmentFrame("c", "s", 49, (CLICK,))))
    assert np.array_equal(click.mask.decode(), frames[49] > 128)
    client.stop()
    run_until(lambda: not client.running)


@posix
def test_a_killed_worker_is_told_and_another_takes_over(transport):
    client = Client(transport)
    told = []
    client.on_lost = lambda lost: told.append(str(lost))
    answer_of(client.start(fake()))
    pending = client.ask(m.AskStatus())
    os.kill(client.welcome.process, signal.SIGKILL)
    run_until(lambda: told)
    if not isinstance(pending._answer, m.Status):  # it may have been answered before
        with pytest.raises(WorkerLost):
            pending.result()
    assert told[0].startswith("The worker crashed or was killed.")
    answer_of(client.start(fake()))
    assert answer_of(client.ask(m.AskStatus())).clips == 0
    client.stop()
    run_until(lambda: not client.running)


def test_an_ended_transport_keeps_nothing_alive(transport):
    def start() -> weakref.ref:
        seen = Recorder()
        transport.start(python("print(1)"), seen)
        return weakref.ref(seen)

    noted = start()
    run_until(lambda: transport.process is None)
    gc.collect()
    assert noted() is None
