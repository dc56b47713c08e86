"""The check of a set finds what is wrong, goes on after it, and shows it."""

import json

import numpy as np
import pytest
from PIL import Image

from SAMUSALib.cli.main import main
from SAMUSALib.datasets.check import check_set


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (30, 40)).astype(np.uint8)


def mask(value=1):
    labels = np.zeros((30, 40), np.uint8)
    labels[5:20, 10:30] = value
    return labels


@pytest.fixture
def made(tmp_path):
    """Four images in two splits, nothing wrong."""
    folder = tmp_path / "set"
    folder.mkdir()
    items = []
    for number in range(4):
        Image.fromarray(pixels(number)).save(folder / f"{number}.png")
        Image.fromarray(mask()).save(folder / f"{number}_mask.png")
        split = "val" if number == 3 else "train"
        names = {"image": f"{number}.png", "mask": f"{number}_mask.png"}
        items.append({**names, "split": split, "group": str(number)})
    manifest = {"name": "squares", "labels": {"1": "square"}, "licence": "CC0", "items": items}
    write(folder, manifest)
    return folder


def write(folder, manifest):
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change(folder, **values):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | values
    write(folder, manifest)


def findings(folder):
    check = check_set(folder)
    return [(f.item, f.text) for f in check.wrong], [f.text for f in check.findings if not f.wrong]


def test_a_good_set_passes_and_is_counted(made, capsys):
    assert findings(made) == ([], [])
    assert main(["data", "check", str(made)]) == 0
    said = capsys.readouterr().out
    assert "nothing is wrong" in said
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert ("train", "1", "square", "3", "0", "3", "300") in rows
    assert ("val", "1", "square", "1", "0", "1", "300") in rows


def damage_image(folder):
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:60])


def delete_mask(folder):
    (folder / "1_mask.png").unlink()


def crop_mask(folder):
    Image.fromarray(mask()[:20]).save(folder / "0_mask.png")


def empty_mask(folder):
    Image.fromarray(mask(0)).save(folder / "0_mask.png")


def tiny_mask(folder):
    labels = mask(0)
    labels[:5, :5] = 1
    Image.fromarray(labels).save(folder / "0_mask.png")


def copy_image(folder):
    (folder / "3.png").write_bytes((folder / "0.png").read_bytes())


def other_label(folder):
    Image.fromarray(mask(7)).save(folder / "0_mask.png")


def split_group(folder):
    items = json.loads((folder / "manifest.json").read_text())["items"]
    items[3]["group"] = "0"
    change(folder, items=items)


def list_twice(folder):
    items = json.loads((folder / "manifest.json").read_text())["items"]
    change(folder, items=items + items[:1])


WRONGS = [
    (damage_image, "0.png", "cannot be read"),
    (delete_mask, "1.png", "1_mask.png does not exist"),
    (crop_mask, "0.png", "must be equal"),
    (empty_mask, "0.png", "its mask is empty"),
    (tiny_mask, "0.png", "no structure has 100 px: 25 px of label 1"),
    (copy_image, "3.png", "same pixels as 0.png, which lies in another split"),
    (other_label, "", 'label 7 has no name in "labels"'),
    (split_group, "", "group 0 in the splits train and val"),
    (list_twice, "", "lists 0.png twice"),
]


@pytest.mark.parametrize("spoil, item, says", WRONGS, ids=[w[0].__name__ for w in WRONGS])
def test_each_kind_of_wrong_is_found(made, spoil, item, says, capsys):
    spoil(made)
    wrong, _ = findings(made)
    assert any(name == item and says in text for name, text in wrong)
    assert main(["data", "check", str(made)]) == 1
    said = capsys.readouterr().out
    assert says in said and "WRONG" in said


def test_all_problems_are_listed_at_once(made, capsys):
    for spoil in (delete_mask, empty_mask, split_group):
        spoil(made)
    wrong, _ = findings(made)
    assert len(wrong) == 3
    assert main(["data", "check", str(made)]) == 1
    assert "3 things are wrong" in capsys.readouterr().out


def test_small_parts_and_copies_within_a_split_are_only_noted(made):
    labels = mask()
    labels[25:28, 35:38] = 1
    Image.fromarray(labels).save(made / "0_mask.png")
    (made / "2.png").write_bytes((made / "1.png").read_bytes())
    change(made, licence="")
    wrong, notes = findings(made)
    assert wrong == []
    assert notes == [
        "states no licence",
        "1 part under 100 px not used: 9 px of label 1",
        "the image has the same pixels as 1.png",
    ]


def test_frames_of_a_clip_are_compared_with_images_of_another_split(made):
    for name in ("frames", "masks"):
        (made / name).mkdir()
    for t, seed in enumerate((20, 3)):  # frame 1 is the val image
        Image.fromarray(pixels(seed)).save(made / f"frames/{t}.png")
        Image.fromarray(mask()).save(made / f"masks/{t}.png")
    items = json.loads((made / "manifest.json").read_text())["items"]
    items.append({"clip": "frames", "mask": "masks", "split": "train", "group": "c"})
    change(made, items=items)
    wrong, _ = findings(made)
    assert len(wrong) == 1 and wrong[0][0] == "frames"
    assert "frame 1 has the same pixels as 3.png" in wrong[0][1]
    check = check_set(made)
    assert [(row.split, row.images, row.clips) for row in check.table] == [
        ("train", 3, 1),
        ("val", 1, 0),
    ]


def test_the_report_shows_pictures_findings_and_the_table(made, tmp_path, capsys):
    damage_image(made)
    copy_image(made)
    Image.fromarray(pixels(0)).save(made / "3.png")
    page = tmp_path / "out" / "check.html"
    page.parent.mkdir()
    empty_mask_of_2 = mask(0)
    Image.fromarray(empty_mask_of_2).save(made / "2_mask.png")
    assert main(["data", "check", str(made), "--report", str(page)]) == 1
    html = page.read_text()
    assert html.count("<figure>") == 4 and "its mask is empty" in html
    assert html.count("data:image/png;base64") == 3 and "cannot be read" in html
    assert "squares" in html and "CC0" in html and 'stroke="#' in html
    assert main(["data", "check", str(made), "--report", str(tmp_path / "x.txt")]) == 2
    assert ".html" in capsys.readouterr().err


def test_a_program_that_starts_the_check_is_told_how_far_it_is(made, monkeypatch, capsys):
    monkeypatch.setenv("SAMUSA_PROGRESS", "lines")
    assert main(["data", "check", str(made)]) == 0
    assert "samusa-progress|4|4|" in capsys.readouterr().err


def test_a_folder_without_a_manifest_is_refused(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err


def test_a_real_set_is_looked_through(ultrasound_data):
    check = check_set(ultrasound_data / "nerve_vessel")
    assert check.items == 204 and sum(len(row.areas) for row in check.table) == 512
    assert {finding.item for finding in check.wrong} == {"images/train_0077.png"}  # a copy
