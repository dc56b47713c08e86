"""Cut the table of names that the stand-in host obeys out of a full listing of the application.

python Testing/gui/make_table.py FULL.json.gz [--list classes.txt] [--out slicer_api.json.gz]

The full listing is what dir() and the Qt meta objects show inside a running 3D Slicer. classes.txt
names the classes that the project uses, one per line as module.Class; whole lists (slicer.util,
slicer.modules) are kept as they are.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = ("qt", "ctk", "slicer")


def read_list(path: Path) -> list[tuple[str, str]]:
    """The (module, class) pairs of a list; '#' starts a comment."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [tuple(line.split(".", 1)) for line in lines if line]


def cut(full: dict, wanted: list[tuple[str, str]]) -> dict:
    """The part of a full listing that the wanted classes need; a name it lacks is an error."""
    missing = [f"{m}.{name}" for m, name in wanted if name not in full.get(m, {})]
    if missing:
        raise SystemExit(f"not in the application: {', '.join(missing)}")
    table = {key: value for key, value in full.items() if key not in MODULES}
    for module in MODULES:
        table[module] = {
            name: entry
            for name, entry in full[module].items()
            if (module, name) in wanted or "members" not in entry
        }
    # What the application has but the host does not list: refused with another message.
    table["unlisted"] = {
        module: sorted(set(full[module]) - set(table[module])) for module in MODULES
    }
    return table


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("full", type=Path)
    parser.add_argument("--list", type=Path, default=HERE / "classes.txt")
    parser.add_argument("--out", type=Path, default=HERE / "slicer_api.json.gz")
    options = parser.parse_args(arguments)
    with gzip.open(options.full, "rt") as file:
        full = json.load(file)
    table = cut(full, read_list(options.list))
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    # No time stamp and no name inside: the same input gives the same file.
    options.out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    classes = sum(len(table[module]) for module in MODULES)
    print(f"{options.out}: {classes} names, {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
