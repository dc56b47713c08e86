"""What a 3D Slicer scene holds, read from its files without Slicer.

A scene is an XML file (.mrml) beside its data, or both in a zip (.mrb). A node names the nodes
that it refers to in its `references` attribute ("role:id id;role:id;"), its storage node the file.
Sequences of volumes are image sequences (.seq.nrrd); sequences of anything else, such as
segmentations, are scenes of their own (.seq.mrb), in which a node with the singleton tag
"SequenceIndex" lists the items ("id:value;id:value"); see vtkMRMLSequenceStorageNode.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from ..errors import UnreadableFile


@dataclass(frozen=True)
class Node:
    """kind: the XML tag, such as "Volume". references: role -> ids."""

    kind: str
    id: str
    name: str
    fields: dict[str, str]
    references: dict[str, list[str]]

    @property
    def items(self) -> list[tuple[str, str]]:
        """Of a sequence: (index value, node id) in order."""
        pairs = (entry.partition(":") for entry in self.fields.get("indexValues", "").split(";"))
        return [(value, node) for node, colon, value in pairs if colon]

    @property
    def item_class(self) -> str:
        """Of a sequence: the class of its items, by their ids."""
        return re.sub(r"\d+$", "", self.items[0][1]) if self.items else ""

    @property
    def transform(self) -> list[str]:
        return self.references.get("transform", [])


@dataclass(frozen=True)
class Scene:
    """The nodes of a scene by id, in the order of the file, and the folder of its data."""

    path: Path
    folder: Path
    nodes: dict[str, Node]

    def of_kind(self, *kinds: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.kind in kinds]

    def file_of(self, node: Node) -> Path:
        """The file that a node is stored in. Raises UnreadableFile if it has none or it is not
        there."""
        stored = node.references.get("storage", [])
        storage = self.nodes.get(stored[0]) if stored else None
        name = storage.fields.get("fileName") if storage else None
        if not name:
            raise UnreadableFile(
                f"{self.path}: {node.name!r} is stored in no file; save the scene with all its data"
            )
        for written in (unquote(name), name):  # old scenes did not encode
            if (path := self.folder / written).is_file():
                return path
        raise UnreadableFile(
            f"{self.path}: the file {unquote(name)} of {node.name!r} is not there; "
            "save the scene as one file (.mrb)"
        )


@contextmanager
def open_scene(path: Path) -> Iterator[Scene]:
    """The scene in a .mrml or .mrb file; what a .mrb holds is unpacked as long as the block runs.

    Raises UnreadableFile.
    """
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist; check the name")
    if path.suffix.lower() == ".mrml":
        yield _parse(path, path)
        return
    with tempfile.TemporaryDirectory(prefix="samusa-scene-") as folder:
        try:
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise UnreadableFile(
                f"{path} is no whole .mrb file ({error}); save the scene again"
            ) from None
        scenes = sorted(Path(folder).rglob("*.mrml"), key=lambda file: len(file.parts))
        if not scenes:
            raise UnreadableFile(f"{path} holds no scene (.mrml)")
        yield _parse(scenes[0], path)


def _parse(file: Path, named: Path) -> Scene:
    """named: the path that error messages show."""
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{named} is not a whole scene: {error}; save it again") from None
    if root.tag != "MRML":
        raise UnreadableFile(f"{named} is not a scene of 3D Slicer")
    nodes = {}
    for element in root:
        fields = dict(element.attrib)
        references = {}
        for entry in fields.get("references", "").split(";"):
            role, colon, ids = entry.strip().partition(":")
            if colon:
                references[role] = ids.split()
        for old, role in (("storageNodeRef", "storage"), ("transformNodeRef", "transform")):
            if fields.get(old):
                references.setdefault(role, fields[old].split())
        if "id" in fields:
            name = fields.get("name", fields["id"])
            nodes[fields["id"]] = Node(element.tag, fields["id"], name, fields, references)
    return Scene(named, file.parent, nodes)
