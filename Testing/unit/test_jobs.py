"""Commands that are read line by line: pip, downloads, training runs."""

import os
import sys
import time

import pytest

from SAMUSALib.app.jobs import Job, Progress, python_command, read_progress, samusa_command
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.transport import SubprocessTransport

PATIENCE = 30.0  # s


class Run:
    """A job with all that it has told."""

    def __init__(self, *arguments, environment=None):
        self.transport = SubprocessTransport()
        self.lines, self.progress, self.ends = [], [], []
        self.job = Job(self.transport, self.lines.append, self.progress.append, self.ends.append)
        command = WorkerCommand.python(sys.executable, os.environ)
        self.job.start(python_command(command, arguments, environment))

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.lines
            self.transport.pump(0.05)

    def finish(self):
        self.until(lambda: self.ends)
        assert len(self.ends) == 1 and not self.job.running
        return self.ends[0]


def test_lines_of_both_streams_come_whole_and_the_last_without_an_end():
    code = "import sys; sys.stderr.write('log\\r\\n'); print('one\\n\\ntwo  '); print('ü', end='')"
    run = Run("-c", code)
    assert run.finish().ok
    assert sorted(run.lines) == ["log", "one", "two", "ü"]


def test_a_command_that_fails_says_why_in_its_own_words():
    code = "import sys; print('hello'); sys.exit('samusa: there is no model')"
    end = Run("-c", code).finish()
    assert not end.ok and not end.cancelled
    assert end.reason == "ended with status 1" and end.problem == "there is no model"


def test_a_program_that_is_not_there_is_a_failure():
    run = Run.__new__(Run)
    run.transport, run.lines, run.progress, run.ends = SubprocessTransport(), [], [], []
    run.job = Job(run.transport, run.lines.append, run.progress.append, run.ends.append)
    run.job.start(WorkerCommand("/nowhere/python", (), {}))
    assert "could not be started" in run.finish().problem


def test_cancelling_ends_it_at_once():
    run = Run("-c", "import time; print('begun', flush=True); time.sleep(60)")
    run.until(lambda: run.lines)
    run.job.cancel()
    end = run.finish()
    assert end.cancelled and not end.ok


def test_asked_to_end_it_ends_by_itself():
    run = Run("-c", "import sys; print('begun', flush=True); sys.stdin.readline(); sys.exit(130)")
    run.until(lambda: run.lines)
    run.job.ask_to_end()
    assert run.finish().cancelled


def test_what_was_asked_to_end_and_was_just_done_is_done():
    run = Run("-c", "import sys; print('begun', flush=True); sys.stdin.readline()")
    run.until(lambda: run.lines)
    run.job.ask_to_end()
    end = run.finish()
    assert end.ok and not end.cancelled


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("Progress 1000 of 4000", Progress(1000, 4000)),
        ("samusa-progress|5|20|7.5|loss 0.250", Progress(5, 20, 7.5, "loss 0.250")),
        ("samusa-progress|5|None|None|", Progress(5, None, None, "")),
        ("Progress is slow", None),
        ("Collecting torch", None),
    ],
)
def test_progress_is_read_from_pip_and_from_samusa(line, progress):
    assert read_progress(line) == progress


def test_bars_of_samusa_become_progress():
    code = (
        "from SAMUSALib.cli.common import progress_bar\n"
        "import time\n"
        "with progress_bar(4, 'training', unit='step') as bar:\n"
        "    for k in range(4):\n"
        "        bar.set_postfix({'loss': '0.5'}, refresh=False)\n"
        "        bar.update(1)\n"
    )
    run = Run("-c", code)
    assert run.finish().ok and run.lines == []
    assert run.progress[-1].done == 4 and run.progress[-1].total == 4
    assert run.progress[-1].note == "loss 0.5"


def test_samusa_runs_in_the_python_of_the_worker():
    command = WorkerCommand.python(sys.executable, os.environ)
    changed = samusa_command(command, "models", "list")
    assert changed.program == command.program
    assert changed.arguments == ("-m", "SAMUSALib.cli", "models", "list")
    assert changed.environment["PYTHONPATH"] == command.environment["PYTHONPATH"]
    assert changed.environment["SAMUSA_PROGRESS"] == "lines"
