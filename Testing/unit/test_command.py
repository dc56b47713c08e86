"""How workers are started: interpreters find this SAMUSALib and nothing they should not, ssh gets
what it needs, and the ends of both are explained."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from SAMUSALib.errors import InvalidValue
from SAMUSALib.worker import command as command_module
from SAMUSALib.worker.command import LIBRARY, WorkerCommand

posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def run_in(command: WorkerCommand, code: str, folder: Path) -> str:
    """What `code` prints with the command's program and environment."""
    ran = subprocess.run(
        [command.program, "-c", code],
        env=dict(command.environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_worker_is_this_samusalib_wherever_it_is_started(tmp_path):
    for command in (WorkerCommand.this_python(), WorkerCommand.python(sys.executable)):
        assert command.arguments == ("-m", "SAMUSALib.cli", "worker")
        assert not command.remote
        code = "import SAMUSALib; print(SAMUSALib.__file__)"
        assert Path(run_in(command, code, tmp_path)) == LIBRARY / "SAMUSALib" / "__init__.py"


def test_a_library_installed_by_pip_is_not_forced_on_another_python(monkeypatch, tmp_path):
    monkeypatch.setattr(command_module, "LIBRARY", tmp_path / "site-packages")
    assert "PYTHONPATH" not in WorkerCommand.python("/other/python").environment


def test_another_python_gets_nothing_of_slicers(tmp_path):
    slicer = {
        "PATH": os.environ["PATH"],
        "PYTHONHOME": "/opt/Slicer/lib/Python",
        "PYTHONPATH": "/opt/Slicer/bin/Python",
        "ITK_AUTOLOAD_PATH": "/opt/Slicer/lib/ITKFactories",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    for make in (WorkerCommand.python, WorkerCommand.slicer_python):
        command = make(sys.executable, slicer)
        assert "PYTHONHOME" not in command.environment
        assert "ITK_AUTOLOAD_PATH" not in command.environment
        assert command.environment["PYTHONPATH"] == str(LIBRARY)
        assert command.environment["HTTPS_PROXY"] == "http://proxy:3128"
        assert slicer["PYTHONHOME"]  # the given environment is left as it was
        assert run_in(command, "print(1)", tmp_path) == "1"


def test_neither_user_site_nor_buffering_nor_coding_depends_on_the_user(tmp_path):
    command = WorkerCommand.python(sys.executable, {**os.environ, "LC_ALL": "C"})
    code = "import sys; print(sys.flags.no_user_site, sys.stdout.encoding, 'ö')"
    assert run_in(command, code, tmp_path).startswith("1 utf-8") or os.name == "nt"
    assert command.environment["PYTHONUNBUFFERED"] == "1"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no safe path")
def test_files_in_the_current_folder_are_not_imported(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    (tmp_path / "SAMUSALib.py").write_text("raise SystemExit('the wrong SAMUSALib')")
    command = WorkerCommand.python(sys.executable)
    ran = subprocess.run(
        [command.program, "-m", "SAMUSALib.cli", "--version"],
        env=dict(command.environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.startswith("samusa "), ran.stderr


def test_ssh_asks_nothing_notices_a_lost_line_and_gets_the_users_options_first():
    command = WorkerCommand.ssh("me@gpu", options=("-p", "2222", "-oServerAliveInterval=60"))
    arguments = list(command.arguments)
    assert command.program == "ssh" and command.remote and command.place == "me@gpu"
    assert arguments[:3] == ["-p", "2222", "-oServerAliveInterval=60"]  # the first value wins
    for option in ("-T", "-oBatchMode=yes", "-oServerAliveInterval=5", "-oServerAliveCountMax=2"):
        assert option in arguments
    assert arguments[-3:] == ["--", "me@gpu", "samusa worker"]


@posix
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("samusa", ["samusa", "worker"]),
        ("/opt/my tools/samusa", ["/opt/my tools/samusa", "worker"]),
        ("~/a b/samusa", ["/home/me/a b/samusa", "worker"]),
        ("x; touch hacked", ["x; touch hacked", "worker"]),
        ("$(touch hacked)", ["$(touch hacked)", "worker"]),
        ("it's", ["it's", "worker"]),
    ],
)
def test_the_remote_shell_sees_one_program_whatever_its_name(program, arguments, tmp_path):
    typed = WorkerCommand.ssh("gpu", program).arguments[-1]
    shown = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {typed}"],
        env={"PATH": os.environ["PATH"], "HOME": "/home/me"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.splitlines() == arguments
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch hacked", "a b", "a\nb", " gpu"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(InvalidValue, match="host"):
        WorkerCommand.ssh(host)


@pytest.mark.parametrize("program", ["", "a\nb"])
def test_what_is_no_program_is_refused(program):
    with pytest.raises(InvalidValue, match="program"):
        WorkerCommand.ssh("gpu", program)


def test_the_text_can_be_typed():
    command = WorkerCommand.ssh("gpu", "/opt/my tools/samusa")
    assert shlex.split(command.text) == [command.program, *command.arguments]


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("could not be started, ssh: No such file", "install"),
        ("ended with status 255\nssh: Could not resolve hostname gpu: Name or", "spelling"),
        ("ended with status 255\nHost key verification failed.", "confirm its key"),
        ("ended with status 255\nme@gpu: Permission denied (publickey).", "ssh-copy-id gpu"),
        ("ended with status 255\nssh: connect to host gpu port 22: Connection refused", "is on"),
        ("ended with status 255\nconnect to host gpu port 22: Connection timed out", "is on"),
        ("ended with status 255\nTimeout, server gpu not responding.", "was lost"),
        ("ended with status 255\nclient_loop: send disconnect: Broken pipe", "was lost"),
        ("ended with status 127\nbash: samusa: command not found", "full path"),
        ("ended with status 126\nbash: samusa: Permission denied", "check its permissions"),
        ("ended with status 255\n", "try ssh gpu in a terminal"),
        ("ended with status 1\nmodel.pt: Permission denied", ""),
        ("ended with status 2\nargument command: invalid choice: 'worker'", "too old"),
    ],
)
def test_ends_of_ssh_say_what_to_do(end, says):
    advice = WorkerCommand.ssh("gpu").advice(end)
    assert says in advice and bool(says) == bool(advice)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("could not be started, /x/python: No such file or directory", "exists"),
        ("ended with status 1\nModuleNotFoundError: No module named 'torch'", "install"),
        ("ended with status 1\nValueError: 3", ""),
        ("ended with status 127\n", ""),
    ],
)
def test_ends_of_local_workers_say_what_to_do_where_that_is_known(end, says):
    advice = WorkerCommand.this_python().advice(end)
    assert says in advice and bool(says) == bool(advice)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
def test_ssh_itself_accepts_all_our_options():
    command = WorkerCommand.ssh("gpu", options=("-G",))
    told = subprocess.run(
        [command.program, *command.arguments], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stderr
    settings = dict(line.split(" ", 1) for line in told.stdout.splitlines() if " " in line)
    assert settings["batchmode"] == "yes"
    assert settings["serveraliveinterval"] == "5"
    assert settings["requesttty"] in ("false", "no")
