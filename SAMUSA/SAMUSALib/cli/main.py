"""The `samusa` command: finds the sub-command, runs it, and turns errors into one line.

Exit status: 0 done, 1 the command found something wrong (or a bug), 2 refused, 130 Ctrl-C.
The commands import torch and the like only when they run, so `samusa --help` is instant.
"""

from __future__ import annotations

import argparse
import errno
import sys
import warnings

from .. import __version__
from ..errors import SamusaError
from . import annotate, data, demo, doctor, evaluate, models, phantom, recover, train, worker

COMMANDS = (annotate, models, evaluate, train, data, phantom, demo, recover, worker, doctor)

DESCRIPTION = "Annotate ultrasound with a few clicks on the boundary and a temporal window."
EXAMPLES = """examples:
  samusa demo                              the whole job on a simulated cine
  samusa annotate clip.nrrd --prompts clicks.json --out clip.seg.nrrd --report report
  samusa models list
  samusa doctor                            is everything here that is needed?
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. `--debug` may stand before or after the sub-command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the full traceback of an error",
    )
    parser = argparse.ArgumentParser(
        prog="samusa",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"samusa {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands, common)
    return parser


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status and never raises (with --debug it does)."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what is wrong, or printed the help
        return int(stop.code or 0)
    if args.command is None:
        parser.print_help()
        return 0
    debug = getattr(args, "debug", False)
    if not debug:
        warnings.filterwarnings("ignore")
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        if debug:
            raise
        print("samusa: stopped", file=sys.stderr)
        return 130
    except SamusaError as error:
        if debug:
            raise
        print(f"samusa: {_one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `samusa … | head`
        sys.stderr.close()
        return 1
    except OSError as error:
        if debug:
            raise
        where = f": {error.filename}" if error.filename else ""
        if error.errno == errno.ENOSPC:
            print(f"samusa: the disk is full{where}", file=sys.stderr)
        else:
            print(f"samusa: {error.strerror or _one_line(error)}{where}", file=sys.stderr)
        return 2
    except ImportError as error:
        if debug:
            raise
        print(f"samusa: {_one_line(error)}; `samusa doctor` lists what is missing", file=sys.stderr)
        return 2
    except MemoryError:
        if debug:
            raise
        print("samusa: not enough memory; try a shorter clip or a smaller model", file=sys.stderr)
        return 2
    except Exception as error:
        if debug:
            raise
        print(
            f"samusa: unexpected error, {type(error).__name__}: {_one_line(error)[:300]}"
            " (run again with --debug to see where)",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
