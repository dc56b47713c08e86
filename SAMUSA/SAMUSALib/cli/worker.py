"""`samusa worker`: the process that owns the model, for Slicer and other clients."""

from __future__ import annotations

import argparse
import sys

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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Does not return: the worker ends the process."""
    from ..worker.server import serve

    for option, value in (("--cache-mb", args.cache_mb), ("--clips-mb", args.clips_mb)):
        if value < 1:
            raise InvalidValue(f"{option} is {value}; at least 1 is needed")
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "samusa worker: waiting for a client's messages on standard input; this command is "
            "started by programs, such as Slicer (Ctrl-D ends it)",
            file=sys.stderr,
        )
    serve(args.cache_mb * 2**20, args.clips_mb * 2**20)
