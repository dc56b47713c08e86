"""Real processes for tests of the transports: what is heard of them, and whether they are gone."""

import os
import sys
import textwrap

from SAMUSALib.worker.command import WorkerCommand


class Recorder:
    """A Receiver that keeps what it is told."""

    def __init__(self):
        self.data = b""
        self.log = ""
        self.drains = 0
        self.ends: list[str] = []

    def received(self, data):
        assert not self.ends
        self.data += data

    def logged(self, text):
        self.log += text

    def drained(self):
        self.drains += 1

    def ended(self, reason):
        self.ends.append(reason)


def python(code: str) -> WorkerCommand:
    """A command that runs some lines of Python."""
    header = "import os, signal, subprocess, sys, time\n"
    return WorkerCommand(sys.executable, ("-c", header + textwrap.dedent(code)), dict(os.environ))


def is_there(process: int) -> bool:
    """Whether a process runs or is a zombie that nobody has reaped."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def gone(process: int) -> bool:
    """Ended; one that was reparented here may be a zombie if there is no init that reaps."""
    stat = f"/proc/{process}/stat"
    if os.path.exists(stat):
        with open(stat) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    return not is_there(process)
