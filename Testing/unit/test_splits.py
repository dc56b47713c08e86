"""Imported files get groups and splits that keep patients together."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SAMUSALib.datasets.splits import SplitRule
from SAMUSALib.errors import InvalidValue

NAMES = st.lists(st.from_regex(r"p[0-9]{1,2}/[a-z]{1,4}\.png", fullmatch=True), unique=True)


@given(NAMES, st.floats(0, 0.9))
def test_a_group_is_never_split_and_both_splits_are_used(paths, share):
    rule = SplitRule(group_by=r"p\d+", val=share)
    placed = rule.assign(paths)
    splits = {}
    for path, (split, group) in zip(paths, placed, strict=True):
        assert group == re.match(r"p\d+", path).group()
        assert splits.setdefault(group, split) == split
    val = sum(split == "val" for split in splits.values())
    if share == 0:
        assert val == 0
    elif len(splits) > 1:
        assert 1 <= val < len(splits) and abs(val - share * len(splits)) <= 1


@given(NAMES.filter(lambda paths: len(paths) > 3), st.randoms())
def test_the_order_of_the_files_does_not_matter(paths, random):
    rule = SplitRule(group_by="folder")
    first = dict(zip(paths, rule.assign(paths), strict=True))
    shuffled = random.sample(paths, len(paths))
    assert first == dict(zip(shuffled, rule.assign(shuffled), strict=True))


def test_groups_are_files_folders_or_what_a_bracket_finds():
    paths = ["a/p1_01.png", "a/p1_02.png", "b/p2_01.png"]
    groups = lambda by: [group for _, group in SplitRule(group_by=by).assign(paths)]  # noqa: E731
    assert groups("file") == ["a/p1_01", "a/p1_02", "b/p2_01"]
    assert SplitRule().assign(["v/case1.nii.gz"])[0][1] == "v/case1"
    assert groups("folder") == ["a", "a", "b"]
    assert groups(r"(p\d)_") == ["p1", "p1", "p2"]


def test_folders_may_name_the_split():
    rule = SplitRule(split_by="folder")
    paths = ["Train/a.png", "x/valid/b.png", "set_test_2/c.png", "train/val/d.png"]
    assert [split for split, _ in rule.assign(paths)] == ["train", "val", "test", "val"]
    with pytest.raises(InvalidValue, match="constrain/a.png"):
        rule.assign(["constrain/a.png"])
    same = SplitRule(group_by="p1", split_by="folder")
    with pytest.raises(InvalidValue, match="group p1 lies in train and val"):
        same.assign(["train/p1.png", "val/p1.png"])


@pytest.mark.parametrize(
    "values, says",
    [({"group_by": "("}, "regular"), ({"split_by": "luck"}, "luck"), ({"val": 1.0}, "val is 1.0")],
)
def test_rules_that_make_no_sense_are_refused(values, says):
    with pytest.raises(InvalidValue, match=says):
        SplitRule(**values)


def test_a_path_without_a_group_is_named():
    with pytest.raises(InvalidValue, match="finds nothing in a.png"):
        SplitRule(group_by=r"p\d").assign(["a.png"])
    with pytest.raises(InvalidValue, match="empty group"):
        SplitRule(group_by=r"(x*)a").assign(["a.png"])
