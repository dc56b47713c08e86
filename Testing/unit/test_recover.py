"""`samusa recover`: journals become files, and nothing else is touched."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from SAMUSALib.annotation import FrameAnnotation, FrameState
from SAMUSALib.cli.main import main
from SAMUSALib.clip import Clip, Geometry
from SAMUSALib.io.prompt_files import read_prompts
from SAMUSALib.io.read_segmentation import read_seg_nrrd
from SAMUSALib.masks import EncodedMask
from SAMUSALib.prompts import FramePrompts, Window
from SAMUSALib.worker.accepted import AcceptedWork, ClipIdentity
from SAMUSALib.worker.journal import Journal


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "journals"


def disc(x=20) -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return (columns - x) ** 2 + (rows - 15) ** 2 < 81


def a_clip() -> Clip:
    """Slices along j of a volume whose axes are neither straight nor even."""
    matrix = np.array([[0.1, 0.02, 0, 3.5], [0, 0.03, 0.2, -7], [0, 0.5, 0, 1], [0, 0, 0, 1]])
    geometry = Geometry.for_volume((60, 12, 40), matrix, axis=1)
    return Clip(np.zeros((12, 40, 60), np.uint8), geometry, "neck", source="/data/neck.nrrd")


def journal_in(folder, close=True) -> Journal:
    journal = Journal.create(folder, AcceptedWork(ClipIdentity.of(a_clip())))
    journal.set_segment("s1", "carotid", (10, 20, 30), [Window(2, 9)])
    steps = [FramePrompts(boundary=[[11.5, 15]]), FramePrompts(boundary=[[11.5, 15], [29, 15]])]
    journal.set_steps("s1", 4, steps)
    journal.set_frame("s1", 4, accepted(20, FrameState.PROMPTED, 0.5))
    journal.set_frame("s1", 5, accepted(21, FrameState.REVIEWED))
    journal.set_segment("s2", "vein")
    journal.set_frame("s2", 5, accepted(35, FrameState.PROPAGATED))
    if close:
        journal.close()
    return journal


def accepted(x, state, confidence=1.0) -> FrameAnnotation:
    return FrameAnnotation(EncodedMask.encode(disc(x)), state, confidence)


def test_the_list_says_what_is_there(folder, capsys):
    assert main(["recover", "list"]) == 0
    assert "no journals" in capsys.readouterr().out
    journal = journal_in(folder, close=False)
    (folder / "hurt.journal").write_bytes(b"no journal at all")
    assert main(["recover", "list"]) == 0
    told = capsys.readouterr()
    row = next(line for line in told.out.splitlines() if "neck" in line)
    shown = re.split(r" {2,}", row)[1:]
    assert shown == ["neck", "12", "60x40", "2", "3", "2 kB", "open", journal.path.stem]
    assert "/data/neck.nrrd" in told.out and "hurt" in told.err and "no journal" in told.err
    journal.close()
    main(["recover", "list"])
    assert "closed" in capsys.readouterr().out


def test_export_writes_masks_on_the_grid_of_the_source_and_prompts(folder, tmp_path, capsys):
    name, out, clip = journal_in(folder).path.stem, tmp_path / "back.seg.nrrd", a_clip()
    assert main(["recover", "export", name, "--out", str(out)]) == 0
    assert "segments 2, masks 3" in capsys.readouterr().out
    read = read_seg_nrrd(out)
    assert np.allclose(read.ijk_to_ras, clip.geometry.ijk_to_ras) and read.shape == (60, 12, 40)
    masks = {
        name: clip.geometry.from_source(mask)
        for name, mask in zip(read.names, read.masks, strict=True)
    }
    assert np.array_equal(masks["carotid"][4], disc(20))
    assert np.array_equal(masks["carotid"][5], disc(21))
    assert np.array_equal(masks["vein"][5], disc(35))
    assert np.count_nonzero(masks["vein"]) == np.count_nonzero(disc(35))
    (segment,) = read_prompts(tmp_path / "back.prompts.json", clip)
    assert segment.windows == (Window(2, 9),) and segment.color == (10, 20, 30)
    assert segment.frames[4].boundary.tolist() == [[11.5, 15], [29, 15]]


def test_export_into_a_folder(folder, tmp_path):
    path, out = journal_in(folder).path, tmp_path / "new"
    assert main(["recover", "export", str(path), "--out", str(out)]) == 0
    assert sorted(each.name for each in out.iterdir()) == [
        "masks.csv",
        "masks.seg.nrrd",
        "prompts.json",
    ]
    rows = (out / "masks.csv").read_text().splitlines()
    assert "5,,carotid,reviewed,1.0000" in "\n".join(rows)
    assert len(json.loads((out / "prompts.json").read_text())["segments"]) == 1


def test_of_a_damaged_journal_what_is_whole_is_exported(folder, tmp_path, capsys):
    path, out = journal_in(folder).path, tmp_path / "back.seg.nrrd"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    assert main(["recover", "export", str(path), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "damaged after" in told.err and "masks 2" in told.out and out.exists()
    assert path.read_bytes() == data, "exporting changes nothing"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["export", "none", "--out", "x.seg.nrrd"], "does not exist"),
        (["export", "JOURNAL", "--out", "x.nrrd"], "must end in .seg.nrrd"),
        (["export", "JOURNAL", "--out", "none/x.seg.nrrd"], "no folder"),
        (["export", "bad", "--out", "x.seg.nrrd"], "no journal"),
        (["export", "empty", "--out", "x.seg.nrrd"], "nothing to export"),
        (["remove", "none"], "does not exist"),
        (["remove", "notes.txt"], "is no journal"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    folder, tmp_path, capsys, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    path = journal_in(folder).path
    (folder / "bad.journal").write_bytes(b"hello")
    empty = Journal.create(folder, AcceptedWork(ClipIdentity.of(a_clip())))
    (folder / "empty.journal").write_bytes(empty.path.read_bytes())
    empty.close()
    arguments = [path.stem if each == "JOURNAL" else each for each in arguments]
    assert main(["recover", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1
    assert (tmp_path / "notes.txt").exists() and not (tmp_path / "x.seg.nrrd").exists()


def test_removing_refuses_a_journal_that_is_open(folder, capsys):
    journal = journal_in(folder, close=False)
    assert main(["recover", "remove", journal.path.name]) == 2
    assert f"process {os.getpid()}" in capsys.readouterr().err
    journal.close()
    assert main(["recover", "remove", journal.path.name]) == 0
    assert list(folder.iterdir()) == []


def test_journals_are_read_without_torch():
    code = (
        "import sys, SAMUSALib.worker.session, SAMUSALib.cli.recover\n"
        "print([m for m in ('torch', 'scipy', 'SimpleITK', 'nrrd') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
