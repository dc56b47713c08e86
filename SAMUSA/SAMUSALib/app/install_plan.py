"""What the worker needs in Slicer's Python, as plain data: requirements, steps, and a record of
what was added, so that it can be taken out again. No Qt here, and nothing is run."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from ..atomic import atomic_write
from ..errors import CannotWrite, SamusaError, UnreadableFile
from ..places import data_folder

TORCH = "torch>=2.5"
# A source package. Its modelling code needs neither torchvision nor its CUDA extension, so neither
# is asked for; it is built with the tools that Slicer brings, as nothing else would be at hand
# without internet.
SAM2 = "sam2==1.1.0"
SAM2_OPTIONS = ("--no-deps", "--no-build-isolation")
SAM2_ENVIRONMENT = {"SAM2_BUILD_CUDA": "0"}

# Together with SLICERS_OWN: the dependencies of pyproject.toml (a test compares).
PACKAGES = (
    "accelerate>=1.0",
    "av>=12",
    "hydra-core>=1.3",
    "iopath>=0.1.10",
    "jinja2>=3",
    "matplotlib>=3.7",
    "psutil>=5.9",
    "pycocotools>=2.0.7",
    "pynrrd>=1",
    "pyyaml>=6",
    "safetensors>=0.4",
    "scikit-image>=0.22",
    "tqdm>=4.66",
)
# Slicer comes with these in the versions that it was built and tested with; they are never changed.
SLICERS_OWN = ("numpy>=1.24", "scipy>=1.11", "SimpleITK>=2.3", "pillow>=10", "pydicom>=3")

# What is fetched. The packages take 230 MB on the disk (measured, Linux, Python 3.11).
SIZES = {"pytorch": "200 MB, with CUDA 3 GB", "packages": "90 MB", "sam2": "1 MB"}
NEEDED_SPACE = {"pytorch": 2e9, "packages": 0.5e9}  # bytes on the disk

_PIP = ("-m", "pip")
# Without a terminal pip must not ask; raw progress is one line each.
_QUIET = ("--no-input", "--disable-pip-version-check")


class CannotInstall(SamusaError):
    """Something is in the way of the set-up; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One part of the set-up. arguments: of the interpreter; none: Slicer's PyTorch extension does
    it. adds_packages: or takes some away, which goes into the record."""

    name: str
    title: str
    size: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    adds_packages: bool = True


# What is there ----------------------------------------------------------------------------------


def installed_packages(paths: Iterable[str] | None = None) -> dict[str, str]:
    """Versions by normalized name. Leftovers of an interrupted installation do not count.
    paths: to look in, sys.path where None."""
    found: dict[str, str] = {}
    for each in _distributions(paths):
        name, version = _name_and_version(each)
        if name and version and not _is_leftover(each):
            found.setdefault(normal(name), version)
    return found


def _name_and_version(each: metadata.Distribution) -> tuple[str | None, str | None]:
    """From the folder's name where it says both: reading all the files takes 50 times as long."""
    name, dash, version = _folder(each).name.removesuffix(".dist-info").partition("-")
    if dash and "-" not in version and _folder(each).suffix == ".dist-info":
        return name, version
    return each.metadata["Name"], each.metadata["Version"]


def _folder(each: metadata.Distribution) -> Path:
    return Path(str(getattr(each, "_path", "")))


def leftovers(paths: Iterable[str] | None = None) -> list[Path]:
    """Folders of package data that pip was killed over: they say that the package is installed,
    and it may not be. pip writes INSTALLER and RECORD last."""
    return [_folder(each) for each in _distributions(paths) if _is_leftover(each)]


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Then pip installs these packages anew. Raises CannotInstall."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise CannotInstall(
                f"{folder} is left over from an interrupted installation and cannot be removed "
                f"({error.strerror or error}); remove it, then go on"
            ) from None


def _distributions(paths: Iterable[str] | None) -> list[metadata.Distribution]:
    importlib.invalidate_caches()  # another process installs
    return list(metadata.distributions(path=list(sys.path if paths is None else paths)))


def _is_leftover(each: metadata.Distribution) -> bool:
    folder = _folder(each)
    if folder.suffix != ".dist-info":
        return False
    return not (folder / "RECORD").exists() and not (folder / "INSTALLER").exists()


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def missing(requirements: Iterable[str], installed: Mapping[str, str]) -> list[str]:
    """Those that are not there, or in another version than asked for."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        wanted = Requirement(text)
        version = installed.get(normal(wanted.name))
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            found.append(text)
    return found


# Steps ------------------------------------------------------------------------------------------


def plan(installed: Mapping[str, str], constraints: Path, wheels: Path | None = None) -> list[Step]:
    """The steps that are still to be done, in their order; begun again after an end of any kind it
    goes on where it stopped. constraints: a file that `write_constraints` has written or will
    write. wheels: a folder to install from, without internet. Raises CannotInstall for a Slicer
    that is too old."""
    outdated = missing(("numpy>=1.24", "scipy>=1.11"), installed)
    if outdated:
        raise CannotInstall(
            f"this Slicer does not bring {' and '.join(outdated)}; use Slicer 5.10 or newer, or "
            "let the worker run in another Python"
        )
    progress = "off" if missing(["pip>=24.1"], installed) else "raw"  # older pip has no raw one
    source = () if wheels is None else ("--no-index", "--find-links", str(wheels))

    def pip(requirements: Iterable[str], *options: str) -> tuple[str, ...]:
        shown = ("--progress-bar", progress, "--no-warn-script-location")
        held = ("--no-user", "--constraint", str(constraints))  # a pip.conf may say user = true
        common = (*_PIP, "install", *_QUIET, *shown, *held)
        return (*common, *source, *options, *requirements)

    steps = []
    if missing([TORCH], installed):
        steps.append(
            Step(
                "pytorch",
                "PyTorch, which runs the model",
                SIZES["pytorch"],
                pip([TORCH]) if wheels is not None else (),
            )
        )
    if packages := missing(PACKAGES, installed):
        title = f"Python packages: {len(packages)}"
        steps.append(Step("packages", title, SIZES["packages"], pip(packages)))
    if missing([SAM2], installed):
        steps.append(
            Step(
                "sam2",
                "SAM 2, the model's network",
                SIZES["sam2"],
                pip([SAM2], *SAM2_OPTIONS),
                SAM2_ENVIRONMENT,
            )
        )
    return steps


def check_step() -> Step:
    """Whether all works: packages, device, the embedded model and a click."""
    arguments = ("-m", "SAMUSALib.cli", "doctor")
    return Step("check", "A click with the embedded model, as a test", "", arguments, {}, False)


def write_constraints(path: Path, installed: Mapping[str, str]) -> None:
    """For pip: everything that is there stays in the version that it has, except what we need
    newer. So nothing of Slicer's, and nothing of another extension, is replaced by the way.
    Raises CannotWrite."""
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version

    changing = {normal(Requirement(each).name) for each in missing((*PACKAGES, SAM2), installed)}
    changing |= {normal(Requirement(each).name) for each in missing([TORCH], installed)}
    lines = []
    for name, version in sorted(installed.items()):
        if name in changing:
            continue
        try:
            lines.append(f"{name}=={Version(version)}")
        except InvalidVersion:
            continue
    make_folder(path.parent)
    with atomic_write(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_place(steps: Iterable[Step], folder: Path, wheels: Path | None) -> None:
    """Raise CannotInstall where the steps cannot work. folder: that pip installs into."""
    if not _is_writable(folder):
        raise CannotInstall(
            f"you may not write into Slicer's folder {folder}; ask your administrator, install "
            "Slicer into a folder of your own, or let the worker run in another Python"
        )
    free, needed = shutil.disk_usage(folder).free, NEEDED_SPACE["packages"]
    if any(step.name == "pytorch" for step in steps):
        needed = NEEDED_SPACE["pytorch"]
    if free < needed:
        raise CannotInstall(
            f"the disk of {folder} has {free / 1e9:.1f} GB free; at least {needed / 1e9:.1f} GB "
            "are needed, for PyTorch with CUDA 8 GB"
        )
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise CannotInstall(
            f"{wheels} holds no wheels (.whl); choose the folder that was filled on a computer "
            "with internet"
        )


def _is_writable(folder: Path) -> bool:
    """By trying: on Windows os.access does not know what a user may."""
    probe = folder / f"samusa-{os.getpid()}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def make_folder(folder: Path) -> None:
    """Raises CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be made: {error.strerror or error}") from None


# The record of what was added ------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """added: names and versions of packages that the set-up brought. pending: what was there
    before a step that has not ended yet."""

    added: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, str] | None = None

    def begun(self, installed: Mapping[str, str]) -> Record:
        """Before a step. What an earlier one that was cut off has added counts too."""
        return Record(self.ended(installed).added, dict(installed))

    def ended(self, installed: Mapping[str, str]) -> Record:
        """After a step, done or not."""
        if self.pending is None:
            return Record(self.added)
        new = {name: version for name, version in installed.items() if name not in self.pending}
        kept = {name: version for name, version in self.added.items() if name in installed}
        return Record({**kept, **new})


def record_file(prefix: str | None = None) -> Path:
    """One for each Python. prefix: its sys.prefix."""
    digest = hashlib.sha256((prefix or sys.prefix).encode()).hexdigest()[:12]
    return data_folder() / "installed" / f"{digest}.json"


def constraints_file() -> Path:
    return record_file().with_suffix(".constraints.txt")


def read_record(path: Path) -> Record:
    """An empty one where nothing was installed. Raises UnreadableFile."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        pending = raw["pending"]
        return Record(dict(raw["added"]), None if pending is None else dict(pending))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path}, the record of what was installed, cannot be read ({error}); remove it to go "
            "on, then SAMUSA leaves the packages where they are"
        ) from None


def write_record(path: Path, record: Record) -> None:
    """Raises CannotWrite."""
    make_folder(path.parent)
    form = {"python": sys.prefix, "added": dict(record.added), "pending": record.pending}
    with atomic_write(path) as part:
        part.write_text(json.dumps(form, indent=1), encoding="utf-8")


def needs(paths: Iterable[str] | None = None) -> Iterator[tuple[str, set[str]]]:
    """For each package that is there, its name and the names of those that it needs; one after the
    other, as reading all of them takes a second."""
    from packaging.requirements import Requirement

    for each in _distributions(paths):
        wanted = set()
        for text in each.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.add(normal(requirement.name))
        name, _ = _name_and_version(each)
        if name:
            yield normal(name), wanted


def removable(added: Iterable[str], needs: Mapping[str, set[str]]) -> list[str]:
    """Of what was added, what no package that stays needs."""
    going = set(added) & set(needs)
    while True:
        needed = set().union(*(needs[name] for name in needs if name not in going), set())
        if not going & needed:
            return sorted(going)
        going -= needed


def removal_step(names: Iterable[str]) -> Step:
    """Take packages out again."""
    arguments = (*_PIP, "uninstall", *_QUIET, "--yes", *names)
    return Step("remove", "Remove what the set-up has added", "", arguments)
