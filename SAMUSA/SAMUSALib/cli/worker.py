"""`samusa worker`: the process that owns the model, for Slicer and other clients."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import InvalidValue


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "worker",
        parents=[common],
        help="serve Slicer or another program (started by it, not by hand)",
        description="Owns the model and computes for the program that started it, which speaks to "
        "it on its standard input and output (docs/protocol.md). It opens no port; on another "
        "computer it is started as `ssh HOST samusa worker`.",
    )
    parser.add_argument(
        "--cache-mb",
        type=int,
        default=512,
        metavar="MB",
        help="memory for image embeddings (default: 512)",
    )
    parser.add_argument(
        "--clips-mb",
        type=int,
        default=4096,
        metavar="MB",
        help="memory for clips that come over the line; those in shared memory take none here "
        "(default: 4096)",
    )
    parser.add_argument(
        "--cache-folder",
        type=Path,
        metavar="DIR",
        help="keep embeddings that do not fit into memory there, until the worker ends",
    )
    parser.add_argument(
        "--cache-folder-mb",
        type=int,
        default=4096,
        metavar="MB",
        help="at most so much of it (default: 4096)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Does not return: the worker ends the process."""
    from ..worker.server import serve

    sizes = (args.cache_mb, args.clips_mb, args.cache_folder_mb)
    options = ("--cache-mb", "--clips-mb", "--cache-folder-mb")
    for option, value in zip(options, sizes, strict=True):
        if value < 1:
            raise InvalidValue(f"{option} is {value}; at least 1 is needed")
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "samusa worker: waiting for a client's messages on standard input; this command is "
            "started by programs, such as Slicer (Ctrl-D ends it)",
            file=sys.stderr,
        )
    cache_bytes, clip_bytes, disk_bytes = (size * 2**20 for size in sizes)
    serve(cache_bytes, clip_bytes, args.cache_folder, disk_bytes)
