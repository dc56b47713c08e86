"""The names that the real application shows to Python (slicer_api.json.gz beside this package)."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE_FILE = Path(__file__).resolve().parent.parent / "slicer_api.json.gz"


@dataclass(frozen=True)
class Entry:
    """One class of the application: label is 'qt.QSpinBox', signals are full signatures."""

    label: str
    members: frozenset[str]
    properties: tuple[str, ...]
    signals: frozenset[str]

    @property
    def class_name(self) -> str:
        return self.label.split(".")[-1]

    def has_signal(self, signature: str) -> bool:
        return signature in self.signals


@cache
def _table() -> dict:
    with gzip.open(TABLE_FILE, "rt") as file:
        return json.load(file)


def whole(name: str):
    """A list or module of the table that is not a class: 'slicer.util', 'about', ..."""
    return _table()[name]


def names(module: str) -> frozenset[str]:
    return frozenset(_table()[module])


@cache
def entry(label: str) -> Entry | None:
    """The class 'qt.QSpinBox', or None where the table has no such class."""
    module, _, name = label.rpartition(".")
    found = _table()[label] if label == "slicer.app" else _table().get(module, {}).get(name)
    if found is None or "members" not in found:
        return None
    # Protected slots are no members, but Qt calls them, and PySide6 looks for overrides by name.
    slots = (slot.split("(")[0] for slot in found.get("slots", ()))
    members = {member for member in (*found["members"], *slots) if not member.startswith("_")}
    return Entry(
        label,
        frozenset(members),
        tuple(found.get("properties", ())),
        frozenset(signal.replace(" ", "") for signal in found.get("signals", ())),
    )


def refusal(module: str, name: str) -> str:
    """Why module.name cannot be had."""
    if name in _table()["unlisted"].get(module, ()):
        return (
            f"{module}.{name} is not among the host's classes: "
            "add it to Testing/gui/classes.txt and run make_table.py"
        )
    if name in names(module):
        return f"the stand-in host does not provide {module}.{name} (the application does)"
    return f"the application has no {module}.{name}"
