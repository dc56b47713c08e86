"""The model registry: what is listed, fetched, checked, imported and removed."""

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from SAMUSALib import places
from SAMUSALib.engine import registry
from SAMUSALib.errors import (
    CannotWrite,
    InvalidValue,
    UnknownModel,
    UnreadableFile,
    WrongCheckpoint,
)

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: more than one block
SHA = hashlib.sha256(CONTENT).hexdigest()


def entry(**changes):
    raw = {
        "name": "big",
        "title": "Big",
        "description": "A big model.",
        "file": None,
        "url": "http://127.0.0.1:1/big.pt",
        "size": len(CONTENT),
        "sha256": SHA,
        "licence": "Apache-2.0",
        "architecture": "sam2_hiera_tiny",
        "prompts": ["region", "box"],
    }
    return {**raw, **changes}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Makes the registry's list of models whatever the test gives it."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(registry, "embedded_folder", lambda: folder)

    def write(*entries, version=1):
        document = {"version": version, "models": list(entries)}
        (folder / "models.json").write_text(json.dumps(document))
        return folder

    return write


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; knows ranges; can break off or ignore ranges."""

    def __init__(self, *args, state, **kwargs):
        self.state = state
        super().__init__(*args, **kwargs)

    def do_GET(self):
        self.state.ranges.append(self.headers.get("Range"))
        if self.state.status:
            self.send_error(self.state.status)
            return
        start, content = 0, self.state.content
        if self.headers.get("Range") and self.state.knows_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content) if self.state.breaks_at is None else self.state.breaks_at
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    state = SimpleNamespace(
        ranges=[], status=None, knows_ranges=True, breaks_at=None, content=CONTENT
    )
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state=state))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/big.pt"
    yield state
    http.shutdown()
    http.server_close()


# The list -----------------------------------------------------------------------------------------


def test_shipped_list_names_our_model_the_spline_and_metas_eight():
    entries = {e.name: e for e in registry.list_models()}
    assert list(entries)[:2] == ["samusa-small", "spline"]
    meta = [e for e in entries.values() if e.origin == "download"]
    assert len(meta) == 8
    assert all(e.sha256 and e.size and e.licence == "Apache-2.0" for e in meta)
    assert all(e.url.startswith("https://dl.fbaipublicfiles.com/segment_anything_2/") for e in meta)
    assert len({e.sha256 for e in meta}) == 8


def test_shipped_architectures_are_known_to_the_engine():
    from SAMUSALib.engine.architectures import ARCHITECTURES

    named = {e.architecture for e in registry.list_models()} - {"spline"}
    assert named <= set(ARCHITECTURES)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"name": "a b"}, "name"),
        ({"title": ""}, "title of 'big'"),
        ({"prompts": ["touch"]}, "prompts of 'big'"),
        ({"prompts": []}, "prompts of 'big'"),
        ({"sha256": "12"}, "sha256 of 'big'"),
        ({"size": -1}, "size of 'big'"),
        ({"size": True}, "size of 'big'"),
        ({"file": "../x.pt", "url": None}, "relative path"),
        ({"file": "x.pt"}, "both a file and a url"),
    ],
)
def test_a_wrong_list_is_refused_and_says_what_is_wrong(listed, changes, says):
    listed(entry(**changes))
    with pytest.raises(InvalidValue, match=says):
        registry.list_models()


def test_a_model_listed_twice_is_refused(listed):
    listed(entry(), entry())
    with pytest.raises(InvalidValue, match="twice"):
        registry.list_models()


def test_a_damaged_or_newer_list_is_refused(listed):
    folder = listed(version=2)
    with pytest.raises(InvalidValue, match="version 2"):
        registry.list_models()
    (folder / "models.json").write_text("{")
    with pytest.raises(UnreadableFile, match="models.json"):
        registry.list_models()


# Finding --------------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest_names_and_the_command():
    with pytest.raises(UnknownModel, match="did you mean samusa-small.*samusa models list"):
        registry.find_model("samusa-smal")


def test_a_model_that_is_not_here_is_never_downloaded_silently(server, listed):
    listed(entry(url=server.url))
    with pytest.raises(UnknownModel, match="samusa models download big"):
        registry.find_model("big")
    assert server.ranges == []


def test_a_path_is_a_model_too(tmp_path):
    file = tmp_path / "mine.pt"
    with pytest.raises(UnknownModel, match="no model file"):
        registry.find_model(file)
    file.write_bytes(b"x")
    found = registry.find_model(file)
    assert (found.name, found.origin, found.path) == ("mine", "file", file)


def test_a_file_that_is_here_is_taken_for_a_file_unless_a_model_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("prompts.json", "spline"):
        (tmp_path / name).write_bytes(b"x")
    assert registry.find_model("prompts.json").origin == "file"
    assert registry.find_model("spline").origin != "file"


def test_the_spline_needs_no_file():
    found = registry.find_model("spline")
    assert found.path is None and found.is_here


# Downloading ----------------------------------------------------------------------------------


def test_a_download_is_checked_and_appears_under_its_name(server, listed, home):
    listed(entry(url=server.url))
    seen = []
    got = registry.download_model("big", lambda done, total: seen.append((done, total)))
    assert got.path == home / "models" / "big.pt"
    assert got.path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert [p.name for p in got.path.parent.iterdir()] == ["big.pt"]
    assert registry.find_model("big").path == got.path
    registry.download_model("big")
    assert len(server.ranges) == 1  # it is here: not fetched again


def test_a_broken_download_goes_on_where_it_stopped(server, listed, home):
    listed(entry(url=server.url))
    server.breaks_at = 400_000
    with pytest.raises(registry.DownloadFailed, match="stopped|IncompleteRead|downloaded"):
        registry.download_model("big")
    part = home / "models" / "big.pt.part"
    held = part.stat().st_size
    assert 0 < held <= 400_000 and not (home / "models" / "big.pt").exists()
    server.breaks_at = None
    assert registry.download_model("big").path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={held}-"]
    assert not part.exists()


def test_a_server_without_ranges_starts_again(server, listed, home):
    listed(entry(url=server.url))
    server.knows_ranges = False
    (home / "models").mkdir(parents=True)
    (home / "models" / "big.pt.part").write_bytes(b"rubbish")
    assert registry.download_model("big").path.read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_deleted(server, listed, home):
    listed(entry(url=server.url))
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(registry.DownloadFailed, match="not the expected file"):
        registry.download_model("big")
    assert list((home / "models").iterdir()) == []


def test_without_a_known_checksum_the_computed_one_is_recorded(server, listed):
    listed(entry(url=server.url, sha256=None, size=None))
    got = registry.download_model("big")
    assert got.sha256 == SHA
    assert registry.get_entry("big").sha256 == SHA
    got.path.write_bytes(CONTENT[:-1] + b"!")
    assert not registry.verify_model("big").ok


def test_a_file_address_works(tmp_path, listed):
    source = tmp_path / "big.pt"
    source.write_bytes(CONTENT)
    listed(entry(url=source.as_uri()))
    assert registry.download_model("big").path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusing_server_is_named(server, listed, status):
    listed(entry(url=server.url))
    server.status = status
    with pytest.raises(registry.DownloadFailed, match=str(status)):
        registry.download_model("big")


def test_no_connection_is_said_in_words(listed):
    listed(entry())
    with pytest.raises(registry.DownloadFailed, match="could not be downloaded"):
        registry.download_model("big")


def test_too_little_disk_is_said_before_anything_is_fetched(server, listed):
    listed(entry(url=server.url, size=10**18))
    with pytest.raises(CannotWrite, match="free"):
        registry.download_model("big")
    assert server.ranges == []


def test_an_embedded_model_is_not_downloaded(listed):
    listed(entry(url=None, file="big.pt"))
    with pytest.raises(InvalidValue, match="embedded"):
        registry.download_model("big")


# Importing, verifying, removing -----------------------------------------------------------------


def readable(path):
    assert path.read_bytes() == CONTENT
    return SimpleNamespace(architecture="samusa_small", prompts=("boundary",), licence="MIT")


def test_an_imported_model_is_listed_verified_and_removed(tmp_path, home):
    source = tmp_path / "trained.safetensors"
    source.write_bytes(CONTENT)
    made = registry.import_model(source, "mine", readable)
    assert made.path == home / "models" / "mine.safetensors"
    found = registry.find_model("mine")
    assert found == made and found.prompts == ("boundary",) and found.licence == "MIT"
    assert registry.verify_model("mine").ok
    made.path.write_bytes(CONTENT[:-1])
    assert "damaged" in registry.verify_model("mine").text
    with pytest.raises(InvalidValue, match="already"):
        registry.import_model(source, "mine", readable)
    registry.remove_model("mine")
    assert list((home / "models").iterdir()) == []
    assert source.exists()


def test_an_unreadable_checkpoint_is_not_imported(tmp_path, home):
    source = tmp_path / "trained.pt"
    source.write_bytes(b"no")

    def refuse(path):
        raise WrongCheckpoint("not a checkpoint")

    with pytest.raises(WrongCheckpoint):
        registry.import_model(source, "mine", refuse)
    assert list((home / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65])
def test_a_bad_name_is_refused(tmp_path, name):
    source = tmp_path / "trained.pt"
    source.write_bytes(CONTENT)
    with pytest.raises(InvalidValue, match="name"):
        registry.import_model(source, name, readable)


def test_only_checkpoints_are_imported(tmp_path):
    with pytest.raises(InvalidValue, match="neither"):
        registry.import_model(tmp_path / "x.zip", "mine", readable)
    with pytest.raises(UnreadableFile, match="no file"):
        registry.import_model(tmp_path / "x.pt", "mine", readable)


def test_what_comes_with_samusa_is_not_removed():
    for name in ("samusa-small", "spline"):
        with pytest.raises(InvalidValue, match="cannot be removed"):
            registry.remove_model(name)
    with pytest.raises(InvalidValue, match="not on this machine"):
        registry.remove_model("sam2.1-tiny")


def test_size_and_checksum_of_an_embedded_file_are_recorded(listed):
    folder = listed(entry(url=None, file="big.pt", size=None, sha256=None))
    (folder / "big.pt").write_bytes(CONTENT)
    assert registry.record_embedded("big", folder) == {"size": len(CONTENT), "sha256": SHA}
    assert registry.get_entry("big").sha256 == SHA
    assert registry.verify_model("big").ok


def test_the_data_folder_follows_the_platform(monkeypatch, home):
    assert places.data_folder() == home
    monkeypatch.delenv("SAMUSA_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(places.sys, "platform", "linux")
    assert places.data_folder().parts[-3:] == (".local", "share", "samusa")
    monkeypatch.setattr(places.sys, "platform", "darwin")
    assert places.data_folder().parts[-2:] == ("Application Support", "samusa")
    monkeypatch.setattr(places.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert places.data_folder().parts[-2:] == ("local", "samusa")


def test_the_registry_never_imports_torch():
    import subprocess
    import sys

    code = (
        "import sys, SAMUSALib.engine.registry as r;r.list_models(); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
