"""Every format is read as what it is: pixels, colour, geometry, times; damaged files are refused.

The files are made with the formats' own libraries.
"""

import gzip
import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.errors import InvalidValue, UnreadableFile
from SAMUSALib.io.read_clip import read_clip

RNG = np.random.default_rng(7)


def noise(*shape) -> np.ndarray:
    """Grey pixels that no resampling or wrong axis order survives."""
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def smooth(*shape) -> np.ndarray:
    """Grey frames that lossy compression keeps close to what they were."""
    t, h, w = shape
    y, x = np.mgrid[:h, :w]
    return np.stack([(x * 3 + y * 2 + 10 * n) % 200 for n in range(t)]).astype(np.uint8)


def grey_rgb(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[..., None], 3, axis=-1)


# --- NRRD ---------------------------------------------------------------------------------------


def write_nrrd(path, array, **header):
    nrrd = pytest.importorskip("nrrd")
    nrrd.write(str(path), array, {name.replace("_", " "): v for name, v in header.items()})
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LPS", (-1, -1, 1)),
        ("RAS", (1, 1, 1)),
    ],
)
def test_nrrd_volume_keeps_voxels_and_place(tmp_path, space, signs):
    voxels = noise(5, 6, 7)
    directions = np.array([[0.0, 0.3, 0.1], [0.5, 0, 0], [0, 0.2, -0.9]])
    path = write_nrrd(
        tmp_path / "a.nrrd",
        voxels,
        space=space,
        space_directions=directions,
        space_origin=[1.0, 2, 3],
        kinds=["domain"] * 3,
    )
    clip = read_clip(path)
    assert clip.geometry.kind == "volume" and clip.geometry.calibrated and clip.name == "a"
    assert np.array_equal(clip.geometry.to_source(clip.frames), voxels)
    assert np.allclose(clip.geometry.ijk_to_ras[:3, :3], np.diag(signs) @ directions.T)
    assert np.allclose(clip.geometry.ijk_to_ras[:3, 3], np.multiply(signs, [1, 2, 3]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_is_cut_along_the_chosen_axis(tmp_path, axis):
    voxels = noise(5, 6, 7)
    clip = read_clip(write_nrrd(tmp_path / "a.nrrd", voxels, spacings=[0.1, 0.2, 0.4]), axis=axis)
    assert clip.geometry.axis == axis and len(clip) == voxels.shape[axis]
    assert np.array_equal(clip.geometry.to_source(clip.frames), voxels)


@pytest.mark.parametrize("shape", [(5, 6, 1), (5, 1, 7), (1, 6, 7)])
def test_a_single_slice_is_the_frame(tmp_path, shape):
    voxels = noise(*shape)
    clip = read_clip(write_nrrd(tmp_path / "a.nrrd", voxels, spacings=[0.1, 0.2, 0.4]))
    assert len(clip) == 1 and clip.geometry.axis == shape.index(1)
    assert np.array_equal(clip.geometry.to_source(clip.frames), voxels)


def test_nrrd_without_space_has_its_spacings_only(tmp_path):
    clip = read_clip(write_nrrd(tmp_path / "a.nrrd", noise(4, 5, 6), spacings=[0.1, 0.2, 0.4]))
    assert np.allclose(clip.geometry.ijk_to_ras, np.diag([-0.1, -0.2, 0.4, 1]))
    assert clip.geometry.calibrated
    assert not read_clip(write_nrrd(tmp_path / "b.nrrd", noise(4, 5, 6))).geometry.calibrated


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "text"])
def test_nrrd_of_16_bit_in_any_encoding_becomes_8_bit_by_a_stated_rule(tmp_path, encoding):
    voxels = RNG.integers(-1000, 3000, (5, 6, 7)).astype(np.int16)
    clip = read_clip(write_nrrd(tmp_path / "a.nrrd", voxels, encoding=encoding))
    assert clip.frames.dtype == np.uint8 and "percentiles" in clip.intensity_rule
    shown = read_clip(tmp_path / "a.nrrd", window=(0, 1000))
    assert "window" in shown.intensity_rule
    assert (shown.geometry.to_source(shown.frames)[voxels <= 0] == 0).all()


def test_nrrd_with_a_detached_header(tmp_path):
    voxels = noise(5, 6, 7)
    path = write_nrrd(tmp_path / "a.nhdr", voxels, spacings=[1.0, 1, 1])
    assert np.array_equal(read_clip(path).frames, voxels.transpose(2, 1, 0))
    next(tmp_path.glob("a.raw*")).unlink()
    with pytest.raises(UnreadableFile, match="copy both"):
        read_clip(path)


@pytest.mark.parametrize("place", ["LIST\na.raw\nb.raw\n", "s%03d.raw 1 2 1\n\n"])
def test_nrrd_with_several_detached_files_is_refused(tmp_path, place):
    path = tmp_path / "a.nhdr"
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 10 10 2\nencoding: raw\n"
    path.write_text(f"{head}data file: {place}")
    with pytest.raises(UnreadableFile, match="several files; open it in Slicer"):
        read_clip(path)


def test_nrrd_image_of_two_axes_is_one_frame(tmp_path):
    pixels = noise(8, 5)
    path = write_nrrd(
        tmp_path / "a.nrrd",
        pixels,
        space="left-posterior-superior",
        space_directions=[[0.2, 0, 0], [0, 0.3, 0]],
        space_origin=[0.0, 0, 0],
    )
    clip = read_clip(path)
    assert clip.frames.shape == (1, 5, 8) and np.array_equal(clip.frames[0], pixels.T)
    assert clip.geometry.pixel_spacing == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize("first", [False, True])
def test_scalar_sequence_with_its_times(tmp_path, first):
    """The list axis is last in new files of Slicer, first in those of older versions."""
    frames = noise(6, 5, 8)  # t, y, x
    none, x, y, z = [np.nan] * 3, [0.2, 0, 0], [0, 0.3, 0], [0, 0, 1.0]
    array = frames.transpose(2, 1, 0)[:, :, None, :]
    directions, kinds = [x, y, z, none], ["domain"] * 3 + ["list"]
    units = ["", "", "", "s"]
    if first:
        array = np.moveaxis(array, 3, 0)
        directions, kinds, units = [none, x, y, z], ["list"] + ["domain"] * 3, ["s", "", "", ""]
    key = "axis 0 index values" if first else "axis 3 index values"
    path = write_nrrd(
        tmp_path / "cine.seq.nrrd",
        np.ascontiguousarray(array),
        kinds=kinds,
        space="left-posterior-superior",
        space_directions=np.array(directions),
        units=units,
        **{key: "2.0 2.04 2.08 2.12 2.16 2.2"},
    )
    clip = read_clip(path)
    assert clip.geometry.kind == "cine" and clip.name == "cine"
    assert np.array_equal(clip.frames, frames)
    assert np.allclose(clip.times, np.arange(6) * 0.04)
    assert clip.geometry.pixel_spacing == pytest.approx((0.2, 0.3)) and clip.geometry.calibrated


@pytest.mark.parametrize("grey", [False, True])
def test_rgb_sequence(tmp_path, grey):
    frames = grey_rgb(noise(4, 5, 8)) if grey else noise(4, 5, 8, 3)
    array = frames.transpose(3, 2, 1, 0)[:, :, :, None, :]
    path = write_nrrd(
        tmp_path / "a.seq.nrrd",
        np.ascontiguousarray(array),
        kinds=["vector", "domain", "domain", "domain", "list"],
    )
    clip = read_clip(path)
    expected = frames[..., 0] if grey else frames
    assert np.array_equal(clip.frames, expected) and clip.times is None


def test_sequence_of_images_with_two_axes_and_plus_timestamps(tmp_path):
    frames = noise(3, 5, 8)
    stamps = {f"Seq_Frame{t:04d}_Timestamp": str(100 + t / 8) for t in range(3)}
    path = write_nrrd(
        tmp_path / "a.igs.nrrd", frames.transpose(2, 1, 0), kinds=["domain", "domain", "list"]
    )
    content = path.read_bytes().split(b"\n\n", 1)
    lines = "".join(f"\n{key}:={value}" for key, value in stamps.items()).encode()
    path.write_bytes(content[0] + lines + b"\n\n" + content[1])
    clip = read_clip(path)
    assert np.array_equal(clip.frames, frames)
    assert np.allclose(clip.times, [0, 0.125, 0.25]) and not clip.geometry.calibrated


def test_rgba_volume_loses_its_alpha(tmp_path):
    voxels = noise(4, 5, 6, 7)
    path = write_nrrd(tmp_path / "a.nrrd", voxels, kinds=["RGBA-color"] + ["domain"] * 3)
    clip = read_clip(path)
    assert clip.frames.shape == (7, 6, 5, 3)
    assert np.array_equal(clip.geometry.to_source(clip.frames[..., 1]), voxels[1])


def test_a_sequence_of_volumes_is_refused(tmp_path):
    path = write_nrrd(tmp_path / "a.seq.nrrd", noise(4, 5, 6, 3), kinds=["domain"] * 3 + ["list"])
    with pytest.raises(UnreadableFile, match="choose one time point"):
        read_clip(path)


# --- MetaImage and NIfTI ------------------------------------------------------------------------


def itk_image(array, spacing=None, direction=None, origin=None, vector=False):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(array, isVector=vector)
    if spacing is not None:
        image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    if origin is not None:
        image.SetOrigin(origin)
    return image


def write_itk(path, image, compress=False):
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), compress)
    return path


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("compress", [False, True])
def test_volume_of_itk_formats(tmp_path, suffix, compress):
    array = noise(7, 6, 5)
    direction = [[0, 1, 0], [0, 0, -1], [1, 0, 0]]
    image = itk_image(array, (0.25, 0.5, 0.75), direction, (10, -20, 30))
    clip = read_clip(write_itk(tmp_path / f"a{suffix}", image, compress))
    assert clip.geometry.kind == "volume" and clip.name == "a"
    assert np.array_equal(clip.frames, array)
    expected = np.eye(4)
    expected[:3, :3] = np.array(direction) * [0.25, 0.5, 0.75]
    expected[:3, 3] = 10, -20, 30
    expected = np.diag([-1, -1, 1, 1]) @ expected
    assert np.allclose(clip.geometry.ijk_to_ras, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
def test_image_of_two_dimensions(tmp_path, suffix):
    array = noise(6, 5)
    clip = read_clip(write_itk(tmp_path / f"a{suffix}", itk_image(array, (0.25, 0.5))))
    assert np.array_equal(clip.frames, array[None])
    assert clip.geometry.pixel_spacing == pytest.approx((0.25, 0.5))


def test_4d_nifti_with_one_slice_is_a_cine(tmp_path):
    array = noise(7, 1, 6, 5)
    clip = read_clip(write_itk(tmp_path / "a.nii", itk_image(array, (0.25, 0.5, 1, 0.04))))
    assert clip.geometry.kind == "cine" and np.array_equal(clip.frames, array[:, 0])
    assert np.allclose(clip.times, np.arange(7) * 0.04)


def test_4d_nifti_with_one_time_point_is_a_volume_and_a_true_4d_is_refused(tmp_path):
    array = noise(1, 4, 6, 5)
    clip = read_clip(write_itk(tmp_path / "a.nii", itk_image(array)))
    assert clip.geometry.kind == "volume" and np.array_equal(clip.frames, array[0])
    with pytest.raises(UnreadableFile, match="choose one time point"):
        read_clip(write_itk(tmp_path / "b.nii.gz", itk_image(noise(3, 4, 6, 5))))


def plus_sequence(path, frames, spacing="0.2 0.3 1", compressed=False, **more):
    """A tracked sequence as Plus writes it."""
    import zlib

    data = frames.tobytes()
    if compressed:
        data = zlib.compress(data)
    colour = frames.ndim == 4
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "AnatomicalOrientation": "RAI",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        "DimSize": f"{frames.shape[2]} {frames.shape[1]} {frames.shape[0]}",
        "Kinds": "domain domain list",
        "ElementNumberOfChannels": 3 if colour else 1,
        "ElementSpacing": spacing,
        "ElementType": "MET_UCHAR",
        "Offset": "0 0 0",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "UltrasoundImageOrientation": "MF",
        "UltrasoundImageType": "RGB_COLOR" if colour else "BRIGHTNESS",
    }
    if compressed:
        fields["CompressedDataSize"] = f"{len(data)}          "
    for t in range(len(frames)):
        name = f"Seq_Frame{t:04d}"
        fields[f"{name}_ProbeToTrackerTransform"] = "1 0 0 5 0 1 0 6 0 0 1 7 0 0 0 1"
        fields[f"{name}_ProbeToTrackerTransformStatus"] = "OK"
        fields[f"{name}_Timestamp"] = 215.5 + 0.25 * t
        fields[f"{name}_ImageStatus"] = "OK"
    fields |= more
    header = "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + data)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_plus_sequence_is_a_cine_with_times(tmp_path, compressed):
    pytest.importorskip("SimpleITK")
    frames = noise(6, 7, 8)
    clip = read_clip(plus_sequence(tmp_path / "a.igs.mha", frames, compressed=compressed))
    assert clip.geometry.kind == "cine" and clip.name == "a"
    assert np.array_equal(clip.frames, frames)
    assert np.allclose(clip.times, np.arange(6) * 0.25)
    assert clip.geometry.pixel_spacing == pytest.approx((0.2, 0.3)) and clip.geometry.calibrated
    with pytest.raises(InvalidValue, match="is a cine"):
        read_clip(tmp_path / "a.igs.mha", axis=0)


def test_plus_sequence_without_the_igs_name_with_colour_or_without_pixel_size(tmp_path):
    pytest.importorskip("SimpleITK")
    frames = noise(6, 7, 8, 3)
    clip = read_clip(plus_sequence(tmp_path / "a.mha", frames, spacing="1 1 1"))
    assert clip.geometry.kind == "cine" and not clip.geometry.calibrated
    assert np.array_equal(clip.frames, frames)
    clip = read_clip(plus_sequence(tmp_path / "b.mha", frames, Seq_Frame0002_Timestamp="lost"))
    assert clip.times is None


def test_a_volume_whose_header_says_list_is_still_a_volume(tmp_path):
    """Plus writes "Kinds = domain domain list" into reconstructed volumes too."""
    path = write_itk(tmp_path / "a.mha", itk_image(noise(4, 5, 6), (0.5, 0.5, 0.5)))
    kinds = b"NDims = 3\nKinds = domain domain list\n"
    path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", kinds))
    assert read_clip(path).geometry.kind == "volume"


# --- DICOM --------------------------------------------------------------------------------------


def dicom(path, frames, photometric="MONOCHROME2", jpeg=False, encoded=None, **elements):
    """A multi-frame ultrasound file; jpeg: baseline frames that Pillow encodes.

    encoded: (name of a transfer syntax, fragments) of frames that were encoded elsewhere.
    """
    pydicom = pytest.importorskip("pydicom")
    uid = pydicom.uid
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = uid.UltrasoundMultiFrameImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "US"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 1 if frames.ndim == 3 else 3
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = frames.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if jpeg:
        fragments = []
        for frame in frames:
            out = io.BytesIO()
            subsampling = 1 if photometric == "YBR_FULL_422" else 0
            Image.fromarray(frame).save(out, "JPEG", quality=98, subsampling=subsampling)
            fragments.append(out.getvalue())
        encoded = "JPEGBaseline8Bit", fragments
    if encoded is not None:
        dataset.file_meta.TransferSyntaxUID = getattr(uid, encoded[0])
        dataset.PixelData = pydicom.encaps.encapsulate(encoded[1])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = frames.tobytes()
        dataset["PixelData"].VR = "OW" if frames.dtype.itemsize == 2 else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def region(dx, dy, units=3, data_type=1, size=(0, 0, 7, 5)):
    import pydicom

    item = pydicom.Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, data_type
    item.RegionLocationMinX0, item.RegionLocationMinY0 = size[:2]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = size[2:]
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = dx, dy
    return item


def test_dicom_grey_with_frame_time_and_region_size(tmp_path):
    frames = noise(5, 6, 8)
    path = dicom(
        tmp_path / "a.dcm",
        frames,
        FrameTime=40,
        SequenceOfUltrasoundRegions=[
            region(0.5, 0.5, units=4),
            region(0.9, 0.9, data_type=2),
            region(0.02, -0.03),
        ],
    )
    clip = read_clip(path)
    assert np.array_equal(clip.frames, frames) and clip.geometry.kind == "cine"
    assert np.allclose(clip.times, np.arange(5) * 0.04)
    assert clip.geometry.pixel_spacing == pytest.approx((0.2, 0.3)) and clip.geometry.calibrated


def test_dicom_without_calibration_says_so(tmp_path):
    path = dicom(
        tmp_path / "a.dcm", noise(2, 6, 8), SequenceOfUltrasoundRegions=[region(0.5, 0.5, units=4)]
    )
    clip = read_clip(path)
    assert not clip.geometry.calibrated and clip.times is None


def test_dicom_with_the_older_pydicom_of_slicer_5_10_says_what_to_do(tmp_path, monkeypatch):
    path = dicom(tmp_path / "a.dcm", noise(2, 6, 8))
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(UnreadableFile, match="needs pydicom 3 .* use Slicer 5.12 or newer"):
        read_clip(path)


def test_dicom_frame_time_vector_and_pixel_spacing(tmp_path):
    path = dicom(
        tmp_path / "a.dcm", noise(3, 6, 8), FrameTimeVector=[0, 30, 50], PixelSpacing=[0.4, 0.2]
    )
    clip = read_clip(path)
    assert np.allclose(clip.times, [0, 0.03, 0.08])
    assert clip.geometry.pixel_spacing == pytest.approx((0.2, 0.4))


def test_dicom_monochrome1_is_inverted(tmp_path):
    frames = noise(3, 6, 8)
    clip = read_clip(dicom(tmp_path / "a.dcm", frames, "MONOCHROME1"))
    assert np.array_equal(clip.frames, 255 - frames) and "inverted" in clip.intensity_rule


def test_dicom_16_bit_uses_its_own_window(tmp_path):
    frames = RNG.integers(0, 4000, (2, 6, 8)).astype(np.uint16)
    path = dicom(tmp_path / "a.dcm", frames, WindowCenter=1000, WindowWidth=1000)
    clip = read_clip(path)
    assert "500..1500" in clip.intensity_rule and (clip.frames[frames <= 500] == 0).all()
    assert "percentiles" in read_clip(dicom(tmp_path / "b.dcm", frames)).intensity_rule


def test_dicom_single_frame_without_suffix_is_recognised(tmp_path):
    frames = noise(1, 6, 8)
    path = dicom(tmp_path / "IM_0001", frames)
    assert np.array_equal(read_clip(path).frames, frames)
    moved = path.rename(tmp_path / "1.2.840.1")
    assert read_clip(moved).name == "1.2.840.1"


@pytest.mark.parametrize("grey", [False, True])
def test_dicom_rgb(tmp_path, grey):
    frames = grey_rgb(noise(3, 6, 8)) if grey else noise(3, 6, 8, 3)
    clip = read_clip(dicom(tmp_path / "a.dcm", frames, "RGB"))
    assert np.array_equal(clip.frames, frames[..., 0] if grey else frames)


def test_dicom_uncompressed_ybr_becomes_rgb(tmp_path):
    rgb = grey_rgb(smooth(2, 16, 16))
    rgb[..., 0] //= 2
    ycc = np.stack([np.array(Image.fromarray(frame).convert("YCbCr")) for frame in rgb])
    clip = read_clip(dicom(tmp_path / "a.dcm", ycc, "YBR_FULL"))
    assert np.abs(clip.frames.astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "MONOCHROME2"])
def test_dicom_jpeg_baseline(tmp_path, photometric):
    frames = smooth(3, 16, 32)
    if photometric != "MONOCHROME2":
        frames = grey_rgb(frames)
        frames[..., 2] //= 2
    clip = read_clip(dicom(tmp_path / "a.dcm", frames, photometric, jpeg=True))
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 6


@pytest.mark.parametrize("photometric", ["YBR_RCT", "MONOCHROME2"])
def test_dicom_jpeg_2000(tmp_path, photometric):
    frames = noise(2, 16, 32, 3) if photometric == "YBR_RCT" else noise(2, 16, 32)
    fragments = []
    for frame in frames:
        out = io.BytesIO()
        Image.fromarray(frame).save(out, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
        fragments.append(out.getvalue())
    path = dicom(tmp_path / "a.dcm", frames, photometric, encoded=("JPEG2000Lossless", fragments))
    assert np.array_equal(read_clip(path).frames, frames)


def jpeg_lossless(frames):
    """One fragment a frame, in 8 or 16 bits."""
    pydicom, sitk = pytest.importorskip("pydicom"), pytest.importorskip("SimpleITK")
    with tempfile.TemporaryDirectory() as folder:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(f"{folder}/a.dcm")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(itk_image(frames, vector=frames.ndim == 4))
        dataset = pydicom.dcmread(f"{folder}/a.dcm")
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    return list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=len(frames)))


@pytest.mark.parametrize("syntax", ["JPEGLossless", "JPEGLosslessSV1"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "RGB"])
def test_dicom_jpeg_lossless(tmp_path, syntax, photometric):
    frames = noise(3, 16, 32, 3) if photometric == "RGB" else noise(3, 16, 32)
    path = dicom(tmp_path / "a.dcm", frames, photometric, encoded=(syntax, jpeg_lossless(frames)))
    expected = 255 - frames if photometric == "MONOCHROME1" else frames
    assert np.array_equal(read_clip(path).frames, expected)


def test_dicom_jpeg_lossless_ybr_becomes_rgb(tmp_path):
    rgb = noise(2, 16, 32, 3)
    ycc = np.stack([np.array(Image.fromarray(frame).convert("YCbCr")) for frame in rgb])
    encoded = "JPEGLosslessSV1", jpeg_lossless(ycc)
    clip = read_clip(dicom(tmp_path / "a.dcm", ycc, "YBR_FULL", encoded=encoded))
    assert np.abs(clip.frames.astype(int) - rgb).max() <= 3


def test_dicom_jpeg_lossless_is_shown_as_the_same_uncompressed(tmp_path):
    """The window counts in rescaled values; a palette turns grey values into colours."""
    frames = RNG.integers(0, 4000, (2, 16, 32)).astype(np.uint16)
    window = {"WindowCenter": 700, "WindowWidth": 900, "RescaleSlope": 2, "RescaleIntercept": -500}
    encoded = "JPEGLosslessSV1", jpeg_lossless(frames)
    plain = read_clip(dicom(tmp_path / "a.dcm", frames, **window))
    clip = read_clip(dicom(tmp_path / "b.dcm", frames, encoded=encoded, **window))
    assert "375..825" in plain.intensity_rule and clip.intensity_rule == plain.intensity_rule
    assert np.array_equal(clip.frames, plain.frames)
    frames, lut, elements = noise(2, 16, 32), *palette()
    encoded = "JPEGLosslessSV1", jpeg_lossless(frames)
    path = dicom(tmp_path / "c.dcm", frames, "PALETTE COLOR", encoded=encoded, **elements)
    assert np.array_equal(read_clip(path).frames, lut[frames])


@pytest.mark.parametrize(
    ("name", "plain", "most"),
    [
        ("JPEG-lossy", "JPEG2000", 5),  # 12 bits as JPEG extended; both were compressed heavily
        ("JPGExtended", "JPEG2000", 5),
        ("MR_small_jpeg_ls_lossless", "MR_small", 0),
        ("SC_rgb_jls_lossy_line", "SC_rgb_rle", 2),
        ("SC_rgb_jls_lossy_sample", "SC_rgb_rle", 2),
        ("SC_rgb_jpeg_gdcm", "SC_rgb_rle", 0),
    ],
)
def test_dicom_of_other_encoders_agrees_with_the_same_image_in_another_syntax(name, plain, most):
    data = pytest.importorskip("pydicom").data
    paths = [data.get_testdata_file(f"{each}.dcm", download=False) for each in (name, plain)]
    first, second = (read_clip(path, window=(0, 255)).frames.astype(int) for path in paths)
    assert np.abs(first - second).mean() <= most < first.std() / 4


@pytest.mark.parametrize("fault", ["a frame less", "half a frame", "no JPEG"])
def test_dicom_jpeg_lossless_that_is_damaged_is_refused(tmp_path, fault):
    frames = noise(4, 16, 32)
    fragments = jpeg_lossless(frames)
    if fault == "a frame less":
        fragments.pop()
    elif fault == "half a frame":
        fragments[2] = fragments[2][: len(fragments[2]) // 2]
    else:
        fragments[2] = bytes(len(fragments[2]))
    path = dicom(tmp_path / "a.dcm", frames, encoded=("JPEGLosslessSV1", fragments))
    assert "damaged, export it again" in refusal(path)


def palette():
    """Colours of the grey values as (256, 3), and the elements that state them."""
    lut = RNG.integers(0, 255, (256, 3)).astype(np.uint8)
    elements = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        elements[f"{name}PaletteColorLookupTableData"] = lut[:, channel].tobytes()
    return lut, elements


def test_dicom_run_length_encoded_and_palette(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    frames = noise(3, 6, 8)
    path = dicom(tmp_path / "a.dcm", frames)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    assert np.array_equal(read_clip(path).frames, frames)
    lut, elements = palette()
    path = dicom(tmp_path / "b.dcm", frames, "PALETTE COLOR", **elements)
    assert np.array_equal(read_clip(path).frames, lut[frames])


def test_dicom_that_holds_a_video(tmp_path):
    frames = smooth(8, 48, 64)
    data = video(tmp_path / "a.mp4", frames).read_bytes()
    path = dicom(
        tmp_path / "a.dcm",
        grey_rgb(frames),
        "YBR_FULL",
        encoded=("MPEG4HP41", [data]),
        FrameTime=40,
    )
    clip = read_clip(path)
    assert clip.frames.shape[:3] == frames.shape and clip.times[-1] == pytest.approx(0.28)


def test_dicom_without_an_image_is_refused(tmp_path):
    import pydicom

    path = dicom(tmp_path / "a.dcm", noise(1, 6, 8))
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(UnreadableFile, match="without an image"):
        read_clip(path)


# --- video --------------------------------------------------------------------------------------

VIDEOS = {
    "a.mp4": ("libx264", {}),
    "b.mp4": ("libx264", {"movflags": "faststart"}),
    "c.mov": ("mpeg4", {"movflags": "faststart"}),
    "d.avi": ("mpeg4", {}),
    "e.mkv": ("libx264", {}),
    "f.mpeg": ("mpeg2video", {}),
    "g.wmv": ("wmv2", {}),
}


def video(path, frames, codec="libx264", options=None, pixels="yuv420p", rate=25):
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.bit_rate = 4_000_000
        stream.codec_context.thread_count = 1
        for frame in frames:
            kind = "gray" if frame.ndim == 2 else "rgb24"
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format=kind)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", VIDEOS)
def test_video_frames_in_order_with_times(tmp_path, name):
    codec, options = VIDEOS[name]
    frames = smooth(12, 48, 64)
    clip = read_clip(video(tmp_path / name, frames, codec, options))
    assert clip.frames.shape[:3] == frames.shape and not clip.geometry.calibrated
    grey = clip.frames if clip.frames.ndim == 3 else clip.frames.mean(axis=3)
    assert np.abs(grey - frames.astype(float)).mean() < 12
    assert np.allclose(np.diff(clip.times), 0.04, atol=2e-3) and clip.times[0] == 0


def test_colour_video_stays_colour(tmp_path):
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[..., 0] = 200
    clip = read_clip(video(tmp_path / "a.mp4", frames, pixels="yuv444p"))
    assert clip.frames.shape == (4, 48, 64, 3)
    assert np.abs(clip.frames.astype(int) - frames).max() < 12


def test_lossless_grey_video_is_exact(tmp_path):
    frames = noise(4, 48, 64)
    clip = read_clip(video(tmp_path / "a.mkv", frames, "ffv1", pixels="gray"))
    assert np.array_equal(clip.frames, frames)


def test_a_file_with_sound_only_is_refused(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        for packet in [*stream.encode(sound), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(UnreadableFile, match="no video"):
        read_clip(tmp_path / "a.mkv")


def test_a_long_video_is_never_held_as_float(tmp_path, monkeypatch):
    import tracemalloc

    frames = np.zeros((100, 240, 320), np.uint8)
    path = video(tmp_path / "a.mkv", frames, "ffv1", pixels="gray")
    tracemalloc.start()
    clip = read_clip(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clip.frames.nbytes == frames.nbytes
    assert peak < 2.5 * frames.nbytes


# --- images -------------------------------------------------------------------------------------


def test_folder_of_images_in_natural_order(tmp_path):
    frames = noise(12, 6, 8)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"Frame{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._Frame0.png").write_text("of macOS")
    clip = read_clip(tmp_path)
    assert np.array_equal(clip.frames, frames) and clip.geometry.kind == "cine"
    assert clip.name == tmp_path.name and clip.times is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_single_image_of_each_format(tmp_path, suffix):
    frame = smooth(1, 16, 24)[0]
    Image.fromarray(frame).save(tmp_path / f"a{suffix}")
    clip = read_clip(tmp_path / f"a{suffix}")
    assert clip.frames.shape == (1, 16, 24) and clip.name == "a"
    assert np.abs(clip.frames[0].astype(int) - frame).max() < 30
    assert suffix == ".jpg" or np.array_equal(clip.frames[0], frame)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "I;16"])
def test_every_pixel_mode_becomes_grey_or_rgb(tmp_path, mode):
    grey = noise(6, 8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 100)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "a.png")
    clip = read_clip(tmp_path / "a.png")
    assert clip.frames.shape == (1, 6, 8) and clip.frames.dtype == np.uint8
    if mode not in ("1", "I;16"):
        assert np.array_equal(clip.frames[0], grey)


def test_one_colour_image_makes_the_folder_colour(tmp_path):
    Image.fromarray(noise(6, 8)).save(tmp_path / "1.png")
    colour = noise(6, 8, 3)
    Image.fromarray(colour).save(tmp_path / "2.png")
    clip = read_clip(tmp_path)
    assert clip.frames.shape == (2, 6, 8, 3) and np.array_equal(clip.frames[1], colour)


def test_tiff_pages_are_frames(tmp_path):
    frames = noise(3, 6, 8)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read_clip(tmp_path / "a.tif").frames, frames)


def test_images_of_different_sizes_are_refused_by_name(tmp_path):
    Image.fromarray(noise(6, 8)).save(tmp_path / "1.png")
    Image.fromarray(noise(8, 6)).save(tmp_path / "2.png")
    with pytest.raises(UnreadableFile, match="2.png is 6 x 8 pixels, 1.png is 8 x 6"):
        read_clip(tmp_path)


def test_images_of_different_depth_are_refused_by_name(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(UnreadableFile, match=r"b\.png has pixels of kind uint16, a\.png of uint8"):
        read_clip(tmp_path)


# --- what cannot be read ------------------------------------------------------------------------


def refusal(path) -> str:
    with pytest.raises(UnreadableFile) as caught:
        read_clip(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < 500
    return text


def test_missing_empty_and_foreign_files_are_refused_in_one_line(tmp_path):
    assert "does not exist" in refusal(tmp_path / "no.nrrd")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refusal(tmp_path / "empty.mp4")
    (tmp_path / "folder").mkdir()
    assert "holds no" in refusal(tmp_path / "folder")
    (tmp_path / "folder" / "1.dcm").touch()
    assert "choose one of its DICOM files" in refusal(tmp_path / "folder")
    (tmp_path / "a.json").write_text('{"version": 1}')
    assert "no format that can be read" in refusal(tmp_path / "a.json")
    (tmp_path / "README").write_text("text")
    assert "no format that can be read" in refusal(tmp_path / "README")


@pytest.mark.parametrize(
    "suffix",
    [
        ".nrrd",
        ".nhdr",
        ".mha",
        ".mhd",
        ".nii",
        ".nii.gz",
        ".dcm",
        ".mp4",
        ".mov",
        ".mpeg",
        ".avi",
        ".mkv",
        ".png",
        ".jpg",
        ".tif",
        ".bmp",
    ],
)
def test_text_under_any_suffix_is_refused(tmp_path, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    path.write_text('{"this": "is no image"}\n' * 40)
    refusal(path)
    assert capfd.readouterr().err == ""


def truncatable(folder: Path) -> dict[str, Path]:
    """One file of each format, larger than its header."""
    frames = noise(16, 48, 64)
    files = {
        "raw.nrrd": write_nrrd(folder / "raw.nrrd", frames, encoding="raw"),
        "gzip.nrrd": write_nrrd(folder / "gzip.nrrd", frames),
        "raw.mha": write_itk(folder / "raw.mha", itk_image(frames)),
        "packed.mha": write_itk(folder / "packed.mha", itk_image(frames), True),
        "a.igs.mha": plus_sequence(folder / "a.igs.mha", frames, compressed=True),
        "raw.nii": write_itk(folder / "raw.nii", itk_image(frames)),
        "packed.nii.gz": write_itk(folder / "packed.nii.gz", itk_image(frames), True),
        "raw.dcm": dicom(folder / "raw.dcm", frames),
        "jpeg.dcm": dicom(folder / "jpeg.dcm", frames, jpeg=True),
        "lossless.dcm": dicom(
            folder / "lossless.dcm", frames, encoded=("JPEGLosslessSV1", jpeg_lossless(frames))
        ),
    }
    for name, (codec, options) in VIDEOS.items():
        files[name] = video(folder / name, frames, codec, options)
    for suffix in (".png", ".jpg", ".bmp", ".tif"):
        Image.fromarray(frames[0]).save(folder / f"image{suffix}")
        files[f"image{suffix}"] = folder / f"image{suffix}"
    return files


def test_truncated_files_of_every_format_are_refused(tmp_path, capfd):
    for name, path in truncatable(tmp_path).items():
        whole = path.read_bytes()
        read_clip(path)
        for keep in (0.97, 0.6, 0.2):
            path.write_bytes(whole[: int(len(whole) * keep)])
            with pytest.raises(UnreadableFile) as caught:
                read_clip(path)
                pytest.fail(f"{name} cut to {keep:.0%} was read")
            assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_header_alone_is_not_enough(tmp_path):
    for name, path in truncatable(tmp_path).items():
        whole = path.read_bytes()
        for keep in (3, 20, 130, 400):
            path.write_bytes(whole[:keep])
            with pytest.raises(UnreadableFile):
                read_clip(path)
                pytest.fail(f"{name} cut to {keep} bytes was read")


def test_a_truncated_detached_file_is_refused(tmp_path):
    for compress in (False, True):
        path = write_itk(tmp_path / f"a{compress}.mhd", itk_image(noise(8, 20, 30)), compress)
        data = tmp_path / f"a{compress}.{'zraw' if compress else 'raw'}"
        data.write_bytes(data.read_bytes()[:2000])
        refusal(path)
        data.unlink()
        assert "copy both" in refusal(path)


@pytest.mark.parametrize(
    "line, damaged",
    [("NDims = 3", "NDims = -3"), ("NDims = 3", "NDims = 9"), ("DimSize = 7", "DimSize = 0")],
)
def test_a_damaged_meta_image_header_is_refused(tmp_path, line, damaged):
    path = write_itk(tmp_path / "a.mha", itk_image(noise(5, 6, 7)))
    whole = path.read_bytes()
    assert line.encode() in whole
    path.write_bytes(whole.replace(line.encode(), damaged.encode()))
    assert "damaged MetaImage header" in refusal(path)


def test_damaged_nifti_stream_is_refused(tmp_path):
    path = write_itk(tmp_path / "a.nii.gz", itk_image(noise(8, 20, 30)), True)
    data = bytearray(path.read_bytes())
    data[1500:1600] = bytes(100)
    path.write_bytes(data)
    refusal(path)
    path.write_bytes(gzip.compress(b"text " * 300))
    assert "not a complete NIfTI" in refusal(path)


def test_wrong_axis_is_refused(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", noise(4, 5, 6))
    for axis in (3, -1, "k", True):
        with pytest.raises(InvalidValue, match="axis"):
            read_clip(path, axis=axis)


def test_wrong_windows_are_refused_and_singular_headers_are_the_files_fault(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", noise(4, 5, 6))
    for window in ((5, 5), (9, 3), (0, float("nan"))):
        with pytest.raises(InvalidValue, match="window"):
            read_clip(path, window=window)
    flat = [[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]]
    path = write_nrrd(
        tmp_path / "b.nrrd", noise(4, 5, 6), space="RAS", space_directions=np.array(flat)
    )
    assert "singular" in refusal(path)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    Image.fromarray(noise(6, 8)).save(tmp_path / "a.mp4", "PNG")
    monkeypatch.setitem(sys.modules, "av", None)
    assert "needs the Python package 'av'" in refusal(tmp_path / "a.mp4")


# --- real data ----------------------------------------------------------------------------------


def test_real_tracked_sequences(ultrasound_data):
    for name in ("BoneUltrasound_L14", "SpinePhantomFreehand"):
        clip = read_clip(ultrasound_data / "tracked" / f"{name}.igs.mha")
        assert clip.frames.shape == (21, 616, 820) and clip.geometry.kind == "cine"
        assert (np.diff(clip.times) > 0).all() and 1.5 < clip.times[-1] < 2
        assert not clip.geometry.calibrated


def test_real_reconstructed_volume(ultrasound_data):
    clip = read_clip(ultrasound_data / "tracked" / "SpinePhantomFreehandReconstructed.mha")
    assert clip.geometry.kind == "volume" and clip.frames.shape == (104, 106, 147)
    assert np.allclose(clip.geometry.ijk_to_ras[:3, 3], [74.5217, -165.573, 29.072])


def test_real_prostate_volumes(ultrasound_data):
    for path in sorted((ultrasound_data / "prostate_3d" / "images").glob("*.nii.gz")):
        clip = read_clip(path)
        assert clip.frames.shape == (41, 59, 44) and clip.geometry.kind == "volume"
        assert clip.geometry.pixel_spacing == pytest.approx((0.4, 0.4), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Reg_Image_181432_crop.mp4", (137, 242, 242)),
        ("Reg_pat1Image_133410.mpeg", (183, 370, 370)),
    ],
)
def test_real_lung_videos(ultrasound_data, name, shape):
    clip = read_clip(ultrasound_data / "lung_cine" / name)
    assert clip.frames.shape[:3] == shape and (np.diff(clip.times) > 0).all()


def test_real_image_folders(ultrasound_data, tmp_path):
    clip = read_clip(ultrasound_data / "muscle_cine")
    assert clip.frames.shape == (23, 600, 800, 3)
    images = sorted((ultrasound_data / "carotid" / "images").glob("32VAS*"))
    for image in images:
        shutil.copy(image, tmp_path)
    clip = read_clip(tmp_path)
    assert clip.frames.shape == (len(images), 512, 485)
