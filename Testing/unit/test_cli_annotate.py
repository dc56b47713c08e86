"""`samusa annotate`: outputs, refusals in one line, and what survives Ctrl-C and a full disk."""

import csv
import errno
import json
import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SAMUSALib.annotation import FrameState
from SAMUSALib.cli import annotate
from SAMUSALib.cli.main import main
from SAMUSALib.cli.phantom import as_clip
from SAMUSALib.io.write_clip import write_clip
from SAMUSALib.phantom import demo_spec, simulate

FRAMES, SIDE = 8, 64
BOUNDARY = [[20, 30], [40, 30], [30, 20], [30, 40]]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    spec = replace(demo_spec(), frames=FRAMES, size=(SIDE, SIDE), structures=())
    path = tmp_path_factory.mktemp("clip") / "clip.seq.nrrd"
    write_clip(path, as_clip(simulate(spec), "clip"))
    return path


def segment(**changes):
    prompts = {"boundary": BOUNDARY, "include": [], "exclude": [], "box": None, "mask": None}
    whole = {"name": "lumen", "color": [255, 0, 0], "windows": [[1, 6]], "frames": {"3": prompts}}
    return {**whole, **changes}


@pytest.fixture
def job(tmp_path, clip_file, monkeypatch):
    """Runs the command with the spline; .out is its output, .folder where everything lies."""
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "job"
    folder.mkdir()
    out = folder / "out.seg.nrrd"

    def run(*options, clip=clip_file, prompts=None, out=out, model="spline"):
        file = tmp_path / "prompts.json"
        if not isinstance(prompts, Path):
            segments = prompts if prompts is not None else [segment()]
            file.write_text(json.dumps({"version": 1, "segments": segments}))
        args = ["annotate", clip, "--prompts", file, "--out", out, "--model", model, *options]
        return main([str(a) for a in args])

    return SimpleNamespace(run=run, out=out, folder=folder, tmp=tmp_path)


@pytest.fixture
def fake_engine(monkeypatch):
    """Masks without any engine; `.before_frame` is called with the count of masks so far."""
    fake = SimpleNamespace(before_frame=lambda done: None, cancelled_seen=[])

    def propagate(self, clip, segments, direction, cancelled):
        done = 0
        for prompts in segments:
            for window in prompts.windows_within(len(clip)):
                for index in range(window.start, window.end + 1):
                    fake.before_frame(done)
                    fake.cancelled_seen.append(cancelled())
                    mask = np.zeros(clip.frame_size, bool)
                    mask[20:40, 20:40] = True
                    state = FrameState.PROMPTED if index in prompts.frames else "propagated"
                    yield SimpleNamespace(
                        segment=prompts.name, frame=index, mask=mask, confidence=0.9, state=state
                    )
                    done += 1

    monkeypatch.setattr(annotate.Engine, "propagate", propagate)
    return fake


def masks_of(path):
    from SAMUSALib.io.read_segmentation import read_seg_nrrd

    return read_seg_nrrd(path)


def one_line(capsys):
    """What was said on stderr, which must be one line that names the program."""
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and said.startswith("samusa: "), said
    assert "Traceback" not in said
    return said


# What it writes -----------------------------------------------------------------------------------


def test_masks_report_table_and_overlays_are_written(job, fake_engine, capsys):
    folder = job.folder
    code = job.run(
        "--report", folder / "report", "--csv", folder / "t.csv", "--overlays", folder / "png"
    )
    assert code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["out.seg.nrrd", "png", "report", "t.csv"]
    rows = list(csv.DictReader((folder / "t.csv").open()))
    assert [r["frame"] for r in rows if r["state"] == "propagated"] == ["1", "2", "4", "5", "6"]
    assert "lumen" in (folder / "report" / "index.html").read_text()
    assert len(list((folder / "png").iterdir())) == FRAMES
    assert "6 masks" in capsys.readouterr().out


def test_the_output_keeps_names_and_frames(job, fake_engine):
    import nrrd

    assert job.run() == 0
    voxels, header = nrrd.read(str(job.out))
    assert header["Segment0_Name"] == "lumen"
    assert [bool(voxels[..., k].any()) for k in range(FRAMES)] == [0, 1, 1, 1, 1, 1, 1, 0]


def test_nifti_is_written_when_asked(job, fake_engine):
    out = job.folder / "labels.nii.gz"
    assert job.run(out=out) == 0
    assert out.exists()


def test_the_spline_annotates_without_a_network(job):
    assert job.run() == 0
    import nrrd

    voxels, _ = nrrd.read(str(job.out))
    area = int(np.count_nonzero(voxels[..., 3]))
    assert area == pytest.approx(np.pi * 100, rel=0.1)


# What it refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"frames": {"999": segment()["frames"]["3"]}}, "frame 999"),
        ({"windows": [[6, 1]]}, "6"),
        ({"windows": [[1, 99]]}, "99"),
        ({"frames": {"3": {"boundary": [[1e9, 3], [1, 2], [3, 3]]}}}, "outside the frame"),
        ({"frames": {"3": {"boundary": [["a", 3]]}}}, "boundary"),
        ({"frames": {}}, "prompt"),
        ({"frames": {"0": segment()["frames"]["3"]}}, "outside its windows"),
        ({"name": ""}, "name"),
        ({"color": [999, 0, 0]}, "color"),
    ],
)
def test_wrong_prompts_are_refused_in_one_line(job, capsys, changes, says):
    assert job.run(prompts=[segment(**changes)]) == 2
    assert says in one_line(capsys)
    assert list(job.folder.iterdir()) == []


def test_two_segments_of_one_name_are_refused(job, capsys):
    assert job.run(prompts=[segment(), segment()]) == 2
    assert "lumen" in one_line(capsys)


def test_no_segment_at_all_is_refused(job, capsys):
    assert job.run(prompts=[]) == 2
    assert "segment" in one_line(capsys)


def test_a_wrong_clip_is_refused_in_one_line(job, clip_file, capsys):
    cut = job.tmp / "cut.nrrd"
    cut.write_bytes(clip_file.read_bytes()[:400])
    header = job.tmp / "header.nrrd"
    header.write_bytes(b"NRRD0005\n")
    text = job.tmp / "text.json"
    text.write_text("{}")
    for clip in (cut, header, text, job.tmp / "none.nrrd"):
        assert job.run(clip=clip) == 2
        assert clip.name in one_line(capsys)
    assert list(job.folder.iterdir()) == []


def test_unusable_prompt_files_are_refused(job, clip_file, capsys):
    bad = job.tmp / "bad.json"
    for content in (b"", b"{", b"[]", b"\xff\xfe\x00", b'{"version": 99, "segments": []}'):
        bad.write_bytes(content)
        args = ["annotate", clip_file, "--prompts", bad, "--out", job.out, "--model", "spline"]
        assert main([str(a) for a in args]) == 2
        assert "bad.json" in one_line(capsys)


def test_an_unknown_model_is_refused_with_a_hint(job, capsys):
    assert job.run(model="no-such-model") == 2
    assert "samusa models list" in one_line(capsys)
    assert job.run(model=job.tmp / "none.safetensors") == 2
    assert "none.safetensors" in one_line(capsys)


def test_a_model_to_download_is_named_with_its_command(job, capsys):
    assert job.run(model="sam2.1-tiny") == 2
    assert "samusa models download sam2.1-tiny" in one_line(capsys)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_runs_code_is_refused_and_does_not_run(job, capsys):
    evil, owned = job.tmp / "evil.pt", job.tmp / "owned"
    evil.write_bytes(pickle.dumps({"model": Evil(owned)}))
    assert job.run(model=evil) == 2
    assert "evil.pt" in one_line(capsys)
    assert not owned.exists() and not job.out.exists()


def test_a_checkpoint_of_another_architecture_is_refused(job, capsys):
    import torch

    other = job.tmp / "other.pt"
    torch.save({"model": torch.nn.Linear(2, 2).state_dict()}, other)
    assert job.run(model=other) == 2
    said = one_line(capsys)
    assert "other.pt" in said and "not a SAM2 checkpoint" in said
    assert not job.out.exists()


def test_places_that_cannot_be_written_are_refused_before_the_work(job, fake_engine, capsys):
    def never(done):
        raise AssertionError("propagated before the output was checked")

    fake_engine.before_frame = never
    for out, says in (
        (job.tmp / "no" / "out.seg.nrrd", "no folder"),
        (job.folder / "out.png", "must end in"),
        (job.folder, "must end in"),
    ):
        assert job.run(out=out) == 2
        assert says in one_line(capsys)
    assert job.run("--report", job.tmp / "prompts.json") == 2
    assert "is a file" in one_line(capsys)
    assert job.run("--csv", job.tmp / "prompts.json") == 2
    assert "input" in one_line(capsys)
    assert job.run("--csv", job.out) == 2
    assert "name two files" in one_line(capsys)


def test_the_spline_needs_two_boundary_points(job, capsys):
    assert job.run(prompts=[segment(frames={"3": {"boundary": [[3, 3]]}})]) == 2
    assert "2 boundary points" in one_line(capsys)


def test_an_absent_device_is_refused(job, monkeypatch, capsys):
    import torch

    from SAMUSALib.engine.devices import choose_device
    from SAMUSALib.errors import InvalidValue

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(InvalidValue, match="cuda"):
        choose_device("cuda")


def test_debug_shows_the_error_before_or_after_the_command(job):
    from SAMUSALib.errors import UnknownModel

    with pytest.raises(UnknownModel):
        job.run("--debug", model="no-such-model")
    with pytest.raises(UnknownModel):
        main(["--debug", "models", "info", "no-such-model"])


# What survives ------------------------------------------------------------------------------------


def stop_after(count, how):
    def before_frame(done):
        if done == count:
            how()

    return before_frame


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def throw():
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [interrupt, throw])
def test_ctrl_c_keeps_the_finished_frames(job, fake_engine, capsys, how):
    fake_engine.before_frame = stop_after(3, how)
    before = signal.getsignal(signal.SIGINT)
    assert job.run("--csv", job.folder / "t.csv") == 130
    assert signal.getsignal(signal.SIGINT) is before
    rows = list(csv.DictReader((job.folder / "t.csv").open()))
    done = [r for r in rows if r["state"] != "empty"]
    assert 3 <= len(done) <= 4
    assert job.out.exists()
    assert "of 6 masks" in capsys.readouterr().err


def test_ctrl_c_before_the_first_frame_writes_nothing(job, fake_engine, capsys):
    fake_engine.before_frame = stop_after(0, throw)
    assert job.run() == 130
    assert list(job.folder.iterdir()) == []
    assert "nothing was written" in capsys.readouterr().err


def test_ctrl_c_outside_the_propagation_is_one_line(job, monkeypatch, capsys):
    monkeypatch.setattr(annotate, "read_inputs", lambda args: throw())
    assert job.run() == 130
    assert one_line(capsys) == "samusa: stopped"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_one_line_and_leaves_nothing(job, fake_engine, monkeypatch, capsys, code):
    from SAMUSALib.io import write_segmentation

    def fails(path, *args):
        Path(path).write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(write_segmentation, "nrrd_steps", fails)
    assert job.run("--csv", job.folder / "t.csv") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("samusa: ") and "out.seg.nrrd" in said
    assert list(job.folder.iterdir()) == []


def test_an_old_output_survives_a_failed_run(job, fake_engine, monkeypatch):
    from SAMUSALib.io import write_segmentation

    job.out.write_bytes(b"yesterday's work")

    def fails(path, *args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_segmentation, "nrrd_steps", fails)
    assert job.run() == 2
    assert job.out.read_bytes() == b"yesterday's work"


def test_a_bug_is_one_line_too(job, fake_engine, capsys):
    def bug():
        raise ZeroDivisionError("division by zero")

    fake_engine.before_frame = stop_after(1, bug)
    assert job.run() == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "unexpected error, ZeroDivisionError" in said and "--debug" in said
    assert list(job.folder.iterdir()) == []


# Counting -----------------------------------------------------------------------------------------


def test_wanted_masks_follow_windows_and_direction(clip_file):
    from SAMUSALib.engine.plan import count_masks
    from SAMUSALib.io.read_clip import read_clip
    from SAMUSALib.prompts import FramePrompts, SegmentPrompts, Window

    clip = read_clip(clip_file)
    given = {3: FramePrompts(boundary=BOUNDARY)}
    segments = [SegmentPrompts("a", given, (Window(1, 6),)), SegmentPrompts("b", given)]
    assert count_masks(segments, len(clip), "both") == 6 + 8
    assert count_masks(segments, len(clip), "forward") == 4 + 5
    assert count_masks(segments, len(clip), "backward") == 3 + 4
