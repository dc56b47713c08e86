"""A worker on another computer, for real: an sshd of our own on the loopback, with keys of its
own, and whatever can happen to the line."""

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from discs import disc_clip
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.prompts import FramePrompts, SegmentPrompts
from SAMUSALib.worker import messages as m
from SAMUSALib.worker import transport as transport_module
from SAMUSALib.worker.client import Client, Pending, WorkerLost
from SAMUSALib.worker.command import LIBRARY, WorkerCommand
from SAMUSALib.worker.session import Session
from SAMUSALib.worker.transport import SubprocessTransport

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_ssh = pytest.mark.skipif(
    os.name == "nt" or SSHD is None or shutil.which("ssh") is None,
    reason="needs OpenSSH's ssh and sshd (apt-get install openssh-server)",
)
pytestmark = needs_ssh

FAKE = Path(__file__).resolve().parent.parent / "fake_worker.py"
CLICK = FramePrompts(boundary=[[32, 45], [68, 45], [50, 27], [50, 63]])
PATIENCE = 180.0  # s; only a fault takes that long


class Server:
    """An sshd for this user alone. `program` is a samusa whose path needs quoting."""

    def __init__(self, folder: Path):
        self.folder = folder
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for name in ("host_key", "key", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        host_key = (folder / "host_key.pub").read_text().split()
        known = f"[127.0.0.1]:{self.port} {host_key[0]} {host_key[1]}\n"
        (folder / "known_hosts").write_text(known)
        (folder / "config").write_text(
            f"Port {self.port}\n"
            "ListenAddress 127.0.0.1\n"
            f"HostKey {folder}/host_key\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\n"
            "PidFile none\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "PasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.process = None
        self.start()

    def start(self) -> None:
        log = open(self.folder / "log", "ab")
        with log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "config")], stderr=log
            )
        until = time.monotonic() + PATIENCE
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            said = (self.folder / "log").read_text()
            if self.process.poll() is not None:
                pytest.skip(f"sshd does not start here: {said.strip()[-200:]}")
            assert time.monotonic() < until, said
            time.sleep(0.05)

    def stop(self) -> None:
        for process in [*self.lines(), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def lines(self) -> list[int]:
        """The sshd processes that serve connections."""
        found, waiting = [], [self.process.pid]
        while waiting:
            for child in transport_module._children(waiting.pop()):
                with suppress(FileNotFoundError):  # it has just ended
                    if b"sshd" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(child)
                        waiting.append(child)
        return found

    def send_lines(self, number: int) -> None:
        for process in self.lines():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def program(self, *command: str) -> str:
        path = self.folder / "my samusa's"
        path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def command(self, program: str, *options: str, key: str = "key") -> WorkerCommand:
        return WorkerCommand.ssh(
            f"{getpass.getuser()}@127.0.0.1",
            program,
            (
                *options,
                "-F/dev/null",
                f"-p{self.port}",
                f"-i{self.folder / key}",
                "-oIdentitiesOnly=yes",
                "-oIdentityAgent=none",
                f"-oUserKnownHostsFile={self.folder}/known_hosts",
                "-oGlobalKnownHostsFile=/dev/null",
            ),
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not sys.platform.startswith("linux"):
        pytest.skip("finds sshd's processes in /proc")
    made = Server(tmp_path_factory.mktemp("sshd"))
    yield made
    made.stop()


@pytest.fixture
def transport():
    made = SubprocessTransport()
    yield made
    made.kill()
    until = time.monotonic() + PATIENCE
    while made.process is not None and time.monotonic() < until:
        made.pump(0.05)


@pytest.fixture
def client(transport):
    made = Client(transport)
    made.told = []
    made.on_lost = lambda lost: made.told.append(str(lost))
    return made


def run_until(owner, condition, transport=None) -> None:
    """owner: a client, or a session and its transport."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain\n{owner.log}"
        (transport or owner._transport).pump(0.1)
        owner.tick()


def answer_of(client, pending):
    run_until(client, lambda: pending.done)
    return pending.result()


def stop(client) -> None:
    client.stop()
    run_until(client, lambda: not client.running)


def fake(server: Server, *behaviours: str) -> str:
    return server.program(sys.executable, str(FAKE), *behaviours)


def worker_is_gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def propagation(clip: str = "c") -> m.Propagate:
    return m.Propagate(clip, (SegmentPrompts("s", {0: CLICK}),))


def mask_of_click(client, frames) -> np.ndarray:
    answer_of(client, client.ask(m.LoadModel("samusa-small", "cpu")))
    client.send_clip("c", frames)
    segmented = answer_of(client, client.ask(m.SegmentFrame("c", "s", 1, (CLICK,))))
    return segmented.mask.decode()


def test_a_click_on_the_remote_worker_equals_the_local_one(server, transport, client):
    clip = disc_clip(frames=3)
    answer_of(client, client.start(WorkerCommand.this_python()))
    local = mask_of_click(client, clip.frames)
    stop(client)
    python = f"PYTHONPATH={LIBRARY}", sys.executable
    program = server.program("env", *python, "-m", "SAMUSALib.cli")
    answer_of(client, client.start(server.command(program)))
    remote = mask_of_click(client, clip.frames)
    stop(client)
    overlap = (local & clip.masks[1]).sum() / (local | clip.masks[1]).sum()
    assert overlap > 0.8
    assert np.array_equal(local, remote)


@pytest.mark.heavy
def test_a_session_goes_on_after_its_line_was_cut_in_a_propagation(server, transport, tmp_path):
    python = f"PYTHONPATH={LIBRARY}", sys.executable
    command = server.command(server.program("env", *python, "-m", "SAMUSALib.cli"))
    session = Session(transport, command, "samusa-small", tmp_path, device="cpu")
    frames = disc_clip(frames=8).frames
    clip = session.open_clip(Clip(frames, Geometry.for_cine(*frames.shape), "discs"))
    clip.set_segment("s", "disc")
    clip.set_steps("s", 0, [CLICK])

    def propagate(seen: dict) -> Pending:
        asked = clip.propagate(["s"])
        asked.on_frame(lambda event: seen.update({event.frame: event.mask.decode()}))
        return asked

    first, second = {}, {}
    asked = propagate(first)
    run_until(session, lambda: len(first) >= 3, transport)
    server.send_lines(signal.SIGKILL)
    run_until(session, lambda: asked.done, transport)
    with pytest.raises(WorkerLost, match="The connection to .* was lost"):
        asked.result()
    assert 3 <= len(first) < 8
    asked = propagate(second)
    run_until(session, lambda: asked.done, transport)
    assert asked.result().frames == 8
    assert sorted(second) == list(range(8))
    for frame, mask in first.items():
        assert np.array_equal(mask, second[frame])
    session.stop()
    run_until(session, lambda: not session.running, transport)


def test_a_whole_clip_arrives_as_it_was(server, client):
    frames = np.random.default_rng(3).integers(0, 255, (40, 480, 640), np.uint8)
    answer_of(client, client.start(server.command(fake(server))))
    clip, seen = client.send_clip("c", frames), {}
    asked = client.ask(propagation())
    asked.on_frame(lambda event: seen.update({event.frame: event.mask.decode()}))
    answer_of(client, asked)
    assert clip.done
    for frame in range(40):
        assert np.array_equal(seen[frame], frames[frame] > 128)
    stop(client)


def test_a_broken_line_is_told_in_words_and_a_new_one_goes_on(server, client):
    command = server.command(fake(server, "slow"))
    frames = np.random.default_rng(4).integers(0, 255, (60, 24, 32), np.uint8)
    answer_of(client, client.start(command))
    answer_of(client, client.send_clip("c", frames))
    worker, seen = client.welcome.process, []
    asked = client.ask(propagation())
    asked.on_frame(lambda event: seen.append(event.frame))
    run_until(client, lambda: len(seen) >= 3)
    server.send_lines(signal.SIGKILL)
    run_until(client, lambda: client.told)
    with pytest.raises(WorkerLost, match="The connection to .* was lost"):
        asked.result()
    assert seen == list(range(len(seen))) and len(seen) < 60
    run_until(client, lambda: worker_is_gone(worker))
    answer_of(client, client.start(command))
    answer_of(client, client.send_clip("c", frames))
    asked = client.ask(propagation())
    asked.on_frame(lambda event: seen.append(event.frame))
    answer_of(client, asked)
    assert seen[-60:] == list(range(60))
    stop(client)


def test_a_line_that_goes_silent_is_noticed_and_told(server, client):
    """As when a laptop leaves the network: nothing is closed, nothing comes."""
    options = ("-oServerAliveInterval=1", "-oServerAliveCountMax=1")
    answer_of(client, client.start(server.command(fake(server), *options)))
    server.send_lines(signal.SIGSTOP)
    asked = client.ask(m.AskStatus())
    try:
        run_until(client, lambda: client.told)
    finally:
        server.send_lines(signal.SIGKILL)
    with pytest.raises(WorkerLost, match="was lost"):
        asked.result()


def test_a_worker_killed_over_there_is_told(server, client):
    answer_of(client, client.start(server.command(fake(server))))
    os.kill(client.welcome.process, signal.SIGKILL)
    run_until(client, lambda: client.told)
    assert "the worker there was killed" in client.told[0]


def test_killing_the_client_side_ends_the_worker_over_there(server, transport, client):
    answer_of(client, client.start(server.command(fake(server))))
    worker = client.welcome.process
    transport.kill()
    run_until(client, lambda: not client.running and worker_is_gone(worker))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "stranger"}, "refuses the log-in"),
        ({"program": "/nowhere/samusa"}, "was not found on .* install it there"),
        ({"options": ("-oUserKnownHostsFile=/dev/null",)}, "confirm its key"),
        ({"options": ("-p1",)}, "does not answer"),
        ({"options": ("-oHostName=no-such-host.invalid",)}, "check the spelling"),
    ],
    ids=["stranger", "no samusa", "unknown host", "no server", "no such host"],
)
def test_what_is_wrong_with_a_connection_is_said_with_what_to_do(server, client, change, says):
    program = change.get("program") or fake(server)
    command = server.command(
        program,
        *change.get("options", ()),
        "-oStrictHostKeyChecking=yes",
        key=change.get("key", "key"),
    )
    hello = client.start(command)
    run_until(client, lambda: hello.done)
    with pytest.raises(WorkerLost, match=says):
        hello.result()


def test_a_talkative_shell_over_there_is_named(server, client):
    program = server.folder / "talkative"
    program.write_text('#!/bin/sh\necho "Welcome to the cluster"\nsleep 60\n')
    program.chmod(0o755)
    hello = client.start(server.command(str(program)))
    run_until(client, lambda: hello.done)
    with pytest.raises(WorkerLost, match="Welcome to the cluster.*bashrc"):
        hello.result()
