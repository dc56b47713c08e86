"""Loading and saving through Slicer's own logics and storage nodes: slicer.app.coreIOManager()."""

from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore

from . import shape

# Longest ending first, as the application's readers compete.
_TYPES = (
    (".seg.nrrd", "SegmentationFile"),
    (".seg.nhdr", "SegmentationFile"),
    (".seq.nrrd", "SequenceFile"),
    (".seq.nhdr", "SequenceFile"),
    (".mrk.json", "MarkupsFile"),
    (".nii.gz", "VolumeFile"),
    (".nrrd", "VolumeFile"),
    (".nhdr", "VolumeFile"),
    (".nii", "VolumeFile"),
    (".mha", "VolumeFile"),
    (".mhd", "VolumeFile"),
    (".mrml", "SceneFile"),
    (".mrb", "SceneFile"),
    (".fcsv", "MarkupsFile"),
)


@shape.stands_for("slicer.qSlicerCoreIOManager")
class qSlicerCoreIOManager(QtCore.QObject):
    """Volumes, segmentations, sequences, markups and scenes; other types are errors."""

    def fileType(self, path: str) -> str:
        name = str(path).lower()
        return next((kind for ending, kind in _TYPES if name.endswith(ending)), "NoFile")

    def fileWriterFileType(self, node, path: str = "") -> str:
        kinds = (
            ("vtkMRMLSegmentationNode", "SegmentationFile"),
            ("vtkMRMLSequenceNode", "SequenceFile"),
            ("vtkMRMLMarkupsNode", "MarkupsFile"),
            ("vtkMRMLVolumeNode", "VolumeFile"),
        )
        return next((kind for name, kind in kinds if node.IsA(name)), "NoFile")

    def loadNodes(self, kind: str, properties: dict, loaded=None, messages=None) -> bool:
        path = str(properties["fileName"])
        if not Path(path).is_file():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"{path}: no such file")
            return False
        if kind == "SceneFile":
            return self._load_scene(path, clear=bool(properties.get("clear", False)))
        node = self._load_node(kind, path, properties)
        if node is None:
            return False
        if "name" in properties:
            node.SetName(properties["name"])
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _load_node(self, kind: str, path: str, properties: dict):
        if kind == "VolumeFile":
            logic = slicer.vtkSlicerVolumesLogic()
            logic.SetMRMLScene(slicer.mrmlScene)
            name = properties.get("name") or Path(path).name.split(".")[0]
            labels = 1 if properties.get("labelmap") else 0
            return logic.AddArchetypeVolume(path, name, labels)
        if kind == "SegmentationFile":
            return slicer.modules.segmentations.logic().LoadSegmentationFromFile(path)
        if kind == "SequenceFile":
            return slicer.modules.sequences.logic().AddSequence(path)
        if kind == "MarkupsFile":
            node_id = slicer.modules.markups.logic().LoadMarkups(path)
            return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None
        raise NotImplementedError(f"{path}: the host does not load {kind}")

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def loadScene(self, path: str, clear: bool = True) -> bool:
        return self._load_scene(path, clear)

    def saveNodes(self, kind: str, properties: dict, messages=None) -> bool:
        path = str(properties["fileName"])
        scene = slicer.mrmlScene
        if kind == "SceneFile":
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path))
            scene.SetURL(path)
            return bool(scene.Commit())
        node = scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def saveScene(self, path: str, *_) -> bool:
        return self.saveNodes("SceneFile", {"fileName": path})
