"""Embeddings kept in memory and on disk: budgets, order, damage, threads."""

import threading

import pytest
import torch

from SAMUSALib.engine.cache import EmbeddingCache
from SAMUSALib.engine.network import Embedding

SIZE = 64  # bytes of an embedding


def embedding(value: float, image: bool = False) -> Embedding:
    """Of SIZE bytes in any case."""
    rows = torch.full((2, 4), float(value))
    if image:
        return Embedding((rows, rows[:1].clone()), rows[:1].clone())
    return Embedding((rows, rows.clone()))


def value_of(found: Embedding | None) -> float | None:
    return None if found is None else float(found.levels[0][0, 0])


@pytest.fixture
def cache(tmp_path):
    """Two in memory, three on disk."""
    return EmbeddingCache(2 * SIZE, disk=tmp_path, disk_budget=3 * SIZE)


def files(folder):
    return sorted(folder.glob("*/*.safetensors"))


def test_without_a_disk_the_least_recently_used_goes():
    cache = EmbeddingCache(2 * SIZE)
    for name in "ab":
        cache.put(name, embedding(ord(name)))
    cache.get("a")
    cache.put("c", embedding(3))
    assert [name for name in "abc" if name in cache] == ["a", "c"]
    assert cache.nbytes == 2 * SIZE and cache.disk_nbytes == 0


def test_what_leaves_the_memory_is_found_on_disk_exactly(cache, tmp_path):
    for number in range(4):
        cache.put(number, embedding(number + 0.125, image=number == 0))
    assert len(cache) == 2 and cache.disk_nbytes == 2 * SIZE
    found = cache.get(0)
    assert value_of(found) == 0.125 and torch.equal(found.image, torch.full((1, 4), 0.125))
    assert cache.nbytes <= 2 * SIZE


def test_the_disk_has_a_budget_too(cache, tmp_path):
    for number in range(9):
        cache.put(number, embedding(number))
    assert cache.disk_nbytes == 3 * SIZE and len(files(tmp_path)) == 3
    assert [number for number in range(9) if number in cache] == [4, 5, 6, 7, 8]


def test_an_embedding_that_comes_and_goes_is_written_once(cache, tmp_path, monkeypatch):
    from SAMUSALib.engine import cache as module

    written, original = [], module.save_file
    monkeypatch.setattr(
        module, "save_file", lambda *args: written.append(args[1]) or original(*args)
    )
    for number in range(3):
        cache.put(number, embedding(number))
    for _ in range(4):
        for number in range(3):
            assert value_of(cache.get(number)) == number
    assert len(written) == 3


def test_a_new_value_replaces_that_on_disk(cache):
    for number in range(4):
        cache.put(number, embedding(number))
    cache.put(0, embedding(9))
    for number in (5, 6, 7):
        cache.put(number, embedding(number))
    assert value_of(cache.get(0)) in (9, None)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 8, b"\x10\0\0\0\0\0\0\0{}"])
def test_a_damaged_file_is_a_miss(cache, tmp_path, damage):
    for number in range(3):
        cache.put(number, embedding(number))
    (file,) = files(tmp_path)
    file.write_bytes(damage)
    assert cache.get(0) is None and 0 not in cache
    assert cache.disk_nbytes == 0 and not file.exists()


def test_a_deleted_file_is_a_miss(cache, tmp_path):
    for number in range(3):
        cache.put(number, embedding(number))
    files(tmp_path)[0].unlink()
    assert cache.get(0) is None


def test_a_full_disk_is_a_miss_and_no_error(cache, tmp_path, monkeypatch):
    from SAMUSALib.engine import cache as module

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    for number in range(3):
        cache.put(number, embedding(number))
    assert cache.get(0) is None and value_of(cache.get(2)) == 2
    assert files(tmp_path) == [] and cache.disk_nbytes == 0


def test_dropping_and_clearing_reach_the_disk(cache, tmp_path):
    for number in range(4):
        cache.put(number, embedding(number))
    cache.drop_where(lambda key: key in (0, 3))
    assert [number for number in range(4) if number in cache] == [1, 2]
    cache.clear()
    assert len(cache) == cache.nbytes == cache.disk_nbytes == 0 and files(tmp_path) == []


def test_its_folder_is_private_and_goes_with_it(tmp_path):
    cache = EmbeddingCache(SIZE, disk=tmp_path)
    cache.put("a", embedding(1))
    cache.put("b", embedding(2))
    (folder,) = tmp_path.iterdir()
    assert len(files(tmp_path)) == 1 and folder.stat().st_mode & 0o077 == 0
    del cache
    assert list(tmp_path.iterdir()) == []


def test_threads_may_use_it_while_others_read_its_sizes(tmp_path):
    cache = EmbeddingCache(4 * SIZE, disk=tmp_path, disk_budget=8 * SIZE)
    wrong, stop = [], threading.Event()

    def use(seed: int) -> None:
        for step in range(150):
            number = (seed + 7 * step) % 20
            found = value_of(cache.get_or(number, lambda n=number: embedding(n)))
            if found != number:
                wrong.append((number, found))

    def watch() -> None:
        while not stop.is_set():
            if not 0 <= cache.nbytes <= 5 * SIZE or not 0 <= cache.disk_nbytes <= 9 * SIZE:
                wrong.append((cache.nbytes, cache.disk_nbytes))

    watcher = threading.Thread(target=watch)
    users = [threading.Thread(target=use, args=(seed,)) for seed in range(3)]
    watcher.start()
    for user in users:
        user.start()
    for user in users:
        user.join()
    stop.set()
    watcher.join()
    assert wrong == []
    assert cache.nbytes == sum(cache.get(n).nbytes for n in list(cache._entries))
