"""Images and what goes with them in the scene: their segmentation, the slice views."""

from __future__ import annotations

from ..scene import mrml
from ..scene.clip_source import ClipSource, nodes_of_class, sequence_of
from ..scene.points import slice_axis
from ..scene.state import annotated_last

PARALLEL_DEGREES = 15.0  # a slice view turned by more shows no slice of the clip


def images_in_view(scene) -> list:
    """The volume nodes that slice views show in the background, each once."""
    views = nodes_of_class(scene, "vtkMRMLSliceCompositeNode")
    found = (scene.GetNodeByID(view.GetBackgroundVolumeID() or "") for view in views)
    return list(dict.fromkeys(volume for volume in found if volume is not None))


def segmentation_for(volume, selected=None) -> tuple:
    """(segmentation node, voxel axis) that go with a volume node: what was annotated last on it,
    else a segmentation of the same browser or on the same voxels, else `selected` where it is of
    no other images. None for what nobody has said.
    """
    browser, clip = sequence_of(volume) or (None, volume)
    stored, axis = annotated_last(clip)
    shown = browser.GetProxyNode(stored) if browser is not None and stored is not None else stored
    if shown is not None:
        return shown, axis
    segmentations = nodes_of_class(volume.GetScene(), "vtkMRMLSegmentationNode")
    for node in segmentations:
        if images_of(node) is (browser or volume):
            return node, None
    if selected is not None and images_of(selected) is None:
        return selected, None
    return None, None


def images_of(segmentation):
    """What a segmentation was made for: the browser that shows a sequence through it, or a volume
    node; None where it can be of any images."""
    shown = sequence_of(segmentation)
    if shown is not None:
        return shown[0]
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def views_along(source: ClipSource) -> list:
    """The slice nodes that look along a clip's axis, so that they show its frames."""
    found = []
    for view in nodes_of_class(source.node.GetScene(), "vtkMRMLSliceNode"):
        axis, degrees = slice_axis(source.shown_volume, mrml.to_array(view.GetSliceToRAS()))
        if axis == source.axis and degrees <= PARALLEL_DEGREES:
            found.append(view)
    return found


def slice_widgets() -> list:
    """The qMRMLSliceWidgets of the layout; none without a main window."""
    import slicer

    layout = slicer.app.layoutManager()
    found = map(layout.sliceWidget, layout.sliceViewNames()) if layout else ()
    return [widget for widget in found if widget is not None]
