"""The extension as it lies on a user's disk: a checkout, or what a build makes and installs."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = ("SAMUSA", "SAMUSATemporal", "SegmentEditorBoundaryPoints")
NOT_INSTALLED = {"CMakeLists.txt"}


def files_of(module: str) -> set[str]:
    """Paths in the module's folder of what git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", module],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs git and a checkout")
    names = (
        Path(name).relative_to(module).as_posix() for name in listed.stdout.split("\0") if name
    )
    return {name for name in names if (REPOSITORY / module / name).is_file()}


def checkout(folder: Path) -> list[Path]:
    """A copy of the modules, each in its folder: Slicer's "Additional module paths". The order is
    the user's, so the folder of SAMUSALib comes last here."""
    for module in MODULES:
        _copy(module, files_of(module), folder / module)
    return [folder / module for module in reversed(MODULES)]


def built(folder: Path) -> list[Path]:
    """A copy of all modules in one folder, as Slicer's build and installation lay them."""
    for module in MODULES:
        _copy(module, files_of(module) - NOT_INSTALLED, folder / "qt-scripted-modules")
    return [folder / "qt-scripted-modules"]


def _copy(module: str, names: set[str], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / module / name, folder / name)
