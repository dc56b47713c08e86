"""What the Segment Editor's masking section allows, applied to one frame.

The same rules as vtkSlicerSegmentEditorLogic::ModifySegmentByLabelmap in its mode "set"
(Slicer 5.10 to 5.13), which works on whole volumes and only on the segmentation that is open in
the editor; propagation writes single frames of any item of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MASKS = ("everywhere", "inside all", "inside visible", "outside all", "outside visible", "inside")
OVERWRITES = ("all", "visible", "none")


@dataclass(frozen=True)
class EditRules:
    """mask: one of MASKS, in the order of vtkMRMLSegmentationNode's EditAllowed...; mask_segment:
    the segment of "inside". intensity: inclusive range of the source's own values, or None.
    overwrite: which other segments lose the pixels that a segment gets, one of OVERWRITES.
    """

    mask: str = "everywhere"
    mask_segment: str = ""
    intensity: tuple[float, float] | None = None
    overwrite: str = "none"

    @classmethod
    def of_editor(cls, editor) -> EditRules:
        """The rules that a vtkMRMLSegmentEditorNode is set to."""
        intensity = None
        if editor.GetSourceVolumeIntensityMask():
            low, high = editor.GetSourceVolumeIntensityMaskRange()
            intensity = (float(low), float(high))
        return cls(
            MASKS[editor.GetMaskMode()],
            editor.GetMaskSegmentID() or "",
            intensity,
            OVERWRITES[editor.GetOverwriteMode()],
        )

    @property
    def are_plain(self) -> bool:
        """Whether a mask is written as it is, beside whatever else is there."""
        return self.mask == "everywhere" and self.intensity is None and self.overwrite == "none"

    def outcome(
        self,
        segment: str,
        mask: np.ndarray,
        masks: Mapping[str, np.ndarray],
        visible: frozenset[str],
        values: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        """The masks of all segments that change when `segment` is to have `mask` on a frame.

        mask: (H, W) bool; masks: those of all segments now; visible: segments that are shown;
        values: the frame's own values (H, W), needed for `intensity`.
        """
        before = masks[segment]
        allowed = self._allowed(segment, masks, visible)
        if self.intensity is not None:
            low, high = self.intensity
            allowed &= (values >= low) & (values <= high)
        after = np.where(allowed, mask, before)
        changed = {segment: after}
        for other, theirs in masks.items():
            loses = self.overwrite == "all" or (self.overwrite == "visible" and other in visible)
            if other != segment and loses and (theirs & after).any():
                changed[other] = theirs & ~after
        return changed

    def _allowed(self, segment, masks, visible) -> np.ndarray:
        """(H, W) bool: where the segment may be changed."""
        if self.mask == "everywhere":
            return np.ones(masks[segment].shape, dtype=bool)
        names = [name for name in masks if not self.mask.endswith("visible") or name in visible]
        if self.mask == "inside":
            names = [name for name in masks if name == self.mask_segment]
        inside = self.mask.startswith("inside")
        covered = np.zeros(masks[segment].shape, dtype=bool)
        for name in names:
            if inside or name != segment:
                covered |= masks[name]
        return covered if inside else ~covered
