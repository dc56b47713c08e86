"""Which images belong together, and which of them are kept for validation."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import InvalidValue
from ..io.frames import clip_name

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val"}
_SPLITS |= {"validation": "val", "test": "test", "testing": "test"}
_WORD = re.compile(r"(?<![a-z])(" + "|".join(_SPLITS) + r")(?![a-z])")


@dataclass(frozen=True)
class SplitRule:
    """How imported files get group and split.

    group_by: "file" (each by itself), "folder" (the folder it lies in) or a regular expression
    that finds patient or sweep in its path; its first bracket, if it has one, is the group.
    split_by: "group" (a share of the groups goes to val, chosen by their names, so the same in
    every run) or "folder" (a part of the path says train, val or test). val: that share.
    """

    group_by: str = "file"
    split_by: str = "group"
    val: float = 0.2

    def __post_init__(self):
        if self.split_by not in ("group", "folder"):
            raise InvalidValue(f"split-by is {self.split_by!r}; it must be group or folder")
        if not 0 <= self.val < 1:
            raise InvalidValue(f"val is {self.val!r}; a share from 0 to below 1 is needed")
        try:
            re.compile(self.group_by)
        except re.error as error:
            raise InvalidValue(
                f"group-by is {self.group_by!r}, which is no regular expression: {error}"
            ) from None

    def assign(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        """(split, group) of each path (with forward slashes).

        Raises InvalidValue if a path tells no group or split, or a group would lie in two splits.
        """
        groups = [self._group(path) for path in paths]
        if self.split_by == "folder":
            splits = [_split_in(path) for path in paths]
            found: dict[str, str] = {}
            for group, split in zip(groups, splits, strict=True):
                if found.setdefault(group, split) != split:
                    raise InvalidValue(
                        f"group {group} lies in {found[group]} and {split}; "
                        "choose another group-by, or split by group"
                    )
            return list(zip(splits, groups, strict=True))
        names = sorted(set(groups), key=lambda name: (zlib.crc32(name.encode()), name))
        count = round(self.val * len(names))
        if self.val > 0 and len(names) > 1:
            count = min(max(count, 1), len(names) - 1)
        val = set(names[:count])
        return [("val" if group in val else "train", group) for group in groups]

    def _group(self, path: str) -> str:
        if self.group_by == "file":
            return str(PurePosixPath(path).parent / clip_name(PurePosixPath(path)))
        if self.group_by == "folder":
            return str(PurePosixPath(path).parent)
        match = re.search(self.group_by, path)
        if match is None:
            raise InvalidValue(f"group-by {self.group_by!r} finds nothing in {path}")
        group = match.group(1) if match.re.groups else match.group(0)
        if not group:
            raise InvalidValue(f"group-by {self.group_by!r} finds an empty group in {path}")
        return group


def _split_in(path: str) -> str:
    """The split that the nearest part of a path names."""
    for part in reversed(PurePosixPath(path).parts):
        if found := _WORD.search(part.lower()):
            return _SPLITS[found.group(1)]
    raise InvalidValue(f"no part of {path} is named train, val or test; split by group instead")
