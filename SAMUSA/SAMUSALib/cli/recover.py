"""`samusa recover`: list, export and remove journals of what was accepted in interactive work."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from ..errors import InvalidValue
from ..places import journals_folder
from ..prompts import SegmentPrompts
from ..worker.accepted import AcceptedWork
from ..worker.journal import list_journals, remove_journal
from ..worker.journal_records import SUFFIX, read_journal
from .common import check_output_file, check_output_folder

MASKS = ".seg.nrrd"
COLUMNS = (
    "CHANGED", "CLIP", "FRAMES", "PIXELS", "SEGMENTS", "MASKS", "SIZE", "STATE", "JOURNAL",
)  # fmt: skip


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "recover",
        parents=[common],
        help="get accepted masks and prompts back after a crash",
        description="While clips are annotated interactively, everything that is accepted is kept "
        "in journals. This command lists them and turns them into files.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def action(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, parents=[common], help=text, description=text)
        sub.add_argument(
            "--folder", type=Path, metavar="DIR", help=f"of journals (default: {journals_folder()})"
        )
        sub.set_defaults(run=run)
        return sub

    action("list", run_list, "all journals, the newest first")
    sub = action("export", run_export, "write masks and prompts of a journal")
    sub.add_argument("journal", metavar="JOURNAL", help="a name from the list, or a file")
    sub.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar=f"FILE{MASKS}|DIR",
        help="masks for Slicer, and the prompts in a .prompts.json beside it; or a new folder for "
        "both and a table of all frames",
    )
    sub = action("remove", run_remove, "delete a journal; what it holds is gone")
    sub.add_argument(
        "journal", metavar="JOURNAL", nargs="+", help="a name from the list, or a file"
    )


def run_list(args: argparse.Namespace) -> int:
    folder = args.folder or journals_folder()
    found = list_journals(folder)
    if not found:
        print(f"There are no journals in {folder}.")
        return 0
    rows = [
        ("CHANGED", "CLIP", "FRAMES", "PIXELS", "SEGMENTS", "MASKS", "SIZE", "STATE", "JOURNAL")
    ]
    for each in found:
        when = datetime.fromtimestamp(each.modified).strftime("%Y-%m-%d %H:%M")
        state = "open" if each.is_open else "damaged" if each.trouble else "closed"
        size = f"{max(1, round(each.size / 1e3))} kB"
        if each.clip is None:
            about = ("?",) * 5
        else:
            height, width = each.clip.frame_size
            counts = (str(each.clip.length), f"{width}x{height}", str(each.segments))
            about = (_shortened(each.clip.name), *counts, str(each.masks))
        rows.append((when, *about, size, state, each.path.stem))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))
    print()
    for each in found:
        if each.clip and each.clip.source:
            print(f"{each.path.stem} is of {each.clip.source}")
    print(f"They are in {folder}.")
    for each in found:
        if each.trouble:
            print(f"samusa: {each.path.stem}: {each.trouble}", file=sys.stderr)
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Exit status 1 where a part of the journal is damaged and could not be exported."""
    path = find_journal(args.journal, args.folder)
    to_file = args.out.name.lower().endswith(MASKS)
    if to_file:
        check_output_file(args.out, path)
    elif args.out.suffix:
        raise InvalidValue(f"--out is {args.out.name}; it must end in {MASKS} or name a folder")
    else:
        check_output_folder(args.out)
    reading = read_journal(path)
    if not reading.work.segments:
        raise InvalidValue(f"{path} holds no segment; there is nothing to export")
    work = reading.work
    written = _write_file(args.out, work) if to_file else _write_folder(args.out, work)
    masks = sum(len(segment.frames) for segment in work.segments.values())
    print(f"{work.clip.name}: segments {len(work.segments)}, masks {masks}")
    for each in written:
        print(f"wrote {each}")
    if reading.trouble:
        print(f"samusa: {path}: {reading.trouble}", file=sys.stderr)
        return 1
    return 0


def _write_file(out: Path, work: AcceptedWork) -> list[Path]:
    from ..io.prompt_files import write_prompts
    from ..io.write_segmentation import write_seg_nrrd

    write_seg_nrrd(out, work.clip.blank_clip(), work.annotation())
    prompts = _with_prompts(work)
    if not prompts:
        return [out]
    beside = out.with_name(out.name[: -len(MASKS)] + ".prompts.json")
    write_prompts(beside, prompts)
    return [out, beside]


def _write_folder(out: Path, work: AcceptedWork) -> list[Path]:
    from ..atomic import atomic_folder
    from ..io.prompt_files import write_prompts
    from ..io.write_segmentation import write_csv, write_seg_nrrd

    clip, annotation = work.clip.blank_clip(), work.annotation()
    with atomic_folder(out) as folder:
        write_seg_nrrd(folder / f"masks{MASKS}", clip, annotation)
        write_csv(folder / "masks.csv", clip, annotation)
        if prompts := _with_prompts(work):
            write_prompts(folder / "prompts.json", prompts)
        names = sorted(each.name for each in folder.iterdir())
    return [out / name for name in names]


def _with_prompts(work: AcceptedWork) -> list[SegmentPrompts]:
    """A prompt file holds no segments without prompts."""
    return [each for each in work.prompts() if any(not p.is_empty for p in each.frames.values())]


def run_remove(args: argparse.Namespace) -> int:
    for path in [find_journal(each, args.folder) for each in args.journal]:
        remove_journal(path)
        print(f"removed {path}")
    return 0


def find_journal(name: str, folder: Path | None) -> Path:
    """A journal by its path, or by its name in the folder, with or without the suffix. Where there
    is none, the path that was looked for last."""
    folder = folder or journals_folder()
    for path in (Path(name), folder / name):
        if path.is_file():
            return path
    return folder / f"{name.removesuffix(SUFFIX)}{SUFFIX}"


def _shortened(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
