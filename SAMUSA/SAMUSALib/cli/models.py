"""`samusa models`: list, describe, import, download, remove and verify models."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..engine import registry
from ..errors import InvalidValue, SamusaError
from .common import progress_bar


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "models",
        parents=[common],
        help="list, import, download, verify or remove models",
        description="The models that SAMUSA knows. Nothing is downloaded without being asked.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def action(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, parents=[common], help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    action("list", run_list, "all models, and which are on this machine")
    sub = action("info", run_info, "everything about one model")
    sub.add_argument("name", metavar="NAME|FILE")
    sub.add_argument(
        "--provenance",
        action="store_true",
        help="print only how it was made, with the recipes of all runs, as JSON",
    )
    sub = action("import", run_import, "copy a checkpoint file into your models")
    sub.add_argument("file", type=Path, help="a .safetensors or .pt checkpoint")
    sub.add_argument("--name", help="name to give it (default: the file's name)")
    sub = action("download", run_download, "fetch a model; goes on where an earlier try stopped")
    sub.add_argument("name")
    sub = action("remove", run_remove, "delete an imported or downloaded model from this machine")
    sub.add_argument("name")
    sub = action("verify", run_verify, "check a model's file against its size and SHA-256")
    sub.add_argument("name", nargs="*", help="default: all models on this machine")
    sub = action("record", run_record, "(maintainers) note an embedded file's size and SHA-256")
    sub.add_argument("name", nargs="?", default=registry.DEFAULT_MODEL)


def _state(entry: registry.ModelEntry) -> str:
    if entry.origin == "download":
        return "downloaded" if entry.is_here else "not here"
    return entry.origin if entry.is_here else "missing"


def run_list(args: argparse.Namespace) -> int:
    entries = registry.list_models()
    wide = max(len(entry.name) for entry in entries)
    kinds = max(len(", ".join(entry.prompts)) for entry in entries)
    print(f"{'NAME':<{wide}}  {'STATE':<10}  {'SIZE':>8}  {'PROMPTS':<{kinds}}  TITLE")
    for entry in entries:
        size = entry.size
        if size is None and entry.path and entry.is_here:
            size = entry.path.stat().st_size
        shown = registry.megabytes(size) if size else "-"
        print(
            f"{entry.name:<{wide}}  {_state(entry):<10}  {shown:>8}  "
            f"{', '.join(entry.prompts):<{kinds}}  {entry.title}"
        )
    print(f"\nYour models live in {registry.models_folder()}.")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """What the registry knows; where the file is here, also what the checkpoint says of itself."""
    try:
        entry = registry.find_model(args.name)
    except registry.UnknownModel:
        entry = registry.get_entry(args.name)  # known but not on this machine
    if args.provenance:
        return print_provenance(entry)
    rows = [("name", entry.name), ("title", entry.title), ("state", _state(entry))]
    rows += [("description", entry.description), ("licence", entry.licence)]
    rows += [("architecture", entry.architecture), ("prompts", ", ".join(entry.prompts))]
    rows += [("url", entry.url), ("file", entry.path), ("sha256", entry.sha256)]
    rows += [("size", registry.megabytes(entry.size) if entry.size else None)]
    if entry.path and entry.path.is_file():
        from ..engine.models import load_model

        info = load_model(entry.path, device="cpu").info
        rows = [row for row in rows if row[0] not in ("architecture", "prompts")]
        rows += [("architecture", architecture_name(info.architecture))]
        rows += [("prompts", ", ".join(info.prompts))]
        rows += [("input", f"{info.input_size} x {info.input_size} pixels")]
        rows += [("parameters", f"{info.parameters / 1e6:.1f} million")]
        rows += made_rows(info.provenance, args.name)
    for key, value in rows:
        if value not in (None, ""):
            print(f"{key + ':':<14} {value}")
    return 0


def print_provenance(entry: registry.ModelEntry) -> int:
    """All that a checkpoint says of how it was made; refuses one that is not here or says
    nothing."""
    from ..engine.models import load_model

    if not (entry.path and entry.path.is_file()):
        raise InvalidValue(f"the file of {entry.name} is not on this machine")
    provenance = load_model(entry.path, device="cpu").info.provenance
    if not provenance:
        raise InvalidValue(f"{entry.name} does not say how it was made")
    print(json.dumps(provenance, indent=1, ensure_ascii=False))
    return 0


def made_rows(provenance: Mapping[str, Any] | None, name: str) -> list[tuple[str, str]]:
    """One row for each run of training, the first one first, as far as a checkpoint tells."""
    runs: list[Mapping[str, Any]] = []
    while provenance:
        runs.insert(0, provenance)
        provenance = provenance.get("earlier")
    if not runs:
        return []
    steps = sum(run.get("steps", 0) for run in runs)
    times = "one run" if len(runs) == 1 else f"{len(runs)} runs"
    rows = [
        (
            "made",
            f"in {times}, {steps} steps; their recipes: samusa models info {name} --provenance",
        )
    ]
    for number, run in enumerate(runs, start=1):
        data = run.get("data", "data that are not named")
        data = data if isinstance(data, str) else "; ".join(map(str, data))
        rows.append((f"  run {number}", f"{run.get('steps', '?')} steps on {data}"))
    return rows


def architecture_name(architecture) -> str:
    """The name of an architecture; "custom" where it is none of the known ones."""
    from ..engine.architectures import ARCHITECTURES

    known = (name for name, value in ARCHITECTURES.items() if value == architecture)
    return next(known, "custom")


def _check_readable(path: Path, named: Path) -> SimpleNamespace:
    """Load it once; what the registry notes about it. named: the path that errors show."""
    from ..engine.models import load_model

    try:
        info = load_model(path, device="cpu").info
    except SamusaError as error:
        raise type(error)(str(error).replace(str(path), str(named))) from None
    return SimpleNamespace(
        architecture=architecture_name(info.architecture),
        prompts=info.prompts,
        licence=info.licence,
    )


def run_import(args: argparse.Namespace) -> int:
    def check(copy: Path) -> SimpleNamespace:
        return _check_readable(copy, args.file)

    entry = registry.import_model(args.file, args.name or args.file.stem, check)
    print(f"imported {entry.name} ({registry.megabytes(entry.size)}) to {entry.path}")
    print(f"use it with: samusa annotate … --model {entry.name}")
    return 0


def run_download(args: argparse.Namespace) -> int:
    entry = registry.get_entry(args.name)
    if entry.origin == "download" and entry.is_here:
        print(f"{entry.name} is here already: {entry.path}")
        return 0
    if entry.origin == "download" and entry.sha256 is None:
        print(f"the checksum of {entry.name} is not known to this version; it will be recorded")
    with _byte_bar(entry.size, entry.name) as bar:
        entry = registry.download_model(args.name, _advance(bar))
    print(f"downloaded {entry.name}: {entry.path}")
    print(f"SHA-256 {entry.sha256}")
    return 0


def run_remove(args: argparse.Namespace) -> int:
    path = registry.remove_model(args.name)
    print(f"removed {args.name}: {path}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Exit status 1 if one of them is damaged."""
    known = registry.list_models()
    names = args.name or [e.name for e in known if e.path and (e.is_here or e.origin == "embedded")]
    outcomes = []
    for name in names:
        with _byte_bar(registry.get_entry(name).size, name) as bar:
            outcomes.append(registry.verify_model(name, _advance(bar)))
        print(f"{'ok  ' if outcomes[-1].ok else 'FAIL'}  {outcomes[-1].text}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def run_record(args: argparse.Namespace) -> int:
    found = registry.record_embedded(args.name)
    print(f"{args.name}: {found['size']} bytes, SHA-256 {found['sha256']}")
    return 0


def _byte_bar(total: int | None, text: str):
    return progress_bar(total, text, "B", unit_scale=True, unit_divisor=1000)


def _advance(bar):
    def progress(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress
