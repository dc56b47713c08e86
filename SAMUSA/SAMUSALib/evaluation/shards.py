"""An evaluation dealt to several processes, as torchrun starts them; one process deals to itself.

Each process works on every n-th item; the first one gathers. What is found of an item does not
depend on who works on it, so the result is that of one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")
Found = TypeVar("Found")

PATIENCE = timedelta(hours=24)  # the first to finish waits for the last


@dataclass(frozen=True)
class Shard:
    """Which part of the items this process has: those whose number is rank modulo count."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """True in the process that gathers, speaks and writes."""
        return self.rank == 0

    def work(
        self,
        items: Sequence[Item],
        act: Callable[[Item], list[Found]],
        stopped: Callable[[], bool],
        advance: Callable[[], object],
    ) -> list[tuple[int, list[Found]]]:
        """(number of the item, what was found) of this process's items, until stopped; advance()
        is called after each. A KeyboardInterrupt ends it and keeps what is finished."""
        done: list[tuple[int, list[Found]]] = []
        try:
            for number in range(self.rank, len(items), self.count):
                if stopped():
                    break
                done.append((number, act(items[number])))
                advance()
        except KeyboardInterrupt:
            pass
        return done

    def gather(self, done: list[tuple[int, list[Found]]]) -> tuple[list[Found], int]:
        """(everything found, in the order of the items; how many items that was) in the process
        that writes, and what this one found in the others."""
        parts = [done]
        if self.count > 1:
            parts = [[] for _ in range(self.count)] if self.writes else None
            distributed.gather_object(done, parts, dst=0)
            parts = parts or [done]
        everything = sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])
        return [found for _, part in everything for found in part], len(everything)


@contextmanager
def joined() -> Iterator[Shard]:
    """This process's shard; under torchrun (RANK and WORLD_SIZE are set) the processes meet."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Shard()
        return
    if torch.cuda.is_available():  # one GPU a process
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Shard(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
