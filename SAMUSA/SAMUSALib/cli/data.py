"""`samusa data`: check a set, import one from other formats."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CannotWrite, InvalidValue
from .common import check_output_folder, progress_bar


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "data",
        parents=[common],
        help="check a labelled set, or import one",
        description="Check labelled sets (folders with a manifest.json), and make them from COCO "
        "files, pairs of folders, volumes and Slicer scenes.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        parents=[common],
        help="find what is wrong with a set",
        description="Reads everything that a set lists and goes on after each problem. Exit status "
        "1 if something is wrong.",
    )
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument(
        "--report", type=Path, metavar="FILE.html", help="a page with pictures and their outlines"
    )
    check.set_defaults(run=run_check)
    importer = actions.add_parser("import", parents=[common], help="make a set from other files")
    sources = importer.add_subparsers(
        title="formats", dest="format", metavar="FORMAT", required=True
    )
    for add in (_add_coco, _add_folders, _add_volumes, _add_slicer):
        add(sources, common)


def _importer(sources, common, name: str, text: str, description: str) -> argparse.ArgumentParser:
    parser = sources.add_parser(name, parents=[common], help=text, description=description)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--name", help="name of the set (default: that of the folder)")
    parser.add_argument("--licence", default="", help="under which the images may be used")
    parser.add_argument("--source", default="", help="who made them, with a DOI")
    parser.add_argument(
        "--labels",
        default="",
        metavar="1=NAME,2=NAME",
        help="what the labels mean, where the files do not say it",
    )
    parser.add_argument(
        "--group-by",
        default="file",
        metavar="file|folder|REGEX",
        help="patient or sweep, which is never split: each file by itself (default), its folder, "
        "or what the regular expression finds in its path (its first bracket)",
    )
    parser.add_argument(
        "--split-by",
        choices=("group", "folder"),
        default="group",
        help="a share of the groups (default), or a part of the path named train, val or test",
    )
    parser.add_argument(
        "--val", type=float, default=0.2, metavar="SHARE", help="of the groups (default: 0.2)"
    )
    return parser


def _add_coco(sources, common) -> None:
    parser = _importer(
        sources, common, "coco", "COCO JSON with instance masks",
        "Polygons and run lengths of COCO JSON files become label images.",
    )  # fmt: skip
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="of the images (default: the file's folder)"
    )
    parser.add_argument(
        "--keep-crowd", action="store_true", help="also masks that are marked as crowds"
    )
    parser.set_defaults(run=run_coco)


def _add_folders(sources, common) -> None:
    parser = _importer(
        sources, common, "folders", "images and masks of the same names",
        "A mask has its image's name, maybe with a suffix. Label images, or 0 and 255.",
    )  # fmt: skip
    parser.add_argument("images", type=Path, metavar="IMAGES")
    parser.add_argument("masks", type=Path, metavar="MASKS", help="may be the same folder")
    parser.add_argument("--suffix", default="", help="what names of masks end in, such as _mask")
    parser.add_argument(
        "--threshold", type=int, metavar="GREY", help="masks are drawings: label 1 where brighter"
    )
    parser.set_defaults(run=run_folders)


def _add_volumes(sources, common) -> None:
    parser = _importer(
        sources, common, "volumes", "NRRD, MetaImage or NIfTI with labels",
        "Volumes or sequences and their label volumes or segmentations become clips.",
    )  # fmt: skip
    parser.add_argument("volumes", type=Path, metavar="VOLUMES", help="a file or a folder")
    parser.add_argument("masks", type=Path, metavar="LABELS", help="a file or a folder")
    parser.add_argument("--suffix", default="", help="what names of labels end in, such as _seg")
    parser.add_argument("--axis", choices=("i", "j", "k"), help="to cut along (default: the last)")
    parser.add_argument(
        "--channel", type=int, metavar="N", help="of 4D label files: which volume, from 0"
    )
    parser.set_defaults(run=run_volumes)


def _add_slicer(sources, common) -> None:
    parser = _importer(
        sources, common, "slicer", "scenes of 3D Slicer",
        "Scenes (.mrb, .mrml), or pairs of a volume or sequence and its segmentation.",
    )  # fmt: skip
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.set_defaults(run=run_slicer)


def run_check(args: argparse.Namespace) -> int:
    """1 if something is wrong, else 0."""
    from ..datasets.check import check_set

    if args.report is not None:
        if args.report.suffix.lower() not in (".html", ".htm"):
            raise InvalidValue(f"--report is {args.report.name}; it must end in .html")
        check_output_folder(args.report.parent)
        if args.report.is_dir():
            raise CannotWrite(f"{args.report} is a folder; a file name is needed")
        from ..evaluation.set_report import Gallery

        gallery = Gallery()
    with _bar("checking") as advance:
        if args.report is None:
            check = check_set(args.folder, progress=advance)
        else:
            check = check_set(args.folder, gallery.add, advance)
    for finding in check.findings:
        kind = "WRONG" if finding.wrong else "note "
        print(f"{kind}  {finding.item or args.folder}: {finding.text}")
    if check.findings:
        print()
    print_table(check)
    if args.report is not None:
        gallery.write(args.report, check)
        print(f"wrote {args.report}")
    count = len(check.wrong)
    said = f"{count} thing{'s are' if count > 1 else ' is'} wrong" if count else "nothing is wrong"
    print(f"{check.items} items, {said}")
    return 1 if count else 0


def print_table(check) -> None:
    """One line a split and label."""
    rows = [("split", "label", "images", "clips", "structures", "median px")]
    for count in check.table:
        median = f"{statistics.median(count.areas):.0f}" if count.areas else "-"
        numbers = (count.images, count.clips, len(count.areas), median)
        rows.append((count.split, f"{count.label} {count.name}".strip(), *map(str, numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
        right = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        print("  ".join(left + right))


def run_coco(args: argparse.Namespace) -> int:
    """Write the set, say what was left out."""
    from ..datasets.import_coco import import_coco

    with _bar("importing") as advance:
        notes = import_coco(
            args.files, args.out, _about(args), _rule(args), args.images, args.keep_crowd, advance
        )
    return _imported(args, notes)


def run_folders(args: argparse.Namespace) -> int:
    """Write the set, say what was left out."""
    from ..datasets.import_folders import import_folders

    with _bar("importing") as advance:
        notes = import_folders(
            args.images, args.masks, args.out, _about(args), _rule(args), args.suffix,
            args.threshold, advance,
        )  # fmt: skip
    return _imported(args, notes)


def run_volumes(args: argparse.Namespace) -> int:
    """Write the set, say what was left out."""
    from ..datasets.import_volumes import import_volumes

    with _bar("importing") as advance:
        notes = import_volumes(
            args.volumes, args.masks, args.out, _about(args), _rule(args), args.suffix,
            args.axis, args.channel, advance,
        )  # fmt: skip
    return _imported(args, notes)


def run_slicer(args: argparse.Namespace) -> int:
    """Write the set, say what was left out."""
    from ..datasets.import_slicer import import_slicer

    with _bar("importing") as advance:
        notes = import_slicer(args.files, args.out, _about(args), _rule(args), advance)
    return _imported(args, notes)


@contextmanager
def _bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar whose length is known at the first step: (done, total) to it."""
    with progress_bar(None, text, "item") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def _about(args: argparse.Namespace):
    from ..datasets.write_set import About

    labels = {}
    for entry in filter(None, args.labels.split(",")):
        value, equals, name = entry.partition("=")
        if not equals or not value.strip().isdigit() or not name.strip() or int(value) < 1:
            raise InvalidValue(f"--labels is {args.labels!r}; write it as 1=nerve,2=vessel")
        if name.strip() in labels.values() or int(value) in labels:
            raise InvalidValue(f"--labels is {args.labels!r}; each number and name once")
        labels[int(value)] = name.strip()
    return About(args.name or args.out.resolve().name, args.licence, args.source, labels)


def _rule(args: argparse.Namespace):
    from ..datasets.splits import SplitRule

    return SplitRule(args.group_by, args.split_by, args.val)


def _imported(args: argparse.Namespace, notes: list[str]) -> int:
    from ..datasets.manifest import read_manifest

    items = read_manifest(args.out)
    for note in notes:
        print(f"samusa: {note}", file=sys.stderr)
    splits = sorted({item.split for item in items})
    said = ", ".join(f"{sum(item.split == split for item in items)} {split}" for split in splits)
    groups = len({item.group for item in items})
    print(f"wrote {args.out}: {len(items)} items ({said}) in {groups} groups")
    return 0
