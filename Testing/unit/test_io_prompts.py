"""Prompt files: what is stated arrives unrounded, and mistakes are named with their place."""

import json

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.errors import CannotWrite, InvalidValue, UnreadableFile
from SAMUSALib.io.prompt_files import read_prompts, write_prompts
from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window


@pytest.fixture
def clip() -> Clip:
    frames = np.zeros((24, 40, 60), np.uint8)
    return Clip(frames, Geometry.for_cine(24, 40, 60, np.diag([-0.5, -0.25, 1, 1])))


def written(folder, content, name="prompts.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def ours(**frame):
    """A file with one segment and that on frame 20."""
    frames = {"20": {"boundary": [[1, 2]]} | frame}
    return {"version": 1, "segments": [{"name": "lumen", "frames": frames}]}


def test_the_documented_example_is_read(tmp_path, clip):
    content = {
        "version": 1,
        "segments": [
            {
                "name": "lumen",
                "color": [255, 0, 0],
                "windows": [[0, 23]],
                "frames": {
                    "0": {
                        "boundary": [[12.5, 19.0], [40.0, 21.0]],
                        "include": [],
                        "exclude": [],
                        "box": None,
                        "mask": None,
                    }
                },
            }
        ],
    }
    (segment,) = read_prompts(written(tmp_path, content), clip)
    assert segment.name == "lumen" and segment.color == (255, 0, 0)
    assert segment.windows == (Window(0, 23),)
    assert segment.frames[0].boundary.tolist() == [[12.5, 19.0], [40.0, 21.0]]


@pytest.mark.parametrize("kind", ["png", "palette", "nrrd"])
def test_mask_files_are_found_beside_the_json(tmp_path, clip, kind):
    mask = np.zeros((40, 60), np.uint8)
    mask[3:9, 5:20] = 2
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / ("m.nrrd" if kind == "nrrd" else "m.png")
    if kind == "nrrd":
        nrrd = pytest.importorskip("nrrd")
        nrrd.write(str(path), mask.T[..., None])
    else:
        image = Image.fromarray(mask)
        if kind == "palette":
            image.putpalette([255, 255, 255] + [0, 0, 0] * 255)  # label 0 is shown white
        image.save(path)
    (segment,) = read_prompts(written(tmp_path, ours(mask=f"sub/{path.name}")), clip)
    assert np.array_equal(segment.frames[20].mask, mask > 0)


def test_what_is_written_is_read_back(tmp_path, clip):
    rng = np.random.default_rng(3)
    segments = [
        SegmentPrompts(
            "Gefäß 血管",
            {
                0: FramePrompts(boundary=rng.uniform(0, 39, (7, 2))),
                5: FramePrompts(
                    include=[[1 / 3, 2]], exclude=[[4.5, 6]], box=[0.1, 0.2, 20.7, 30.9]
                ),
                9: FramePrompts(mask=rng.random((40, 60)) < 0.4),
            },
            (Window(0, 5), Window(8, 9)),
            (1, 128, 255),
        ),
        SegmentPrompts("wall", {3: FramePrompts(boundary=[[5, 5]])}),
    ]
    path = tmp_path / "prompts.json"
    write_prompts(path, segments)
    back = read_prompts(path, clip)
    assert [s.name for s in back] == [s.name for s in segments]
    for a, b in zip(segments, back, strict=True):
        assert a.color == b.color and a.windows == b.windows and a.frames.keys() == b.frames.keys()
        for index in a.frames:
            for kind in ("boundary", "include", "exclude"):
                assert np.array_equal(
                    getattr(a.frames[index], kind), getattr(b.frames[index], kind)
                )
            for kind in ("box", "mask"):
                one, other = getattr(a.frames[index], kind), getattr(b.frames[index], kind)
                assert (one is None) == (other is None)
                assert one is None or np.array_equal(one, other)


def test_prompts_that_cannot_be_written_leave_nothing(tmp_path):
    segment = SegmentPrompts("a", {0: FramePrompts(mask=np.ones((4, 4)))})
    with pytest.raises(CannotWrite, match="no folder"):
        write_prompts(tmp_path / "no" / "prompts.json", [segment])
    path = tmp_path / "prompts.json"
    path.mkdir()
    with pytest.raises(CannotWrite, match="is a folder"):
        write_prompts(path, [segment])
    assert list(tmp_path.iterdir()) == [path]


BROKEN = [
    ({"segments": []}, "version is None"),
    ({"version": 2, "segments": []}, "version is 2"),
    ({"version": True, "segments": []}, "version is True"),
    ({"version": 1}, "segments is None"),
    ([], "the file is"),
    ({"version": 1, "segments": {}}, "segments is {}"),
    ({"version": 1, "segments": [], "colour": 1}, "colour is not known"),
    ({"version": 1, "segments": [3]}, r"segments\[0\] is 3"),
    ({"version": 1, "segments": [{}]}, r"segments\[0\].name is None"),
    ({"version": 1, "segments": [{"name": " "}]}, r"segments\[0\]: segment name"),
    ({"version": 1, "segments": [{"name": "a", "frame": {}}]}, r"segments\[0\].frame is not known"),
    ({"version": 1, "segments": [{"name": "a", "frames": []}]}, r"segments\[0\].frames is \[\]"),
    ({"version": 1, "segments": [{"name": "a", "color": [1, 2]}]}, r"segments\[0\].color has 2"),
    ({"version": 1, "segments": [{"name": "a", "color": [1, 2, 300]}]}, r"segments\[0\]: color"),
    ({"version": 1, "segments": [{"name": "a", "windows": [[5, 2]]}]}, r"windows\[0\]: window"),
    ({"version": 1, "segments": [{"name": "a", "windows": [5]}]}, r"windows\[0\] is 5"),
    ({"version": 1, "segments": [{"name": "a", "frames": {"x": {}}}]}, r'frames\["x"\]'),
    ({"version": 1, "segments": [{"name": "a", "frames": {"-1": {}}}]}, r'frames\["-1"\]'),
    ({"version": 1, "segments": [{"name": "a"}]}, r"segments\[0\]: segment 'a' has no prompt"),
    (ours(boundary={"x": 1}), r'segments\[0\].frames\["20"\].boundary is {'),
    (ours(boundary=[[1, 2], [3]]), r'frames\["20"\].boundary\[1\] has 1'),
    (ours(boundary=[[1, "2"]]), r'frames\["20"\].boundary\[0\] is \'2\''),
    (ours(boundary=[[1, True]]), r'frames\["20"\].boundary\[0\] is True'),
    (ours(boundary=[[1, 1e400]]), r'frames\["20"\]: boundary points hold'),
    (ours(include=5), r'frames\["20"\].include is 5'),
    (ours(points=[]), r'frames\["20"\].points is not known'),
    (ours(box=[1, 2, 3]), r'frames\["20"\].box has 3'),
    (ours(box=[5, 5, 1, 1]), r'frames\["20"\]: box'),
    (ours(mask=5), r'frames\["20"\].mask is 5'),
    (ours(boundary=[[60.5, 2]]), r'frames\["20"\]: boundary point \(60.5, 2\) is outside'),
]


@pytest.mark.parametrize(("content", "words"), BROKEN)
def test_mistakes_are_named_with_their_place(tmp_path, clip, content, words):
    path = written(tmp_path, content)
    with pytest.raises(InvalidValue, match=words) as caught:
        read_prompts(path, clip)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_frames_and_windows_beyond_the_clip_are_refused(tmp_path, clip):
    content = ours()
    content["segments"][0]["frames"]["24"] = {"boundary": [[1, 1]]}
    with pytest.raises(InvalidValue, match="frame 24 of 'lumen' does not exist"):
        read_prompts(written(tmp_path, content), clip)
    content = ours()
    content["segments"][0]["windows"] = [[0, 24]]
    with pytest.raises(InvalidValue, match="beyond the clip"):
        read_prompts(written(tmp_path, content), clip)


def test_two_segments_of_one_name_are_refused(tmp_path, clip):
    content = ours()
    content["segments"] *= 2
    with pytest.raises(InvalidValue, match="2 segments 'lumen'"):
        read_prompts(written(tmp_path, content), clip)


def test_a_frame_that_is_there_twice_is_refused(tmp_path, clip):
    text = '{"version": 1, "segments": [{"name": "a", "frames": {"0": {}, "0": {}}}]}'
    with pytest.raises(InvalidValue, match="'0' is there twice"):
        read_prompts(written(tmp_path, text), clip)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "line 1"), ("{\n oops", "line 2"), ("[" * 100_000, "nested|JSON"), ("{} {}", "JSON")],
)
def test_what_is_not_json_is_refused(tmp_path, clip, text, words):
    with pytest.raises(UnreadableFile, match=words):
        read_prompts(written(tmp_path, text), clip)


def test_missing_and_binary_files_are_refused(tmp_path, clip):
    with pytest.raises(UnreadableFile, match="does not exist"):
        read_prompts(tmp_path / "no.json", clip)
    (tmp_path / "a.json").write_bytes(bytes(range(128, 256)))
    with pytest.raises(UnreadableFile, match="not a text file"):
        read_prompts(tmp_path / "a.json", clip)
    with pytest.raises(UnreadableFile, match="is a folder"):
        read_prompts(tmp_path, clip)


def test_missing_wrong_and_misfit_masks_are_refused(tmp_path, clip):
    with pytest.raises(UnreadableFile, match=r'frames\["20"\].mask: .*no.png does not exist'):
        read_prompts(written(tmp_path, ours(mask="no.png")), clip)
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(UnreadableFile, match="cannot be decoded"):
        read_prompts(written(tmp_path, ours(mask="bad.png")), clip)
    with pytest.raises(UnreadableFile, match="is a folder; an image is needed"):
        read_prompts(written(tmp_path, ours(mask=".")), clip)
    Image.fromarray(np.ones((60, 40), np.uint8)).save(tmp_path / "turned.png")
    with pytest.raises(InvalidValue, match=r'frames\["20"\]: mask prompt is 40 x 60'):
        read_prompts(written(tmp_path, ours(mask="turned.png")), clip)


# --- Slicer Markups -----------------------------------------------------------------------------


def markup(points, type_="Fiducial", system="LPS", **more):
    controls = [
        {"id": str(n), "label": f"F-{n}", "position": list(p), "positionStatus": "defined"}
        for n, p in enumerate(points, 1)
    ]
    return {"type": type_, "coordinateSystem": system, "controlPoints": controls} | more


def markups_file(folder, *markups, name="lumen.mrk.json"):
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    return written(folder, {"@schema": schema, "markups": list(markups)}, name)


@pytest.fixture
def volume() -> Clip:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * [0.3, 0.5, 1.5]
    matrix[:3, 3] = 10, -30, 7
    geometry = Geometry.for_volume((20, 30, 10), matrix, axis=2)
    return Clip(np.zeros(geometry.frame_shape, np.uint8), geometry)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_points_in_a_volume_go_to_the_nearest_slice(tmp_path, volume, system):
    sign = np.array([-1, -1, 1] if system == "LPS" else [1, 1, 1])
    points = [
        volume.geometry.points_to_ras([[3.25, 4.5]], 2.3)[0] * sign,
        volume.geometry.points_to_ras([[7.75, 20]], 2)[0] * sign,
        volume.geometry.points_to_ras([[1, 2]], 9.4)[0] * sign,
    ]
    path = markups_file(
        tmp_path, markup(points, "ClosedCurve", system, display={"selectedColor": [1, 0.5, 0]})
    )
    (segment,) = read_prompts(path, volume)
    assert segment.name == "lumen" and segment.color == (255, 128, 0)
    assert np.allclose(segment.frames[2].boundary, [[3.25, 4.5], [7.75, 20]])
    assert np.allclose(segment.frames[9].boundary, [[1, 2]])


@pytest.mark.parametrize("t", [-0.6, 9.6])
def test_points_beyond_the_volume_are_refused(tmp_path, volume, t):
    points = volume.geometry.points_to_ras([[3, 4]], t)
    with pytest.raises(InvalidValue, match=r"markups\[0\].controlPoints\[0\] lies at slice"):
        read_prompts(markups_file(tmp_path, markup(points, system="RAS")), volume)


def test_points_outside_the_slice_are_refused(tmp_path, volume):
    points = volume.geometry.points_to_ras([[20, 4]], 3)
    with pytest.raises(InvalidValue, match=r'markups\[0\].frames\["3"\]: boundary point \(20'):
        read_prompts(markups_file(tmp_path, markup(points, system="RAS")), volume)


def test_in_a_cine_the_description_states_frame_and_kind(tmp_path, clip):
    entry = markup([[5, 2.5, 0], [10, 5, 0], [1, 1, 0], [15, 5, 0]])
    entry["controlPoints"][1]["description"] = "frame=12"
    entry["controlPoints"][2]["label"] = "frame = 12"
    entry["controlPoints"][2]["description"] = "exclude"
    entry["controlPoints"][3]["positionStatus"] = "undefined"
    (segment,) = read_prompts(markups_file(tmp_path, entry), clip)
    assert segment.frames.keys() == {0, 12}
    assert segment.frames[0].boundary.tolist() == [[10, 10]]
    assert segment.frames[12].boundary.tolist() == [[20, 20]]
    assert segment.frames[12].exclude.tolist() == [[2, 4]]


def test_points_off_the_image_plane_of_a_cine_are_refused(tmp_path, clip):
    with pytest.raises(InvalidValue, match="3.0 voxels off the image plane"):
        read_prompts(markups_file(tmp_path, markup([[5, 2.5, 3]])), clip)


def test_an_roi_is_a_box_on_the_slice_of_its_centre(tmp_path):
    geometry = Geometry.for_volume((20, 30, 10), np.diag([-0.5, -0.5, 2, 1]))
    volume = Clip(np.zeros(geometry.frame_shape, np.uint8), geometry)
    roi = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "center": [5, 6, 8],
        "size": [3, 4, 50],
        "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    }
    (segment,) = read_prompts(markups_file(tmp_path, roi), volume)
    assert segment.frames.keys() == {4}
    assert np.allclose(segment.frames[4].box, [7, 8, 13, 16])


def test_several_markups_are_several_segments(tmp_path, clip):
    path = markups_file(tmp_path, markup([[5, 2.5, 0]], name="a"), markup([[5, 2.5, 0]]))
    assert [s.name for s in read_prompts(path, clip)] == ["a", "lumen 2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "Plane"}, r"markups\[0\].type is 'Plane'"),
        ({"coordinateSystem": "IJK"}, r"markups\[0\].coordinateSystem"),
        ({"controlPoints": 3}, r"markups\[0\].controlPoints is 3"),
        ({"controlPoints": [{"position": [1, 2]}]}, r"controlPoints\[0\].position has 2"),
        ({"controlPoints": [{}]}, r"controlPoints\[0\].position is None"),
        ({"controlPoints": []}, "has no prompt"),
        ({"type": "ROI"}, r"markups\[0\].center is None"),
    ],
)
def test_mistakes_in_markups_are_named_with_their_place(tmp_path, clip, change, words):
    path = markups_file(tmp_path, markup([[5, 2.5, 0]]) | change)
    with pytest.raises(InvalidValue, match=words):
        read_prompts(path, clip)
