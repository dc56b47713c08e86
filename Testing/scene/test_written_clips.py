"""Clips that SAMUSA writes are opened by Slicer's own readers."""

import numpy as np
import pytest

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.io.write_clip import write_clip


@pytest.mark.parametrize("shape", [(5, 24, 32), (5, 24, 32, 3)])
def test_a_cine_is_a_sequence_with_its_times(tmp_path, shape):
    slicer = pytest.importorskip("slicer", reason="needs slicer-core (3D Slicer's libraries)")
    from vtk.util.numpy_support import vtk_to_numpy

    frames = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    geometry = Geometry.for_cine(*shape[:3], np.diag([-0.3, -0.2, 1, 1]))
    path = tmp_path / "cine.seq.nrrd"
    write_clip(path, Clip(frames, geometry, name="cine", times=np.arange(5) * 0.04))
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    sequence = logic.AddSequence(str(path))
    assert sequence is not None and sequence.GetNumberOfDataNodes() == 5
    assert sequence.GetIndexName() == "time" and sequence.GetIndexUnit() == "s"
    assert [float(sequence.GetNthIndexValue(n)) for n in range(3)] == [0, 0.04, 0.08]
    volume = sequence.GetNthDataNode(3)
    assert volume.IsA("vtkMRMLVectorVolumeNode") == (len(shape) == 4)
    assert np.allclose(volume.GetSpacing()[:2], (0.3, 0.2))
    scalars = vtk_to_numpy(volume.GetImageData().GetPointData().GetScalars())
    assert np.array_equal(scalars.reshape(frames[3].shape), frames[3])
