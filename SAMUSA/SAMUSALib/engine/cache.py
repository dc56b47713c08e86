"""Embeddings kept for reuse, within budgets of bytes: in memory, and behind it on disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import RLock

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .network import Embedding


class EmbeddingCache:
    """Least recently used embeddings go first once `budget` bytes are reached; the `least` newest
    always stay.

    256 MiB hold about 500 embeddings of the embedded model and 15 of SAM2 at 1024 x 1024.

    disk: a folder; what leaves the memory is then kept in files there, up to `disk_budget` bytes,
    in a folder of its own that only this user can read and that goes when the cache does. A full
    disk or a damaged file only means that an embedding is computed again. May be used from several
    threads; the sizes can be read from any at any time.
    """

    def __init__(
        self,
        budget: int = 256 * 2**20,
        least: int = 1,
        disk: Path | None = None,
        disk_budget: int = 4 * 2**30,
    ):
        self.budget, self.least = budget, least
        self.nbytes = 0
        self._entries: OrderedDict[Hashable, Embedding] = OrderedDict()
        self._lock = RLock()
        self._files = None if disk is None else _Files(disk, disk_budget)

    @property
    def disk_nbytes(self) -> int:
        return 0 if self._files is None else self._files.nbytes

    def get(self, key: Hashable) -> Embedding | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            embedding = None if self._files is None else self._files.get(key)
            if embedding is not None:
                self._keep(key, embedding)
            return embedding

    def put(self, key: Hashable, embedding: Embedding) -> None:
        with self._lock:
            self.drop(key)
            self._keep(key, embedding)

    def get_or(self, key: Hashable, compute: Callable[[], Embedding]) -> Embedding:
        embedding = self.get(key)
        if embedding is None:
            embedding = compute()
            self.put(key, embedding)
        return embedding

    def drop(self, key: Hashable) -> None:
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self.nbytes -= entry.nbytes
            if self._files is not None:
                self._files.drop(key)

    def drop_where(self, concerns: Callable[[Hashable], bool]) -> None:
        """Drop the embeddings whose key `concerns` says yes to."""
        with self._lock:
            keys = [*self._entries, *([] if self._files is None else self._files.entries)]
            for key in filter(concerns, keys):
                self.drop(key)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.nbytes = 0
            if self._files is not None:
                self._files.clear()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries or (self._files is not None and key in self._files.entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _keep(self, key: Hashable, embedding: Embedding) -> None:
        self._entries[key] = embedding
        self.nbytes += embedding.nbytes
        while self.nbytes > self.budget and len(self._entries) > self.least:
            old_key, oldest = self._entries.popitem(last=False)
            self.nbytes -= oldest.nbytes
            if self._files is not None:
                self._files.put(old_key, oldest)


@dataclass(frozen=True)
class _File:
    path: Path
    nbytes: int
    device: torch.device


class _Files:
    """Embeddings in files, the least recently used deleted first."""

    def __init__(self, folder: Path, budget: int):
        self.budget, self.nbytes = budget, 0
        self.entries: OrderedDict[Hashable, _File] = OrderedDict()
        self.folder = Path(tempfile.mkdtemp(prefix="samusa-embeddings-", dir=folder))
        self._numbers = count()
        self._removed_at_end = weakref.finalize(self, shutil.rmtree, self.folder, True)

    def get(self, key: Hashable) -> Embedding | None:
        file = self.entries.get(key)
        if file is None:
            return None
        self.entries.move_to_end(key)
        try:
            tensors = load_file(file.path, device=str(file.device))
            image = tensors.pop("image", None)
            return Embedding(tuple(tensors[f"level{i}"] for i in range(len(tensors))), image)
        except (OSError, SafetensorError, KeyError):
            self.drop(key)
            return None

    def put(self, key: Hashable, embedding: Embedding) -> None:
        if key in self.entries:  # came from its file, which still holds it
            self.entries.move_to_end(key)
            return
        if embedding.nbytes > self.budget:
            return
        tensors = {f"level{i}": level for i, level in enumerate(embedding.levels)}
        if embedding.image is not None:
            tensors["image"] = embedding.image
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        while self.nbytes + embedding.nbytes > self.budget:
            self.drop(next(iter(self.entries)))
        path = self.folder / f"{next(self._numbers)}.safetensors"
        try:
            save_file(tensors, path)
        except (OSError, SafetensorError):
            _delete(path)
            return
        self.entries[key] = _File(path, embedding.nbytes, embedding.levels[0].device)
        self.nbytes += embedding.nbytes

    def drop(self, key: Hashable) -> None:
        file = self.entries.pop(key, None)
        if file is not None:
            self.nbytes -= file.nbytes
            _delete(file.path)

    def clear(self) -> None:
        for key in list(self.entries):
            self.drop(key)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # goes with its folder
