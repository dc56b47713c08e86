"""The table of names is cut from a full listing by make_table.py."""

import gzip
import json
import sys

import make_table
import pytest

FULL = {
    "about": {"slicer": "5.13"},
    "qt": {"QLabel": {"members": ["text"], "properties": ["text"]}, "QFoo": {"members": []}},
    "ctk": {},
    "slicer": {"util": {"value": "module"}},
    "slicer.util": ["getNode"],
}


def write_full(folder):
    path = folder / "full.json.gz"
    path.write_bytes(gzip.compress(json.dumps(FULL).encode()))
    return path


def test_the_listed_classes_are_kept_and_the_others_named(tmp_path):
    wanted = tmp_path / "classes.txt"
    wanted.write_text("# comment\nqt.QLabel\n")
    out = tmp_path / "table.json.gz"
    full = write_full(tmp_path)
    make_table.main([str(full), "--list", str(wanted), "--out", str(out)])
    table = json.loads(gzip.decompress(out.read_bytes()))
    assert table["qt"] == {"QLabel": FULL["qt"]["QLabel"]}
    assert table["unlisted"]["qt"] == ["QFoo"]
    assert table["slicer.util"] == ["getNode"] and table["slicer"] == FULL["slicer"]
    first = out.read_bytes()
    make_table.main([str(full), "--list", str(wanted), "--out", str(out)])
    assert out.read_bytes() == first


def test_a_class_that_the_application_lacks_is_an_error(tmp_path):
    wanted = tmp_path / "classes.txt"
    wanted.write_text("qt.QLabels\n")
    with pytest.raises(SystemExit, match="not in the application: qt.QLabels"):
        make_table.main([str(write_full(tmp_path)), "--list", str(wanted)])


def test_without_its_libraries_the_host_says_what_is_missing(monkeypatch):
    import host

    monkeypatch.setitem(sys.modules, "PySide6", None)
    reason = host.missing()
    assert "slicer-core" in reason or "PySide6" in reason


def test_the_project_s_table_has_the_classes_of_its_list():
    table = json.loads(gzip.decompress((make_table.HERE / "slicer_api.json.gz").read_bytes()))
    for module, name in make_table.read_list(make_table.HERE / "classes.txt"):
        assert name in table[module]
    assert (make_table.HERE / "slicer_api.json.gz").stat().st_size < 300_000
