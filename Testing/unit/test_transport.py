"""A worker behind pipes, with real processes that behave badly: nothing blocks, nothing is lost
that was said, and no process is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from processes import Recorder, gone, is_there, python
from SAMUSALib.worker import transport as transport_module
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.transport import LOW_WATER, SubprocessTransport, ending

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
PATIENCE = 30.0  # s; only a fault takes that long


@pytest.fixture
def transport():
    made = SubprocessTransport()
    yield made
    made.kill()
    pump_until(made, lambda: made.process is None)


def pump_until(transport, condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        transport.pump(0.05)


def test_bytes_go_there_and_back_unchanged(transport):
    seen = Recorder()
    transport.start(python("sys.stdout.buffer.write(sys.stdin.buffer.read(3000))"), seen)
    data = bytes(range(250)) * 12
    transport.write(data[:1000])
    transport.write(data[1000:])
    pump_until(transport, lambda: seen.ends)
    assert seen.data == data
    assert seen.ends == ["ended with status 0"]
    assert transport.process is None


def test_a_process_that_ends_at_once_is_told_once_with_its_last_words(transport):
    seen = Recorder()
    transport.start(python("print('bye'); print('why', file=sys.stderr); sys.exit(3)"), seen)
    transport.write(b"x" * 100_000)
    pump_until(transport, lambda: seen.ends)
    transport.pump(0.1)
    assert (seen.data, seen.log, seen.ends) == (b"bye\n", "why\n", ["ended with status 3"])


@pytest.mark.parametrize("program", ["/nowhere/python", "", "nul\0byte"])
def test_a_program_that_cannot_start_is_told_and_does_not_raise(transport, program):
    seen = Recorder()
    transport.start(WorkerCommand(program, (), {}), seen)
    assert seen.ends == []
    transport.write(b"hello")
    assert transport.backlog == 0
    pump_until(transport, lambda: seen.ends)
    assert "could not be started" in seen.ends[0]


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
    before = time.monotonic()
    transport.write(b"i" * 8_000_000)
    assert time.monotonic() - before < PATIENCE / 3  # it was queued, not written
    pump_until(transport, lambda: seen.ends)
    assert seen.data == b"o" * 4_000_000 + b"8000000"
    assert len(seen.log) == 400_000
    assert seen.drains == 1


def test_the_backlog_is_what_was_not_read_and_its_fall_is_told(transport):
    seen = Recorder()
    code = "sys.stdin.buffer.read(1); time.sleep(0.2); sys.stdin.buffer.read(); time.sleep(60)"
    transport.start(python(code), seen)
    size = 4 * LOW_WATER
    transport.write(bytes(size))
    assert size - 2**17 <= transport.backlog <= size
    assert seen.drains == 0
    pump_until(transport, lambda: seen.drains)
    assert transport.backlog < LOW_WATER
    pump_until(transport, lambda: transport.backlog == 0)
    assert seen.drains == 1


def test_what_is_not_fetched_makes_the_worker_wait_and_is_not_lost(transport, monkeypatch):
    monkeypatch.setattr(transport_module, "_MOST_UNREAD", 2**20)
    seen = Recorder()
    code = """
        sys.stdout.buffer.write(bytes(5_000_000))
        sys.stdout.flush()
        print("all written", file=sys.stderr)
    """
    transport.start(python(code), seen)
    time.sleep(0.5)
    assert transport._run._unread <= 2**20 + 2**17
    pump_until(transport, lambda: seen.ends)
    assert len(seen.data) == 5_000_000
    assert seen.log == "all written\n"


def test_a_kill_ends_a_process_that_reads_nothing(transport):
    seen = Recorder()
    transport.start(python("time.sleep(1000)"), seen)
    transport.write(bytes(3_000_000))
    transport.kill()
    transport.kill()
    pump_until(transport, lambda: seen.ends)
    assert len(seen.ends) == 1
    assert transport.backlog == 0


@posix
def test_a_signal_is_named(transport):
    seen = Recorder()
    transport.start(python("os.kill(os.getpid(), signal.SIGSEGV)"), seen)
    pump_until(transport, lambda: seen.ends)
    assert seen.ends == ["was ended by SIGSEGV"]


@posix
@pytest.mark.parametrize("how", ["kill", "exit", "crash"])
def test_children_of_the_worker_end_with_it(transport, how):
    seen = Recorder()
    code = f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        print(child.pid, flush=True)
        how = "{how}"
        if how == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "kill":
            time.sleep(1000)
    """
    transport.start(python(code), seen)
    pump_until(transport, lambda: seen.data.endswith(b"\n"))
    process = transport.process
    if how == "kill":
        transport.kill()
    pump_until(transport, lambda: seen.ends)
    assert not is_there(process)
    pump_until(transport, lambda: gone(int(seen.data)))


@posix
def test_a_stopped_process_can_be_killed(transport):
    seen = Recorder()
    transport.start(python("print('on', flush=True); os.kill(os.getpid(), signal.SIGSTOP)"), seen)
    pump_until(transport, lambda: seen.data)
    transport.kill()
    pump_until(transport, lambda: seen.ends)
    assert seen.ends == ["was ended by SIGKILL"]


@posix
def test_one_that_closes_its_output_and_lives_on_is_ended(transport):
    seen = Recorder()
    transport.start(python("os.close(1); time.sleep(1000)"), seen)
    pump_until(transport, lambda: seen.ends)
    assert seen.ends == ["was ended by SIGKILL"]


@posix
def test_output_kept_open_by_a_daemon_does_not_hide_the_end(transport):
    code = """
        if os.fork() == 0:
            os.setsid()
            time.sleep(3)
            os._exit(0)
        print("done")
    """
    seen = Recorder()
    transport.start(python(code), seen)
    pump_until(transport, lambda: seen.ends)
    assert seen.data == b"done\n"


def test_text_cut_within_a_character_stays_whole_and_rubbish_is_shown(transport):
    seen = Recorder()
    code = """
        for byte in "Größe\\n".encode() + b"\\xff\\n":
            os.write(2, bytes([byte]))
            time.sleep(0.01)
    """
    transport.start(python(code), seen)
    pump_until(transport, lambda: seen.ends)
    assert seen.log == "Größe\n\ufffd\n"


def test_it_starts_again_after_an_end_and_not_before(transport):
    for _ in range(3):
        seen = Recorder()
        transport.start(python("print('again')"), seen)
        with pytest.raises(RuntimeError):
            transport.start(python("print('twice')"), seen)
        pump_until(transport, lambda: seen.ends)  # noqa: B023
        assert seen.data.strip() == b"again"


def test_soon_is_called_from_pump_in_order_and_not_before(transport):
    seen = []
    transport.soon(lambda: seen.append(1))
    transport.soon(lambda: (seen.append(2), transport.soon(lambda: seen.append(3))))
    assert seen == []
    transport.pump(10.0)
    assert seen == [1, 2]
    transport.pump(10.0)
    assert seen == [1, 2, 3]


@posix
@pytest.mark.parametrize("end", ["sys.exit(1)", "raise ValueError", "os.kill(os.getpid(), 9)"])
def test_no_process_outlives_its_client(end):
    worker = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    code = f"""
        import os, sys
        from SAMUSALib.worker.command import WorkerCommand
        from SAMUSALib.worker.transport import SubprocessTransport

        class Receiver:
            def received(self, data):
                print(data.decode(), end="", flush=True)
                {end}
            def logged(self, text): ...
            def drained(self): ...
            def ended(self, reason): ...

        transport = SubprocessTransport()
        command = WorkerCommand(sys.executable, ("-c", {worker!r}), dict(os.environ))
        transport.start(command, Receiver())
        while True:
            transport.pump(1.0)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    process = int(ended.stdout)
    until = time.monotonic() + PATIENCE
    while not gone(process):
        assert time.monotonic() < until, "the worker lives on"
        time.sleep(0.05)


def test_endings_are_told_in_words():
    assert ending(0) == "ended with status 0"
    assert ending(0xC0000005) == "crashed (0xC0000005)"
    if os.name != "nt":
        assert ending(-signal.SIGKILL) == "was ended by SIGKILL"
        assert ending(-63) == "was ended by signal 63" or "SIGRT" in ending(-63)
