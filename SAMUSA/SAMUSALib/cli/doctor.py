"""`samusa doctor`: what is installed, where the network would run, and whether the model works."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

from .. import __version__
from ..engine import registry
from ..errors import SamusaError
from ..places import data_folder

# (name on the package index, name to import, what it is for, is it needed)
PACKAGES = (
    ("numpy", "numpy", "everything", True),
    ("scipy", "scipy", "the spline and image work", True),
    ("scikit-image", "skimage", "drawing and outlines", True),
    ("torch", "torch", "running the network", True),
    ("sam2", "sam2", "the network", True),
    ("hydra-core", "hydra", "loading sam2", True),
    ("iopath", "iopath", "loading sam2", True),
    ("safetensors", "safetensors", "reading models", True),
    ("pynrrd", "nrrd", "reading and writing NRRD and .seg.nrrd", True),
    ("SimpleITK", "SimpleITK", "reading MHA, NIfTI and compressed DICOM", True),
    ("pydicom", "pydicom", "reading DICOM", True),
    ("pycocotools", "pycocotools", "importing COCO files", False),
    ("av", "av", "reading video files", True),
    ("pillow", "PIL", "reading and writing PNG and JPEG", True),
    ("jinja2", "jinja2", "reports", True),
    ("tqdm", "tqdm", "progress bars", True),
    ("accelerate", "accelerate", "training", False),
    ("pyyaml", "yaml", "training configurations", False),
    ("matplotlib", "matplotlib", "pictures of training", False),
    ("tensorboard", "tensorboard", "training's TensorBoard, if wanted", False),
)
FOR_THE_NETWORK = {"torch", "sam2", "hydra-core", "iopath", "safetensors", "numpy", "scipy"}


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="check what is installed, the device and the embedded model",
        description="Check what is installed, where the network would run, and whether the "
        "embedded model works. Exit status 1 if something needed is broken.",
    )
    parser.set_defaults(run=run)


class Findings:
    """Prints a line a check and counts what is broken."""

    def __init__(self):
        self.broken = 0

    def head(self, text: str) -> None:
        print(f"\n{text}")

    def ok(self, name: str, text: str) -> None:
        print(f"  ok    {name:<14} {text}")

    def note(self, name: str, text: str) -> None:
        print(f"  note  {name:<14} {text}")

    def bad(self, name: str, text: str) -> None:
        self.broken += 1
        print(f"  FAIL  {name:<14} {text}")


def run(args: argparse.Namespace) -> int:
    """0 unless something needed is broken."""
    found = Findings()
    print(f"SAMUSA {__version__}")
    check_machine(found)
    missing = check_packages(found)
    if not missing & {"torch", "numpy"}:
        check_device(found)
    check_models(found, can_load=not missing & FOR_THE_NETWORK)
    if found.broken:
        things = "one thing is" if found.broken == 1 else f"{found.broken} things are"
        print(f"\n{things} broken; see FAIL above.")
        return 1
    print("\nEverything that is needed works.")
    return 0


def check_machine(found: Findings) -> None:
    """Python, system, cores, memory, free disk."""
    found.head("This machine")
    found.ok("Python", f"{platform.python_version()} ({sys.executable})")
    found.ok("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    found.ok("cores", f"{core_count()} usable")
    memory = memory_bytes()
    if memory is None:
        found.note("memory", "not known on this system")
    elif memory < 4e9:
        found.note("memory", f"{memory / 1e9:.1f} GB; 4 GB or more are better for long clips")
    else:
        found.ok("memory", f"{memory / 1e9:.1f} GB")
    folder = data_folder()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    line = f"{folder} ({free / 1e9:.1f} GB free)"
    (found.ok if os.access(existing, os.W_OK) else found.note)("your models", line)


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Physical memory, or None where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_packages(found: Findings) -> set[str]:
    """Returns the needed packages that are missing."""
    found.head("Packages")
    missing = set()
    for name, module, purpose, needed in PACKAGES:
        if importlib.util.find_spec(module) is None:
            if needed:
                missing.add(name)
                found.bad(name, f"not installed; needed for {purpose}")
            else:
                found.note(name, f"not installed; only for {purpose}")
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "version not known"
        found.ok(name, version)
    return missing


def check_device(found: Findings) -> None:
    """Where the network would run, in plain words."""
    found.head("Device")
    try:
        import torch

        from ..engine.devices import choose_device

        device = choose_device("auto")
    except (ImportError, SamusaError, OSError, RuntimeError) as error:
        found.bad("torch", f"does not work: {error}")
        return
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = properties.total_memory / 1e9
        found.ok("device", f"graphics card {properties.name} with {memory:.0f} GB (cuda)")
    elif device.type == "mps":
        found.ok("device", "the Mac's own graphics processor (mps)")
    else:
        found.ok("device", f"the processor, {torch.get_num_threads()} threads (cpu)")
        if torch.version.cuda:
            found.note("cuda", f"torch has CUDA {torch.version.cuda} but finds no graphics card")
        else:
            found.note("cuda", "this torch cannot use a graphics card; it does not need one")


def check_models(found: Findings, can_load: bool) -> None:
    """The list of models, the embedded one in depth, what else is on this machine."""
    found.head("Models")
    try:
        entries = registry.list_models()
    except SamusaError as error:
        found.bad("models.json", str(error))
        return
    here = [e.name for e in entries if e.is_here and e.origin in ("download", "imported")]
    found.ok("known", f"{len(entries)} models; of your own on this machine: {len(here)}")
    name = registry.DEFAULT_MODEL
    outcome = registry.verify_model(name)
    (found.ok if outcome.ok else found.bad)("embedded", outcome.text)
    if not can_load:
        found.note("embedded", "not tried: packages are missing")
        return
    if registry.get_entry(name).is_here:
        try_model(found, registry.get_entry(name).path)


def try_model(found: Findings, path: Path) -> None:
    """Load the model and segment a disc with four clicks."""
    import numpy as np

    from ..prompts import FramePrompts

    try:
        from ..engine.models import load_model
        from ..engine.segmentation import FrameSegmenter

        start = time.perf_counter()
        model = load_model(path)
        loaded = time.perf_counter() - start
        y, x = np.mgrid[:256, :256]
        disc = (x - 120) ** 2 + (y - 130) ** 2 < 60**2
        frame = np.random.default_rng(0).rayleigh(np.where(disc, 15, 70)).clip(0, 255)
        clicks = FramePrompts(boundary=[[60, 130], [180, 130], [120, 70], [120, 190]])
        segmenter, spent = FrameSegmenter(model), []
        for _ in range(4):
            start = time.perf_counter()
            mask = segmenter.segment(frame.astype(np.uint8), clicks, key="disc").mask
            spent.append(time.perf_counter() - start)
        overlap = 2 * (mask & disc).sum() / max(1, mask.sum() + disc.sum())
    except Exception as error:  # a check must report whatever is wrong
        found.bad("a click", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return
    millions = model.info.parameters / 1e6
    found.ok("loads", f"in {loaded:.1f} s, {millions:.1f} million parameters, on {model.device}")
    text = (
        f"{1000 * spent[0]:.0f} ms on a new frame, {1000 * min(spent[1:]):.0f} ms the next; "
        f"Dice on a simulated disc {overlap:.2f}"
    )
    (found.ok if overlap > 0.8 else found.bad)("a click", text)
