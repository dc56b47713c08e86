"""The models that SAMUSA knows: what they are, where their files lie, fetching and checking them.

`Resources/Models/models.json` lists the model that comes with SAMUSA, the weightless spline engine
and Meta's checkpoints. Imported models and downloads live in the user's data folder, each with a
small JSON file beside it. Nothing is downloaded without being asked. No torch here.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..atomic import atomic_write
from ..errors import CannotWrite, InvalidValue, SamusaError, UnknownModel, UnreadableFile
from ..places import data_folder

DEFAULT_MODEL = "samusa-small"
PROMPTS = ("boundary", "region", "box", "mask")
SUFFIXES = (".safetensors", ".pt")
LIST_COMMAND = "samusa models list"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
BLOCK = 1 << 20

Progress = Callable[[int, "int | None"], None]


class DownloadFailed(SamusaError):
    """A model could not be fetched, or what came is not what was expected."""


@dataclass(frozen=True)
class ModelEntry:
    """One model. `path` is where its file is or would be (None: it needs no file).

    origin: "embedded" (comes with SAMUSA), "built in" (no weights), "download" (from `url` when
    asked), "imported" (the user's own) or "file" (named by its path, not in the registry).
    size in bytes and sha256 are None where they are not known.
    """

    name: str
    title: str
    description: str
    licence: str
    architecture: str
    prompts: tuple[str, ...]
    origin: str
    path: Path | None = None
    url: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def is_here(self) -> bool:
        """Usable now, without a download."""
        return self.path is None or self.path.is_file()


@dataclass(frozen=True)
class Verification:
    """Outcome of `verify_model`; `text` says it in words."""

    ok: bool
    text: str


# Places ---------------------------------------------------------------------------------------


def models_folder() -> Path:
    """Downloaded and imported models."""
    return data_folder() / "models"


def embedded_folder() -> Path:
    """`Resources/Models`, beside the package in a checkout and in Slicer, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "Resources" / "Models"
    inside = package / "Resources" / "Models"
    return inside if (inside / "models.json").is_file() else beside


# Reading the lists ----------------------------------------------------------------------------


def _check_entry(raw: Any, where: str) -> dict:
    """One entry of models.json or of a note beside a model; raises InvalidValue."""
    if not isinstance(raw, dict):
        raise InvalidValue(f"{where}: an entry is {raw!r}; an object is needed")
    name = raw.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidValue(f"{where}: a model's name is {name!r}; letters, digits and . _ + - only")
    for key in ("title", "description", "licence", "architecture"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            raise InvalidValue(f"{where}: {key} of {name!r} is {raw.get(key)!r}; a text is needed")
    prompts = raw.get("prompts")
    if not isinstance(prompts, list) or not prompts or any(p not in PROMPTS for p in prompts):
        raise InvalidValue(
            f"{where}: prompts of {name!r} are {prompts!r}; "
            f"a list of {', '.join(PROMPTS)} is needed"
        )
    file, url = raw.get("file"), raw.get("url")
    for key, value in (("file", file), ("url", url), ("sha256", raw.get("sha256"))):
        if value is not None and not isinstance(value, str):
            raise InvalidValue(f"{where}: {key} of {name!r} is {value!r}; a text or null is needed")
    if file is not None and (Path(file).is_absolute() or ".." in Path(file).parts):
        raise InvalidValue(f"{where}: file of {name!r} is {file!r}; a relative path is needed")
    if file is not None and url is not None:
        raise InvalidValue(f"{where}: {name!r} has both a file and a url; it must be one of them")
    size, sha256 = raw.get("size"), raw.get("sha256")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size <= 0):
        raise InvalidValue(f"{where}: size of {name!r} is {size!r}; bytes or null are needed")
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidValue(f"{where}: sha256 of {name!r} is {sha256!r}; 64 hex digits are needed")
    return raw


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableFile(f"the model list {path} is missing; install SAMUSA again") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFile(f"{path} cannot be read: {error}") from None


def _entry(raw: dict, origin: str, path: Path | None) -> ModelEntry:
    return ModelEntry(
        name=raw["name"],
        title=raw["title"],
        description=raw["description"],
        licence=raw["licence"],
        architecture=raw["architecture"],
        prompts=tuple(raw["prompts"]),
        origin=origin,
        path=path,
        url=raw.get("url"),
        size=raw.get("size"),
        sha256=raw.get("sha256"),
    )


def _listed(folder: Path) -> Iterator[ModelEntry]:
    source = folder / "models.json"
    document = _read_json(source)
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise InvalidValue(f"{source.name} has no list of models")
    if document.get("version") != 1:
        raise InvalidValue(f"{source.name} has version {document.get('version')!r}; 1 is needed")
    names = set()
    for raw in models:
        _check_entry(raw, source.name)
        if raw["name"] in names:
            raise InvalidValue(f"{source.name} lists {raw['name']!r} twice")
        names.add(raw["name"])
        if raw.get("url"):
            path = models_folder() / raw["url"].rsplit("/", 1)[-1]
            entry = _entry(raw, "download", path)
            if entry.sha256 is None:  # what the first download was
                recorded = _sidecar(path)
                if recorded.is_file():
                    entry = replace(entry, sha256=_read_json(recorded).get("sha256"))
            yield entry
        elif raw.get("file"):
            yield _entry(raw, "embedded", folder / raw["file"])
        else:
            yield _entry(raw, "built in", None)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _imported() -> Iterator[ModelEntry]:
    folder = models_folder()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            raw = _read_json(path)
            if not isinstance(raw, dict) or raw.get("origin") != "imported":
                continue
            _check_entry(raw, path.name)
        except SamusaError:
            continue  # a damaged note must not hide all other models
        yield _entry(raw, "imported", folder / raw["file"])


def list_models(folder: Path | None = None) -> list[ModelEntry]:
    """Every known model: those of models.json first, then the user's own.

    folder: another folder with a models.json (tests). Raises InvalidValue or UnreadableFile if the
    list is damaged.
    """
    known = list(_listed(folder or embedded_folder()))
    names = {entry.name for entry in known}
    return known + [entry for entry in _imported() if entry.name not in names]


def get_entry(name: str) -> ModelEntry:
    """The entry of that name, downloaded or not. Raises UnknownModel naming the nearest names."""
    entries = {entry.name: entry for entry in list_models()}
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise UnknownModel(f"there is no model {name!r}{hint} `{LIST_COMMAND}` shows all")


def find_model(name_or_path: str | os.PathLike) -> ModelEntry:
    """An entry that is ready to be loaded, by name or by the path of a checkpoint.

    Raises UnknownModel: no such name or file, or known but not on this machine (never downloads).
    """
    text = os.fspath(name_or_path)
    names_a_file = Path(text).suffix in SUFFIXES or os.sep in text or "/" in text
    if names_a_file or (
        Path(text).is_file() and text not in {entry.name for entry in list_models()}
    ):
        path = Path(text).expanduser()
        if path.is_dir():
            raise UnknownModel(f"{text} is a folder; a model file (.safetensors or .pt) is needed")
        if not path.is_file():
            raise UnknownModel(f"there is no model file {text}; `{LIST_COMMAND}` shows models")
        return ModelEntry(
            name=path.stem,
            title=path.name,
            description="",
            licence="",
            architecture="",
            prompts=(),
            origin="file",
            path=path,
            size=path.stat().st_size,
        )
    entry = get_entry(text)
    if entry.is_here:
        return entry
    if entry.origin == "download":
        raise UnknownModel(
            f"model {entry.name!r} is not on this machine; fetch it with "
            f"`samusa models download {entry.name}` ({megabytes(entry.size)}), or on a machine "
            f"without internet load its file with --model FILE"
        )
    raise UnknownModel(f"the file of model {entry.name!r} is missing: {entry.path}")


# Checking -------------------------------------------------------------------------------------


def megabytes(size: int | None) -> str:
    """Bytes in words."""
    return "size not known" if size is None else f"{size / 1e6:.0f} MB"


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, hex; read block by block."""
    digest = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def describe_file(path: str | os.PathLike) -> dict[str, Any]:
    """{"size": bytes, "sha256": hex} of a file, as models.json wants them."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"there is no file {path}")
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def verify_model(name: str, progress: Progress | None = None) -> Verification:
    """Compare a model's file with the size and SHA-256 on record."""
    entry = get_entry(name)
    if entry.path is None:
        return Verification(True, f"{name} has no file; there is nothing to verify")
    if not entry.path.is_file():
        return Verification(False, f"{name} is not on this machine ({entry.path} is missing)")
    size = entry.path.stat().st_size
    if entry.size is not None and size != entry.size:
        return Verification(
            False, f"{name} is damaged: {size} bytes instead of {entry.size} ({entry.path})"
        )
    found = sha256_of(entry.path, progress)
    if entry.sha256 is None:
        return Verification(True, f"{name}: checksum not known to this version; it is {found}")
    if found != entry.sha256:
        return Verification(
            False, f"{name} is damaged: SHA-256 {found} instead of {entry.sha256} ({entry.path})"
        )
    return Verification(True, f"{name} is intact: {size} bytes, SHA-256 {found}")


# Changing what is on this machine ---------------------------------------------------------------


def _write_error(path: Path, error: OSError) -> CannotWrite:
    if error.errno == errno.ENOSPC:
        return CannotWrite(f"the disk is full: {path} could not be written")
    return CannotWrite(f"{path} cannot be written: {error.strerror or error}")


def _write_json(path: Path, document: Any) -> None:
    with atomic_write(path) as part:
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _make_models_folder() -> Path:
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(folder, error) from None
    return folder


def import_model(file: str | os.PathLike, name: str, check: Callable[[Path], Any]) -> ModelEntry:
    """Copy a checkpoint into the user's models under a name of its own.

    check: called with the copy before it is accepted; must raise if it is not a readable model,
    and return something with `.architecture` and `.prompts` (a loaded model's info).
    """
    source = Path(file).expanduser()
    if not NAME.fullmatch(name):
        raise InvalidValue(f"the name is {name!r}; letters, digits and . _ + - only, at most 64")
    if source.suffix not in SUFFIXES:
        raise InvalidValue(f"{source.name} is neither a .safetensors nor a .pt file")
    if not source.is_file():
        raise UnreadableFile(f"there is no file {source}")
    if any(entry.name == name for entry in list_models()):
        raise InvalidValue(
            f"there is a model {name!r} already; choose another name"
            f" or remove it with `samusa models remove {name}`"
        )
    target = _make_models_folder() / f"{name}{source.suffix}"
    with atomic_write(target) as part:
        shutil.copyfile(source, part)
        info = check(part)
        raw = {
            "origin": "imported",
            "name": name,
            "title": name,
            "description": f"Imported from {source.name}.",
            "licence": getattr(info, "licence", None) or "not stated",
            "architecture": str(info.architecture),
            "prompts": list(info.prompts),
            "file": target.name,
            **describe_file(part),
        }
        _check_entry(raw, "imported model")
    try:
        _write_json(_sidecar(target), raw)
    except CannotWrite:
        target.unlink(missing_ok=True)
        raise
    return _entry(raw, "imported", target)


def remove_model(name: str) -> Path:
    """Delete an imported or downloaded model from this machine; returns the path that was freed."""
    entry = get_entry(name)
    if entry.origin in ("embedded", "built in"):
        raise InvalidValue(f"{name} comes with SAMUSA and cannot be removed")
    part = _part(entry.path)
    if not entry.path.is_file() and not part.is_file() and entry.origin != "imported":
        raise InvalidValue(f"{name} is not on this machine; there is nothing to remove")
    try:
        for path in (entry.path, part, _sidecar(entry.path)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{entry.path} cannot be removed: {error.strerror or error}") from None
    return entry.path


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def download_model(name: str, progress: Progress | None = None) -> ModelEntry:
    """Fetch a model's file, going on where an earlier try stopped, and check it.

    progress: called with (bytes so far, bytes in all or None). Raises DownloadFailed or CannotWrite
    in words; the file appears under its name only once its size and SHA-256 are right. Without a
    known SHA-256 nothing is resumed and the computed one is recorded beside the file.
    """
    entry = get_entry(name)
    if entry.origin != "download":
        raise InvalidValue(f"{name} is not a model to download: it is {entry.origin}")
    if entry.path.is_file():
        return entry
    known = entry.sha256 is not None
    folder, part = _make_models_folder(), _part(entry.path)
    if not known:
        part.unlink(missing_ok=True)
    start = part.stat().st_size if part.is_file() else 0
    if entry.size is not None:
        if start > entry.size:
            part.unlink()
            start = 0
        missing = entry.size - start
        free = shutil.disk_usage(folder).free
        if free < missing:
            raise CannotWrite(
                f"the disk has {megabytes(free)} free at {folder}; "
                f"{name} needs {megabytes(missing)} more"
            )
    if not (entry.size is not None and start == entry.size):
        _fetch(entry, part, start, progress)
    size = part.stat().st_size
    if entry.size is not None and size < entry.size:
        raise DownloadFailed(
            f"the download of {name} stopped at {size} of {entry.size} bytes; "
            "the same command goes on from there"
        )
    found = sha256_of(part)
    if (known and found != entry.sha256) or (entry.size is not None and size != entry.size):
        part.unlink()
        raise DownloadFailed(
            f"what came for {name} is not the expected file "
            f"(SHA-256 {found}, {size} bytes); it was deleted"
        )
    if not known:
        _write_json(_sidecar(entry.path), {"name": name, "size": size, "sha256": found})
    os.replace(part, entry.path)
    return replace(entry, size=size, sha256=found)


def _fetch(entry: ModelEntry, part: Path, start: int, progress: Progress | None) -> None:
    """Append the missing bytes of entry.url to `part`."""
    request = urllib.request.Request(entry.url, headers={"User-Agent": "samusa"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            resumed = start > 0 and _starts_at(response, start)
            done = start if resumed else 0
            length = response.headers.get("Content-Length")
            total = entry.size or (done + int(length) if length else None)
            with open(part, "ab" if resumed else "wb") as out:
                while True:
                    block = response.read(BLOCK)
                    if not block:
                        break
                    try:
                        out.write(block)
                    except OSError as error:
                        raise _write_error(part, error) from None
                    done += len(block)
                    if entry.size is not None and done > entry.size:
                        break  # not the expected file; the caller says so
                    if progress:
                        progress(done, total)
    except CannotWrite:
        part.unlink(missing_ok=True)
        raise
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the server has less than we hold
            part.unlink(missing_ok=True)
        raise DownloadFailed(
            f"{entry.url} answered {error.code} {error.reason}; {entry.name} was not downloaded"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            part.unlink(missing_ok=True)
            raise _write_error(part, error) from None
        reason = getattr(error, "reason", None) or error
        raise DownloadFailed(
            f"{entry.name} could not be downloaded from {entry.url}: {reason}"
        ) from None


def _starts_at(response: Any, start: int) -> bool:
    """Whether the answer goes on at byte `start` (206 with a matching Content-Range)."""
    if getattr(response, "status", None) != 206:
        return False
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def record_embedded(name: str = DEFAULT_MODEL, folder: Path | None = None) -> dict[str, Any]:
    """For maintainers: write the size and SHA-256 of an embedded model's file into models.json."""
    folder = folder or embedded_folder()
    document = _read_json(folder / "models.json")
    for raw in document["models"]:
        if raw["name"] == name and raw.get("file"):
            raw.update(describe_file(folder / raw["file"]))
            _write_json(folder / "models.json", document)
            return {"size": raw["size"], "sha256": raw["sha256"]}
    raise UnknownModel(f"models.json lists no embedded model {name!r}")
