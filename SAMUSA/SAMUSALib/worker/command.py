"""How to start a worker: program, arguments, environment, and what its end means in words."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InvalidValue

LIBRARY = Path(__file__).resolve().parents[2]  # the folder that holds SAMUSALib
_WORKER = ("-m", "SAMUSALib.cli", "worker")

# What another interpreter must not inherit: it would load our libraries, or Slicer's ITK readers.
_FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "ITK_AUTOLOAD_PATH")

# Alive messages that ssh sends every 5 s; with the third unanswered it ends: 15 s.
_SSH = (
    "-T",
    "-oBatchMode=yes",
    "-oConnectTimeout=15",
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=2",
    "-oControlMaster=no",
)


@dataclass(frozen=True)
class WorkerCommand:
    """program and arguments as for subprocess; environment: all of it, nothing is inherited;
    remote: on another computer, so pixels go inline; place: where the worker runs, for
    sentences. In Slicer the constructors' `environment` is `slicer.util.startupEnvironment()`:
    Slicer's own has library paths that break other programs, ssh among them."""

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    remote: bool = False
    place: str = "this computer"

    @classmethod
    def this_python(cls) -> WorkerCommand:
        """The interpreter that runs this. Not in Slicer, whose interpreter is the application."""
        return cls._local(sys.executable, os.environ)

    @classmethod
    def python(
        cls, path: str | os.PathLike, environment: Mapping[str, str] | None = None
    ) -> WorkerCommand:
        """Any Python environment that has torch and sam2; SAMUSALib is this one, so that client
        and worker are of one version. environment: to start from, this process's where None."""
        return cls._local(os.fspath(path), _own(environment, _FOREIGN))

    @classmethod
    def slicer_python(
        cls, path: str | os.PathLike, environment: Mapping[str, str] | None = None
    ) -> WorkerCommand:
        """Slicer's PythonSlicer, which sets up its own libraries; otherwise as `python`."""
        return cls._local(os.fspath(path), _own(environment, _FOREIGN))

    @classmethod
    def ssh(
        cls,
        host: str,
        program: str = "samusa",
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> WorkerCommand:
        """A worker on another computer. host: as for ssh, HOST, USER@HOST or a name from its
        configuration; program: samusa there, a name or a path, which may begin with "~/";
        options: of ssh, before SAMUSA's own, so they win. Raises InvalidValue."""
        if not host or host.startswith("-") or re.search(r"[\s\x00-\x1f]", host):
            raise InvalidValue(f"the host is {host!r}; HOST or USER@HOST is needed")
        if not program or "\n" in program or "\x00" in program:
            raise InvalidValue(f"the program is {program!r}; a name or a path is needed")
        arguments = (*options, *_SSH, "--", host, f"{_remote_path(program)} worker")
        return cls("ssh", arguments, _own(environment, ()), remote=True, place=host)

    @classmethod
    def _local(cls, program: str, environment: Mapping[str, str]) -> WorkerCommand:
        changed = dict(
            environment,
            PYTHONUNBUFFERED="1",
            PYTHONNOUSERSITE="1",
            PYTHONSAFEPATH="1",  # a numpy.py in the current folder is not imported
            PYTHONIOENCODING="utf-8:backslashreplace",
        )
        # Where SAMUSALib was installed by pip its folder holds other packages too, which another
        # interpreter must not load.
        if LIBRARY.name not in ("site-packages", "dist-packages"):
            changed["PYTHONPATH"] = str(LIBRARY)
        return cls(program, _WORKER, changed)

    def with_memory(self, cache_mb: int, clips_mb: int) -> WorkerCommand:
        """The same worker with other limits: embeddings, and clips that come over the line, MB."""
        options = ("--cache-mb", str(int(cache_mb)), "--clips-mb", str(int(clips_mb)))
        if not self.remote:
            return replace(self, arguments=(*self.arguments, *options))
        *before, remote_line = self.arguments
        return replace(self, arguments=(*before, " ".join([remote_line, *options])))

    @property
    def text(self) -> str:
        """The command as one would type it, for the log."""
        return shlex.join([self.program, *self.arguments])

    def advice(self, end: str) -> str:
        """What to do about a worker that has ended. end: the transport's reason, then the last of
        its standard error. A sentence, or nothing where nothing is known."""
        known = _REMOTE_ADVICE if self.remote else _LOCAL_ADVICE
        if self.remote and end.startswith("ended with status 255"):  # of ssh, not of the worker
            known = _SSH_ADVICE
        for pattern, sentence in known:
            if re.search(pattern, end, re.IGNORECASE | re.MULTILINE):
                return sentence.format(place=self.place)
        return ""


# By what is said, in OpenSSH's words, or the status; the first that fits.
_SSH_ADVICE = (
    (
        r"could not resolve hostname",
        "No computer is known by the name {place}: check the spelling, and the network or VPN.",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{place} shows another key than before: ask its administrator, then remove the old one "
        "with ssh-keygen -R.",
    ),
    (
        r"host key verification failed",
        "{place} is not known yet: run ssh {place} in a terminal once and confirm its key.",
    ),
    (
        r"permission denied",
        "{place} refuses the log-in: set up a key for it (ssh-copy-id {place}), so that "
        "ssh {place} works in a terminal without a password.",
    ),
    (
        r"connection refused|no route to host|network is unreachable|"
        r"connect to host .* timed out|operation timed out",
        "{place} does not answer: check that it is on, runs an ssh server and can be reached "
        "from here.",
    ),
    (
        r"timeout, server .* not responding|connection reset|broken pipe|connection closed|"
        r"closed by remote host|connection to .* (closed|lost)",
        "The connection to {place} was lost: check the network; what was done is kept.",
    ),
    (
        "",
        "The connection to {place} failed, or the worker there was killed: try ssh {place} in a "
        "terminal.",
    ),
)
_REMOTE_ADVICE = (
    (
        r"^could not be started",
        "Connecting needs OpenSSH's client: install it, so that ssh works in a terminal.",
    ),
    (
        r"^ended with status 127$",
        "samusa was not found on {place}: install it there, or give its full path, such as "
        "~/samusa/.venv/bin/samusa.",
    ),
    (r"^ended with status 126$", "samusa on {place} may not be run: check its permissions."),
    (r"invalid choice: '?worker", "samusa on {place} is too old: update it there."),
)
_LOCAL_ADVICE = (
    (r"^could not be started", "Check that it exists and may be run, or choose another Python."),
    (
        r"No module named '?(SAMUSALib|torch|sam2|numpy)",
        "That Python lacks what the worker needs: install it there, or choose another one.",
    ),
    (r"invalid choice: '?worker", "SAMUSA there is too old: update it."),
)


def _own(environment: Mapping[str, str] | None, without: Sequence[str]) -> dict[str, str]:
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if name not in without}


def _remote_path(program: str) -> str:
    """Quoted for the remote shell, which still has to expand a leading ~/."""
    if program.startswith("~/"):
        return "~/" + shlex.quote(program[2:])
    return shlex.quote(program)
