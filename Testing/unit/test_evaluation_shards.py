"""Several processes give what one gives, and an interruption keeps what is finished."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.cli.main import main
from SAMUSALib.evaluation import images
from SAMUSALib.evaluation.shards import Shard

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SAMUSA = ("-m", "SAMUSALib.cli")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five images of ellipses, one without a structure."""
    folder = tmp_path_factory.mktemp("set")
    y, x = np.mgrid[:64, :64]
    items = []
    for number in range(5):
        mask = ((x - 32) / 18) ** 2 + ((y - 30) / (8 + 3 * number)) ** 2 < 1
        mask &= number != 2
        Image.fromarray(np.where(mask, 40, 160).astype(np.uint8)).save(folder / f"i{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"m{number}.png")
        item = {"image": f"i{number}.png", "mask": f"m{number}.png", "split": "val"}
        items.append({**item, "group": str(number)})
    (folder / "manifest.json").write_text(json.dumps({"name": "set", "items": items}))
    return folder


def run(*command, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        **options,
    )


def test_two_processes_write_what_one_writes(dataset, tmp_path):
    options = ("evaluate", "images", "--data", dataset, "--methods", "spline", "--clicks", 3)
    options += ("--jitter", 0.03, "--out")
    two = run(*TORCHRUN, *SAMUSA, *options, tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert main([str(option) for option in (*options, tmp_path / "one")]) == 0
    for name in ("items.csv", "summary.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert json.loads((tmp_path / "two/summary.json").read_text())["n"] == 4
    assert two.stdout.count("mean Dice") == 1  # one of them speaks


@pytest.mark.heavy
def test_a_fault_in_one_process_ends_all_and_writes_nothing(dataset, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in dataset.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "i1.png").write_bytes(b"rubbish")  # the second process's first image
    options = ("evaluate", "images", "--data", broken, "--methods", "spline", "--out")
    two = run(*TORCHRUN, *SAMUSA, *options, tmp_path / "out")
    assert two.returncode != 0 and "i1.png cannot be read" in two.stderr
    assert not (tmp_path / "out").exists()


def test_items_are_dealt_in_turn_and_gathered_in_order():
    items = list("abcdefg")
    shards = [Shard(rank, 3) for rank in range(3)]
    dealt = [
        shard.work(items, lambda item: [item, item.upper()], lambda: False, lambda: None)
        for shard in shards
    ]
    assert [[number for number, _ in done] for done in dealt] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [shard.writes for shard in shards] == [True, False, False]
    together = Shard().gather(sorted(dealt[0] + dealt[2]))
    assert together == (["a", "A", "c", "C", "d", "D", "f", "F", "g", "G"], 5)


def test_what_is_finished_is_kept_when_stopped_or_interrupted():
    stopped, finished = threading.Event(), []

    def act(item):
        if item == "c":
            stopped.set()
        return [item]

    done = Shard().work("abcde", act, stopped.is_set, lambda: finished.append(1))
    assert [number for number, _ in done] == [0, 1, 2] and len(finished) == 3

    def interrupted(item):
        if item == "c":
            raise KeyboardInterrupt
        return [item]

    done = Shard().work("abcde", interrupted, lambda: False, lambda: None)
    assert [found for _, found in done] == [["a"], ["b"]]


def test_ctrl_c_writes_what_is_finished(dataset, tmp_path, monkeypatch, capsys):
    real, seen = images.evaluate_image, []

    def act(item, *args):
        seen.append(item.name)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)  # the item in work is still finished
        return real(item, *args)

    monkeypatch.setattr(images, "evaluate_image", act)
    out = tmp_path / "out"
    options = ("evaluate", "images", "--data", dataset, "--methods", "spline", "--out", out)
    assert main([str(option) for option in options]) == 130
    said = capsys.readouterr().err
    assert "stopping after this image" in said and "kept 2 of 5 images" in said
    assert json.loads((out / "summary.json").read_text())["n"] == len(seen) == 2
    assert (out / "report.html").stat().st_size > 0
