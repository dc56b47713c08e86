"""A folder that stands for Slicer's Python, with a pip that behaves as the set-up sees it."""

import os
import sys
import textwrap
import time
from pathlib import Path

from SAMUSALib.app import install_plan
from SAMUSALib.app.install import Installation
from SAMUSALib.worker.command import WorkerCommand
from SAMUSALib.worker.transport import SubprocessTransport

PATIENCE = 60.0  # s
SLICER = {"numpy": "2.1.0", "scipy": "1.14.0", "simpleitk": "2.4.0", "pip": "26.0", "six": "1.17"}

# Behaves as pip and samusa do, as far as the set-up sees it: `install NAME==1` adds a package to
# the folder SITE, slowly where SLOW says so.
FAKE_PIP = """
import os, pathlib, sys, time
site = pathlib.Path(os.environ["SITE"])
action, words = sys.argv[1], [w for w in sys.argv[2:] if w[:1] != "-"]
names = [w.split(">")[0].split("=")[0].split("[")[0] for w in words if "==" in w or ">=" in w]
if action == "uninstall":
    for name in words:
        for folder in site.glob(name.replace("-", "_") + "-*.dist-info"):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    sys.exit()
print("Collecting", names[0], flush=True)
if os.environ.get("SLOW") == "download":
    time.sleep(60)
if os.environ.get("FAIL") in names:
    sys.exit("ERROR: " + os.environ["SAY"])
print("Progress 1 of 2", flush=True)
print("Installing collected packages:", ", ".join(names), flush=True)
if os.environ.get("SLOW") == "copy":
    time.sleep(0.5)
for name in names:
    version = {"sam2": "1.1.0"}.get(name, "99")
    folder = site / (name.replace("-", "_") + f"-{version}.dist-info")
    folder.mkdir()
    about = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", ""]
    (folder / "METADATA").write_text("\\n".join(about))
    (folder / "INSTALLER").write_text("pip")
    (folder / "RECORD").write_text("")
"""


def add_package(site: Path, name: str, version: str, requires=(), whole=True) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    if whole:
        (folder / "INSTALLER").write_text("pip")
        (folder / "RECORD").write_text("")


class Setup:
    """A set-up of a folder that stands for Slicer's Python."""

    def __init__(self, folder: Path):
        self.site = folder / "site"
        self.site.mkdir()
        for name, version in SLICER.items():
            add_package(self.site, name, version)
        fake = folder / "fake"
        (fake / "SAMUSALib").mkdir(parents=True)
        (fake / "pip.py").write_text(textwrap.dedent(FAKE_PIP))
        (fake / "SAMUSALib" / "__init__.py").touch()
        (fake / "SAMUSALib" / "cli.py").write_text("print('works')")
        self.environment = {**os.environ, "PYTHONPATH": str(fake), "SITE": str(self.site)}
        self.lines, self.steps, self.ends, self.progress = [], [], [], []
        self.extension_called = 0

    def installation(self, transports=None, **environment) -> Installation:
        """transports: instead of those that `until` pumps."""
        command = WorkerCommand(sys.executable, (), {**self.environment, **environment})
        transports = transports or self._transport
        made = Installation(command, transports, self._pytorch, self.site, [str(self.site)])
        made.line.connect(self.lines.append)
        made.step.connect(lambda step, number, count: self.steps.append(step.name))
        made.progress.connect(self.progress.append)
        made.ended.connect(lambda ok, text: self.ends.append((ok, text)))
        return made

    def _transport(self):
        self.transport = SubprocessTransport()
        return self.transport

    def _pytorch(self):
        self.extension_called += 1
        add_package(self.site, "torch", "2.9.0+cpu")

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, (self.steps, self.lines)
            self.transport.pump(0.02)

    def finish(self) -> tuple[bool, str]:
        self.until(lambda: self.ends)
        (end,) = self.ends
        self.ends.clear()
        return end

    @property
    def names(self) -> set[str]:
        return set(install_plan.installed_packages([str(self.site)]))

    def removable(self, installation: Installation) -> list[str]:
        needs = dict(install_plan.needs([str(self.site)]))
        return install_plan.removable(installation.added(), needs)
