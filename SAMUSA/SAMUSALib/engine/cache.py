"""Embeddings kept for reuse, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from .network import Embedding


class EmbeddingCache:
    """Least recently used embeddings go first once `budget` bytes are reached; the `least` newest
    always stay.

    256 MiB hold about 500 embeddings of the embedded model and 15 of SAM2 at 1024 x 1024.
    """

    def __init__(self, budget: int = 256 * 2**20, least: int = 1):
        self.budget, self.least = budget, least
        self.nbytes = 0
        self._entries: OrderedDict[Hashable, Embedding] = OrderedDict()

    def get(self, key: Hashable) -> Embedding | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Hashable, embedding: Embedding) -> None:
        self.drop(key)
        self._entries[key] = embedding
        self.nbytes += embedding.nbytes
        while self.nbytes > self.budget and len(self._entries) > self.least:
            _, oldest = self._entries.popitem(last=False)
            self.nbytes -= oldest.nbytes

    def get_or(self, key: Hashable, compute: Callable[[], Embedding]) -> Embedding:
        embedding = self.get(key)
        if embedding is None:
            embedding = compute()
            self.put(key, embedding)
        return embedding

    def drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.nbytes -= entry.nbytes

    def drop_where(self, concerns: Callable[[Hashable], bool]) -> None:
        """Drop the embeddings whose key `concerns` says yes to."""
        for key in [key for key in self._entries if concerns(key)]:
            self.drop(key)

    def clear(self) -> None:
        self._entries.clear()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)
